"""A ChatGPT account as a tier: the official SDK asks for Responses and chats, streamed or not, and does not notice."""

from __future__ import annotations

import asyncio
import base64
import stat
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from openai import AsyncOpenAI

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import ask, chain, source, written
from tests.e2e.chatgpt_backend import ACCOUNT, MODEL, ChatGPT, chatgpt
from tests.e2e.conftest import Start
from tests.e2e.operated import homeport, operated
from tests.e2e.replica import Replica
from tests.integration.oauth_server import PUBLIC, OAuthServer, oauth_server
from tests.unit.providers.chatgpt.told import account, plain
from tests.unit.providers.responses.asked import WEATHER

_TOKEN = "the-operators-token-of-a-test"
_ENV = {"HOMEPORT_ADMIN_TOKEN": _TOKEN}
_SAID = f"This is {MODEL}, served by chatgpt. You asked: Where?"
_MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}]
_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": WEATHER["parameters"]}}
_EVENTS = (("Content-Type", "text/event-stream"),)


@dataclass(frozen=True, slots=True)
class Vendor:
    """A login, and the backend that takes its tokens."""

    login: OAuthServer
    backend: ChatGPT
    file: Path

    def source(self, **more: object) -> dict[str, object]:
        """As an entry of `sources`."""
        oauth = {"token_url": self.login.token_url, "client_id": PUBLIC, "token_file": str(self.file)}
        return {"kind": "chatgpt-account", "base_url": self.backend.base_url, "oauth": oauth, **more}

    def config(self, *tiers: str, timeouts: object = None, **sources: object) -> str:
        """The assistant `bot`, with a chain of these, or of the account alone."""
        found = {"chatgpt": self.source(), **sources}
        bot = chain(*(tiers or (f"chatgpt/{MODEL}",)), timeouts=timeouts or {})
        return written(sources=found, assistants={"bot": bot})

    @property
    def answered(self) -> list[Any]:
        """What the backend was asked."""
        return [each for each in self.backend.received if each.method == "POST"]


@pytest.fixture
async def vendor(tmp_path: Path) -> AsyncIterator[Vendor]:
    """Somebody has logged in with Codex, whose file is given to Homeport."""
    async with oauth_server() as login:
        pair = login.log_in()
        async with chatgpt(lambda token: any(each.access == token and each.good for each in login.issued)) as backend:
            tokens = {"id_token": "i", "access_token": pair.access, "refresh_token": pair.refresh}
            file = tmp_path / "auth.json"
            document = {
                "OPENAI_API_KEY": None,
                "tokens": {**tokens, "account_id": ACCOUNT},
                "last_refresh": "2026-09-01",
            }
            file.write_bytes(orjson.dumps(document))
            file.chmod(0o600)
            yield Vendor(login, backend, file)


async def _streamed(sdk: AsyncOpenAI, **asked: Any) -> Any:
    """The answer that a Responses stream ends with; its words come to the same."""
    words = ""
    async with sdk.responses.stream(model="any", input="Where?", **asked) as stream:
        async for event in stream:
            assert event.type.startswith("response."), event
            words += event.delta if event.type == "response.output_text.delta" else ""
        whole = await stream.get_final_response()
    assert whole.output_text == words
    return whole


async def test_responses(start: Start, vendor: Vendor) -> None:
    """Whole and streamed, the same answer with everything that callers look at."""
    replica = await start(vendor.config())
    sdk = replica.client("bot")
    raw = await sdk.responses.with_raw_response.create(model="any", input="Where?", max_output_tokens=50)
    answer = raw.parse()
    assert (answer.output_text, answer.status, answer.model) == (_SAID, "completed", MODEL)
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-homeport-dropped"] == "max_output_tokens"
    assert raw.headers["x-homeport-upstream-request-id"] == "of-the-upstream"
    assert not [name for name in raw.headers if name.startswith("x-codex")]
    assert vendor.backend.body["instructions"] == ""
    whole = await _streamed(sdk, instructions="Be brief.")
    assert whole.output_text == _SAID
    assert whole.usage == answer.usage
    assert vendor.backend.body["instructions"] == "Be brief."
    seen = await ask(replica, "bot", "/v1/responses", stream=True, messages=None)
    assert seen.headers["content-type"] == "text/event-stream"
    assert b"codex" not in seen.body
    assert seen.body.count(b"event: response.completed\n") == 1


async def test_chats(start: Start, vendor: Vendor) -> None:
    """Likewise, by way of Responses."""
    replica = await start(vendor.config())
    sdk = replica.client("bot")
    raw = await sdk.chat.completions.with_raw_response.create(model="any", messages=_MESSAGES, max_tokens=50)
    answer = raw.parse()
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (_SAID, "stop")
    assert answer.usage is not None
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-homeport-dropped"] == "max_tokens"
    assert vendor.backend.body["instructions"] == "Be brief."
    line = await replica.line("request", request_id=raw.headers["x-request-id"])
    assert line["usage"]["output"] == answer.usage.completion_tokens
    words, usage = "", None
    stream = await sdk.chat.completions.create(
        model="any", messages=_MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        words += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    assert (words, usage) == (_SAID, answer.usage)


@pytest.mark.parametrize("stream", [False, True])
async def test_tools(start: Start, vendor: Vendor, stream: bool) -> None:
    """A call of the caller's function, and its result, which goes back without the names that nobody keeps."""
    sdk = (await start(vendor.config())).client("bot")
    asked: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "required"}
    if stream:
        answer = await _streamed(sdk, **asked)
    else:
        answer = await sdk.responses.create(model="any", input="Where?", **asked)
    (call,) = answer.output
    assert (call.type, call.name, orjson.loads(call.arguments)) == ("function_call", "weather", {"city": "a word"})
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    items: Any = [{"role": "user", "content": "Where?"}, call.to_dict(), result]
    assert (await sdk.responses.create(model="any", input=items)).status == "completed"
    told = await sdk.chat.completions.create(model="any", messages=_MESSAGES, tools=[_TOOL], tool_choice="required")
    assert told.choices[0].finish_reason == "tool_calls"
    assert told.choices[0].message.tool_calls
    messages = [*_MESSAGES, told.choices[0].message.to_dict()]
    messages.append({"role": "tool", "tool_call_id": told.choices[0].message.tool_calls[0].id, "content": "Rain."})
    assert (await sdk.chat.completions.create(model="any", messages=messages)).choices[0].finish_reason == "stop"


async def test_what_it_cannot_be_asked_is_for_the_next_tier(start: Start, vendor: Vendor, second: Simulator) -> None:
    """Fields and endpoints; where there is no other tier, the caller is told."""
    replica = await start(vendor.config(f"chatgpt/{MODEL}", "second/small", second=source(second)))
    for path, more in (("/v1/chat/completions", {"n": 2}), ("/v1/completions", {"prompt": "Where?"})):
        body: dict[str, Any] = {"input": None, **more}
        seen = await ask(replica, "bot", path, **body)
        assert seen.headers["x-homeport-tier"] == "fallback-1"
        assert "primary=unsupported(" in seen.headers["x-homeport-reason"]
    assert not vendor.answered
    alone = await start(vendor.config())
    search: Any = [{"type": "file_search", "vector_store_ids": []}]
    with pytest.raises(openai.BadRequestError) as refused:
        await alone.client("bot").responses.create(model="any", input="x", tools=search)
    assert (refused.value.code, refused.value.param) == ("unsupported", "tools")


async def test_a_401_costs_one_refresh_kept_in_the_file(start: Start, vendor: Vendor) -> None:
    """The same tier once more with the new token, of the same account; the file stays Codex's, its mode too."""
    replica = await start(vendor.config())
    sdk = replica.client("bot")
    await sdk.responses.create(model="any", input="Where?")
    vendor.login.revoke()
    raw = await sdk.responses.with_raw_response.create(model="any", input="Where?")
    assert raw.parse().output_text == _SAID
    line = await replica.line("request", request_id=raw.headers["x-request-id"])
    assert line["steps"][0]["retried"]
    await _streamed(sdk)
    assert (vendor.login.refreshes, vendor.login.asked, vendor.login.reused) == (1, 1, 0)
    held = orjson.loads(vendor.file.read_bytes())
    assert held["tokens"]["access_token"] == vendor.login.issued[-1].access
    assert held["tokens"]["refresh_token"] == vendor.login.issued[-1].refresh
    assert (held["tokens"]["account_id"], held["tokens"]["id_token"]) == (ACCOUNT, "i")
    assert held["last_refresh"] > "2026-09-02"
    assert stat.S_IMODE(vendor.file.stat().st_mode) == 0o600
    assert {each.header("chatgpt-account-id") for each in vendor.answered} == {ACCOUNT}


async def test_a_refresh_that_is_too_soon_is_not_asked_for(start: Start, vendor: Vendor) -> None:
    """It would end the login: a 401 is the credential's until then, and a refresh ahead of the end waits as well."""
    pair, now = vendor.login.issued[0], int(time.time())
    document = {"access_token": pair.access, "refresh_token": pair.refresh, "account_id": ACCOUNT}
    vendor.file.write_bytes(orjson.dumps({**document, "expires_at": now + 60, "earliest_refresh_at": now + 50}))
    replica = await start(vendor.config())
    assert (await ask(replica, "bot", input=None)).text() == _SAID
    vendor.login.revoke()
    assert (await ask(replica, "bot", input=None)).status == 401
    assert vendor.login.asked == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
async def test_a_plan_that_is_used_up_parks_and_the_next_tier_serves(
    start: Start, vendor: Vendor, second: Simulator, path: str, stream: bool
) -> None:
    """By HTTP, and within a stream before the first content; its reset is heard."""
    replica = await start(vendor.config(f"chatgpt/{MODEL}", "second/small", second=source(second)))
    error = {"type": "usage_limit_reached", "message": "The usage limit has been reached", "resets_in_seconds": 1800}
    if stream:
        event = orjson.dumps({"type": "error", "error": {**error, "plan_type": "plus"}})
        vendor.backend.says.append((200, (), b"data: " + event + b"\n\n"))
    else:
        vendor.backend.says.append((429, (("Content-Type", "application/json"),), orjson.dumps({"error": error})))
    asked: dict[str, Any] = {"messages": None} if path.endswith("responses") else {"input": None}
    seen = await ask(replica, "bot", path, stream=stream, **asked)
    assert (seen.status, seen.headers["x-homeport-tier"]) == (200, "fallback-1")
    line = await replica.line("request", request_id=seen.request_id)
    assert (line["steps"][0]["outcome"], line["steps"][0]["detail"]) == ("quota", "usage_limit_reached")
    seen = await ask(replica, "bot", path, stream=stream, **asked)
    assert "primary=parked(" in seen.headers["x-homeport-reason"]
    assert len(vendor.answered) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("rest", "detail"),
    [(b"", "no_content"), (b"data: {\n\n", "garbage"), (b"data: [DONE]\n\n", "no_content")],
    ids=["ends", "garbage", "done"],
)
async def test_a_stream_that_says_nothing_is_no_answer(
    start: Start, vendor: Vendor, second: Simulator, rest: bytes, detail: str, stream: bool
) -> None:
    """The next tier serves, whatever the caller asked for."""
    replica = await start(vendor.config(f"chatgpt/{MODEL}", "second/small", second=source(second)))
    vendor.backend.says.append((200, _EVENTS, account(plain(model=MODEL))[0] + rest))
    seen = await ask(replica, "bot", stream=stream, input=None)
    assert (seen.status, seen.headers["x-homeport-tier"]) == (200, "fallback-1")
    line = await replica.line("request", request_id=seen.request_id)
    assert (line["steps"][0]["outcome"], line["steps"][0]["detail"]) == ("stream_broken", detail)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
async def test_who_asked_for_no_stream_gets_no_half_an_answer(
    start: Start, vendor: Vendor, second: Simulator, path: str
) -> None:
    """Words came and the end did not: nothing was committed, so the next tier serves."""
    replica = await start(vendor.config(f"chatgpt/{MODEL}", "second/small", second=source(second)))
    vendor.backend.says.append((200, _EVENTS, b"".join(account(plain(model=MODEL))[:-1])))
    asked: dict[str, Any] = {"messages": None} if path.endswith("responses") else {"input": None}
    seen = await ask(replica, "bot", path, **asked)
    assert (seen.status, seen.headers["x-homeport-tier"]) == (200, "fallback-1")
    assert "stream_broken(truncated" in seen.headers["x-homeport-reason"]


async def test_a_source_that_is_silent_is_left_though_no_stream_was_asked_for(
    start: Start, vendor: Vendor, second: Simulator
) -> None:
    """It streams, so a sign of life is due by `first_byte`."""
    vendor.backend.gate = asyncio.Event()
    tiers, limits = (f"chatgpt/{MODEL}", "second/small"), {"first_byte": "300ms"}
    replica = await start(vendor.config(*tiers, timeouts=limits, second=source(second)))
    began = time.monotonic()
    seen = await ask(replica, "bot", input=None)
    assert (seen.status, seen.headers["x-homeport-tier"]) == (200, "fallback-1")
    assert "primary=timeout(first_byte," in seen.headers["x-homeport-reason"]
    assert time.monotonic() - began < 5


async def test_it_is_a_fallback_too(start: Start, vendor: Vendor, first: Simulator) -> None:
    """Of OpenAI's own platform, for each of the four ways to ask."""
    first.mood = moods.status(503)
    replica = await start(vendor.config("first/big", f"chatgpt/{MODEL}", first=source(first)))
    sdk = replica.client("bot")
    assert (await sdk.responses.create(model="any", input="Where?")).output_text == _SAID
    assert (await _streamed(sdk)).output_text == _SAID
    for stream in (False, True):
        seen = await ask(replica, "bot", stream=stream, input=None)
        assert (seen.text(), seen.headers["x-homeport-tier"]) == (_SAID, "fallback-1")


def _jwt(**claims: Any) -> str:
    return f"x.{base64.urlsafe_b64encode(orjson.dumps(claims)).decode().rstrip('=')}.y"


@pytest.mark.parametrize("given", ["account", "a token as it is", "headers"])
async def test_whose_account_it_is(start: Start, vendor: Vendor, given: str) -> None:
    """Where the file says nothing the token says it, refreshed or as it is; the source's own header is over all."""
    claim = {"https://api.openai.com/auth": {"chatgpt_account_id": ACCOUNT if given != "headers" else "another"}}
    access = _jwt(exp=int(time.time()) + 3600, **claim)
    pair = vendor.login.issue(PUBLIC, access, "rt")
    vendor.file.write_bytes(orjson.dumps({"access_token": pair.access, "refresh_token": pair.refresh}))
    more: dict[str, object] = {}
    if given == "a token as it is":
        more = {"oauth": None, "api_key": access}
    elif given == "headers":
        more = {"headers": {"ChatGPT-Account-Id": ACCOUNT}}
    replica: Replica = await start(vendor.config(chatgpt=vendor.source(**more)))
    assert (await ask(replica, "bot", input=None)).text() == _SAID
    sent = [value for name, value in vendor.answered[-1].headers if name.lower() == "chatgpt-account-id"]
    assert sent == [ACCOUNT]


async def test_a_caller_reads_openais_errors(start: Start, vendor: Vendor) -> None:
    """A fault of the request with the backend's own words, in the form that the SDK reads; nothing of the account."""
    replica = await start(vendor.config())
    vendor.backend.says.append((400, (("Content-Type", "application/json"),), b'{"detail":"Bad Request"}'))
    with pytest.raises(openai.BadRequestError) as refused:
        await replica.client("bot").responses.create(model="any", input="Where?")
    assert refused.value.body == {"message": "Bad Request", "type": "upstream_error", "param": None, "code": None}


async def test_a_binding_is_tested_by_the_listing_if_there_is_one(tmp_path: Path, vendor: Vendor) -> None:
    """What it lists is compared; a source that has no listing is said to have none, and that is no failure."""
    settings = {
        "version": 1,
        "listen": "127.0.0.1:0",
        "sources": {"chatgpt": vendor.source()},
        "assistants": {"bot": chain(f"chatgpt/{MODEL}")},
    }
    async with operated(tmp_path, settings, token=_TOKEN) as operator:

        async def tested(model: str) -> Any:
            order = ("test-binding", "chatgpt", model, "--reach", "--admin", operator.replica.admin)
            return await homeport(*order, cwd=tmp_path, env=_ENV)

        told = await tested(MODEL)
        assert told.code == 0, told
        assert "It lists this model, among 2." in told.out
        assert f"{vendor.backend.base_url}/responses" in told.out
        assert "this is none of them" in (await tested("gpt-1")).out
        vendor.backend.lists = False
        told = await tested(MODEL)
        assert told.code == 0, told
        assert "it is reachable and has no listing there" in told.out
        vendor.login.end_session()
        assert "it does not take the credential" in (await tested(MODEL)).out
    assert not vendor.answered

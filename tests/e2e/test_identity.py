"""Who is calling: every rule that finds the assistant, in its order, and every refusal, as the caller sees it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
import orjson
import pytest

from proxy.demo.simulator import Simulator
from tests.e2e.conftest import Start
from tests.e2e.replica import Replica

_CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
_HOMEPORTS = ("assistant", "tier", "source", "model", "attempts")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    document: Any

    @property
    def assistant(self) -> str:
        return self.headers["x-homeport-assistant"]

    @property
    def error(self) -> dict[str, Any]:
        """The error object of one of Homeport's refusals, once its shape and its headers were found right."""
        assert list(self.document) == ["error"]
        error: dict[str, Any] = self.document["error"]
        assert {"message", "type", "param", "code"} <= set(error)
        assert error["type"] == error["code"]
        assert self.headers["content-type"].startswith("application/json")
        assert self.headers["x-request-id"].startswith("req_")
        assert all(f"x-homeport-{name}" in self.headers for name in _HOMEPORTS)
        assert self.headers["x-homeport-tier"] == "none"
        return error

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and code."""
        return self.status, self.error["code"]


class Caller:
    """Sends requests as any HTTP client would."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(
        self,
        replica: Replica,
        path: str = "/v1/chat/completions",
        *,
        method: str = "POST",
        body: object = None,
        **headers: str,
    ) -> Answer:
        """`headers` by names with `_` for `-`. A POST brings a chat request unless it is given another body."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else orjson.dumps(_CHAT if body is None else body)
        async with self._session.request(
            method, replica.api + path, data=data if method == "POST" else None, headers=fields
        ) as response:
            text = await response.read()
            given = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, given, orjson.loads(text) if text else None)


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    """A client without habits: no header that was not asked for says who it is."""
    async with aiohttp.ClientSession() as session:
        yield Caller(session)


_ASSISTANTS = """
assistants:
  bot: {primary: {source: first, model: big}}
  other: {primary: {source: first, model: else}}
  idle: {primary: null}
  cleared: {primary: null, fallbacks: [{source: second, model: small}]}
  indexer:
    primary: {source: first, model: big}
    chains: {embeddings: {primary: {source: first, model: e-1}, fallbacks: [{source: second, model: e-1}]}}
"""


def _config(first: Simulator, second: Simulator, more: str = "") -> str:
    sources = "".join(
        f"  {each.name}: {{kind: openai-compatible, base_url: {each.base_url}}}\n" for each in (first, second)
    )
    return f"sources:\n{sources}{_ASSISTANTS}{more}"


async def test_a_request_names_its_assistant(start: Start, first: Simulator, second: Simulator, caller: Caller) -> None:
    """The header comes first, whatever the model is; then a model that is an assistant's id; else it is refused."""
    replica = await start(_config(first, second))
    answer = await caller.ask(replica, body={**_CHAT, "model": "other"}, X_Assistant_Id="bot")
    assert (answer.status, answer.assistant, answer.document["model"]) == (200, "bot", "big")
    answer = await caller.ask(replica, x_assistant_id="other")
    assert (answer.status, answer.assistant, answer.document["model"]) == (200, "other", "else")
    answer = await caller.ask(replica, body={**_CHAT, "model": "other"})
    assert (answer.status, answer.assistant, answer.document["model"]) == (200, "other", "else")

    nameless = await caller.ask(replica, body={**_CHAT, "model": "gpt-5.4"})
    assert nameless.refusal == (400, "assistant_required")
    assert "`X-Assistant-Id`" in nameless.error["message"]
    assert "identity.default" in nameless.error["message"]
    assert nameless.assistant == "none"
    unknown = await caller.ask(replica, body={**_CHAT, "model": "bot"}, X_Assistant_Id="boot")
    assert unknown.refusal == (404, "assistant_not_found")
    assert "'boot'" in unknown.error["message"]
    with pytest.raises(openai.NotFoundError, match="boot"):
        await replica.client("boot").chat.completions.create(model="m", messages=_CHAT["messages"])
    assert len(first.requests) == 3


async def test_the_default_and_the_header_are_configured(
    start: Start, first: Simulator, second: Simulator, caller: Caller
) -> None:
    """A request that names nobody is the default's; a header of another name is nobody's word, and neither goes up."""
    # Headers of this prefix are passed on, if they are not the identity.
    replica = await start(_config(first, second, "identity: {header: OpenAI-Team, default: bot}"))
    assert (await caller.ask(replica)).assistant == "bot"
    assert (await caller.ask(replica, OpenAI_Team="other", OpenAI_Beta="new")).assistant == "other"
    assert (await caller.ask(replica, X_Assistant_Id="other")).assistant == "bot"
    assert (await caller.ask(replica, OpenAI_Team="")).assistant == "bot"
    assert (await caller.ask(replica, body={**_CHAT, "model": "other"})).assistant == "other"
    assert (await caller.ask(replica, OpenAI_Team="Other")).refusal == (404, "assistant_not_found")
    assert first.requests[1].header("openai-beta") == "new"
    for name in ("openai-team", "x-assistant-id"):
        assert all(request.header(name) is None for request in first.requests)


async def test_an_assistant_bound_to_nothing_is_refused(
    start: Start, first: Simulator, second: Simulator, caller: Caller
) -> None:
    """Neither primary nor fallbacks: 503 without a retry. A cleared primary is never filled: its fallbacks serve."""
    replica = await start(_config(first, second))
    idle = await caller.ask(replica, X_Assistant_Id="idle")
    assert idle.refusal == (503, "assistant_unbound")
    assert idle.headers["x-should-retry"] == "false"
    assert "assistants.idle.primary" in idle.error["message"]
    assert idle.assistant == "idle"
    cleared = await caller.ask(replica, X_Assistant_Id="cleared")
    assert (cleared.status, cleared.document["model"]) == (200, "small")
    assert cleared.headers["x-homeport-tier"] == "fallback-1"
    assert cleared.headers["x-homeport-reason"] == "primary=unbound"
    assert cleared.headers["x-homeport-attempts"] == "1"
    assert not first.requests


async def test_embeddings_need_a_chain_of_their_own(
    start: Start, first: Simulator, second: Simulator, caller: Caller
) -> None:
    """Vectors of two models do not mix: the assistant's chain never makes them, and the refusal says what would."""
    replica = await start(_config(first, second))
    refused = await caller.ask(replica, "/v1/embeddings", body={"input": "a"}, X_Assistant_Id="bot")
    assert refused.refusal == (404, "endpoint_not_enabled")
    assert "assistants.bot" in refused.error["message"]
    assert "chains: {embeddings: " in refused.error["message"]
    assert not first.requests
    served = await caller.ask(replica, "/v1/embeddings", body={"input": "a"}, X_Assistant_Id="indexer")
    assert (served.status, served.document["model"]) == (200, "e-1")
    assert served.headers["x-homeport-tier"] == "primary"
    await first.stop()
    moved = await caller.ask(replica, "/v1/embeddings", body={"input": "a"}, X_Assistant_Id="indexer")
    assert (moved.status, moved.headers["x-homeport-tier"]) == (200, "fallback-1")
    assert moved.document["data"] == served.document["data"]


_STATEFUL: tuple[tuple[str, dict[str, Any]], ...] = (
    ("previous_response_id", {"previous_response_id": "resp_1"}),
    ("conversation", {"conversation": "conv_1"}),
    ("conversation", {"conversation": {"id": "conv_1"}}),
    ("prompt", {"prompt": {"id": "pmpt_1"}}),
    ("background", {"background": True}),
    ("tools[0].vector_store_ids", {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}),
    ("tools[0].container", {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}),
    ("input[0]", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
    ("input[0].encrypted_content", {"input": [{"type": "reasoning", "encrypted_content": "gAAA"}]}),
    (
        "input[0].content.file_id",
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
    ),
)


async def test_state_kept_at_one_source_is_refused(
    start: Start, first: Simulator, second: Simulator, caller: Caller
) -> None:
    """A Responses request that rests on something stored elsewhere is a typed 400 that names the field."""
    replica = await start(_config(first, second, "identity: {default: bot}"))
    for field, more in _STATEFUL:
        refused = await caller.ask(replica, "/v1/responses", body={"model": "m", "input": "Hello", **more})
        assert refused.refusal == (400, "stateful_request"), field
        assert refused.error["param"] == field
        assert f"`{field}`" in refused.error["message"]
    assert not first.requests
    plain = {"model": "m", "input": "Hello", "background": False, "previous_response_id": None, "store": False}
    assert (await caller.ask(replica, "/v1/responses", body=plain)).status == 200


async def test_what_is_not_served_says_so(start: Start, first: Simulator, second: Simulator, caller: Caller) -> None:
    """Another path, another method, a body that is no JSON object: each is typed, whoever asks."""
    replica = await start(_config(first, second, "identity: {default: bot}"))
    for path in ("/v1/files", "/v1/chat/completions/x", "/v1/moderations", "/chat/completions", "/"):
        assert (await caller.ask(replica, path)).refusal == (404, "endpoint_not_enabled"), path
    below = await caller.ask(replica, "/chat/completions")
    assert "/v1" in below.error["message"]
    got = await caller.ask(replica, method="GET")
    assert got.refusal == (405, "method_not_allowed")
    assert got.headers["allow"] == "POST"
    posted = await caller.ask(replica, "/v1/models")
    assert posted.refusal == (405, "method_not_allowed")
    assert posted.headers["allow"] == "GET"
    for body in (b"", b"{", b"[]", b'"text"', b"\xff"):
        assert (await caller.ask(replica, body=body)).refusal == (400, "invalid_json"), body
    assert not first.requests


async def test_a_page_of_another_origin_may_not_use_loopback(
    start: Start, first: Simulator, second: Simulator, caller: Caller
) -> None:
    """A browser says where a page came from: this machine's pages may call, any other origin is refused."""
    replica = await start(_config(first, second, "identity: {default: bot}"))
    for origin in ("http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443"):
        assert (await caller.ask(replica, Origin=origin)).status == 200, origin
    count = len(first.requests)
    for origin in ("https://example.com", "null", "http://localhost.example.com", "file://", "http://[bad", "x"):
        refused = await caller.ask(replica, Origin=origin)
        assert refused.refusal == (403, "origin_forbidden"), origin
        assert (await caller.ask(replica, "/v1/models", method="GET", Origin=origin)).status == 403
    assert len(first.requests) == count


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


_CLIENTS = f"""
clients:
  - {{id: everyone, key_sha256: {_sha256("key-of-everyone")}}}
  - {{id: single, key_sha256: {_sha256("key-of-single").upper()}, assistants: [other]}}
  - {{id: pair, key_sha256: {_sha256("key-of-pair")}, assistants: [bot, other]}}
  - {{id: nobody, key_sha256: {_sha256("key-of-nobody")}, assistants: []}}
"""


async def test_a_client_calls_by_its_key(start: Start, first: Simulator, second: Simulator, caller: Caller) -> None:
    """A key is sent as a bearer token or as `api-key`; without a known one nothing is served but health."""
    replica = await start(_config(first, second, "identity: {default: bot}" + _CLIENTS))
    for headers in ({"Authorization": "Bearer key-of-everyone"}, {"api_key": "key-of-everyone"}):
        assert (await caller.ask(replica, **headers)).status == 200, headers
    count = len(first.requests)
    wrong: tuple[dict[str, str], ...] = (
        {},
        {"Authorization": "Bearer key-of-anybody"},
        {"Authorization": "Bearer "},
        {"api_key": ""},
        {"api_key": _sha256("key-of-everyone")},
        {"X_Api_Key": "key-of-everyone"},
    )
    for headers in wrong:
        refused = await caller.ask(replica, X_Assistant_Id="bot", **headers)
        assert refused.refusal == (401, "invalid_api_key"), headers
        assert refused.headers["www-authenticate"] == "Bearer"
        assert "key-of" not in refused.error["message"]
    assert (await caller.ask(replica, "/v1/models", method="GET")).status == 401
    assert (await caller.ask(replica, "/v1/files")).status == 401
    page = await caller.ask(replica, Origin="https://example.com", Authorization="Bearer key-of-everyone")
    assert page.refusal == (403, "origin_forbidden")
    with pytest.raises(openai.AuthenticationError):
        await replica.client("bot", api_key="wrong").chat.completions.create(model="m", messages=_CHAT["messages"])
    async with aiohttp.ClientSession() as session:
        for path in ("/healthz", "/readyz"):
            async with session.get(replica.api + path) as response:
                assert response.status == 200
    assert len(first.requests) == count
    assert all(request.header("authorization") is None for request in first.requests)
    assert all(request.header("api-key") is None for request in first.requests)


async def test_a_key_may_be_limited_to_assistants(
    start: Start, first: Simulator, second: Simulator, caller: Caller
) -> None:
    """A key of one assistant needs no name; a name that it may not use is refused, however it was given."""
    replica = await start(_config(first, second, "identity: {default: bot}" + _CLIENTS))
    single, pair = "Bearer key-of-single", "Bearer key-of-pair"
    for model in ("gpt-5.4", "bot"):
        answer = await caller.ask(replica, body={**_CHAT, "model": model}, Authorization=single)
        assert (answer.status, answer.assistant) == (200, "other"), model
    assert (await caller.ask(replica, Authorization=pair)).assistant == "bot"
    assert (await caller.ask(replica, body={**_CHAT, "model": "other"}, Authorization=pair)).assistant == "other"
    forbidden = (
        await caller.ask(replica, Authorization=single, X_Assistant_Id="bot"),
        await caller.ask(replica, Authorization=pair, X_Assistant_Id="cleared"),
        await caller.ask(replica, body={**_CHAT, "model": "cleared"}, Authorization=pair),
        await caller.ask(replica, Authorization="Bearer key-of-nobody"),
    )
    for each in forbidden:
        assert each.refusal == (403, "assistant_forbidden")
        assert "`assistants`" in each.error["message"]
    assert "'pair'" in forbidden[1].error["message"]
    unknown = await caller.ask(replica, Authorization=pair, X_Assistant_Id="boot")
    assert unknown.refusal == (404, "assistant_not_found")
    client = replica.client("bot", api_key="key-of-single")
    with pytest.raises(openai.PermissionDeniedError):
        await client.chat.completions.create(model="m", messages=_CHAT["messages"])


async def test_models_are_the_assistants_a_caller_may_use(
    start: Start, first: Simulator, second: Simulator, caller: Caller
) -> None:
    """Clients that only know model names can list and pick an assistant; what they may not use isn't there."""
    replica = await start(_config(first, second, _CLIENTS))
    listed = {
        name: [model.id async for model in replica.client(api_key=f"key-of-{name}").models.list()]
        for name in ("everyone", "pair", "single", "nobody")
    }
    assert listed == {
        "everyone": ["bot", "other", "idle", "cleared", "indexer"],
        "pair": ["bot", "other"],
        "single": ["other"],
        "nobody": [],
    }
    client = replica.client(api_key="key-of-pair")
    card = await client.models.retrieve("other")
    assert (card.id, card.object) == ("other", "model")
    chosen = await client.chat.completions.create(model=card.id, messages=_CHAT["messages"])
    assert chosen.model == "else"
    for name in ("cleared", "gpt-5.4"):
        with pytest.raises(openai.NotFoundError, match=name):
            await client.models.retrieve(name)
    answer = await caller.ask(replica, "/v1/models", method="GET", Authorization="Bearer key-of-pair")
    assert answer.document["object"] == "list"
    assert answer.headers["x-request-id"].startswith("req_")
    assert first.by_path == {"/v1/chat/completions": 1}

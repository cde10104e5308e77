"""Accounts through the installed command: tokens are sent, refreshed, kept and refused as docs/accounts.md says."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai import AuthenticationError

from proxy.demo.simulator import Simulator
from tests.e2e.caller import Seen, ask, chain, source, written
from tests.e2e.conftest import Start
from tests.e2e.operated import homeport, operated
from tests.e2e.replica import Replica
from tests.integration.oauth_server import CONFIDENTIAL, PUBLIC, SECRET, Issued, OAuthServer, oauth_server

_FIXTURES = Path(__file__).parents[1] / "unit" / "providers" / "fixtures" / "anthropic"
_TOKEN = "the-operators-token-of-a-test"
_ENV = {"HOMEPORT_ADMIN_TOKEN": _TOKEN}


@pytest.fixture
async def server() -> AsyncIterator[OAuthServer]:
    """A login and an API."""
    async with oauth_server() as each:
        yield each


def put(file: Path, pair: Issued, **more: object) -> Path:
    """A token file, as an operator writes it."""
    document = {"access_token": pair.access, "refresh_token": pair.refresh, "expires_at": pair.until}
    file.write_bytes(orjson.dumps(document | more))
    file.chmod(0o600)
    return file


def config(server: OAuthServer, oauth: Mapping[str, object], *tiers: str, **more: Any) -> str:
    """The assistant `bot`, whose primary is the account's; `more` is for the configuration."""
    account = {"token_url": server.token_url, "client_id": PUBLIC, **oauth}
    sources = {
        "account": {"kind": "openai-compatible", "base_url": server.base_url, "oauth": account},
        **more.pop("sources", {}),
    }
    return written(sources=sources, assistants={"bot": chain("account/big", *tiers)}, **more)


async def step(replica: Replica, seen: Seen) -> dict[str, Any]:
    """What the record says of a request's first attempt."""
    line = await replica.line("request", request_id=seen.request_id)
    found: dict[str, Any] = line["steps"][0]
    return found


async def test_a_token_file_is_used_refreshed_ahead_and_written_back(
    tmp_path: Path, start: Start, server: OAuthServer
) -> None:
    """The token goes as a bearer; its successors go into the file, whose mode and other members stay."""
    server.lives = 4
    file = put(tmp_path / "token.json", server.log_in(), note="mine")
    file.chmod(0o640)
    replica = await start(config(server, {"token_file": "token.json"}))
    began = time.monotonic()
    answers: list[Seen] = []
    while time.monotonic() - began < 9:
        answers.append(await ask(replica, "bot"))
        await asyncio.sleep(0.05)
    assert {each.status for each in answers} == {200}
    assert 2 <= server.refreshes <= 4
    assert server.reused == 0
    held = orjson.loads(file.read_bytes())
    assert held["access_token"] in {each.access for each in server.issued[1:]}
    assert held["note"] == "mine"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["homeport-state", "homeport.yaml", "token.json", "token.json.lock"]
    samples = await replica.metrics()
    done = 'homeport_credential_refreshes_total{credential="account",result="refreshed"}'
    assert samples[done] == server.refreshes
    expiry = samples['homeport_credential_expiry_timestamp_seconds{credential="account"}']
    assert abs(expiry - held["expires_at"]) < 5
    await replica.stop()
    again = await start(config(server, {"token_file": "token.json"}))
    assert (await ask(again, "bot")).status == 200
    assert server.reused == 0


async def test_a_401_costs_one_refresh_and_the_request_is_served(
    tmp_path: Path, start: Start, server: OAuthServer
) -> None:
    """Many requests meet it at once: one refresh for all, the same tier once more, recorded as retried."""
    put(tmp_path / "token.json", server.log_in())
    replica = await start(config(server, {"token_file": "token.json"}))
    assert (await ask(replica, "bot")).status == 200
    server.revoke()
    answers = await asyncio.gather(*(ask(replica, "bot") for _ in range(10)))
    assert [each.status for each in answers] == [200] * 10
    assert (server.refreshes, server.asked) == (1, 1)
    steps = [await step(replica, each) for each in answers]
    assert all(each["retried"] and each["outcome"] == "served" for each in steps)
    status = await replica.metrics()
    assert status['homeport_breaker_state{assistant="bot",state="closed",tier="primary"}'] == 1


async def test_a_token_that_is_refused_though_new_disables_as_a_key_does(
    tmp_path: Path, start: Start, server: OAuthServer
) -> None:
    """No second refresh for the same refusal: the upstream's 401 is the caller's, and the breaker hears of it."""
    put(tmp_path / "token.json", server.log_in())
    replica = await start(config(server, {"token_file": "token.json"}))
    server.lives = 0  # what it issues from now on is refused at once
    server.revoke()
    seen = await ask(replica, "bot")
    assert seen.status == 401
    assert (await step(replica, seen))["heard"] == "disable_twice"
    assert server.refreshes == 1


async def test_a_login_that_has_ended_is_disabled_with_the_remedy(
    tmp_path: Path, server: OAuthServer, second: Simulator
) -> None:
    """invalid_grant: the fallback serves, the story and the binding test say what to do, a new login mends it."""
    file = put(tmp_path / "token.json", server.log_in())
    account = {"token_url": server.token_url, "client_id": PUBLIC, "token_file": "token.json"}
    settings = {"version": 1, "listen": "127.0.0.1:0", "assistants": {"bot": chain("account/big", "second/small")}}
    account_source = {"kind": "openai-compatible", "base_url": server.base_url, "oauth": account}
    settings["sources"] = {"account": account_source, "second": source(second)}
    async with operated(tmp_path, settings, token=_TOKEN) as operator:
        replica = operator.replica
        server.end_session()
        seen = await ask(replica, "bot")
        assert seen.headers["x-homeport-tier"] == "fallback-1"
        assert (await step(replica, seen))["detail"] == "oauth_invalid_grant"
        seen = await ask(replica, "bot")
        assert "disabled(oauth_invalid_grant" in seen.headers["x-homeport-reason"]
        assert server.asked == 1
        told = await homeport("explain", seen.request_id, "--admin", operator.replica.admin, cwd=tmp_path, env=_ENV)
        assert "log its account in anew and give its source the new token, then reset it" in told.out, told
        test = await homeport(
            "test-binding", "account", "big", "--admin", operator.replica.admin, cwd=tmp_path, env=_ENV
        )
        assert "log its account in anew and give its source the new token, then reset it" in test.out, test
        ends = datetime.fromtimestamp(server.issued[0].until, UTC).strftime("%H:%M:%S")
        assert f"The one that is there ends at {ends} UTC." in test.out, test
        put(file, server.log_in())
        await replica.line("reload", result="ok")
        seen = await ask(replica, "bot")
        assert (seen.status, seen.headers["x-homeport-tier"]) == (200, "primary")


async def test_while_tokens_cannot_be_had_the_old_one_serves_to_its_end(
    tmp_path: Path, start: Start, server: OAuthServer
) -> None:
    """The token endpoint is down: requests are served, then fail as the network's fault, and come back with it."""
    server.lives, server.down = 12, True
    put(tmp_path / "token.json", server.log_in())
    settings = config(server, {"token_file": "token.json"}, breaker={"failure_threshold": 50})
    replica = await start(settings)
    failed = await replica.line("credential", result="failed")
    assert failed["why"] == "http_503"
    assert (await ask(replica, "bot")).status == 200
    await asyncio.sleep(max(0.0, server.issued[0].until - time.time()) + 0.2)
    seen = await ask(replica, "bot")
    met = await step(replica, seen)
    assert (seen.status, met["outcome"], met["detail"]) == (503, "network", "oauth_unreachable")
    assert met["billed"] == "no"
    server.down, server.lives = False, 3600
    await replica.line("credential", result="refreshed")
    assert (await ask(replica, "bot")).status == 200


async def test_a_request_waits_for_a_token_no_longer_than_for_a_connection(
    tmp_path: Path, start: Start, server: OAuthServer
) -> None:
    """The endpoint accepts and is silent: the attempt ends after `connect`, and the refresh goes on without it."""
    server.gate = asyncio.Event()
    text = config(server, {"refresh_token": server.log_in().refresh})
    bot = orjson.dumps({"bot": chain("account/big", timeouts={"connect": "500ms"})}).decode()
    replica = await start(
        "".join(f"{line}\n" for line in text.splitlines() if "assistants" not in line) + f"assistants: {bot}\n"
    )
    began = time.monotonic()
    seen = await ask(replica, "bot")
    assert (seen.status, (await step(replica, seen))["detail"]) == (503, "oauth_unreachable")
    assert 0.4 < time.monotonic() - began < 3
    server.gate.set()
    await replica.line("credential", result="refreshed")
    assert (await ask(replica, "bot")).status == 200
    assert (server.asked, server.reused) == (1, 0)


@pytest.mark.parametrize("encoding", ["form", "json"])
async def test_client_credentials(start: Start, server: OAuthServer, encoding: str) -> None:
    """Nothing but the client's secret: a token is got when it is needed."""
    oauth = {"client_id": CONFIDENTIAL, "client_secret": SECRET, "grant": "client_credentials", "encoding": encoding}
    replica = await start(config(server, oauth))
    assert (await ask(replica, "bot")).status == 200
    assert server.asked == 1


async def test_a_wrong_client_secret_is_the_credentials_fault(start: Start, server: OAuthServer) -> None:
    """invalid_client, by its name."""
    oauth = {"client_id": CONFIDENTIAL, "client_secret": "wrong", "grant": "client_credentials"}
    replica = await start(config(server, oauth))
    seen = await ask(replica, "bot")
    assert (await step(replica, seen))["detail"] == "oauth_invalid_client"


async def test_check_refuses_what_cannot_be(tmp_path: Path, server: OAuthServer) -> None:
    """Each with its place and its remedy, and no token in any."""
    (tmp_path / "bad.json").write_text('{"refresh_token": 7}')
    where = f"token_url: {server.token_url}, client_id: c"
    (tmp_path / "homeport.yaml").write_text(
        "version: 1\nsources:\n"
        f"  a: {{kind: openai, oauth: {{{where}}}}}\n"
        f"  b: {{kind: openai, oauth: {{{where}, token_file: missing.json}}}}\n"
        f"  c: {{kind: openai, oauth: {{{where}, token_file: bad.json}}}}\n"
        f"  d: {{kind: openai, api_key: k, oauth: {{{where}, refresh_token: r}}}}\n"
        f"  e: {{kind: openai, oauth: {{{where}, grant: client_credentials}}}}\n"
        "  f: {kind: claude-account}\n"
    )
    ran = await homeport("check", cwd=tmp_path)
    assert ran.code == 2
    said = {line.split(":")[1]: line for line in ran.err.splitlines()}
    assert list(said) == ["3", "4", "5", "6", "7", "8"], ran.err
    assert "there is no token to begin with" in said["3"]
    assert "cannot be read" in said["4"]
    assert "refresh_token is not a token" in said["5"]
    assert "an account beside `api_key`" in said["6"]
    assert "needs a client_secret" in said["7"]
    assert "needs an account" in said["8"]


@pytest.mark.parametrize("credential", ["account", "a token as it is"])
async def test_a_claude_account_speaks_the_messages_api_with_a_bearer(
    tmp_path: Path, start: Start, server: OAuthServer, credential: str
) -> None:
    """No `x-api-key`, the header that tells of an account, OpenAI's API for the caller; a 401 is refreshed alike."""
    pair = server.log_in()
    put(tmp_path / "token.json", pair)
    server.answer = (_FIXTURES / "message.json").read_bytes()
    account: dict[str, object] = {
        "oauth": {"token_url": server.token_url, "client_id": PUBLIC, "token_file": "token.json"}
    }
    if credential != "account":
        account = {"api_key": pair.access}
    sources = {"claude": {"kind": "claude-account", "base_url": server.base_url, **account}}
    replica = await start(written(sources=sources, assistants={"bot": chain("claude/claude-sonnet-4-6")}))
    client = replica.client("bot")
    said = await client.chat.completions.create(model="any", messages=[{"role": "user", "content": "Where?"}])
    assert said.choices[0].message.content == "Let me look."
    bearer, headers = server.sent[-1]
    assert (bearer, headers["anthropic-beta"]) == (pair.access, "oauth-2025-04-20")
    assert headers["anthropic-version"] == "2023-06-01"
    assert "x-api-key" not in headers
    server.revoke()
    if credential == "account":
        await client.chat.completions.create(model="any", messages=[{"role": "user", "content": "Where?"}])
        assert server.refreshes == 1
    else:
        with pytest.raises(AuthenticationError):
            await client.chat.completions.create(model="any", messages=[{"role": "user", "content": "Where?"}])

"""A canary for every secret of an account, before an endpoint and a source that repeat what they were sent.

1. Tokens belong into the token file and into what goes upstream, and nowhere else.
"""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs

import aiohttp
import orjson
from aiohttp import web

import proxy
from proxy.demo import moods
from proxy.demo.answers import Fault
from proxy.demo.simulator import Simulator
from tests.e2e.betrayed import DEBUG
from tests.e2e.caller import ask, chain, source
from tests.e2e.canaries import Canaries, Ears
from tests.e2e.operated import Operated, homeport, operated
from tests.e2e.test_canaries import failing

_TOKEN = "the-operators-token-of-a-test"
_LOOKS = ("status", "catalog", "assistants", "assistants/bot", "decisions?limit=500", "revisions")


class _Endpoint:
    """A token endpoint that says all it knows, in every way in which one can fail, before a token and after."""

    def __init__(self, canaries: Canaries) -> None:
        self.access, self.refresh = canaries.plant("new access token"), canaries.plant("new refresh token")
        self.asked: list[tuple[str, str]] = []
        """Refresh token and client secret, as they came."""

    async def token(self, request: web.Request) -> web.Response:
        (sent,) = parse_qs(await request.text())["refresh_token"]
        secret = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode().partition(":")[2]
        self.asked.append((sent, secret))
        repeated = f"{sent} {secret} {request.headers['Authorization']}"
        told = {"X-Request-Id": sent, "WWW-Authenticate": f'Basic realm="{secret}"', "Location": f"/{sent}"}
        answers = (
            web.Response(status=500, text=repeated, headers=told),
            web.json_response({"error": sent, "error_description": repeated}, status=400, headers=told),
            web.json_response({"access_token": f"{self.access}\n{sent}", "token_type": "bearer"}, headers=told),
            web.json_response(
                {"access_token": self.access, "refresh_token": self.refresh, "expires_in": 6}, headers=told
            ),
        )
        if len(self.asked) <= len(answers):
            return answers[len(self.asked) - 1]
        refusal = {"error": "invalid_grant", "error_description": repeated, "error_uri": sent}
        return web.json_response(refusal, status=400, headers=told)


@contextlib.asynccontextmanager
async def _listening(endpoint: _Endpoint) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/token", endpoint.token)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    finally:
        await runner.cleanup()


async def _look(operator: Operated, ears: Ears) -> None:
    headers = {"Authorization": f"Bearer {_TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for path in (*(f"/api/{each}" for each in _LOOKS), "/metrics"):
            async with session.get(operator.replica.admin + path) as answer:
                assert answer.status == 200
                ears.listen("the operators' API", f"{answer.headers}{await answer.text()}")
        for path in ("/api/bindings/test", "/api/assistants/bot/explain"):
            document = {"source": "first", "model": "big", "reach": True} if "test" in path else {}
            async with session.post(operator.replica.admin + path, json=document) as answer:
                assert answer.status == 200, await answer.text()
                ears.listen("the operators' API", f"{answer.headers}{await answer.text()}")


def _read_all(folder: Path, but: Path, ears: Ears) -> None:
    for each in folder.rglob("*"):
        if each.is_file() and each != but:
            ears.listen(f"file {each.name}", each.read_bytes())


async def test_no_token_is_heard_anywhere(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Through refreshes that fail, succeed and are refused, and upstreams that repeat the token in every failure."""
    canaries = Canaries(seed=7)
    ears, endpoint = Ears(canaries), _Endpoint(canaries)
    access, refresh = canaries.plant("access token"), canaries.plant("refresh token")
    secret = canaries.plant("client secret")
    file = tmp_path / "token.json"
    file.write_bytes(orjson.dumps({"access_token": access, "refresh_token": refresh, "expires_at": time.time() + 6}))
    async with _listening(endpoint) as url:
        oauth = {"token_url": url, "client_id": "c", "client_secret": "${SECRET}", "token_file": "token.json"}
        settings: dict[str, object] = {
            "version": 1,
            "listen": "127.0.0.1:0",
            "sources": {"first": source(first, oauth=oauth), "second": source(second)},
            "assistants": {"bot": chain("first/big", "second/small")},
            "breaker": {"failure_threshold": 50, "minimum_calls": 100000},
        }
        env = {"SECRET": secret, "PYTHONPATH": str(Path(proxy.__file__).parents[1]), **DEBUG}
        async with operated(tmp_path, settings, token=_TOKEN, env=env) as operator:

            async def call(*, stream: bool = False) -> None:
                seen = await ask(operator.replica, "bot", stream=stream)
                ears.listen("answers to callers", f"{seen.headers}".encode() + seen.body)

            await call()
            assert first.requests[-1].header("authorization") == f"Bearer {access}"
            for token, result in ((access, "failed"), (endpoint.access, "refreshed")):
                await operator.replica.line("credential", result=result)
                for mood in failing(token, refresh):
                    first.queue.append(mood)
                    await call()
            first.queue.append(moods.status(401, Fault(f"Bad {endpoint.access}", code=endpoint.access)))
            await call()
            await operator.replica.line("credential", result="refused")
            await _look(operator, ears)
            await call()
            command = ("test-binding", "first", "big", "--reach", "--admin", operator.replica.admin)
            ran = await homeport(*command, cwd=tmp_path, env={"HOMEPORT_ADMIN_TOKEN": _TOKEN})
            ears.listen("homeport test-binding", ran.out + ran.err)
            assert endpoint.asked[0] == (refresh, secret)
            assert endpoint.asked[-1] == (endpoint.refresh, secret)
            assert endpoint.access in file.read_text()
            ears.listen("output", await operator.told())
    _read_all(tmp_path, file, ears)
    assert ears.leaks == []
    assert {"output", "the operators' API", "answers to callers"} <= ears.places.keys()

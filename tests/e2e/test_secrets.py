"""Secrets and what callers say stay where they belong: in no log, metric, header, refusal or command's output."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import time
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from proxy.app.server import Server
from proxy.breaker.keeper import Keeper
from proxy.config import load
from proxy.config.schema import Config
from proxy.demo import moods
from proxy.demo.answers import Fault
from proxy.demo.simulator import Simulator
from proxy.edge.exchange import Bounds, Serving
from proxy.edge.identity import Identity
from proxy.edge.openai import Edge, Sinks
from proxy.record.lines import Look
from proxy.record.log import Log
from proxy.routing.bindings import bind
from proxy.routing.walk import Ports
from proxy.terms import Outcome, Progress, Question
from tests.e2e.conftest import Start
from tests.e2e.replica import HOMEPORT, Replica
from tests.unit.demo.raw import connect

_API_KEY = "sk-UPSTREAMKEY-f3a9"
_HEADER = "hv-FIXEDHEADER-77c1"
_CLIENT_KEY = "ck-CLIENTKEY-0b52"
_WRONG_KEY = "ck-WRONGKEY-9e14"
_PROMPT = "prompt-PRIVATETEXT-41d8"
_ANSWER = "answer-PRIVATETEXT-6ac2"
_COOKIE = "cookie-PRIVATE-c0de"
_FILE_KEY = "sk-FILEKEY-d31b"
_TOKEN = "tok-ADMINTOKEN-8812"
_PROXY_PASSWORD = "pw-PROXYPASSWORD-5f5f"
_SECRETS = {
    "api_key": _API_KEY,
    "headers": _HEADER,
    "client key": _CLIENT_KEY,
    "a wrong client key": _WRONG_KEY,
    "prompt": _PROMPT,
    "answer": _ANSWER,
    "cookie": _COOKIE,
    "a file's key": _FILE_KEY,
    "admin token": _TOKEN,
    "proxy password": _PROXY_PASSWORD,
}
_DIGEST = hashlib.sha256(_CLIENT_KEY.encode()).hexdigest()
_ENV = {"UPSTREAM_KEY": _API_KEY, "TEAM_HEADER": _HEADER, "ADMIN_TOKEN": _TOKEN}

_CONFIG = """\
clients: [{{id: web, key_sha256: {digest}}}]
identity: {{default: bot}}
breaker: {{failure_threshold: 50}}
sources:
  first:
    kind: openai-compatible
    base_url: {first}
    api_key: ${{UPSTREAM_KEY}}
    headers: {{X-Team: "${{TEAM_HEADER}}"}}
  second: {{kind: openai-compatible, base_url: {second}, api_key: "${{file:key.txt}}"}}
  third: {{kind: openai-compatible, base_url: {second}}}
assistants:
  bot:
    primary: {{source: first, model: big}}
    fallbacks: [{{source: second, model: small}}]
    timeouts: {{first_byte: 300ms, hold: 100ms}}
  alone: {{primary: {{source: third, model: small}}}}
"""


def _told(text: str, but: tuple[str, ...] = ()) -> list[str]:
    """Which secrets a text tells, apart from those that it may."""
    return [name for name, value in _SECRETS.items() if value not in but and value in text]


class Eavesdropper:
    """Sends requests full of secrets, and keeps what came back."""

    def __init__(self, replica: Replica, session: aiohttp.ClientSession) -> None:
        self._replica, self._session = replica, session
        self.asked = 0

    async def ask(
        self, *, path: str = "/v1/chat/completions", key: str = _CLIENT_KEY, stream: bool = False, **headers: str
    ) -> tuple[int, str, str]:
        """Status, head and body of one answer."""
        self.asked += 1
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields |= {"Authorization": f"Bearer {key}", "Cookie": f"session={_COOKIE}", "X-Request-Id": "their-own-id"}
        body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": _PROMPT}]}
        async with self._session.post(self._replica.api + path, json=body, headers=fields) as response:
            head = "".join(f"{name}: {value}\n" for name, value in response.headers.items())
            return response.status, head, await response.text()


async def _everything_told(replica: Replica) -> str:
    """The replica's log to its end, and its last metrics."""
    async with aiohttp.ClientSession() as session, session.get(f"{replica.admin}/metrics") as response:
        metrics = await response.text()
    assert await replica.stop() == 0
    return metrics + "".join(orjson.dumps(line).decode() for line in replica.lines)


async def test_no_secret_leaves_by_any_way(start: Start, tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Success, fallback, exhaustion, cut, held stream, refusal, and upstreams that echo the key: nothing is told."""
    (tmp_path / "key.txt").write_text(_FILE_KEY + "\n")
    replica = await start(_CONFIG.format(digest=_DIGEST, first=first.base_url, second=second.base_url), _ENV)
    echo = Fault(f"Incorrect API key provided: {_API_KEY}. You said {_PROMPT}", code=f"bad {_API_KEY}", param=_PROMPT)
    # A cut stream ends its connection, so each request brings its own.
    alone = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=alone) as session:
        caller = Eavesdropper(replica, session)

        async def heard(status: int, **options: Any) -> None:
            """One request whose answer is Homeport's own, or a model's, and tells nothing but the answer."""
            got, head, body = await caller.ask(**options)
            assert got == status
            assert _told(head) == []
            assert _told(body, but=(_ANSWER,)) == []

        first.mood = second.mood = moods.Mood(text=_ANSWER)
        await heard(200)
        await heard(200, stream=True)
        sent = first.requests[-1]
        assert sent.header("authorization") == f"Bearer {_API_KEY}"
        assert sent.header("x-team") == _HEADER
        assert _PROMPT.encode() in sent.body
        assert _CLIENT_KEY not in str(sent.headers)
        assert _COOKIE not in str(sent.headers)
        for mood in (moods.status(500, echo), moods.error_in_200(), moods.html(), moods.reset(), moods.hang()):
            first.queue.append(mood)
            await heard(200, stream=mood.name == "hang")
        assert second.requests[-1].header("authorization") == f"Bearer {_FILE_KEY}"
        for stream in (False, True):
            first.queue.append(moods.status(500, echo))
            second.queue.append(moods.status(503, echo))
            await heard(503, stream=stream)
        first.queue.append(moods.error_event(after=2, fault=echo))
        await heard(200, stream=True)
        first.queue.append(moods.cut_stream())
        await heard(200, stream=True)
        # Held until after the headers, and then refused in-band.
        first.queue.append(moods.hang())
        second.queue.append(moods.status(500, echo))
        await heard(200, stream=True)
        first.queue.append(moods.status(401, echo))
        await heard(200)
        await heard(401, key=_WRONG_KEY)
        await heard(404, path="/v1/files")
        await heard(404, X_Assistant_Id="nobody")
        await heard(403, Origin="https://example.com")

        # What an upstream says of the request itself is the caller's to read, and still nobody else's.
        second.queue.append(moods.status(400, echo))
        status, head, body = await caller.ask(X_Assistant_Id="alone")
        assert (status, _told(head)) == (400, [])
        assert _API_KEY in body
    told = await _everything_told(replica)
    assert told.count('"event":"request"') == caller.asked
    assert _told(told) == []
    assert _DIGEST not in told
    assert '"caller_request_id":"their-own-id"' in told


async def test_a_request_that_is_no_http_is_not_repeated_in_the_log(start: Start, first: Simulator) -> None:
    """What cannot be read may hold a key all the same: the log says that it came, and none of its bytes."""
    replica = await start(
        f"sources: {{first: {{kind: openai-compatible, base_url: {first.base_url}}}}}\n"
        "assistants: {bot: {primary: {source: first, model: big}}}\n"
    )
    garbled = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer {_CLIENT_KEY}\r\n\r\n",
        f"{_PROMPT}\r\n\r\n",
        f"GET /v1/models?key={_CLIENT_KEY}\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{_PROMPT}\r\n",
    )
    for request in garbled:
        async with connect(replica.api) as line:
            line.send(request.encode())
            await line.until(b"HTTP/1.")
    async with connect(replica.admin) as line:
        line.send(garbled[0].encode())
        await line.until(b"HTTP/1.")
    told = await _everything_told(replica)
    assert _told(told) == []
    assert not [line for line in replica.lines if line["event"] == "stderr"]
    refused = [line["refusal"] for line in replica.requests()]
    assert refused == ["malformed_request"] * len(garbled)
    assert not [line for line in replica.lines if line["event"] == "library"]


async def test_a_fault_of_our_own_tells_its_place_and_no_words() -> None:
    """A bug's exception quotes whatever it met: the caller gets a typed 500, the log the kind and the place."""
    text = (
        f"version: 1\nlisten: 127.0.0.1:0\nidentity: {{default: bot}}\n"
        f"sources: {{s: {{kind: openai, api_key: {_API_KEY}, headers: {{X-Team: {_HEADER}}}}}}}\n"
        "assistants: {bot: {primary: {source: s, model: m}}}\n"
    )
    config = load.parse(text, "test", {}, Path())
    assert isinstance(config, Config), config
    written = io.BytesIO()
    log = Log(written, human=False, unix=time.time)

    async def asked(question: Question) -> Outcome:
        raise LookupError(f"no {_PROMPT} in {question.body!r} for {_API_KEY}")

    def send(question: Question, *_: object) -> tuple[Progress, Awaitable[Outcome]]:
        return Progress(0.0), asked(question)

    keeper = Keeper(time.monotonic, lambda: "token", lambda: 0.5, log.moved)
    edge = Edge(
        Serving(
            "replica",
            Identity(config),
            bind(config, "1", lambda secret: hashlib.sha256(secret.encode()).hexdigest()),
            Ports(keeper, send, time.monotonic),
            Bounds(1024 * 1024, 10, 1024 * 1024),
        ),
        Sinks(lambda ended: log.decisions([(ended, Look())]), log.failed),
        lambda: "req_1",
        time.time,
    )
    runner = web.ServerRunner(Server(edge.serve, edge.malformed, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/chat/completions"
        async with aiohttp.ClientSession() as session:
            for stream in (False, True):
                body = {"stream": stream, "messages": [{"role": "user", "content": _PROMPT}]}
                async with session.post(url, json=body) as response:
                    said = await response.text()
                    assert response.status == 500
                    assert response.headers["x-should-retry"] == "false"
                    assert response.headers["x-request-id"] == "req_1"
                assert orjson.loads(said)["error"]["code"] == "internal_error"
                assert _told(said + str(response.headers)) == []
    finally:
        await runner.cleanup()
        log.close()
    lines = [orjson.loads(line) for line in written.getvalue().splitlines()]
    faults = [line for line in lines if line["event"] == "internal_error"]
    assert [(line["error"], line["request_id"]) for line in faults] == [("LookupError", "req_1")] * 2
    assert all("asked:" in line["place"] for line in faults)
    assert _told(written.getvalue().decode()) == []
    assert _told(repr(config)) == []


_AT_FAULT = """\
version: 1
listen: 127.0.0.1:8080
admin: {{listen: 0.0.0.0:0, token: {token} }}
clients: [{{id: web, key_sha256: "${{CLIENT_KEY}}"}}]
sources:
  first: {{kind: "${{API_KEY}}", base_url: "http://user:${{API_KEY}}@x/v1", api_key: " ${{API_KEY}}"}}
  second: {{kind: openai, api_key: "${{file:key.txt}}", headers: {{Authorization: "{header}"}}, proxy: "socks://u:{proxy}@x"}}
  third: {{kind: openai, api_key: [{header}], max_connections: "${{API_KEY}}"}}
identity: {{default: "${{API_KEY}}"}}
limits: {{body: "{header}", drain: "${{API_KEY}}"}}
assistants:
  bot: {{primary: {{source: "${{API_KEY}}", model: m}}}}
  "${{API_KEY}}": {{}}
"""


async def _output(*arguments: str, cwd: Path, env: Mapping[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        HOMEPORT,
        *arguments,
        cwd=cwd,
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_no_command_prints_a_secret(tmp_path: Path) -> None:
    """check, serve and schema tell faults and forms, never a value, be it written out or read from elsewhere."""
    (tmp_path / "key.txt").write_text(_FILE_KEY)
    env = {"API_KEY": _API_KEY, "CLIENT_KEY": _CLIENT_KEY, "OPENAI_API_KEY": _API_KEY, **_ENV}
    text = _AT_FAULT.format(token=_TOKEN, header=_HEADER, proxy=_PROXY_PASSWORD)
    (tmp_path / "bad.yaml").write_text(text)
    (tmp_path / "broken.yaml").write_text(f"version: 1\nsources: {{s: {{api_key: {_HEADER}, kind: [openai\n")
    good = _CONFIG.format(digest=_DIGEST, first="http://127.0.0.1:1/v1", second="http://127.0.0.1:1/v1")
    (tmp_path / "good.yaml").write_text(f"version: 1\nadmin: {{token: {_TOKEN}}}\n{good}")
    (tmp_path / "lines.yaml").write_text(good.replace("${TEAM_HEADER}", "${TWO_LINES}"))
    env["TWO_LINES"] = f"{_HEADER}\r\nX-Evil: {_API_KEY}"
    runs = await asyncio.gather(
        *(
            _output(*arguments, cwd=tmp_path, env=env)
            for arguments in (
                ("check", "bad.yaml"),
                ("serve", "-c", "bad.yaml"),
                ("check", "broken.yaml"),
                ("check", "lines.yaml"),
                ("check", "good.yaml"),
                ("schema",),
                ("--help",),
                ("serve", "--help"),
            )
        )
    )
    assert [code for code, _ in runs] == [2, 2, 2, 2, 0, 0, 0, 0]
    assert len(runs[0][1].splitlines()) >= 10
    for code, said in runs:
        assert _told(said) == [], (code, said)


async def test_a_refused_start_tells_no_secret(tmp_path: Path) -> None:
    """A key of the environment that cannot be used is not repeated, and neither is one behind a URL that cannot."""
    env = {"OPENAI_API_KEY": f"{_API_KEY}\n", "OPENAI_BASE_URL": f"ftp://{_PROXY_PASSWORD}@x"}
    code, said = await _output("serve", cwd=tmp_path, env=env)
    assert code == 2
    assert "OPENAI_API_KEY" in said
    assert "OPENAI_BASE_URL" in said
    assert _told(said) == []


@pytest.mark.parametrize("name", sorted(_SECRETS))
def test_the_ear_hears_each_secret(name: str) -> None:
    """The check of these tests can fail: it finds every secret where there is one."""
    assert _told(f"…{_SECRETS[name]}…") == [name]

"""A replica with a secret in every place that takes one, before upstreams that repeat what they were sent.

1. Every secret is a canary of its own; what a test makes known later (a session, a client's key) joins them.
2. Everything that is said is listened to: output, answers, Redis and what is sent to it, files, command lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

import proxy
from proxy.breaker.redis_scripts import ACL
from proxy.demo.simulator import Simulator
from tests.e2e.canaries import Canaries, Ears
from tests.e2e.operated import homeport
from tests.e2e.replica import HOMEPORT, Replica
from tests.integration.redis_server import RedisServer

_NOT_SAFE = "/+%?@é"
"""A password may hold what a URL, JSON and base64 each write in a way of their own."""
THRESHOLD = 30
"""Failures that trip: more than a test has of them in a run by the way."""
DEBUG = {"PYTHONASYNCIODEBUG": "1", "PYTHONDEVMODE": "1"}
_LOUD = """\
import hashlib
import logging

logging.getLogger().setLevel(logging.DEBUG)
logging.captureWarnings(True)
sound = hashlib.sha256


def sha256(data=b"", **options):
    if data.endswith(b"-fault"):
        raise LookupError(f"no {data!r}")
    return sound(data, **options)


hashlib.sha256 = sha256
"""
"""Run by Python before Homeport: loggers are loud, and a library has a fault that quotes what it was given."""

_CONFIG = """\
version: 1
listen: 127.0.0.1:0
admin: {{listen: 127.0.0.1:0, token: "${{ADMIN_TOKEN}}"}}
store: ${{STORE_URL}}
state_dir: state
clients: [{{id: web, key_sha256: {digest}}}]
identity: {{default: bot}}
breaker: {{cooldown: 1s, failure_threshold: {threshold}, minimum_calls: 100000}}
sources:
  first:
    kind: openai-compatible
    base_url: {first}
    api_key: ${{FIRST_KEY}}
    headers: {{X-Team: "${{TEAM}}", X-Written: "{written_header}"}}
  second: {{kind: openai-compatible, base_url: {second}, api_key: "${{file:second.key}}"}}
  third:
    kind: openai-compatible
    base_url: {first}
    api_key: {written_key}
    proxy: http://{proxy_user}:{proxy_password}@{proxy}
assistants:
  bot:
    primary: {{source: first, model: big}}
    fallbacks: [{{source: second, model: small}}]
    timeouts: {{first_byte: 400ms, hold: 150ms}}
  alone: {{primary: {{source: second, model: small}}}}
  through: {{primary: {{source: third, model: far}}, fallbacks: [{{source: second, model: near}}]}}
"""


class Betrayed:
    """One replica, its surroundings, and ears everywhere."""

    def __init__(
        self, folder: Path, redis: RedisServer, first: Simulator, second: Simulator, forward: Simulator
    ) -> None:
        self.folder, self.redis = folder, redis
        self.first, self.second, self.forward = first, second, forward
        self.canaries = Canaries(seed=5)
        self.ears = Ears(self.canaries)
        self.replica: Replica
        self.session: aiohttp.ClientSession
        plant = self.canaries.plant
        self.token, self.client_key = plant("admin token"), plant("client key")
        self.first_key, self.second_key, self.third_key = (plant(f"{n} key") for n in ("env", "file", "written"))
        self.team, self.written_header = plant("env header"), plant("written header")
        self.proxy_user, self.proxy_password = plant("proxy user"), plant("proxy password")
        self.store_user, self.store_password = plant("store user"), plant("store password", _NOT_SAFE)
        for name in ("wrong client key", "wrong token", "api-key header", "cookie", "query key", "prompt", "misplaced"):
            plant(name)
        for name in ("answer", "tool arguments", "image", "tool answer", "broken file", "imported key"):
            plant(name)
        plant("faulty", "-fault")
        redis.command("ACL", "SETUSER", self.store_user, "on", f">{self.store_password}", *ACL.split())
        self.env = {
            "ADMIN_TOKEN": self.token,
            "FIRST_KEY": self.first_key,
            "TEAM": self.team,
            "STORE_URL": redis.url.replace("//", f"//{self.store_user}:{quote(self.store_password, safe='')}@"),
        }
        self.file = folder / "homeport.yaml"
        (folder / "second.key").write_text(self.second_key + "\n")
        self.given = {self.file, folder / "second.key"}
        """Files in which an operator keeps secrets."""

    def said(self, name: str) -> str:
        """A secret, by the name of its place."""
        return self.canaries.values[name]

    def write(self) -> None:
        """The configuration."""
        text = _CONFIG.format(
            digest=hashlib.sha256(self.client_key.encode()).hexdigest(),
            threshold=THRESHOLD,
            first=self.first.base_url,
            second=self.second.base_url,
            written_header=self.written_header,
            written_key=self.third_key,
            proxy_user=self.proxy_user,
            proxy_password=self.proxy_password,
            proxy=self.forward.base_url.removeprefix("http://").removesuffix("/v1"),
        )
        self.file.write_text(text)

    # -- the replica

    async def start(self, debug: Mapping[str, str]) -> None:
        """Start it, in a folder of its own; with `debug` every library says all that it can."""
        site, scratch = self.folder / "site", self.folder / "scratch"
        for each in (site, scratch):
            each.mkdir(exist_ok=True)
        if debug:
            (site / "sitecustomize.py").write_text(_LOUD)
        paths = f"{site}{os.pathsep}{Path(proxy.__file__).parents[1]}"
        process = await asyncio.create_subprocess_exec(
            HOMEPORT,
            "serve",
            "-c",
            self.file,
            cwd=scratch,
            env={**os.environ, **self.env, **debug, "PYTHONPATH": paths, "TMPDIR": str(scratch)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=4 * 1024 * 1024,
        )
        self.replica = Replica(process)
        ready = await self.replica.line("ready")
        self.replica.api, self.replica.admin = ready["listen"], ready["admin"]
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), cookie_jar=aiohttp.DummyCookieJar()
        )
        self.ears.listen("command line", _command_line(process.pid))

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it, and hear all that it has said."""
        await self.session.close()
        process = self.replica.process
        await self.replica.stop(number)
        assert process.stdout is not None
        self.ears.listen("stdout", await process.stdout.read())
        self.ears.listen("log", b"\n".join(orjson.dumps(line) for line in self.replica.lines))

    # -- who asks

    async def call(
        self, *, status: int, but: Collection[str] = (), path: str = "/v1/chat/completions", **headers: str
    ) -> str:
        """A caller's request, full of secrets; its body may tell `but` beside the model's answer, its head nothing."""
        stream = headers.pop("stream", "") == "yes"
        fields = {
            "Authorization": f"Bearer {self.client_key}",
            "api-key": self.said("api-key header"),
            "Cookie": f"session={self.said('cookie')}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        tool = {"name": "look", "arguments": orjson.dumps({"of": self.said("tool arguments")}).decode()}
        image = {"url": f"data:image/png;base64,{self.said('image')}"}
        messages: list[dict[str, Any]] = [
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": tool}]},
            {"role": "tool", "tool_call_id": "c", "content": self.said("tool answer")},
            {"role": "user", "content": [{"type": "text", "text": self.said("prompt")}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": image}]},
        ]
        document = {"model": "m", "stream": stream, "messages": messages}
        url = f"{self.replica.api}{path}?key={self.said('query key')}&api-version=1"
        async with self.session.post(url, json=document, headers=fields, allow_redirects=False) as answer:
            body = await answer.text()
            assert answer.status == status, body
            assert not self.first.queue or status in (401, 403, 404), "what was to be met was not met"
            self.ears.listen("answers to callers: head", repr(answer.headers), but=but)
            # What a model says is its caller's; the simulated ones repeat the last message.
            self.ears.listen("answers to callers: body", body, but={"answer", "prompt", "image", *but})
            return answer.headers["x-request-id"]

    async def operate(
        self,
        method: str,
        path: str,
        document: object = None,
        *,
        status: int = 200,
        but: Collection[str] = (),
        **more: str,
    ) -> Any:
        """An operator's call; the answer may tell `but`."""
        fields = {"Authorization": f"Bearer {self.token}"} | {name.replace("_", "-"): more[name] for name in more}
        async with self.session.request(method, self.replica.admin + path, json=document, headers=fields) as answer:
            body = await answer.text()
            assert answer.status == status, (path, body)
            self.ears.listen("the operators' API", repr(answer.headers) + body, but=but)
            return orjson.loads(body) if answer.content_type == "application/json" else body

    async def command(self, *arguments: object, code: int = 0, but: Collection[str] = ()) -> str:
        """A command of the shell, with the secrets in its environment; what it says may tell `but`."""
        ran = await homeport(*arguments, env=self.env, cwd=self.folder)
        assert ran.code == code, (arguments, ran)
        self.ears.listen(f"homeport {arguments[0]}", ran.out + ran.err, but=but)
        return ran.out

    # -- what is kept

    def look_around(self) -> None:
        """At what lies in Redis, and in every file that is not the operator's own."""
        for key in self.redis.command("SCAN", "0", "COUNT", "100000")[1]:
            kind = self.redis.command("TYPE", key)
            read = {
                b"string": ("GET", key),
                b"hash": ("HGETALL", key),
                b"zset": ("ZRANGE", key, "0", "-1"),
                b"stream": ("XRANGE", key, "-", "+"),
            }[kind]
            self.ears.listen("Redis", key + repr(self.redis.command(*read)).encode())
            self.ears.listen("Redis", self.redis.command("DUMP", key))
        for file in self.folder.rglob("*"):
            if file.is_file() and file not in self.given:
                self.ears.listen(f"file {file.name}", str(file).encode() + file.read_bytes())

    @contextlib.asynccontextmanager
    async def monitored(self) -> AsyncIterator[None]:
        """Hear every command that Redis gets, pushes included."""
        reader, writer = await asyncio.open_unix_connection(str(self.redis.socket))
        writer.write(b"MONITOR\r\n")
        heard: list[bytes] = []

        async def listen() -> None:
            while data := await reader.read(65536):
                heard.append(data)

        listening = asyncio.create_task(listen())
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            writer.close()
            await writer.wait_closed()
            self.ears.listen("commands to Redis", b"".join(heard))


def _command_line(process: int) -> bytes:
    """As everybody on the machine can read it."""
    shown = Path(f"/proc/{process}/cmdline")
    return shown.read_bytes() if shown.exists() else subprocess.check_output(["ps", "-o", "args=", "-p", str(process)])


@contextlib.asynccontextmanager
async def betrayed(folder: Path, redis: RedisServer) -> AsyncIterator[Betrayed]:
    """The surroundings; what was started in them is ended with them."""
    async with Simulator("first") as first, Simulator("second") as second, Simulator("forward") as forward:
        stage = Betrayed(folder, redis, first, second, forward)
        try:
            yield stage
        finally:
            if hasattr(stage, "replica"):
                await stage.session.close()
                await stage.replica.close()

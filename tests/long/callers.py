"""Callers of the audited fleet: what each asks, how it behaves, and what it saw.

1. A marker names a request everywhere: it is the body's `user`, which upstreams read, and the caller's own request id,
   which a record keeps. Its first letter says how the caller behaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import aiohttp
import orjson

from tests.long import layout
from tests.long.evidence import View
from tests.long.scripted_upstream import SAID

_PATHS = {
    "chat_completions": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
}
_ASKED: dict[str, dict[str, Any]] = {
    "chat_completions": {"messages": [{"role": "user", "content": "Where?"}]},
    "completions": {"prompt": "Where?"},
    "responses": {"input": "Where?"},
}
_TOOLS = {"tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]}
_PLAIN = ("bot", "desk", "own", "search", "clerk", "calm")
"""Assistants whose callers may leave: none of their tiers keeps a request waiting by itself."""
_WAIT = 60.0
_STALL = layout.IDLE + 2.0
_WORDS = re.compile(rb'said:([^;"\\\s]+);')
_NAMING = re.compile(
    r"^: homeport: tier=(\S+) source=(\S+) model=(\S+) attempts=(\d+)"
    r"(?: reason=(.+?))??(?: upstream-request-id=(\S+))?$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one caller will do."""

    marker: str
    assistant: str
    endpoint: str
    stream: bool
    tools: bool
    leaves: float
    """Seconds after which it leaves, if its marker says that it does."""

    @property
    def kind(self) -> str:
        """n: waits; e: leaves early; m: leaves once it was answered; s: stops reading; p: says how long it waits."""
        return self.marker[0]


def plans(count: int, seed: int) -> Iterator[Plan]:
    """So many requests."""
    chance = Random(seed)
    for number in range(count):
        kind = next(
            (kind for kind, every in (("s", 1900), ("e", 41), ("m", 43), ("p", 53)) if number % every == 7), "n"
        )
        names = {"p": ("alone", "solo"), "n": tuple(layout.BY_NAME)}.get(kind, _PLAIN)
        endpoint = chance.choices(tuple(_PATHS), (70, 15, 15))[0]
        assistant = chance.choice(names)
        stream = {"m": True, "s": False}.get(kind, chance.random() < 0.5)
        tools = layout.BY_NAME[assistant].tools and endpoint == "chat_completions" and chance.random() < 0.5
        yield Plan(f"{kind}-{number:05d}", assistant, endpoint, stream, tools, chance.uniform(0.3, 0.7))


class Callers:
    """Connections for all of them."""

    def __init__(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_WAIT)
        wide = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=wide, timeout=timeout, max_field_size=64 * 1024)
        # Who stops reading is felt by the proxy only once its buffers are full.
        narrow = aiohttp.TCPConnector(limit=0, socket_factory=_narrow_socket)
        self._slow = aiohttp.ClientSession(connector=narrow, timeout=timeout)

    async def close(self) -> None:
        await self._session.close()
        await self._slow.close()

    async def ask(self, base: str, replica: str, plan: Plan) -> View:
        """One request; never raises for what becomes of it."""
        view = View(
            plan.marker, replica, plan.assistant, plan.endpoint, plan.stream, sent=time.time(), tools=plan.tools
        )
        body = {"model": "any", "user": plan.marker, "stream": plan.stream, **_ASKED[plan.endpoint]}
        headers = {"X-Assistant-Id": plan.assistant, "x-request-id": plan.marker}
        if plan.kind == "p":
            headers["x-stainless-read-timeout"] = str(layout.PATIENCE)
        session = self._slow if plan.kind == "s" else self._session
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout(plan.leaves if plan.kind == "e" else None):
                    url, sent = base + _PATHS[plan.endpoint], body | (_TOOLS if plan.tools else {})
                    response = await stack.enter_async_context(_asked(session, url, sent, headers))
                await _read(response, plan, view)
        except TimeoutError:
            view.left = plan.kind == "e"
            view.broke = None if view.left else "nothing came in time"
        except (aiohttp.ClientError, OSError) as error:
            view.broke = type(error).__name__
        view.ended = time.time()
        return view


@contextlib.asynccontextmanager
async def _asked(
    session: aiohttp.ClientSession, url: str, sent: dict[str, Any], headers: dict[str, str]
) -> AsyncIterator[aiohttp.ClientResponse]:
    try:
        response = await session.post(url, json=sent, headers=headers, allow_redirects=False)
    except aiohttp.ServerDisconnectedError:
        # The end of a cut answer's connection may come a moment after its last byte, and this was sent in between: as
        # any SDK does, say it again. Had it been heard, there would be two records of it, which is noticed.
        response = await session.post(url, json=sent, headers=headers, allow_redirects=False)
    async with response:
        yield response


async def _read(response: aiohttp.ClientResponse, plan: Plan, view: View) -> None:
    _headers(response, view)
    if plan.kind == "s" and response.status == 200:
        await asyncio.sleep(_STALL)
    body, whole = bytearray(), True
    try:
        async for part in response.content.iter_any():
            body += part
            if plan.kind == "m" and _WORDS.search(body):
                view.left, whole = True, False
                response.close()
                break
    except (aiohttp.ClientError, OSError):
        whole = False
    view.words = frozenset(found.decode() for found in _WORDS.findall(body))
    if view.held and (named := _NAMING.search(body.decode(errors="replace"))) is not None:
        view.tier, view.source, view.model, attempts, view.reason, view.upstream_id = named.groups()
        view.attempts = int(attempts)
    if response.content_type == "text/event-stream":
        view.error = _error_event(bytes(body))
        ended = b"data: [DONE]" in body or b"event: response.completed" in body
        view.whole = whole and ended and view.error is None
    else:
        view.whole = whole and response.status == 200
        view.error = _error(bytes(body)) if response.status != 200 else None


def _headers(response: aiohttp.ClientResponse, view: View) -> None:
    said = response.headers
    view.status, view.request_id = response.status, said.get("x-request-id")
    view.named, view.said = said.get("x-homeport-assistant"), said.get(SAID)
    view.held = said.get("x-homeport-tier") == "pending"
    if not view.held:
        view.tier, view.source = said.get("x-homeport-tier"), said.get("x-homeport-source")
        view.model, view.reason = said.get("x-homeport-model"), said.get("x-homeport-reason")
        view.attempts = int(said.get("x-homeport-attempts", "-1"))
        view.upstream_id = said.get("x-homeport-upstream-request-id")


def _error(body: bytes) -> dict[str, Any] | None:
    try:
        error = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return error if isinstance(error, dict) else None


def _error_event(body: bytes) -> dict[str, Any] | None:
    found = re.search(rb"^event: error\ndata: (.+)$", body, re.MULTILINE)
    return _error(found[1]) if found is not None else None


def _narrow_socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, proto, *_ = address
    made = socket.socket(family, kind, proto)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    return made

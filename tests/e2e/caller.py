"""A caller on the wire, and a stage for it: the command before three upstreams, for tests that share one process.

1. What a caller sees is kept whole: status, headers, bytes, and how the connection ended.
2. A breaker belongs to a source and a model, so tests that share a stage each use models of their own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from proxy.demo.moods import WELL
from proxy.demo.simulator import Simulator
from tests.e2e.replica import Replica, serve
from tests.unit.demo.raw import connect, events, texts, unchunk

CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer, as it came over the wire."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes
    """The chunked coding undone."""
    whole: bool
    """HTTP said that this was all."""
    ended: str
    """How the connection ended: closed or reset."""

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]

    def document(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)

    def text(self) -> str:
        """What the model said in a chat, whether streamed or not."""
        if self.headers["content-type"].startswith("text/event-stream"):
            return "".join(texts(self.body))
        return str(self.document()["choices"][0]["message"]["content"])

    def error(self) -> dict[str, Any]:
        """The error that ends a stream, which it does alone and in an event of that name."""
        *_, last = events(self.body)
        assert self.body.count(b"event: error\n") == 1
        assert b"[DONE]" not in self.body
        found: dict[str, Any] = orjson.loads(last)["error"]
        return found

    def comments(self) -> list[str]:
        """The comments in a stream."""
        return [line.removeprefix(": ") for line in self.body.decode().splitlines() if line.startswith(":")]


async def ask(
    replica: Replica, assistant: str, path: str = CHAT, *, fields: str = "", close: bool = True, **more: object
) -> Seen:
    """Ask once, on a connection of its own, and read until that ends. `more` goes into the body.

    `close` False leaves it to the other side to end the connection, or not.
    """
    named = f"X-Assistant-Id: {assistant}\r\n" + ("Connection: close\r\n" if close else "")
    async with connect(replica.api) as raw:
        raw.ask(path, fields=named + fields, **more)
        status, headers = await raw.head()
        rest, ended = await raw.rest()
    if headers.get("transfer-encoding") == "chunked":
        body, whole = unchunk(rest)
    else:
        body, whole = rest, len(rest) == int(headers["content-length"])
    return Seen(status, headers, body, whole, ended)


@dataclass(frozen=True, slots=True)
class Stage:
    """A replica and the upstreams that its configuration may name."""

    replica: Replica
    first: Simulator
    second: Simulator
    third: Simulator

    def calm(self) -> None:
        """Every upstream is well."""
        for each in (self.first, self.second, self.third):
            each.mood = WELL
            each.queue.clear()

    async def story(self, seen: Seen) -> dict[str, Any]:
        """The log line of a request that was answered."""
        return await self.replica.line("request", request_id=seen.request_id)


@contextlib.asynccontextmanager
async def staged(
    directory: Path, config: Callable[[Simulator, Simulator, Simulator], str], *, thinks: float = 0.5
) -> AsyncIterator[Stage]:
    """`config` writes the configuration once the upstreams have addresses."""
    async with contextlib.AsyncExitStack() as stack:
        upstreams = [
            await stack.enter_async_context(Simulator(name, thinks=thinks)) for name in ("first", "second", "third")
        ]
        replica = await stack.enter_async_context(serve(directory, config(*upstreams)))
        yield Stage(replica, *upstreams)


def written(**keys: object) -> str:
    """Top-level keys of a configuration; JSON is YAML."""
    return "".join(f"{key}: {orjson.dumps(value).decode()}\n" for key, value in keys.items())


def source(simulator: Simulator, **more: object) -> dict[str, object]:
    """A simulated upstream, as an entry of `sources`."""
    return {"kind": "openai-compatible", "base_url": simulator.base_url, **more}


def chain(*tiers: str, **more: object) -> dict[str, object]:
    """`chain("first/big", "second/small")`, as an entry of `assistants`."""
    primary, *fallbacks = (dict(zip(("source", "model"), tier.split("/"), strict=True)) for tier in tiers)
    return {"primary": primary, "fallbacks": fallbacks, **more}

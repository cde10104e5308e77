"""An operator who changes what a running replica serves, by its API and by its file, and a caller who sees it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from proxy.demo.simulator import Simulator
from tests.e2e.caller import Seen, ask, chain, source, written
from tests.e2e.operated import Operated, operated
from tests.e2e.replica import Replica

TOKEN = "the-operators-token-of-a-test"
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Told:
    """An answer of the operators' API."""

    status: int
    document: Any
    tag: str
    """Its ETag."""

    @property
    def code(self) -> str:
        """Of an error."""
        return str(self.document["error"]["code"])

    @property
    def message(self) -> str:
        return str(self.document["error"]["message"])


class Intent:
    """One replica's operator."""

    def __init__(self, running: Operated, file: Path, session: aiohttp.ClientSession) -> None:
        self.running, self.file, self._session = running, file, session

    @property
    def replica(self) -> Replica:
        return self.running.replica

    async def call(
        self, method: str, path: str, body: object = None, *, seen: str | None = None, **headers: str
    ) -> Told:
        """One call; `seen` is its If-Match, bytes are sent as they are."""
        fields = {"Authorization": f"Bearer {TOKEN}"} | ({} if seen is None else {"If-Match": seen}) | headers
        sent: Any = {"data": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        url = self.replica.admin + path
        async with self._session.request(method, url, headers=fields, **sent) as answer:
            document = await answer.json() if answer.content_type == "application/json" else None
            return Told(answer.status, document, answer.headers.get("ETag", ""))

    async def shown(self, assistant: str = "bot") -> Any:
        """The assistant's document."""
        told = await self.call("GET", f"/api/assistants/{assistant}")
        assert told.status == 200
        assert told.tag == f'"{told.document["revision"]}"'
        return told.document

    async def rebind(self, seen: str = "*", assistant: str = "bot", **fields: object) -> Told:
        """Set fields of an assistant."""
        return await self.call("PUT", f"/api/assistants/{assistant}", fields, seen=seen)

    async def bind(self, tier: str, seen: str = "*", assistant: str = "bot") -> Told:
        """Set the primary, as `source/model`."""
        return await self.rebind(seen, assistant, primary=bound(tier))

    async def restore(self, number: int, seen: str | None = None) -> Told:
        return await self.call("POST", f"/api/revisions/{number}/restore", seen=seen)

    async def settle(self, field: str, choose: str, assistant: str = "bot") -> Told:
        body = {"field": field, "choose": choose}
        return await self.call("POST", f"/api/assistants/{assistant}/differences", body)

    async def reload(self) -> Told:
        return await self.call("POST", "/api/reload")

    async def revisions(self) -> list[dict[str, Any]]:
        """Newest first."""
        told = await self.call("GET", "/api/revisions")
        assert told.tag == f'"{told.document["number"]}"'
        found: list[dict[str, Any]] = told.document["revisions"]
        return found

    async def revision(self) -> str:
        """What status says is in force."""
        return str((await self.running.status())["revision"])

    async def until_revision(self, revision: str, seconds: float = _PATIENCE) -> None:
        """Wait until this replica serves it."""
        await until(lambda: self._is(revision), seconds)

    async def _is(self, revision: str) -> bool:
        return await self.revision() == revision

    def write(self, **settings: object) -> None:
        """The file from now on, edited in place. Nothing of it is read by that alone but by looking at it."""
        admin = {"listen": "127.0.0.1:0", "token": TOKEN}
        self.file.write_text(written(**({"admin": admin} | settings)))

    async def served(self, assistant: str = "bot") -> str:
        """Who answers a request now; it has to be by the revision that status tells."""
        seen = await ask(self.replica, assistant)
        assert seen.status == 200, seen
        line = await self.replica.line("request", request_id=seen.request_id)
        assert line["revision"] == await self.revision()
        return f"{line['source']}/{line['model']}"

    async def refused(self, assistant: str = "bot") -> Seen:
        """The answer to a request that nobody serves."""
        seen = await ask(self.replica, assistant)
        assert seen.status != 200
        return seen


def bound(tier: str) -> dict[str, str]:
    """`source/model`, as a tier."""
    name, _, model = tier.partition("/")
    return {"source": name, "model": model}


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = _PATIENCE) -> float:
    """Wait for it; how long it took."""
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.03)
    return asyncio.get_running_loop().time() - began


def settings(*upstreams: Simulator, **more: object) -> dict[str, object]:
    """`bot` over the first two upstreams, with their names, and more."""
    first, second, *_ = upstreams
    return {
        "version": 1,
        "listen": "127.0.0.1:0",
        "sources": {each.name: source(each) for each in upstreams},
        "assistants": {"bot": chain(f"{first.name}/big", f"{second.name}/small")},
    } | more


@contextlib.asynccontextmanager
async def intending(
    folder: Path, config: Mapping[str, object], env: Mapping[str, str] | None = None
) -> AsyncIterator[Intent]:
    """A running replica and its operator."""
    async with operated(folder, dict(config), token=TOKEN, env=env) as running, aiohttp.ClientSession() as session:
        yield Intent(running, folder / "homeport.yaml", session)

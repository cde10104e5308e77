"""The audited fleet: real replicas on one configuration file and one real Redis, with operators and misfortunes.

1. What replicas say of themselves (records, counters, log lines) is only collected here; audit.py judges.
2. Records are read over the operators' API before anything that loses what Redis keeps is done to it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import orjson

import proxy
from tests.e2e.caller import written
from tests.e2e.replica import HOMEPORT, Replica
from tests.long import layout
from tests.long.evidence import Act, Killed
from tests.long.records import Document

TOKEN = "the-operators-token-of-the-audit"
_ROOT = Path(proxy.__file__).parents[1]
_PATIENCE = 30.0
_PAGE = 500
_TRIES = 5
_LONG = 8.0
"""Seconds of a park for which operators do not wait."""


@dataclass(frozen=True, slots=True)
class Member:
    """One replica, and the name that it bears in records."""

    replica: Replica
    name: str


class Fleet:
    """Replicas that come and go."""

    def __init__(
        self, folder: Path, urls: Mapping[str, str], store: str, faults: Sequence[Mapping[str, object]] = ()
    ) -> None:
        """`faults` stand in the configuration of every source."""
        self._folder, self._urls, self._faults = folder, urls, faults
        self._file = self._written("homeport.yaml", store)
        self.members: list[Member] = []
        """Those that callers ask."""
        self.ever: list[Member] = []
        self.killed: list[Killed] = []
        self.acts: list[Act] = []
        self.documents: dict[str, Document] = {}
        """Records collected so far, by request id."""
        self.twice: list[Document] = []
        """Records that one pass over the journal has met before."""
        self._admin = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {TOKEN}"}, timeout=aiohttp.ClientTimeout(total=_PATIENCE)
        )

    def _written(self, name: str, store: str) -> Path:
        file = self._folder / name
        file.write_text(written(**layout.configuration(self._urls, store, TOKEN, self._faults)))
        return file

    async def add(self) -> Member:
        """One more replica."""
        member = await self._start(self._file)
        self.members.append(member)
        self.ever.append(member)
        return member

    async def _start(self, file: Path) -> Member:
        process = await asyncio.create_subprocess_exec(
            HOMEPORT,
            "serve",
            "-c",
            file,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            limit=1024 * 1024,
        )
        replica = Replica(process)
        try:
            ready = await replica.line("ready")
            replica.api, replica.admin = ready["listen"], ready["admin"]
            return Member(replica, (await self.get(replica, "/api/status"))["replica"])
        except BaseException:
            await replica.close()
            raise

    async def kill(self, member: Member) -> None:
        """As a crash does."""
        self.members.remove(member)
        self.killed.append(Killed(member.name, time.time()))
        await member.replica.stop(signal.SIGKILL)

    async def close(self) -> None:
        """End all of it."""
        await self._admin.close()
        for member in self.ever:
            await member.replica.close()

    async def get(self, replica: Replica, path: str) -> dict[str, Any]:
        """What the operators' listener answers. Where it says that Redis is slow just now, it is asked again."""
        status, body = 0, b""
        for left in reversed(range(_TRIES)):
            async with self._admin.get(replica.admin + path) as answer:
                status, body = answer.status, await answer.read()
            if status != 503 or not left:
                break
            await asyncio.sleep(0.5)
        assert status == 200, f"{path}: {status} {body.decode()}"
        document: dict[str, Any] = orjson.loads(body)
        return document

    # -- operators

    async def operators(self, chance: Random) -> None:
        """Until cancelled: every other second somebody resets what does not come home by itself, or isolates a tier."""
        while True:
            await asyncio.sleep(2.0)
            member = chance.choice(self.members)
            try:
                told = await self.get(member.replica, "/api/status")
                down = sorted({(each["source"], each["model"]) for each in told["breakers"] if _stays_down(each)})
                for source, model in chance.sample(down, min(4, len(down))):
                    await self._act(member, "reset", source, model)
                if chance.random() < 0.3:
                    await self._act(member, "isolate", *chance.choice(layout.BINDINGS), seconds=1.5)
            except (aiohttp.ClientError, OSError):
                # It was killed just now.
                continue

    async def _act(self, member: Member, action: str, source: str, model: str, seconds: float = 0.0) -> None:
        order: dict[str, object] = {"action": action, "source": source, "model": model}
        sent = time.time()
        async with self._admin.post(
            member.replica.admin + "/api/breakers", json=order | ({"for": seconds} if seconds else {})
        ) as answer:
            assert answer.status in (200, 503), await answer.text()
            self.acts.append(Act(action, source, model, sent, time.time(), answer.status, seconds))

    # -- what replicas say of themselves

    async def collect(self, wanted: Set[str]) -> None:
        """Read all that the fleet keeps, until the records of these requests are there or nothing more comes."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            await self._read(self.members[0])
            known = {document["caller_request_id"] for document in self.documents.values()}
            if wanted <= known or time.monotonic() > deadline:
                return
            await asyncio.sleep(0.5)

    async def collect_from(self, store: str) -> None:
        """Read what another store keeps, through a replica that serves nobody."""
        reader = await self._start(self._written("reader.yaml", store))
        try:
            await self._read(reader)
        finally:
            await reader.replica.close()

    async def _read(self, member: Member) -> None:
        """Every record, newest first."""
        met: set[str] = set()
        cursor: str | None = None
        while True:
            page = await self.get(
                member.replica, f"/api/decisions?limit={_PAGE}" + (f"&cursor={cursor}" if cursor else "")
            )
            assert page["complete"], f"only a part was read: {page['why']}"
            for document in page["decisions"]:
                request_id = document["request_id"]
                if request_id in met:
                    self.twice.append(document)
                met.add(request_id)
                self.documents[request_id] = document
            cursor = page["next"]
            if cursor is None:
                return

    async def find(self, member: Member, wanted: str) -> str:
        """The request id of the record that bears this id, whichever replica served it."""
        document = await self.get(member.replica, f"/api/decisions/{wanted}")
        return str(document["request_id"])

    async def counters(self) -> dict[str, dict[str, float]]:
        """Samples of /metrics of those that live."""
        return {member.name: await member.replica.metrics() for member in self.members}

    def lines(self) -> dict[str, list[Document]]:
        """Log lines of requests of all that ever lived."""
        return {member.name: list(member.replica.requests()) for member in self.ever}


def _stays_down(breaker: Mapping[str, Any]) -> bool:
    """It does not come home by itself, or not soon."""
    if breaker["state"] == "parked":
        return float(breaker["until"]) - time.time() > _LONG
    return str(breaker["state"]) == "disabled"

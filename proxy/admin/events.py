"""`GET /api/events`: decisions, breaker transitions, store and configuration changes of all replicas, live (SSE).

1. Every event bears its place in the journal as its id; who comes back with `Last-Event-ID` goes on after it.
2. Where something may be missing there is a `gap` event: after it a reader asks for the whole state again.
3. However many read, the journal is asked for news once: a reader that is slow or many holds up nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import Field

from proxy.admin.api.answering import stream
from proxy.admin.api.calls import Asked, Refused
from proxy.admin.decisions import record
from proxy.breaker.store import StoreError
from proxy.record.journal import BadPlace, Chunk, Journal, Pages
from proxy.record.kept import BEGINS
from proxy.record.recalled import read

_READERS = 32
_POLL = 0.25
"""Seconds between looks for news that other replicas have written."""
_ALIVE = 10.0
"""Seconds of silence after which a comment shows that the stream lives."""
_PATIENCE = 30.0
"""Seconds that a reader may take to take in what was sent."""


class Following(Asked):
    """Where to go on."""

    after: Annotated[str, Field(max_length=200)] | None = None
    """As `Last-Event-ID`, which counts where both are given."""


class Events:
    """The call, and what its readers share."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._readers: dict[asyncio.Event, web.BaseRequest] = {}
        self._looking: asyncio.Task[None] | None = None

    async def stream(self, request: web.BaseRequest, asked: Following) -> web.StreamResponse:
        """Answer the call; ends when the reader leaves."""
        if len(self._readers) >= _READERS:
            raise Refused("overloaded", f"{_READERS} readers follow the events of this replica already.")
        news = asyncio.Event()
        self._readers[news] = request
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        response = stream()
        try:
            await self._told(request, response, request.headers.get("Last-Event-ID") or asked.after, news)
        except ConnectionError:
            # It has left, which is no fault, or takes nothing in: then nothing more is to be waited for either.
            if request.transport is not None:
                request.transport.abort()
        finally:
            del self._readers[news]
            if not self._readers and self._looking is not None:
                self._looking.cancel()
                self._looking = None
        return response

    async def _told(
        self, request: web.BaseRequest, response: web.StreamResponse, after: str | None, news: asyncio.Event
    ) -> None:
        pages, place, gap = await self._start(after)
        await response.prepare(request)
        await _write(response, b": following\n\n")
        if gap:
            await _write(response, _gap("that id is not known here, or no longer"))
        while not _gone(request):
            news.clear()
            try:
                chunk = await pages.newer(place)
            except StoreError:
                chunk = None
            if chunk is not None:
                place = await self._send(response, chunk, place)
                if not chunk.items and not await _comes(news):
                    await _write(response, b": alive\n\n")
            latest, why = await self._journal.reading()
            if chunk is None or latest is not pages:
                pages, place = await self._end()
                await _write(
                    response, _gap(f"the shared journal is away ({why})" if why else "the shared journal is back")
                )

    async def _start(self, asked: str | None) -> tuple[Pages, str, bool]:
        """Where to begin, and whether something may be missing before it."""
        pages, place = await self._end()
        if not asked:
            return pages, place, False
        try:
            # Whether something is missing after it is told with what comes next.
            await pages.newer(asked)
            return pages, asked, False
        except (BadPlace, StoreError):
            return pages, place, True

    async def _end(self) -> tuple[Pages, str]:
        while True:
            pages, _ = await self._journal.reading()
            with contextlib.suppress(StoreError):
                return pages, await pages.end()
            await asyncio.sleep(_POLL)

    async def _send(self, response: web.StreamResponse, chunk: Chunk, place: str) -> str:
        if chunk.gap:
            await _write(response, _gap("what came next is no longer kept"))
        if chunk.items:
            place = chunk.items[-1][0]
            await _write(response, await asyncio.to_thread(_events, chunk.items))
        return place

    async def _look(self) -> None:
        """While anybody reads: wake all when there may be something new, and who has left, to make room."""
        last = ""
        while True:
            await asyncio.sleep(_POLL)
            pages, _ = await self._journal.reading()
            try:
                end = await pages.end()
            except StoreError:
                end = "away"
            for news, request in self._readers.items():
                if end != last or _gone(request):
                    news.set()
            last = end


def _gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _comes(news: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(_ALIVE):
            return await news.wait()
    except TimeoutError:
        return False


def _events(items: tuple[tuple[str, bytes], ...]) -> bytes:
    told = []
    for place, line in items:
        if line.startswith(BEGINS):
            kind, said = "decision", orjson.dumps(record(read(line)))
        else:
            document: dict[str, Any] = orjson.loads(line)
            kind, said = str(document.get("event", "other")), line
        told.append(b"id: %b\nevent: %b\ndata: %b\n\n" % (place.encode(), kind.encode(), said))
    return b"".join(told)


def _gap(why: str) -> bytes:
    return b"event: gap\ndata: %b\n\n" % orjson.dumps({"why": why})


async def _write(response: web.StreamResponse, data: bytes) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            await response.write(data)
    except TimeoutError:
        raise ConnectionResetError("the reader takes nothing in") from None

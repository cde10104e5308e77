"""`GET /api/decisions` and `/api/decisions/{id}`: search the records of all replicas, and read one with its story.

1. A search reads a bounded part of the journal and says where to go on; records are made out in a thread, so that no
   request waits for it.
2. What could not be read is said: a store that is away leaves this replica's own records, marked as such.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import Field

from proxy.admin.api.answering import PAGE, answer
from proxy.admin.api.calls import Asked, Refused
from proxy.breaker.store import StoreError
from proxy.record.document import document
from proxy.record.journal import BadPlace, Journal, Pages
from proxy.record.kept import BEGINS
from proxy.record.recalled import read
from proxy.routing.decision import Attempted, Decision, Skipped, word
from proxy.routing.story import explain

_CHUNK = 500
_SEARCH = 2.0
"""Seconds that one call looks through the journal; then it says where to go on."""
_ALSO = 20


class Sought(Asked):
    """Which records; all that is given must be met."""

    assistant: str | None = None
    tier: str | None = None
    """The one that served, or `none`."""
    outcome: str | None = None
    reason: str | None = None
    """A word of any step (`open`, `rate_limited`, …) or of the refusal, or what a step met (`http_503`)."""
    id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """The beginning of the request's id."""
    after: float | None = None
    """Unix time of arrival."""
    before: float | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: Annotated[str, Field(max_length=200)] | None = None
    """`next` of the page before."""

    def clues(self) -> list[bytes]:
        """What the bytes of a record that is sought hold somewhere."""
        words = (self.assistant, None if self.tier == "none" else self.tier, self.outcome, self.reason, self.id)
        return [orjson.dumps(each)[1:-1] for each in words if each]

    def met(self, decision: Decision) -> bool:
        """This is one of them."""
        served = decision.served
        return (
            self.assistant in (None, decision.assistant)
            and self.tier in (None, served.tier if served else "none")
            and self.outcome in (None, decision.outcome)
            and (self.reason is None or self.reason in _words(decision))
            and (self.id is None or decision.request_id.startswith(self.id))
            and (self.after is None or decision.at >= self.after)
            and (self.before is None or decision.at < self.before)
        )


def _away(error: StoreError) -> Refused:
    return Refused("store_away", f"The shared journal went while it was read ({error.word}): try again.")


def _words(decision: Decision) -> set[str]:
    steps = decision.steps
    details = {s.detail if isinstance(s, Attempted) else s.breaker.reason if s.breaker else "" for s in steps}
    fields = {s.uncarried for s in steps if isinstance(s, Skipped)}
    return {decision.refusal or "", *map(word, steps), *details, *fields}


def record(decision: Decision) -> dict[str, Any]:
    """A decision as the API gives it: the record, and its story in sentences."""
    return document(decision) | {"story": explain(decision)}


@dataclass(frozen=True, slots=True)
class Decisions:
    """The two calls."""

    journal: Journal
    clock: Callable[[], float] = time.monotonic

    async def search(self, _: web.BaseRequest, sought: Sought) -> web.StreamResponse:
        """`GET /api/decisions`."""
        pages, why = await self.journal.reading()
        found = _Found()
        place, more = sought.cursor, True
        until = self.clock() + _SEARCH
        while more and not found.full(sought) and self.clock() < until:
            try:
                chunk = await pages.older(place, _CHUNK)
            except BadPlace:
                raise Refused("invalid_request", "`cursor` is not one that this journal has given.") from None
            except StoreError as error:
                raise _away(error) from None
            if chunk.gap:
                why = why or "cursor_lost"
            place = await asyncio.to_thread(found.look_through, chunk.items, sought, place)
            more = chunk.more or (bool(chunk.items) and place != chunk.items[-1][0])
        return answer(
            {
                "decisions": found.records,
                "next": place if more else None,
                "complete": why is None,
                "why": why,
            }
        )

    async def read(self, _: web.BaseRequest, *, id: str) -> web.StreamResponse:
        """`GET /api/decisions/{id}`."""
        pages, why = await self.journal.reading()
        found = await self._named(pages, id)
        if not found:
            reason = "it is no longer kept, or not yet."
            if not self.journal.status().keep:
                reason = "nothing is recorded (`decisions.keep` is 0)."
            elif why is not None:
                reason += " The shared journal is away, so only this replica's own records were read."
            raise Refused("decision_not_found", f"No record bears the id {id[:128]!r}: {reason}")
        first, *others = found
        return answer(record(first) | {"also": [each.request_id for each in others]})

    async def _named(self, pages: Pages, wanted: str) -> list[Decision]:
        """Newest first: a caller may give one id to several requests, as it does when it tries again."""
        found: list[Decision] = []
        place: str | None = None
        more = True
        while more and len(found) <= _ALSO:
            try:
                chunk = await pages.older(place, _CHUNK)
            except StoreError as error:
                raise _away(error) from None
            found += await asyncio.to_thread(_bearing, chunk.items, wanted)
            if any(each.request_id == wanted for each in found):
                break
            place, more = (chunk.items[-1][0] if chunk.items else place), chunk.more and bool(chunk.items)
        return sorted(found, key=lambda each: each.request_id != wanted)


def _decisions(items: Iterable[tuple[str, bytes]], clues: list[bytes]) -> Iterable[tuple[str, Decision | None]]:
    for place, line in items:
        likely = line.startswith(BEGINS) and all(clue in line for clue in clues)
        yield place, read(line) if likely else None


class _Found:
    """The records of one answer, as they are written."""

    def __init__(self) -> None:
        self.records: list[orjson.Fragment] = []
        self._size = 0

    def full(self, sought: Sought) -> bool:
        return len(self.records) >= sought.limit or self._size >= PAGE

    def look_through(self, items: Iterable[tuple[str, bytes]], sought: Sought, place: str | None) -> str | None:
        """Take those sought, until it is full; the last place that was looked at."""
        for at, decision in _decisions(items, sought.clues()):
            place = at
            if decision is not None and sought.met(decision):
                written = orjson.dumps(record(decision))
                self.records.append(orjson.Fragment(written))
                self._size += len(written)
                if self.full(sought):
                    break
        return place


def _bearing(items: Iterable[tuple[str, bytes]], wanted: str) -> list[Decision]:
    return [
        decision
        for _, decision in _decisions(items, [orjson.dumps(wanted)])
        if decision is not None and wanted in _ids(decision)
    ]


def _ids(decision: Decision) -> set[str | None]:
    upstreams = {step.upstream_id for step in decision.steps if isinstance(step, Attempted)}
    return {decision.request_id, decision.caller_request_id, *upstreams}

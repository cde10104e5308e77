"""What is told of a finished request is what its decision says, whatever was told before."""

from __future__ import annotations

import asyncio
import io

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.record import kinds, telling
from proxy.record.journal import Journal
from proxy.record.kept import kept, read
from proxy.record.kinds import alike
from proxy.record.lines import Stamps, written
from proxy.record.log import Log
from proxy.record.metrics import Metrics
from proxy.record.telling import Telling
from proxy.routing.bindings import Bindings
from proxy.routing.decision import Decision
from tests.unit.record.decisions import AT, OPEN, SERVED, decision
from tests.unit.record.now import now
from tests.unit.record.stories import DECISIONS


class _Told:
    """Of a replica that writes to memory."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self._log = Log(self._stream, human=False, unix=lambda: AT)
        self._journal = Journal(1000, 60.0, lambda: AT, None)
        self.tell = Telling(Metrics(now(Bindings({}, "1"))), self._log, self._journal)

    def lines(self) -> list[str]:
        self._log.close()
        return self._stream.getvalue().splitlines(keepends=True)

    async def records(self) -> list[bytes]:
        pages, _ = await self._journal.reading()
        return [item for _, item in (await pages.newer(None)).items]


async def _is_told(decisions: list[Decision]) -> None:
    told = _Told()
    told.tell(decisions)
    for each in decisions:
        told.tell([each])
    said = [*decisions, *decisions]
    assert await told.records() == [kept(each) for each in said]
    assert told.lines() == [written(each, Stamps()) for each in said]


@given(st.lists(DECISIONS, min_size=1, max_size=6))
def test_lines_and_records_are_those_of_each_by_itself(decisions: list[Decision]) -> None:
    """To the letter: of what was met before, and of what was not."""
    asyncio.run(_is_told(decisions))


async def test_all_but_what_a_kind_has_in_common_is_put_in() -> None:
    """Of a request that was served by its second tier, and of one that a tier failed first."""
    for steps in ((OPEN, SERVED), (SERVED, SERVED)):
        one = decision(steps=steps)
        assert alike(one) == alike(decision(steps=steps, request_id="req_2", at=AT + 1, duration=9.0, body_out=7))
        await _is_told([one, one, decision(steps=steps, request_id="req_2", at=AT + 1, duration=9.0, body_out=7)])


async def test_a_decision_that_was_served_elsewhere_is_kept_whole() -> None:
    """By a step that is none of its own."""
    other = decision(steps=(OPEN,), served=SERVED)
    await _is_told([other, other])
    assert read(kept(other)) == other


def test_kinds_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are."""
    monkeypatch.setattr(kinds, "_MOST", 3)
    told = _Told()
    told.tell([decision(code=code) for code in range(20)] * 2)
    assert len(told.tell._kinds) <= 3
    assert [orjson.loads(line)["code"] for line in told.lines()] == [*range(20)] * 2


async def test_a_fault_takes_no_other_story_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told in its place, and the others around it in theirs."""

    def alike_or_not(each: Decision) -> kinds.Alike:
        if each.request_id == "bad":
            raise ValueError("no")
        return alike(each)

    monkeypatch.setattr(telling, "alike", alike_or_not)
    told = _Told()
    told.tell([decision(request_id=each) for each in ("a", "bad", "b")])
    assert [read(item).request_id for item in await told.records()] == ["a", "b"]
    lines = [orjson.loads(line) for line in told.lines()]
    assert [(line["event"], line["request_id"]) for line in lines] == [
        ("request", "a"),
        ("internal_error", "bad"),
        ("request", "b"),
    ]

"""What is told of a finished request is what its decision says, whatever was told before."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.breaker.state import CLOSED, View, Word
from proxy.record import kinds
from proxy.record.journal import Journal
from proxy.record.kept import kept
from proxy.record.kinds import alike
from proxy.record.lines import Stamps, written
from proxy.record.log import Log
from proxy.record.metrics import Metrics
from proxy.record.recalled import read
from proxy.record.telling import Telling
from proxy.routing.bindings import Bindings
from proxy.routing.decision import Decision, Skipped
from tests.unit.record.decisions import AT, OPEN, SERVED, decision
from tests.unit.record.now import now
from tests.unit.record.stories import DECISIONS


class _Told:
    """Of a replica that writes to memory."""

    def __init__(self) -> None:
        self._stream = io.BytesIO()
        self._log = Log(self._stream, human=False, unix=lambda: AT)
        self._journal = Journal(1000, 60.0, lambda: AT, None)
        self.metrics = Metrics(now(Bindings({}, "1")))
        self.tell = Telling(self.metrics, self._log, self._journal)

    def lines(self) -> list[bytes]:
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
        assert alike(one, decision(steps=steps, request_id="req_2", at=AT + 1, duration=9.0, body_out=7))
        await _is_told([one, one, decision(steps=steps, request_id="req_2", at=AT + 1, duration=9.0, body_out=7)])


@pytest.mark.parametrize("client", [None, "team"])
async def test_lines_look_alike_for_all_assistants_and_say_whose_they_are(client: str | None) -> None:
    """However many there are, one look is kept; who is not known is not named."""
    told = _Told()
    said = [decision(assistant=f"bot-{number}", client=client) for number in range(20)]
    told.tell(said * 2)
    assert [len(met) for met in told.tell._kinds._met.values()] == [1]
    assert told.lines() == [written(each, Stamps()) for each in said * 2]
    unnamed = [decision(assistant=name, client=client) for name in ("bot", "bot", None, None, "bot")]
    await _is_told(unnamed)


_SEEN = View(Word.OPEN, "connect_error", 1.0, 22.0, ("req_0",))
_OTHERS = (
    *[
        replace(OPEN, breaker=seen)
        for seen in (
            None,
            CLOSED,
            replace(_SEEN, word=Word.PARKED),
            replace(_SEEN, reason="timeout"),
            replace(_SEEN, since=None),
            replace(_SEEN, since=2.0),
            replace(_SEEN, until=None),
            replace(_SEEN, until=23.0),
            replace(_SEEN, since=None, until=None),
            replace(_SEEN, tripped_by=()),
            replace(_SEEN, failures=1),
            replace(_SEEN, local=True),
        )
    ],
    replace(OPEN, tier="second"),
    replace(OPEN, source="other"),
    replace(OPEN, model="other"),
    replace(OPEN, reason="deadline"),
    replace(OPEN, at=10.3),
    replace(OPEN, missing=("tools",)),
    replace(OPEN, uncarried="seed"),
)


@pytest.mark.parametrize("other", _OTHERS)
async def test_the_one_fact_of_a_skipped_tier_that_differs_is_told(other: Skipped) -> None:
    """After those that are like it in all others, either way."""
    one = decision()
    await _is_told([one, one, decision(steps=(other, SERVED)), one])


@pytest.mark.parametrize(("since", "until"), [(3.0, None), (None, 3.0)])
async def test_a_moment_of_a_breaker_is_told_after_breakers_that_had_none(
    since: float | None, until: float | None
) -> None:
    """Either of the two."""
    none = replace(_SEEN, since=None, until=None)
    silent, told = (replace(OPEN, breaker=each) for each in (none, replace(_SEEN, since=since, until=until)))
    await _is_told([decision(steps=(step, SERVED)) for step in (silent, silent, silent, told, silent)])


@pytest.mark.parametrize("first", [0, 7])
def test_a_body_is_counted_whether_or_not_the_first_had_one(first: int) -> None:
    """What has none begins no series."""
    told = _Told()
    told.tell([decision(body_in=first)])
    told.tell([decision(body_in=7 - first)])
    told.metrics.settle()
    assert 'homeport_request_body_bytes_total{assistant="bot"} 7.0' in told.metrics.exposition().decode()


async def test_a_decision_that_was_served_elsewhere_is_kept_whole() -> None:
    """By a step that is none of its own."""
    other = decision(steps=(OPEN,), served=SERVED)
    await _is_told([other, other])
    assert read(kept(other)) == other


def test_kinds_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are."""
    monkeypatch.setattr(kinds, "_MOST", 3)
    monkeypatch.setattr(kinds, "_LOOKS", 2)
    told = _Told()
    told.tell([decision(code=code) for code in range(20)] * 2)
    assert len(told.tell._kinds) <= 3
    assert [orjson.loads(line)["code"] for line in told.lines()] == [*range(20)] * 2


def test_a_decision_is_compared_with_few() -> None:
    """With the newest of those that went the same way; the lines are right whichever they are."""
    told = _Told()
    told.tell([decision(code=code) for code in range(40)] * 2)
    assert [len(met) for met in told.tell._kinds._met.values()] == [len(told.tell._kinds)] == [16]
    assert [orjson.loads(line)["code"] for line in told.lines()] == [*range(40)] * 2


@pytest.mark.interpreted
async def test_a_fault_takes_no_other_story_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told in its place, and the others around it in theirs."""

    def alike_or_not(one: Decision, other: Decision) -> bool:
        if one.request_id == "bad":
            raise ValueError("no")
        return alike(one, other)

    monkeypatch.setattr(kinds, "alike", alike_or_not)
    told = _Told()
    told.tell([decision(request_id=each) for each in ("a", "bad", "b")])
    assert [read(item).request_id for item in await told.records()] == ["a", "b"]
    lines = [orjson.loads(line) for line in told.lines()]
    assert [(line["event"], line["request_id"]) for line in lines] == [
        ("request", "a"),
        ("internal_error", "bad"),
        ("request", "b"),
    ]

"""A line of the log is the record of its decision, whatever lines there were before."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.breaker.state import CLOSED, View, Word
from proxy.record.document import document, milliseconds
from proxy.record.kinds import alike
from proxy.record.lines import Line, Names, Stamps, written
from proxy.routing.decision import Attempted, Decision
from proxy.terms import Usage
from tests.unit.record.decisions import AT, OPEN, SERVED, decision

_WORDS = (None, "a", "b\ud800", 'c"\n')
_OF_DECISION: dict[str, tuple[Any, ...]] = {
    "request_id": _WORDS[1:],
    "caller_request_id": _WORDS,
    "at": (AT, AT + 0.9999, AT + 1),
    "started": (9.75, 8.0),
    "replica": _WORDS[1:],
    "revision": _WORDS[1:],
    "client": _WORDS,
    "assistant": _WORDS,
    "identified_by": _WORDS,
    "endpoint": ("chat_completions", "embeddings"),
    "stream": (True, False),
    "served_model": _WORDS,
    "outcome": ("success", "stream_broken"),
    "code": (200, 499),
    "refusal": (None, "all_tiers_failed"),
    "duration": (0.0, 0.512, 2.000_000_4),
    "first_byte": (None, 0.25, 0.5),
    "waited": (0.0, 0.5, 3.0),
    "body_in": (0, 7, 2**70),
    "body_out": (0, 9),
    "usage": (None, Usage(1, 2, 3, 4), Usage(5)),
}
_OF_STEP: dict[str, tuple[Any, ...]] = {
    "tier": ("primary", "fallback-1"),
    "source": _WORDS[1:],
    "model": _WORDS[1:],
    "outcome": ("served", "server_error", "served"),
    "detail": ("", "idle"),
    "heard": ("good", "bad"),
    "started": (10.0, 10.000_123_4),
    "ended": (10.5, 12.0),
    "billed": ("yes", "maybe"),
    "probe": (None, "early"),
    "status": (None, 200, 503),
    "connected": (None, 10.1, 10.2),
    "first_byte": (None, 10.1, 10.2),
    "first_token": (None, 10.1, 10.2),
    "reused": (True, False),
    "retried": (True, False),
    "upstream_id": _WORDS,
    "retry_after": (None, 3.0),
    "breaker": (CLOSED, View(Word.CLOSED, failures=1)),
    "dropped": ((), ("seed",)),
}
_FACTS = [(True, name) for name in _OF_STEP] + [(False, name) for name in _OF_DECISION]


def _changed(one: Decision, in_step: bool, name: str, value: Any) -> Decision:
    """The same but for one fact."""
    if not in_step:
        return replace(one, **{name: value})
    assert one.served is not None
    step = replace(one.served, **{name: value})
    return replace(one, steps=(step,), served=step)


_SERVED_AT_ONCE = decision(steps=(SERVED,), served=SERVED)
_CHANGES = st.lists(
    st.sampled_from(_FACTS).flatmap(
        lambda fact: st.tuples(st.just(fact), st.sampled_from((_OF_STEP if fact[0] else _OF_DECISION)[fact[1]]))
    ),
    min_size=1,
    max_size=40,
)


def _plain(each: Decision) -> bytes:
    """Such a line, made of the record and of nothing else."""
    return written(each, Stamps())


class _Lines:
    """As the log makes them: of what each is like."""

    def __init__(self) -> None:
        self._known: list[tuple[Decision, Line]] = []

    def of(self, each: Decision) -> bytes:
        for first, line in self._known:
            if alike(each, first):
                return line.of(each)
        self._known.append((each, Line(each, Stamps(), Names())))
        return self._known[-1][1].of(each)


@pytest.mark.parametrize(("in_step", "name"), _FACTS)
def test_a_line_says_the_one_fact_that_differs(in_step: bool, name: str) -> None:
    """Whichever it is: after a line that is like it in all others."""
    lines = _Lines()
    values = (_OF_STEP if in_step else _OF_DECISION)[name]
    for value in (*values, *values):
        each = _changed(_SERVED_AT_ONCE, in_step, name, value)
        assert lines.of(each) == _plain(each)


def test_every_fact_is_tried() -> None:
    """Those too that are new."""
    assert {field.name for field in fields(Attempted)} == _OF_STEP.keys()
    assert {field.name for field in fields(Decision)} == _OF_DECISION.keys() | {"steps", "served"}


@given(_CHANGES)
def test_lines_before_it_change_nothing_of_a_line(changes: list[tuple[tuple[bool, str], Any]]) -> None:
    """Each is like the one before but for one fact; another kind of story may come between them."""
    lines, each = _Lines(), _SERVED_AT_ONCE
    for (in_step, name), value in changes:
        each = _changed(each, in_step, name, value)
        lines.of(decision())
        told = lines.of(each)
        assert told == _plain(each)
        assert told.endswith(b"}\n")
        facts = orjson.loads(told)
        assert facts["at"] == datetime.fromtimestamp(each.at, UTC).isoformat(timespec="milliseconds")
        record = document(each)
        for of in ("duration_ms", "first_byte_ms", "overhead_ms", "code", "body_out"):
            assert facts.get(of) == record[of]
        for of in ("started_ms", "ended_ms", "connected_ms", "first_byte_ms", "first_token_ms"):
            assert facts["steps"][0].get(of) == record["steps"][0][of]


def test_names_make_room() -> None:
    """However many assistants there are, and each line names its own."""
    names = Names()
    line = Line(decision(), Stamps(), names)
    for number in range(50_000):
        names(f"other-{number}")
        assert len(names) <= 20_000
        if number % 1000 == 0:
            each = decision(assistant=f"bot-{number}")
            assert line.of(each) == _plain(each)


def test_what_is_not_there_is_left_out_and_the_rest_stands_in_order() -> None:
    """A line's fields are the record's, and `event`, and the steps come last."""
    served = replace(SERVED, tier="primary")
    for each in (decision(), decision(steps=(served,), served=served), decision(steps=(OPEN,), served=None)):
        told = orjson.loads(_plain(each))
        there = [name for name, value in document(each).items() if value is not None and name != "steps"]
        assert list(told) == [*there, "event", "steps"]
        assert told["event"] == "request"
        for step, full in zip(told["steps"], document(each)["steps"], strict=True):
            assert list(step) == [name for name, value in full.items() if value is not None]
            assert step["breaker"] == orjson.loads(orjson.dumps(full["breaker"]))


@given(st.floats(0, 4e9) | st.integers(0, 4 * 10**12).map(lambda thousandths: thousandths / 1000))
def test_a_moment_is_written_as_datetime_writes_it(at: float) -> None:
    """Also the next one in the same second, and at the edge of two."""
    stamp = Stamps()
    for each in (at, at + 0.0004, float(int(at)) + 0.999_999_9, at):
        assert stamp(each) == datetime.fromtimestamp(each, UTC).isoformat(timespec="milliseconds")


@given(st.integers(-(10**9), 10**12))
def test_milliseconds_are_told_to_the_microsecond(micros: int) -> None:
    """As the decimal that it is, without the tail that a float may have."""
    assert milliseconds(micros / 1e6) == round(micros / 1000, 3)

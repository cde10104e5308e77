"""A state on the wire: whatever a machine can hold survives it, and whatever else comes is told apart."""

from __future__ import annotations

import math
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.breaker import codec
from proxy.breaker.state import Circuit, Evidence, Latch, State, Wait, Word

# Quarters add and subtract exactly at this size, so that a shift there and back is no shift at all.
_QUARTERS = st.integers(min_value=-(2**40), max_value=2**40).map(lambda quarters: quarters / 4)
_SPANS = st.one_of(_QUARTERS, st.floats(allow_nan=False, allow_infinity=False))
_COUNTS = st.integers(min_value=0, max_value=2**53)
_PAIRS = st.tuples(_COUNTS, _COUNTS)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_IDS = st.lists(_TEXTS, max_size=5).map(tuple)
_FAILED = st.lists(st.tuples(_TEXTS, _TEXTS), max_size=5).map(tuple)
_LATCHES = st.builds(
    Latch,
    reason=_TEXTS,
    since=_QUARTERS,
    until=st.one_of(_QUARTERS, st.just(math.inf)),
    tripped_by=_IDS,
    span=st.one_of(_SPANS, st.just(math.inf)),
    fault=_TEXTS,
)
_NEVER = st.one_of(_QUARTERS, st.just(-math.inf))
_CIRCUITS = st.builds(
    Circuit,
    word=st.sampled_from([Word.CLOSED, Word.OPEN, Word.HALF_OPEN]),
    since=_NEVER,
    until=_QUARTERS,
    span=_SPANS,
    failed=_FAILED,
    streak=_COUNTS,
    token=_TEXTS,
    early=st.none() | _QUARTERS,
    probed=_NEVER,
    recovered=st.booleans(),
)
_EVIDENCE = st.builds(
    Evidence,
    failures=_COUNTS,
    outcomes=_COUNTS,
    began=_QUARTERS,
    turned=_QUARTERS,
    now=_PAIRS,
    before=_PAIRS,
    failed=_FAILED,
    strike=st.none() | _QUARTERS,
)
_WAITS = st.builds(Wait, latch=st.none() | _LATCHES, times=_COUNTS, last=_NEVER, last_id=_TEXTS, next=_QUARTERS)
_STATES = st.builds(
    State,
    epoch=_COUNTS,
    reset_epoch=_COUNTS,
    serial=_COUNTS,
    circuit=_CIRCUITS,
    evidence=_EVIDENCE,
    wait=_WAITS,
    disabled=st.none() | _LATCHES,
    isolated=st.none() | _LATCHES,
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)


def _moved(noun: Any, shift: float) -> Any:
    """The same, with every time moved: written down apart from the codec, by the names of the fields."""
    times = {"since", "until", "early", "probed", "began", "turned", "strike", "last", "next"}
    changed: dict[str, Any] = {}
    for field in fields(noun):
        value = getattr(noun, field.name)
        if is_dataclass(value):
            changed[field.name] = _moved(value, shift)
        else:
            changed[field.name] = value + shift if field.name in times and value is not None else value
    return type(noun)(**changed)


@given(_STATES)
@example(State())
def test_a_state_survives_the_wire(state: State) -> None:
    """Written and read on one clock it is the same, defaults, infinities and all."""
    assert codec.decode(codec.encode(state, 0.0), 0.0) == state


@given(_STATES, _QUARTERS)
def test_a_state_moves_from_clock_to_clock_and_back(state: State, shift: float) -> None:
    """The shift of who reads undoes that of who wrote; times at their defaults stand for themselves."""
    assert codec.decode(codec.encode(state, shift), -shift) == state


@given(_STATES, _QUARTERS)
def test_every_time_and_nothing_else_is_shifted(state: State, shift: float) -> None:
    """What lies in the store is on its clock: each time moved alike, each length, count and word as it was."""
    there = codec.decode(codec.encode(state, shift), 0.0)
    assert _with_defaults(state, there) == _with_defaults(state, _moved(state, shift))


def _with_defaults(state: Any, other: Any) -> Any:
    """`other`, with the fields that `state` has at their defaults as they are there: those are not on the wire."""
    plain = type(state)(**{f.name: getattr(state, f.name) for f in fields(state) if _needed(f)})
    changed: dict[str, Any] = {}
    for field in fields(state):
        mine, theirs = getattr(state, field.name), getattr(other, field.name)
        if mine == getattr(plain, field.name) and not _needed(field):
            changed[field.name] = mine
        else:
            changed[field.name] = _with_defaults(mine, theirs) if is_dataclass(mine) else theirs
    return type(state)(**changed)


def _needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def test_what_is_calm_is_short() -> None:
    """A state of which nothing is known takes two bytes."""
    assert codec.encode(State(), 1e9) == b"{}"


@given(st.one_of(st.binary(max_size=60), _JSON.map(orjson.dumps)), _QUARTERS)
@example(b"", 0.0)
@example(b"[]", 0.0)
@example(b"null", 0.0)
@example(b'{"epoch":true}', 0.0)
@example(b'{"epoch":1.5}', 0.0)
@example(b'{"circuit":null}', 0.0)
@example(b'{"circuit":[]}', 0.0)
@example(b'{"circuit":{"word":"ajar"}}', 0.0)
@example(b'{"circuit":{"until":"soon"}}', 0.0)
@example(b'{"circuit":{"until":"nan"}}', 0.0)
@example(b'{"circuit":{"failed":"abc"}}', 0.0)
@example(b'{"circuit":{"failed":[1]}}', 0.0)
@example(b'{"circuit":{"failed":["ab"]}}', 0.0)
@example(b'{"circuit":{"failed":[["a"]]}}', 0.0)
@example(b'{"disabled":{"tripped_by":[1]}}', 0.0)
@example(b'{"disabled":{}}', 0.0)
@example(b'{"evidence":{"now":[1]}}', 0.0)
@example(b'{"evidence":{"now":[1,2,3]}}', 0.0)
@example(b'{"wait":{"latch":3}}', 0.0)
@example(b'{"circuit":{"until":1' + b"0" * 400 + b"}}", 0.0)
@example(b"[" * 2000, 0.0)
def test_garbage_is_no_state_and_nothing_worse(row: bytes, shift: float) -> None:
    """Bytes are a state or raise NotAState; never another exception, and never a value of a wrong type."""
    try:
        state = codec.decode(row, shift)
    except codec.NotAState:
        return
    assert type(state) is State
    assert codec.decode(codec.encode(state, 0.0), 0.0) == state


@given(_STATES, st.data())
def test_a_field_of_the_wrong_type_is_no_state(state: State, data: st.DataObject) -> None:
    """One value of another type, anywhere in a good row, is noticed."""
    plain = orjson.loads(codec.encode(state, 0.0))
    place = plain
    while True:
        places = sorted(place)
        if not places:
            return
        name = data.draw(st.sampled_from(places))
        if not isinstance(place[name], dict) or not place[name]:
            break
        place = place[name]
    place[name] = {"strange": 1} if not isinstance(place[name], dict) else [1]
    with pytest.raises(codec.NotAState):
        codec.decode(orjson.dumps(plain), 0.0)


@given(_STATES, _JSON, st.sampled_from(["", "circuit", "evidence", "wait"]))
def test_what_a_newer_replica_added_is_passed_over(state: State, value: Any, place: str) -> None:
    """A field that is not known changes nothing, whatever it holds."""
    plain = orjson.loads(codec.encode(state, 0.0))
    (plain.setdefault(place, {}) if place else plain)["of_tomorrow"] = value
    assert codec.decode(orjson.dumps(plain), 0.0) == state

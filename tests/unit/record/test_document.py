"""Records: what is kept makes the same decision again, and what is shown has one shape."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from proxy.breaker.state import View, Word
from proxy.record.document import document, kept, read
from proxy.routing.decision import Attempted, Decision, Skipped
from proxy.routing.story import explain
from proxy.terms import Usage
from tests.unit.record.decisions import AT, OPEN, SERVED, decision

_TIMES = st.floats(0, 1e6)
_TEXT = st.text(max_size=20)
_VIEWS = st.builds(
    View,
    st.sampled_from(Word),
    _TEXT,
    st.none() | _TIMES,
    st.none() | _TIMES,
    st.lists(_TEXT, max_size=3).map(tuple),
    st.integers(0, 9),
    _TEXT,
    st.booleans(),
)
_SKIPS = st.builds(Skipped, _TEXT, _TEXT, _TEXT, _TEXT, _TIMES, st.none() | _VIEWS, st.lists(_TEXT).map(tuple))
_ATTEMPTS = st.builds(
    Attempted,
    *[_TEXT] * 6,
    _TIMES,
    _TIMES,
    _TEXT,
    probe=st.none() | st.sampled_from(["half_open", "early", "trickle"]),
    status=st.none() | st.integers(100, 599),
    connected=st.none() | _TIMES,
    retried=st.booleans(),
    upstream_id=st.none() | _TEXT,
    retry_after=st.none() | _TIMES,
    breaker=_VIEWS,
)
_DECISIONS = st.builds(
    decision,
    steps=st.lists(_SKIPS | _ATTEMPTS, max_size=5).map(tuple),
    served=st.none() | _ATTEMPTS,
    usage=st.none() | st.builds(Usage, st.integers(0, 9), st.integers(0, 9)),
    caller_request_id=st.none() | _TEXT,
    first_byte=st.none() | _TIMES,
)


@given(_DECISIONS)
def test_what_is_kept_makes_the_same_decision_again(told: Decision) -> None:
    """Whatever the facts are: so any replica tells the story in the same words."""
    again = read(kept(told))
    assert again == told
    assert document(again) == document(told)
    assert explain(again) == explain(told)


def test_a_fact_of_a_later_version_is_left_out() -> None:
    """While replicas are upgraded one by one, each reads what the others have kept."""
    facts: dict[str, Any] = orjson.loads(kept(decision()))
    facts["mood"] = "new"
    facts["steps"][1]["weather"] = {"new": True}
    assert read(orjson.dumps(facts)) == decision()


def test_every_record_has_the_same_fields() -> None:
    """What there is nothing to say of is null, not missing."""
    full, bare = document(decision()), document(decision(steps=(), served=None, assistant=None))
    assert full.keys() == bare.keys()
    skipped, served = full["steps"]
    assert (skipped["verdict"], skipped["reason"], skipped["breaker"]["tripped_by"]) == ("skipped", "open", ["req_0"])
    assert (skipped["breaker"]["since"], skipped["breaker"]["until"]) == (AT - 9, AT + 12)
    assert (served["verdict"], served["connected_ms"], served["upstream_request_id"]) == ("served", 12.0, "up_7")
    assert full["reason"] == "primary=open(connect_error,retry_in=12s)"


def test_times_that_cannot_be_told_are_null() -> None:
    """An isolation without an end, say, is no number that JSON would refuse."""
    forever = Skipped("primary", "a", "m", "isolated", 10.0, View(Word.ISOLATED, "operator", 1.0, None))
    (step, _) = document(decision(steps=(forever, SERVED)))["steps"]
    assert step["breaker"]["until"] is None
    assert OPEN.denied

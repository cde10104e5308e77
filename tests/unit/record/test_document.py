"""Records: what is kept makes the same decision again, and what is shown has one shape."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.breaker.state import View, Word
from proxy.record import recalled
from proxy.record.document import document
from proxy.record.kept import BEGINS, kept
from proxy.record.recalled import read
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
_SKIPS = st.builds(Skipped, _TEXT, _TEXT, _TEXT, _TEXT, _TIMES, st.none() | _VIEWS, st.lists(_TEXT).map(tuple), _TEXT)
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
    dropped=st.lists(_TEXT, max_size=3).map(tuple),
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
    facts: list[Any] = orjson.loads(kept(decision()))
    facts.append("a new mood")
    facts[0][1].append({"weather": "new"})
    assert read(orjson.dumps(facts)) == decision()


def test_a_fact_that_was_not_kept_yet_has_its_default() -> None:
    """Likewise, the other way round."""
    objected = Skipped("primary", "a", "m", "unsupported", 10.0, uncarried="logprobs")
    told = replace(SERVED, dropped=("seed",))
    facts: list[Any] = orjson.loads(kept(decision(steps=(objected, told), served=told)))
    assert (facts[0][0].pop(), facts[0][1].pop()) == ("logprobs", ["seed"])
    again = read(orjson.dumps(facts))
    assert again.steps == (replace(objected, uncarried=""), SERVED)
    assert again.served == SERVED


def test_facts_are_only_ever_added_behind_the_others() -> None:
    """What was kept by the last version is read by its places: a fact that moves is read as another one."""
    orders = {
        "request_id caller_request_id at started replica revision client assistant identified_by endpoint stream "
        "served_model outcome code refusal duration first_byte waited body_in body_out": recalled._DECISION.names,
        "tier source model outcome detail heard started ended billed probe status connected first_byte first_token "
        "reused retried upstream_id retry_after dropped": recalled._ATTEMPTED.names,
        "tier source model reason at missing uncarried": recalled._SKIPPED.names,
        "word reason since until tripped_by failures fault local": recalled._SEEN.names,
        "input output cache_read reasoning": recalled._USAGE.names,
    }
    for known, now in orders.items():
        assert list(now[: len(known.split())]) == known.split()


def test_every_fact_is_recalled() -> None:
    """One that is added to a noun alone would not be missed otherwise."""
    nouns: dict[type[Any], tuple[str, ...]] = {
        Decision: (*recalled._DECISION.names, "steps", "served", "usage"),
        Attempted: (*recalled._ATTEMPTED.names, "breaker"),
        Skipped: (*recalled._SKIPPED.names, "breaker"),
        View: recalled._SEEN.names,
        Usage: recalled._USAGE.names,
    }
    for noun, names in nouns.items():
        assert {field.name for field in fields(noun)} == set(names)


def test_every_fact_is_kept() -> None:
    """One with a default that nobody writes down would not be missed otherwise."""
    (skipped, tried), _, usage, *plain = orjson.loads(kept(decision(usage=Usage(1, 2, 3, 4))))
    assert len(plain) == len(recalled._DECISION.names)
    assert len(usage) == len(recalled._USAGE.names)
    assert len(skipped[1]) == len(recalled._SEEN.names)
    assert (len(skipped), len(tried)) == (len(recalled._SKIPPED.names) + 2, len(recalled._ATTEMPTED.names) + 2)


_NONE = (b"", b"{}", b"[]", b"[[],9,null]", b"[[[true]],null,null]", b'[[],null,null,"req_1"]')


@pytest.mark.parametrize("line", _NONE)
def test_what_is_no_decision_is_told_apart(line: bytes) -> None:
    """Whatever lies in a journal."""
    assert kept(decision()).startswith(BEGINS)
    with pytest.raises(ValueError, match=r"."):
        read(line)


def test_every_record_has_the_same_fields() -> None:
    """What there is nothing to say of is null, not missing."""
    full, bare = document(decision()), document(decision(steps=(), served=None, assistant=None))
    assert full.keys() == bare.keys()
    skipped, served = full["steps"]
    assert (skipped["verdict"], skipped["reason"], skipped["breaker"]["tripped_by"]) == ("skipped", "open", ["req_0"])
    assert (skipped["breaker"]["since"], skipped["breaker"]["until"]) == (AT - 9, AT + 12)
    assert (served["verdict"], served["connected_ms"], served["upstream_request_id"]) == ("served", 12.0, "up_7")
    assert full["reason"] == "primary=open(connect_error,retry_in=12s)"


def test_what_a_tier_was_not_told_is_on_record_by_name() -> None:
    """Of one that was asked, and the field for which another was not."""
    objected = Skipped("primary", "a", "m", "unsupported", 10.0, View(Word.CLOSED), uncarried="logprobs")
    told = replace(SERVED, dropped=("seed", "messages.name"))
    record = document(decision(steps=(objected, told), served=told))
    skipped, served = record["steps"]
    assert (skipped["uncarried"], skipped["missing"], served["dropped"]) == ("logprobs", [], ["seed", "messages.name"])
    assert record["reason"] == "primary=unsupported(logprobs)"
    bare, nothing = document(decision())["steps"]
    assert (bare["uncarried"], nothing["dropped"]) == (None, [])


def test_times_that_cannot_be_told_are_null() -> None:
    """An isolation without an end, say, is no number that JSON would refuse."""
    forever = Skipped("primary", "a", "m", "isolated", 10.0, View(Word.ISOLATED, "operator", 1.0, None))
    (step, _) = document(decision(steps=(forever, SERVED)))["steps"]
    assert step["breaker"]["until"] is None
    assert OPEN.denied

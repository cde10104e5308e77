"""The story: what a support person pastes into a ticket."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.breaker.state import Hears, View, Word
from proxy.routing.decision import Attempted, Skipped
from proxy.routing.story import HEARD, MET, explain, foresee
from proxy.routing.verdict import ATTEMPT_LABELS
from proxy.terms import Usage
from tests.unit.record.decisions import SERVED, decision


def test_a_fallback_is_told_from_the_question_to_the_answer() -> None:
    """Who asked, why the primary was passed over and because of whom, who served, what the caller got."""
    assert explain(decision(usage=Usage(120, 40))) == [
        "2026-09-21 14:13:20 UTC: the assistant bot (named in its header) asked for chat_completions.",
        "primary (first/big) was not tried: its breaker was open since 14:13:11 (connect_error), tripped by req_0; "
        "it may be asked again from 14:13:32.",
        "fallback-1 (second/small) was tried and served: connected in 10ms, done after 498ms.",
        "The caller got HTTP 200 from fallback-1 after 512ms; 120 tokens in, 40 out; "
        "the upstream calls the model small-2026.",
    ]


def test_who_served_is_told_with_what_it_was_not_told() -> None:
    """By their names."""
    served = replace(SERVED, dropped=("seed", "temperature"))
    assert explain(decision(steps=(served,), served=served))[1] == (
        "fallback-1 (second/small) was tried and served: connected in 10ms, done after 498ms; "
        "not told to it: seed, temperature."
    )
    assert foresee([served], lambda at: at) == [
        "fallback-1 (second/small) would be tried, and if it answers, it serves; not told to it: seed, temperature."
    ]


_MET = Attempted("primary", "first", "big", "transient", "http_503", "bad", 10.0, 12.5, "maybe", status=503)


def _word(word: Word, **more: Any) -> Skipped:
    return Skipped("primary", "first", "big", word.value, 10.0, replace(View(word), **more))


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            _MET,
            "was tried: the upstream failed (http_503, HTTP 503, after 2.5s); its breaker counted a failure; "
            "the upstream may have billed it",
        ),
        (
            replace(_MET, probe="half_open", billed="no"),
            "was tried, as the one request that asks whether it is back: the upstream failed "
            "(http_503, HTTP 503, after 2.5s); its breaker counted a failure",
        ),
        (
            _word(Word.HALF_OPEN, reason="http_503"),
            "was not tried: its breaker was half-open (http_503): another request was asking whether it is back",
        ),
        (
            _word(Word.PARKED, reason="http_429", since=9.0, until=70.0),
            "was not tried: its upstream had asked for a rest (http_429) since 14:13:19, until 14:14:20",
        ),
        (
            _word(Word.DISABLED, reason="invalid_api_key", since=9.0, tripped_by=("req_0", "req_2")),
            "was not tried: it was disabled since 14:13:19 (invalid_api_key), tripped by req_0 and req_2; "
            "it stays so until an operator mends and resets it",
        ),
        (
            _word(Word.ISOLATED, since=9.0),
            "was not tried: an operator had isolated it since 14:13:19, until it is released",
        ),
        (
            _word(Word.OPEN, since=9.0, local=True),
            "was not tried: its breaker was open since 14:13:19 (this replica's own view)",
        ),
        (
            Skipped("primary", "first", "big", "unsupported", 10.0, View(Word.CLOSED), ("images", "tools")),
            "was not tried: the request needs images and tools, which it does not have",
        ),
        (
            Skipped("primary", "first", "big", "unsupported", 10.0, View(Word.CLOSED), uncarried="logprobs"),
            "was not tried: the request's logprobs cannot be put to its kind of source",
        ),
        (
            Skipped("primary", "first", "big", "unsupported", 10.0, View(Word.OPEN), uncarried="unknown_field"),
            "was not tried: the request has a field that is not known here, and so cannot be put to its kind of source",
        ),
        (
            Skipped("primary", "first", "big", "unsupported", 10.0, View(Word.CLOSED), uncarried="model"),
            "was not tried: the request names no model, and neither does its binding",
        ),
        (
            replace(_MET, billed="no", dropped=("seed", "reasoning.summary")),
            "was tried: the upstream failed (http_503, HTTP 503, after 2.5s); its breaker counted a failure; "
            "not told to it: seed, reasoning.summary",
        ),
        (
            Skipped("primary", "first", "big", "deadline", 10.0, View(Word.CLOSED)),
            "was not tried: too little of the request's time was left",
        ),
    ],
)
def test_each_step_is_one_sentence(step: Skipped | Attempted, said: str) -> None:
    """Why it was not tried, or what it met."""
    assert explain(decision(steps=(step, SERVED)))[1] == f"primary (first/big) {said}."


def test_an_empty_place_is_told_without_a_binding() -> None:
    """There is none to tell of."""
    unbound = Skipped("primary", "none", "none", "unbound", 10.0)
    assert explain(decision(steps=(unbound, SERVED)))[1] == "primary was not tried: an operator has left it empty."


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"outcome": "cancelled", "code": 499, "served": None}, "The caller left after 512ms, before an answer."),
        ({"outcome": "cancelled"}, "The caller left after 512ms, with the answer under way."),
        (
            {"outcome": "rejected", "code": 404, "refusal": "assistant_not_found", "served": None},
            "Homeport refused it: HTTP 404 assistant_not_found.",
        ),
        (
            {"outcome": "client_error", "code": 400, "served": None},
            "The caller got the upstream's own answer, HTTP 400, after 512ms.",
        ),
        (
            {"outcome": "client_error", "code": 400, "refusal": "unsupported", "served": None},
            "No tier can be asked it: the caller got HTTP 400 unsupported after 512ms.",
        ),
        (
            {"outcome": "exhausted", "code": 503, "refusal": "all_tiers_failed", "served": None},
            "No tier served it: the caller got HTTP 503 all_tiers_failed after 512ms.",
        ),
        (
            {"outcome": "exhausted", "code": 500, "served": None},
            "The caller got the only upstream's own answer, HTTP 500, after 512ms.",
        ),
        (
            {"outcome": "exhausted", "code": 200, "refusal": "all_tiers_failed", "served": None, "stream": True},
            "No tier served it: the caller got an error event all_tiers_failed in its stream after 512ms.",
        ),
        (
            {"outcome": "client_error", "code": 200, "served": None, "stream": True},
            "The caller got the upstream's own answer, an error event in its stream, after 512ms.",
        ),
        (
            {"outcome": "stream_broken", "stream": True},
            "The caller got the beginning of an answer from fallback-1, then an error event, after 512ms.",
        ),
        (
            {"outcome": "stream_broken"},
            "The caller got the beginning of an answer from fallback-1, then the connection's end, after 512ms.",
        ),
    ],
)
def test_the_end_is_told_as_the_caller_met_it(facts: dict[str, object], said: str) -> None:
    """Served, refused, left or cut."""
    assert explain(decision(**facts))[-1] == said


def test_every_word_has_a_phrase() -> None:
    """A new outcome, or a new thing that a breaker hears, does not get by without one."""
    assert MET.keys() == set(ATTEMPT_LABELS) - {"served"}
    assert HEARD.keys() == set(Hears)

"""The counter of moves down a chain, made from one decision."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.breaker.state import View, Word
from proxy.record.lines import Look
from proxy.record.metrics import Metrics
from proxy.routing.bindings import Bindings
from proxy.routing.decision import Skipped, Step
from tests.unit.record.decisions import OPEN, SERVED, decision
from tests.unit.record.now import now

_DISABLED = Skipped("fallback-1", "second", "small", "disabled", 10.001, View(Word.DISABLED, "invalid_api_key"))


def _moves(*steps: Step) -> list[str]:
    metrics = Metrics(now(Bindings({}, "1")))
    one = decision(steps=steps)
    metrics.counts(one, Look()).add(one)
    metrics.settle()
    lines = metrics.exposition().decode().splitlines()
    return [line for line in lines if line.startswith("homeport_fallbacks_total{")]


def test_a_move_is_to_the_next_tier() -> None:
    """From the tier that was left to the one after it, with the reason."""
    assert _moves(OPEN, SERVED) == [
        'homeport_fallbacks_total{assistant="bot",from_tier="primary",reason="open",to_tier="fallback-1"} 1.0'
    ]


@pytest.mark.parametrize("probe", ["half_open", "early", "trickle", None])
def test_a_tier_that_is_asked_once_more_is_no_move(probe: str | None) -> None:
    """Where no tier may be tried, one is asked again, in whatever state it is by then: nobody moved down to it."""
    again = replace(SERVED, tier="primary", source="first", model="big", probe=probe)
    assert _moves(OPEN, _DISABLED, again) == _moves(OPEN, _DISABLED)
    assert _moves(OPEN, again) == []

"""States that say a given word: what somebody supposes of a target, to see what would follow.

1. Pure. What is supposed is judged by machine.py like anything else.
"""

from __future__ import annotations

import math

from proxy.breaker import machine
from proxy.breaker.state import Circuit, Latch, Policy, State, Wait, Word

REASON = "assumed"
"""What a supposed state says of its cause."""
_SUPPOSED = (("", REASON),)
_REST = 60.0


def supposed(word: Word, policy: Policy, now: float, span: float | None = None) -> State:
    """A state that says `word` from now on: for `span` seconds, or as long as is usual for it."""
    match word:
        case Word.CLOSED:
            return State()
        case Word.OPEN:
            rest = policy.cooldown if span is None else span
            # For long enough that it may be asked ahead of its time, where no other tier may be.
            return State(circuit=Circuit(Word.OPEN, now - machine.PACE, now + rest, rest, _SUPPOSED))
        case Word.HALF_OPEN:
            rest = machine.LEASE if span is None else span
            return State(circuit=Circuit(Word.HALF_OPEN, now, now + rest, rest, _SUPPOSED, token=REASON, probed=now))
        case Word.PARKED:
            until = now + (_REST if span is None else span)
            return State(wait=Wait(Latch(REASON, now, until, span=until - now), times=1, last=now, next=until))
        case Word.DISABLED:
            return State(disabled=Latch(REASON, now))
        case Word.ISOLATED:
            return State(isolated=Latch(REASON, now, math.inf if span is None else now + span))

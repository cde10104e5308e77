"""States of one target that meet again: on another clock, after a store was away or has lost something.

1. Pure, like machine.py: (states, now) → state, and no event is made up but one that was met.
2. Nothing that keeps requests off is lost or shortened, and nothing grows beyond what was set.
"""

from __future__ import annotations

import math
from dataclasses import replace

from proxy.breaker import machine
from proxy.breaker.state import Heard, Hears, Latch, State, Wait, Word


def shifted(shift: float, told: float, before: float, after: float) -> float:
    """From this process's clock to another's, which told its time between `before` and `after`, on this process's.

    No further from the `shift` that was known than that proves: a reply that was read late says little.
    """
    return min(max(shift, told - after), told - before)


def clamped(state: State, now: float) -> State:
    """`state` as its clock may have stepped since it was written: nothing lies in the future, and no wait has grown."""
    circuit, wait, evidence = state.circuit, state.wait, state.evidence
    circuit = replace(
        circuit,
        since=min(circuit.since, now),
        until=min(circuit.until, now + circuit.span),
        probed=min(circuit.probed, now),
        early=None if circuit.early is None else min(circuit.early, now + _EARLY_MAX),
    )
    latch = wait.latch and _clamped(wait.latch, now)
    until = now + machine.PACE if latch is None else max(latch.until, now + machine.PACE)
    return replace(
        state,
        circuit=circuit,
        wait=replace(wait, latch=latch, last=min(wait.last, now), next=min(wait.next, until)),
        evidence=replace(
            evidence,
            began=min(evidence.began, now),
            turned=min(evidence.turned, now),
            strike=None if evidence.strike is None else min(evidence.strike, now),
        ),
        disabled=state.disabled and _clamped(state.disabled, now),
        isolated=state.isolated and _clamped(state.isolated, now),
    )


_EARLY_MAX = 3600.0
"""No cooldown is longer."""


def _clamped(latch: Latch, now: float) -> Latch:
    return replace(latch, since=min(latch.since, now), until=min(latch.until, now + latch.span))


def joined(mine: State, theirs: State, now: float) -> State:
    """What two views of one target know together, after a store has lost something or while none is there.

    Latches come from whoever knows the operators' latest act, or from both if they know the same; the circuit from
    the higher epoch. A probe that was under way keeps its place closed for the rest of its lease, without an owner.
    """
    newer, older = (mine, theirs) if mine.serial > theirs.serial else (theirs, mine)
    if mine.serial == theirs.serial:
        newer = replace(
            newer,
            disabled=newer.disabled or older.disabled,
            isolated=newer.isolated or older.isolated,
            wait=_longer(newer.wait, older.wait),
        )
    ahead = mine if mine.epoch > theirs.epoch else theirs
    circuit = ahead.circuit
    if circuit.word is Word.HALF_OPEN:
        rest = max(0.0, circuit.until - now)
        circuit = replace(circuit, word=Word.OPEN, span=rest, token="", early=None)
    return replace(newer, epoch=ahead.epoch, circuit=circuit, evidence=ahead.evidence)


def _longer(one: Wait, other: Wait) -> Wait:
    until = [-math.inf if wait.latch is None else wait.latch.until for wait in (one, other)]
    return one if until[0] >= until[1] else other


def fallen_back(guard: State, shared: State, now: float) -> State:
    """A replica's own state, once the shared one is out of reach: whatever keeps requests off in either still does."""
    circuit, epoch = guard.circuit, guard.epoch
    theirs = shared.circuit
    if theirs.word is not Word.CLOSED and (circuit.word is Word.CLOSED or circuit.until < theirs.until):
        rest = max(0.0, theirs.until - now)
        circuit = replace(theirs, word=Word.OPEN, span=rest, token="", early=None)
        epoch += 1
    return replace(
        guard,
        epoch=epoch,
        circuit=circuit,
        wait=_longer(guard.wait, shared.wait),
        disabled=shared.disabled or guard.disabled,
        isolated=shared.isolated or guard.isolated,
    )


def retold(guard: State, epoch: int, now: float) -> list[Heard]:
    """What a guard has met, for a shared state of `epoch` that does not show it. Told twice, it counts once."""
    told = []
    if guard.circuit.word is not Word.CLOSED:
        told += [
            Heard(epoch, Hears.BAD, now, request_id, again=True, reason=reason)
            for request_id, reason in guard.circuit.failed
        ]
    if guard.disabled is not None:
        latch = guard.disabled
        request_id = latch.tripped_by[0] if latch.tripped_by else ""
        told.append(Heard(epoch, Hears.DISABLE, now, request_id, again=True, reason=latch.reason, fault=latch.fault))
    if guard.wait.latch is not None and guard.wait.latch.until > now:
        latch = guard.wait.latch
        request_id = latch.tripped_by[0] if latch.tripped_by else ""
        rest = max(latch.until - now, machine.LONG_WAIT)
        told.append(
            Heard(
                epoch,
                Hears.RATE_LIMIT,
                now,
                request_id,
                again=True,
                reason=latch.reason,
                fault=latch.fault,
                retry_after=rest,
            )
        )
    return told

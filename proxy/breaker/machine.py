"""The circuit breaker's whole state machine, pure: (state, policy, event, now) → state and what came of it.

1. Three latches and one circuit stand side by side, so that none can erase or shorten another: `isolated` (by an
   operator), `disabled` (a fault that time does not heal), `parked` (asked to wait), and the circuit. People are shown
   the strongest.
2. Only a result of the current epoch moves the circuit, and a half-open circuit hears its probe's owner alone.
3. An open circuit hears nobody: a late result neither extends nor closes it.
4. A longer wait is never shortened by a shorter one, and never undercut by a success that began before it was over.
5. What an operator did is undone by no result from before it: such a result carries an epoch older than `reset_epoch`.
6. Neutral results judge nothing; from a probe they free its slot at once.
7. Time and chance are arguments. Seconds, on any one clock that never steps back.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import assert_never

from proxy.breaker.state import (
    Acquire,
    Act,
    Circuit,
    Event,
    Evidence,
    Failure,
    Granted,
    Heard,
    Hears,
    Latch,
    Moved,
    Operate,
    Policy,
    Renew,
    Returned,
    State,
    Step,
    View,
    Word,
)

LEASE = 15.0
"""Seconds a probe's owner has before another may take its place; it renews while its attempt is under way."""
BUCKET = 10.0
"""Seconds; the failure rate is taken over the current and the previous bucket."""
PROBATION, PROBATION_FAILURES = 10.0, 2
"""Seconds after coming home during which so many failures are enough to leave again."""
QUIET = 60.0
"""Seconds closed, after which earlier failed probes no longer lengthen a cooldown."""
PACE = 1.0
"""Seconds between early probes, and between requests to a target whose wait is over until one succeeds."""
STRIKES_APART = 5.0
"""Seconds between the two refusals that disable a target."""
LIMITS_TOGETHER = 2.0
"""Seconds within which a second rate limit shows that the first was no accident of one large request."""
LONG_WAIT = 5.0
"""Seconds of Retry-After from which a single rate limit parks."""
WAIT_MAX = 3600.0
_WAIT, _WAIT_MAX_UNASKED = 5.0, 60.0
_QUOTA = 300.0
_FAILURES = 5
"""So many are named."""


# To find a member in its class costs many times as much.
_CLOSED, _OPEN, _HALF_OPEN = Word.CLOSED, Word.OPEN, Word.HALF_OPEN


def view(state: State, now: float) -> View:
    """The strongest of latches and circuit."""
    circuit, failures = state.circuit, state.evidence.failures
    if state.isolated is not None and state.isolated.until > now:
        return _latched(Word.ISOLATED, state.isolated, failures)
    if state.disabled is not None:
        return _latched(Word.DISABLED, state.disabled, failures)
    if state.wait.latch is not None:
        return replace(_latched(Word.PARKED, state.wait.latch, failures), until=state.wait.next)
    if circuit.word is _CLOSED:
        return View(_CLOSED, since=circuit.since if circuit.recovered else None, failures=failures)
    return View(circuit.word, circuit.reason, circuit.since, circuit.until, circuit.tripped_by, failures)


def _latched(word: Word, latch: Latch, failures: int) -> View:
    until = None if latch.until == math.inf else latch.until
    return View(word, latch.reason, latch.since, until, latch.tripped_by, failures, latch.fault)


_NO_EVIDENCE = Evidence()


def calm(state: State) -> bool:
    """True while nothing is amiss: requests may pass without asking, and successes need no telling but a count."""
    evidence = state.evidence
    return (
        state.circuit.word is _CLOSED
        and not evidence.failures
        and evidence.strike is None
        and state.wait.latch is None
        and state.disabled is None
        and state.isolated is None
    )


def step(state: State, policy: Policy, event: Event, now: float) -> Step:
    """What `event` makes of `state`. An event that has no say leaves it as it is: the very same object."""
    answer: Granted | View | None = None
    match event:
        case Acquire():
            after, cause, answer = _acquire(state, event, now)
        case Renew():
            after, cause = _renew(state, event, now), ""
        case Heard():
            after, cause = _heard(state, policy, event, now)
        case Operate():
            after, cause = _operate(state, event, now), "operator"
        case Returned():
            after, cause = _returned(state, event, now), "probe_good"
        case _:
            assert_never(event)
    if after is state:
        return Step(state, answer)
    was, became = view(state, now).word, view(after, now)
    return Step(after, answer, Moved(was, became.word, cause, became) if was is not became.word else None)


# -- asking to be let through


def _acquire(state: State, event: Acquire, now: float) -> tuple[State, str, Granted | View]:
    seen = view(state, now)
    circuit, wait = state.circuit, state.wait
    if seen.word in (Word.ISOLATED, Word.DISABLED) or (seen.word is Word.PARKED and now < wait.next):
        return state, "", seen
    if circuit.word is _CLOSED:
        if wait.latch is None:
            return state, "", Granted("closed", state.epoch)
        return _paced(state, now), "", Granted("trickle", state.epoch)
    due = now >= circuit.until
    if not due and not (event.early and circuit.word is _OPEN and now >= max(circuit.since, circuit.probed) + PACE):
        # The circuit's own word, not a park's that is over.
        return (
            state,
            "",
            View(circuit.word, circuit.reason, circuit.since, circuit.until, circuit.tripped_by, seen.failures),
        )
    probing = replace(
        circuit,
        word=_HALF_OPEN,
        since=now,
        until=now + LEASE,
        span=LEASE,
        token=event.token,
        early=None if due else circuit.until,
        probed=now,
    )
    after = replace(state, epoch=state.epoch + 1, circuit=probing)
    if wait.latch is not None:
        after = _paced(after, now)
    return after, "cooldown_over" if due else "early", Granted("half_open" if due else "early", after.epoch)


def _paced(state: State, now: float) -> State:
    return replace(state, wait=replace(state.wait, next=now + PACE))


def _renew(state: State, event: Renew, now: float) -> State:
    circuit = state.circuit
    if circuit.word is not _HALF_OPEN or circuit.token != event.token or now >= circuit.until:
        return state
    return replace(state, circuit=replace(circuit, until=now + LEASE))


# -- results


def _heard(state: State, policy: Policy, event: Heard, now: float) -> tuple[State, str]:
    if event.epoch < state.reset_epoch:
        return state, ""
    after, latched = _latch(state, event, now)
    circuit = after.circuit
    if circuit.word is _HALF_OPEN and (event.token, event.epoch) == (circuit.token, after.epoch):
        after, cause = _probed(after, policy, event, now)
    elif circuit.word is _CLOSED and event.epoch == after.epoch:
        after, cause = _counted(after, policy, event, now)
    else:
        cause = ""
    return after, latched or cause


def _latch(state: State, event: Heard, now: float) -> tuple[State, str]:
    """What holds whatever the circuit is in."""
    match event.hears:
        case Hears.BAD | Hears.NEUTRAL:
            return state, ""
        case Hears.GOOD:
            return _succeeded(state, event), "probe_good"
        case Hears.RATE_LIMIT | Hears.QUOTA:
            return _park(state, event, now)
        case Hears.DISABLE:
            return _disable(state, event, now), event.fault
        case Hears.DISABLE_TWICE:
            first = state.evidence.strike
            if first is not None and now - first >= STRIKES_APART:
                return _disable(state, event, now), event.fault
            if first is None:
                return replace(state, evidence=replace(state.evidence, strike=now)), ""
            return state, ""
        case _:
            assert_never(event.hears)


def _succeeded(state: State, event: Heard) -> State:
    wait, evidence = state.wait, state.evidence
    if wait.latch is not None and event.began >= wait.latch.until:
        state = replace(state, wait=replace(wait, latch=None, times=0))
    if evidence.strike is not None and event.began >= evidence.strike:
        state = replace(state, evidence=replace(evidence, strike=None))
    return state


def _disable(state: State, event: Heard, now: float) -> State:
    if state.disabled is not None:
        return state
    return replace(state, disabled=Latch(event.reason, now, tripped_by=(event.request_id,), fault=event.fault))


def _park(state: State, event: Heard, now: float) -> tuple[State, str]:
    wait = state.wait
    noted = replace(wait, last=now, last_id=event.request_id)
    again = now - wait.last <= LIMITS_TOGETHER and wait.last_id != event.request_id
    asked = event.retry_after
    quota = event.hears is Hears.QUOTA
    sure = quota or event.exhausted or event.paced or event.token is not None or again
    if not sure and not (asked is not None and asked >= LONG_WAIT):
        return replace(state, wait=noted), ""
    old = wait.latch
    # Of many requests that were under way together only the first lengthens the next wait.
    times = max(0, wait.times - 1) if old is not None and event.began < old.until else min(wait.times, 10)
    if quota:
        seconds = max(min(_QUOTA * 2**times, WAIT_MAX), asked or 0.0)
    else:
        seconds = min(_WAIT * 2**times, _WAIT_MAX_UNASKED) if asked is None else max(asked, 1.0)
    until = now + min(seconds, WAIT_MAX) * (1.0 + event.chance / 10)
    if old is not None and old.until >= until:
        return replace(state, wait=noted), ""
    latch = Latch(event.reason, now if old is None else old.since, until, (event.request_id,), until - now, event.fault)
    return replace(state, wait=replace(noted, latch=latch, times=times + 1, next=until)), (
        "quota" if quota else "rate_limited"
    )


def _probed(state: State, policy: Policy, event: Heard, now: float) -> tuple[State, str]:
    circuit = state.circuit
    match event.hears:
        case Hears.GOOD:
            home = Circuit(_CLOSED, since=now, streak=circuit.streak, probed=circuit.probed, recovered=True)
            return replace(state, epoch=state.epoch + 1, circuit=home, evidence=_NO_EVIDENCE), "probe_good"
        case Hears.BAD | Hears.DISABLE_TWICE:
            if circuit.early is not None and circuit.early > now:
                until, streak = circuit.early, circuit.streak
            else:
                streak = circuit.streak + 1
                until = now + _cooldown(policy, streak)
            return _opened(state, now, until, (*circuit.failed, _failure(event)), streak), "probe_bad"
        case Hears.NEUTRAL | Hears.RATE_LIMIT | Hears.QUOTA | Hears.DISABLE:
            return _opened(state, now, now, circuit.failed, circuit.streak), "probe_neutral"
        case _:
            assert_never(event.hears)


def _returned(state: State, event: Returned, now: float) -> State:
    circuit = state.circuit
    asleep = circuit.word is _OPEN or (circuit.word is _HALF_OPEN and now >= circuit.until)
    if not asleep or event.epoch != state.epoch or event.since <= circuit.since:
        return state
    home = Circuit(_CLOSED, since=now, streak=circuit.streak, probed=circuit.probed, recovered=True)
    return replace(state, epoch=state.epoch + 1, circuit=home, evidence=_NO_EVIDENCE)


def _opened(state: State, now: float, until: float, failed: tuple[Failure, ...], streak: int) -> State:
    probed = state.circuit.probed
    circuit = Circuit(_OPEN, now, until, until - now, failed[-_FAILURES:], min(streak, 20), probed=probed)
    evidence = replace(_NO_EVIDENCE, strike=state.evidence.strike)
    return replace(state, epoch=state.epoch + 1, circuit=circuit, evidence=evidence)


def _cooldown(policy: Policy, streak: int) -> float:
    return float(min(policy.cooldown_max, policy.cooldown * 2 ** min(streak, 20)))


def _counted(state: State, policy: Policy, event: Heard, now: float) -> tuple[State, str]:
    match event.hears:
        case Hears.GOOD:
            return replace(state, evidence=_with_good(state.evidence, event, now)), "probe_good"
        case Hears.BAD | Hears.DISABLE_TWICE:
            if event.again and _failure(event) in state.evidence.failed:
                return state, ""
            evidence = _with_bad(state.evidence, event, now)
            cause = _trips(state.circuit, evidence, policy, now)
            if cause is None:
                return replace(state, evidence=evidence), ""
            streak = _streak(state.circuit, now)
            until = now + _cooldown(policy, streak)
            failed = evidence.failed if cause == "failure_rate" else evidence.failed[-evidence.failures :]
            return _opened(state, now, until, failed, streak), cause
        case Hears.NEUTRAL | Hears.RATE_LIMIT | Hears.QUOTA | Hears.DISABLE:
            return state, ""
        case _:
            assert_never(event.hears)


def _streak(circuit: Circuit, now: float) -> int:
    """How much longer than the plain cooldown: a target that keeps coming back too soon rests longer each time."""
    if not circuit.recovered or now - circuit.since >= QUIET:
        return 0
    return circuit.streak + 1 if now - circuit.since < PROBATION else circuit.streak


def _trips(circuit: Circuit, evidence: Evidence, policy: Policy, now: float) -> str | None:
    if circuit.recovered and now - circuit.since < PROBATION and evidence.failures >= PROBATION_FAILURES:
        return "failures"
    run = evidence.failures >= policy.failure_threshold
    if run and evidence.failures >= policy.failure_rate * evidence.outcomes:
        return "failures"
    calls, failures = evidence.now[0] + evidence.before[0], evidence.now[1] + evidence.before[1]
    if calls >= policy.minimum_calls and failures >= policy.failure_rate * calls:
        return "failure_rate"
    return None


def _turned(evidence: Evidence, now: float) -> Evidence:
    age = now - evidence.turned
    if age >= 2 * BUCKET or not (evidence.now[0] or evidence.before[0]):
        return replace(evidence, turned=now, now=(0, 0), before=(0, 0))
    if age >= BUCKET:
        return replace(evidence, turned=evidence.turned + BUCKET, now=(0, 0), before=evidence.now)
    return evidence


def _with_good(evidence: Evidence, event: Heard, now: float) -> Evidence:
    counts = 0 if event.late else 1
    evidence = _turned(evidence, now)
    evidence = replace(evidence, now=(evidence.now[0] + counts, evidence.now[1]))
    if not evidence.failures:
        return evidence
    if event.began > evidence.began and event.whole:
        return replace(evidence, failures=0, outcomes=0)
    # A long call that began before the trouble says nothing of now, and a stream that has only begun says nothing of
    # its end (a target that cuts every stream would clear its run each time); but they were outcomes all the same.
    return replace(evidence, outcomes=evidence.outcomes + counts)


def _with_bad(evidence: Evidence, event: Heard, now: float) -> Evidence:
    evidence = _turned(evidence, now)
    (calls, failures), (calls_before, failures_before) = evidence.now, evidence.before
    recent = evidence.failed if evidence.failures or failures or failures_before else ()
    return replace(
        evidence,
        failures=evidence.failures + 1,
        outcomes=max(evidence.failures, evidence.outcomes - event.late) + 1,
        began=evidence.began if evidence.failures else now,
        now=(calls + (0 if event.late else 1) + event.goods[0], failures + 1),
        before=(calls_before + event.goods[1], failures_before),
        failed=(*recent, _failure(event))[-_FAILURES:],
    )


def _failure(event: Heard) -> Failure:
    return event.request_id, event.reason


# -- operators


def _operate(state: State, event: Operate, now: float) -> State:
    serial = state.serial + 1
    match event.act:
        case Act.RESET:
            epoch = state.epoch + 1
            return State(epoch=epoch, reset_epoch=epoch, serial=serial, isolated=state.isolated)
        case Act.ISOLATE:
            return replace(state, serial=serial, isolated=Latch("operator", now, event.until, span=event.until - now))
        case Act.RELEASE:
            return replace(state, serial=serial, isolated=None)
        case _:
            assert_never(event.act)

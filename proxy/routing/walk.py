"""The walk: for each tier in order: fits? admitted? send, judge, settle, note. The first that serves ends it.

1. Every permit is settled exactly once, also when the caller leaves in the middle.
2. A tier that was not sent to has not been tried: its breaker's word goes into the story, and nothing else happens.
   So what its dialect may refuse is put to that before its breaker is asked, once, and the same call is sent.
3. One deadline spans all attempts; each attempt leaves a reserve for the tiers after it.
4. Time and I/O come in through Ports; nothing here waits by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from proxy.breaker.link import ASK_LIMIT
from proxy.breaker.permit import Guard, Permit, Verdict
from proxy.breaker.state import Hears, View, Word
from proxy.providers.dialect import Call, Uncarried
from proxy.routing.bindings import Chain, Tier
from proxy.routing.decision import Attempted, Skipped, Step
from proxy.routing.verdict import REQUEST_FAULTS, Onward, Ruling, judge, served
from proxy.terms import (
    Abandoned,
    Accepted,
    Binding,
    Cause,
    Diagnosis,
    Failed,
    Interrupted,
    Outcome,
    Progress,
    Question,
    Rejected,
    Times,
)

Send = Callable[[Question, Binding, Times, float, float, Diagnosis, Call | None], tuple[Progress, Awaitable[Outcome]]]
"""Makes an attempt: what is known of it while it is under way, and what is to be awaited at once. It starts at the
first of the two moments and must have an answer by the second, else it ends with the diagnosis. The call is what a
dialect that sifts has made of the question.
"""


class Breakers(Protocol):
    """What the walk asks and tells of the tiers' health: a keeper, or a rehearsal that only says what would be."""

    def calm(self, guard: Guard, request_id: str) -> Permit | None:
        """Leave to send one request, where nothing is amiss and so there is nothing to ask. None: `admit` must say."""
        ...

    def standing(self, guard: Guard) -> View | None:
        """The denial that every request hears alike, so there is nobody to ask. None: `admit` must say."""
        ...

    async def admit(self, guard: Guard, request_id: str, *, early: bool, patience: float) -> Permit | View:
        """May one request be sent? If not: the view that denies it."""
        ...

    def settle(self, permit: Permit, verdict: Verdict) -> None:
        """The attempt has reached its commit point or its end. Exactly once for each permit."""
        ...

    def report_end(self, permit: Permit, verdict: Verdict) -> None:
        """How an answer ended that was settled as good when it had only begun."""
        ...

    def look(self, guard: Guard) -> View:
        """What people are shown."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """What the walk is given of the world."""

    breakers: Breakers
    send: Send
    clock: Callable[[], float]


@dataclass(slots=True, unsafe_hash=True, init=False)
class Deadline:
    """How long the caller's request may take until it is committed, and how its attempts are bounded. Seconds."""

    until: Final[float]
    """Absolute."""
    total: Final[float]
    """From arrival to `until`."""
    overrun: Final[Diagnosis]
    """TIMEOUT_TOTAL where the operator set `until`, PATIENCE where the caller did."""
    times: Final[Times]
    """As configured."""

    def __init__(self, until: float, total: float, overrun: Diagnosis, times: Times) -> None:
        self.until, self.total, self.overrun, self.times = until, total, overrun, times


class Trail:
    """The steps so far. The edge keeps it, so that a story cut short is still told."""

    __slots__ = ("request_id", "steps", "trying", "waited")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.steps: list[Step] = []
        self.waited = 0.0
        """Seconds spent waiting for upstreams."""
        self.trying: str | None = None
        """The tier whose upstream has the request now, until its answer has ended."""


@dataclass(slots=True, unsafe_hash=True, init=False)
class Served:
    """A tier's answer, committed."""

    accepted: Final[Accepted]
    attempted: Final[Attempted]
    permit: Final[Permit]

    def __init__(self, accepted: Accepted, attempted: Attempted, permit: Permit) -> None:
        self.accepted, self.attempted, self.permit = accepted, attempted, permit


@dataclass(frozen=True, slots=True)
class Refused:
    """Nobody served."""

    verbatim: Rejected | None
    """An upstream's own answer for the caller: a fault of the request, or the word of a chain's only tier."""
    by: Attempted | None = field(default=None, compare=False)
    """With `verbatim`: the attempt that met it."""
    uncarried: Uncarried | None = None
    """No tier can be asked this, whatever its health: the first one's objection."""


async def walk(question: Question, chain: Chain, deadline: Deadline, trail: Trail, ports: Ports) -> Served | Refused:
    """Try the tiers in order until one serves; never raises for anything an upstream does."""
    journey = _Journey(question, chain, deadline, trail, ports)
    if chain.cleared:
        trail.steps.append(Skipped("primary", "none", "none", "unbound", ports.clock()))
    refused: list[_Denied] = []
    for place, tier in enumerate(chain.tiers):
        call = journey.fit(place, tier)
        if isinstance(call, Skipped):
            trail.steps.append(call)
            continue
        guard = journey.guard(tier)
        breakers = ports.breakers
        admitted = breakers.calm(guard, trail.request_id) or breakers.standing(guard) or await journey.admit(guard)
        if isinstance(admitted, View):
            refused.append(_Denied(place, admitted, call))
            trail.steps.append(_skipped(tier, str(admitted.word), ports.clock(), admitted))
            continue
        # Once one tier is asked none is asked early, and what they would have been sent need not be kept meanwhile.
        refused.clear()
        end = await journey.attempt(place, admitted, call)
        if end is not None:
            return end
    if not any(isinstance(step, Attempted) for step in trail.steps):
        end = await _early(journey, refused)
        if end is not None:
            return end
    return journey.refusal()


@dataclass(slots=True, unsafe_hash=True, init=False)
class _Denied:
    """A tier that fits, and that its breaker kept from being tried."""

    place: Final[int]
    seen: Final[View]
    call: Final[Call | None]

    def __init__(self, place: int, seen: View, call: Call | None) -> None:
        self.place, self.seen, self.call = place, seen, call


async def _early(journey: _Journey, refused: list[_Denied]) -> Served | Refused | None:
    """No tier may be tried: ask the open one that is due soonest, ahead of its time, if nobody else is asking it."""
    asleep = [each for each in refused if each.seen.word is Word.OPEN]
    if not asleep:
        return None
    due = min(asleep, key=lambda each: each.seen.until or 0.0)
    admitted = await journey.admit(journey.guard(journey.chain.tiers[due.place]), early=True)
    return await journey.attempt(due.place, admitted, due.call) if isinstance(admitted, Permit) else None


class _Journey:
    """What one walk knows while it is under way."""

    __slots__ = ("_answers", "_outgrown", "_patience", "_uncarried", "chain", "deadline", "ports", "question", "trail")

    def __init__(self, question: Question, chain: Chain, deadline: Deadline, trail: Trail, ports: Ports) -> None:
        self.question, self.chain, self.deadline, self.trail, self.ports = question, chain, deadline, trail, ports
        self._outgrown: int | None = None
        """Once a tier found the request too long: the largest declared context window that was too small, in tokens."""
        self._patience = ASK_LIMIT
        self._answers: list[tuple[Rejected, Attempted]] = []
        self._uncarried: Uncarried | None = None
        """The first tier's objection."""

    def guard(self, tier: Tier) -> Guard:
        return tier.guards[self.question.endpoint.name]

    async def admit(self, guard: Guard, *, early: bool = False) -> Permit | View:
        """Ask its breaker. All that a request ever waits for a shared store is bounded together."""
        began = self.ports.clock()
        breakers, request_id = self.ports.breakers, self.trail.request_id
        admitted = await breakers.admit(guard, request_id, early=early, patience=self._patience)
        self._patience -= self.ports.clock() - began
        return admitted

    def time_left(self) -> float:
        return self.deadline.until - self.ports.clock()

    def fit(self, place: int, tier: Tier) -> Call | Skipped | None:
        """What this tier is asked, None if that is the request as it came; or why it cannot take it, whatever its
        health.
        """
        binding, deadline, endpoint = tier.binding, self.deadline, self.question.endpoint.name
        if self._outgrown is not None and (binding.context or 0) <= self._outgrown:
            return self._skip(tier, "too_small_context")
        if endpoint in tier.lacks:
            return self._skip(tier, "unsupported", frozenset({endpoint}))
        if binding.supports is not None and (missing := self.question.needs - binding.supports):
            return self._skip(tier, "unsupported", missing)
        # Well below a tenth: that is what the tier before leaves, less the moment that its end took.
        if place and (left := self.time_left()) < 2.0 and left < min(deadline.times.first_byte, deadline.total / 20):
            return self._skip(tier, "deadline")
        sifter = tier.sifters.get(endpoint)
        if sifter is None:
            return None
        call = sifter.call(self.question, binding)
        if not isinstance(call, Uncarried):
            return call
        self._uncarried = self._uncarried or call
        return replace(self._skip(tier, "unsupported"), uncarried=call.detail)

    def _skip(self, tier: Tier, why: str, missing: frozenset[str] = frozenset()) -> Skipped:
        return _skipped(tier, why, self.ports.clock(), self.ports.breakers.look(self.guard(tier)), missing)

    def bounds(self, place: int, now: float) -> tuple[float, Diagnosis]:
        """All the time that is left, less a reserve for the tiers after this one; and what it means to overrun it."""
        deadline, times = self.deadline, self.deadline.times
        until, overrun = deadline.until, deadline.overrun
        if later := len(self.chain.tiers) - place - 1:
            until -= later * min(30.0, (until - now) / 10)
        if times.attempt is not None and not self.question.stream and now + times.attempt < until:
            until, overrun = now + times.attempt, Diagnosis(Cause.TIMEOUT_TOTAL, "attempt")
        return until, overrun

    async def attempt(self, place: int, permit: Permit, call: Call | None) -> Served | Refused | None:
        """Send to one tier; None when the next one may be tried."""
        tier, trail, ports = self.chain.tiers[place], self.trail, self.ports
        started = ports.clock()
        until, overrun = self.bounds(place, started)
        progress, outcome = _UNSENT, _LEFT
        trail.trying = tier.name
        try:
            progress, answering = ports.send(
                self.question, tier.binding, self.deadline.times, started, until, overrun, call
            )
            outcome = await answering
        finally:
            # Also when cancelled: a probe's slot must come free, and an impatient caller may be evidence.
            now = ports.clock()
            if isinstance(outcome, Accepted):
                ruling, billed = served(outcome), "yes"
            else:
                ruling, billed = self._judge(tier, outcome, progress, now), _billed(outcome, progress)
                trail.trying = None
            ports.breakers.settle(permit, ruling.verdict)
            # Twenty names would cost as much as all the rest of it, which every request pays for.
            attempted = Attempted(
                tier.name,
                tier.binding.source,
                tier.binding.model,
                ruling.label,
                ruling.detail,
                ruling.heard,
                started,
                now,
                billed,
                None if permit.kind == "closed" else permit.kind,
                progress.status,
                progress.connected,
                progress.first_byte,
                progress.first_token,
                progress.reused,
                progress.retried,
                progress.upstream_id,
                ruling.verdict.retry_after,
                permit.seen,
                call.dropped if call is not None else (),
            )
            trail.steps.append(attempted)
            trail.waited += now - started
        if isinstance(outcome, Accepted):
            return Served(outcome, attempted, permit)
        if isinstance(outcome, Rejected):
            self._answers.append((outcome, attempted))
        if ruling.onward is Onward.STOP:
            return Refused(outcome, attempted) if isinstance(outcome, Rejected) else Refused(None)
        if ruling.onward is Onward.LARGER:
            self._outgrown = max(self._outgrown or 0, tier.binding.context or 0)
        return None

    def _judge(self, tier: Tier, outcome: Outcome, progress: Progress, now: float) -> Ruling:
        deadline, ran = self.deadline, now - progress.started
        first_byte = deadline.times.first_byte
        patience = min(first_byte, 10.0) if self.question.stream else first_byte
        capped = isinstance(outcome, Failed) and outcome.diagnosis.detail == "attempt"
        return judge(
            outcome,
            fallback=tier.name != "primary",
            fair=capped or ran >= min(first_byte, deadline.total / 2),
            silent=progress.sent and progress.first_byte is None and ran >= patience,
        )

    def refusal(self) -> Refused:
        """What is left to say when no tier is left to try."""
        for answer, attempted in self._answers:
            if answer.diagnosis.cause in REQUEST_FAULTS:
                return Refused(answer, attempted)
        alone = len(self.chain.tiers) == 1 and not self.chain.cleared
        if alone and self._answers:
            return Refused(*self._answers[-1])
        # Where a tier could have been asked, it is well worth the caller's while to come again.
        unfit = sum(isinstance(step, Skipped) and step.reason == "unsupported" for step in self.trail.steps)
        objections = [each for each in self._answers if each[0].diagnosis.cause is Cause.UNSUPPORTED]
        if unfit + len(objections) < len(self.chain.tiers):
            return Refused(None)
        if self._uncarried is not None:
            return Refused(None, uncarried=self._uncarried)
        return Refused(*objections[0]) if objections else Refused(None)


def conclude(served: Served, broke: Interrupted | Abandoned | None, trail: Trail, ports: Ports) -> Attempted:
    """The committed answer has ended, whole or not: correct the story, and let the breaker hear of a cut."""
    complete, attempted = served.accepted.complete, served.attempted
    if complete and broke is None:
        return attempted
    # What was read whole had ended before it was handed on.
    at = attempted.ended if complete else ports.clock()
    outcome, detail, heard, verdict = attempted.outcome, attempted.detail, attempted.heard, _WELL
    if broke is not None:
        ruling = judge(broke, fallback=False, fair=True, silent=False)
        outcome, detail, verdict = ruling.label, ruling.detail, ruling.verdict
        if verdict.hears is not Hears.NEUTRAL:
            heard = ruling.heard
    ports.breakers.report_end(served.permit, verdict)
    ended = attempted.ending(at, outcome, detail, heard)
    trail.steps[trail.steps.index(attempted)] = ended
    return ended


_WELL: Final = Verdict(Hears.GOOD)
_LEFT: Final[Outcome] = Abandoned()
_UNSENT: Final = Progress(0.0)
"""Of an attempt that a fault of our own kept from beginning."""


def _skipped(tier: Tier, why: str, now: float, seen: View, missing: frozenset[str] = frozenset()) -> Skipped:
    lacks = tuple(sorted(missing)) if missing else ()
    return Skipped(tier.name, tier.binding.source, tier.binding.model, why, now, seen, lacks)


def _billed(outcome: Outcome, progress: Progress) -> str:
    refused = isinstance(outcome, Rejected) and 300 <= outcome.status < 500 and outcome.status != 408
    return "no" if refused or not progress.sent else "maybe"

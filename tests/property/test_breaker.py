"""Whatever happens in whatever order, the breaker keeps its promises."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from proxy.breaker import machine
from proxy.breaker.state import Acquire, Act, Granted, Heard, Hears, Operate, Policy, Renew, State, Word

_POLICY = Policy(failure_threshold=2, minimum_calls=5, cooldown=10, cooldown_max=60)
# Weighted towards what trips and probes: a walk that stays closed proves nothing.
_HEARS = st.sampled_from(
    [Hears.BAD] * 6
    + [Hears.GOOD] * 4
    + [Hears.NEUTRAL] * 2
    + [Hears.RATE_LIMIT, Hears.QUOTA, Hears.DISABLE_TWICE, Hears.DISABLE_TWICE]
)
_ASK = st.tuples(st.just("ask"), st.booleans())
_END = st.tuples(st.just("end"), st.integers(0, 30), _HEARS, st.none() | st.floats(0, 100))
_PASS = st.tuples(st.just("pass"), st.sampled_from([0.0, 0.5, 1.0, 5.0, 10.0, 15.0, 61.0]))
_RENEW = st.tuples(st.just("renew"), st.integers(0, 30))
_RARE = st.tuples(st.sampled_from(["disable", "reset", "isolate", "release"]))
_MOVES = st.lists(st.one_of(_ASK, _ASK, _ASK, _END, _END, _END, _PASS, _PASS, _RENEW, _RARE), max_size=120)


@dataclass
class Flight:
    """A request under way."""

    token: str
    granted: Granted
    began: float


@dataclass
class Walk:
    """One target, many requests, and the promises checked at every step."""

    state: State = field(default_factory=State)
    now: float = 1000.0
    flights: list[Flight] = field(default_factory=list)
    made: int = 0
    owner: str | None = None
    lease: float = 0.0

    def send(self, what: Acquire | Heard | Operate | Renew) -> object:
        before = self.state
        stepped = machine.step(before, _POLICY, what, self.now)
        self.state = after = stepped.state
        assert after.epoch >= before.epoch, "an epoch never falls"
        latch = after.disabled
        if before.disabled is not None and not isinstance(what, Operate):
            assert latch == before.disabled, "a permanent fault ends by an operator only"
        if before.isolated is not None and not isinstance(what, Operate):
            assert after.isolated == before.isolated, "an isolation ends by an operator or its own time only"
        if before.wait.latch and after.wait.latch:
            assert after.wait.latch.until >= before.wait.latch.until, "a wait is never shortened"
        seen = machine.view(after, self.now)
        if seen.word is Word.OPEN:
            assert seen.until is not None
            assert seen.until - self.now <= _POLICY.cooldown_max, "a cooldown keeps to its cap"
        if stepped.moved:
            assert stepped.moved.cause, "every transition has a cause"
        return stepped.answer

    def ask(self, early: bool) -> None:
        self.made += 1
        token = f"t{self.made}"
        was_blocked = machine.view(self.state, self.now).word
        wait = self.state.wait.latch
        answer = self.send(Acquire(token, early))
        if not isinstance(answer, Granted):
            return
        assert was_blocked not in (Word.DISABLED, Word.ISOLATED)
        assert wait is None or self.now >= wait.until, "a wait is never undercut"
        if answer.kind in ("half_open", "early"):
            event("probe")
            assert self.owner is None or self.now >= self.lease, "one live probe at a time"
            self.owner, self.lease = token, self.now + machine.LEASE
        else:
            assert self.state.circuit.word is Word.CLOSED
        self.flights.append(Flight(token, answer, self.now))

    def end(self, index: int, hears: Hears, retry_after: float | None) -> None:
        if not self.flights:
            return
        flight = self.flights.pop(index % len(self.flights))
        before = self.state
        probe = flight.granted.kind in ("half_open", "early")
        self.send(
            Heard(
                flight.granted.epoch,
                hears,
                flight.began,
                flight.token,
                token=flight.token if probe else None,
                paced=flight.granted.kind == "trickle",
                reason="http_500",
                fault="auth",
                retry_after=retry_after,
            )
        )
        if flight.granted.epoch != before.epoch:
            assert self.state.circuit == before.circuit, "a result of another epoch moves no circuit"
        if flight.granted.epoch < before.reset_epoch:
            assert self.state is before, "a reset is undone by nothing from before it"
        if flight.token == self.owner:
            self.owner = None

    def renew(self, index: int) -> None:
        if not self.flights:
            return
        token = self.flights[index % len(self.flights)].token
        self.send(Renew(token))
        if token == self.owner and self.now < self.lease:
            self.lease = self.now + machine.LEASE

    def operate(self, what: str) -> None:
        if what == "disable":
            self.send(Heard(self.state.epoch, Hears.DISABLE, self.now, "x", fault="config"))
            return
        self.send(Operate(Act(what), self.now + 30))
        if what == "reset":
            self.owner = None


@given(_MOVES)
@settings(max_examples=400)
def test_every_walk_keeps_the_promises(moves: list[tuple[object, ...]]) -> None:
    """Requests interleaved at will, results late, probes lost, operators in between; and no walk ends in a wedge."""
    walk = Walk()
    for what, *rest in moves:
        match what:
            case "ask":
                walk.ask(*rest)  # type: ignore[arg-type]
            case "end":
                walk.end(*rest)  # type: ignore[arg-type]
            case "pass":
                walk.now += rest[0]  # type: ignore[operator]
            case "renew":
                walk.renew(*rest)  # type: ignore[arg-type]
            case _:
                walk.operate(str(what))
    _no_wedge(walk)


def _no_wedge(walk: Walk) -> None:
    walk.send(Operate(Act.RELEASE))
    if walk.state.disabled is not None:
        return
    latch = walk.state.wait.latch
    walk.now = max(walk.now, latch.until if latch else 0.0) + _POLICY.cooldown_max + machine.LEASE + 1
    walk.owner = None
    answer = walk.send(Acquire("last"))
    assert isinstance(answer, Granted), "without a latch some request becomes a probe in time"


@pytest.mark.parametrize("latency", [0.05, 1.0, 30.0, 60.0])
@pytest.mark.parametrize("rate", [1.0, 50.0])
def test_a_healthy_tier_with_few_errors_does_not_trip(latency: float, rate: float) -> None:
    """At 0.5 % errors there is less than one trip in ten minutes, whatever the latency: a trip is no accident."""
    assert sum(_simulate(random.Random(seed), latency, rate, 600.0) for seed in range(2)) < 2


def _simulate(chance: random.Random, latency: float, rate: float, seconds: float) -> int:
    state, policy, trips = State(), Policy(), 0
    endings: list[tuple[float, float, int]] = []
    now, count = 0.0, 0
    epoch_of: dict[int, int] = {}
    while now < seconds:
        now += chance.expovariate(rate)
        while endings and endings[0][0] <= now:
            at, began, number = heapq.heappop(endings)
            hears = Hears.BAD if chance.random() < 0.005 else Hears.GOOD
            stepped = machine.step(state, policy, Heard(epoch_of.pop(number), hears, began, f"r{number}"), at)
            trips += bool(stepped.moved and stepped.moved.after is Word.OPEN)
            state = stepped.state
        stepped = machine.step(state, policy, Acquire("t"), now)
        state = stepped.state
        if isinstance(stepped.answer, Granted):
            count += 1
            epoch_of[count] = stepped.answer.epoch
            heapq.heappush(endings, (now + latency * chance.uniform(0.5, 1.5), now, count))
    return trips


def test_a_dead_tier_costs_no_more_than_its_threshold() -> None:
    """Requests that reach a dead tier: the threshold, and those already under way."""
    state, policy, reached = State(), Policy(), 0
    under_way = []
    for number in range(200):
        now = number * 0.01
        answer = machine.step(state, policy, Acquire("t"), now)
        state = answer.state
        if isinstance(answer.answer, Granted):
            reached += 1
            under_way.append((now + 0.05, now, answer.answer.epoch, number))
        while under_way and under_way[0][0] <= now:
            _, began, epoch, who = under_way.pop(0)
            state = machine.step(state, policy, Heard(epoch, Hears.BAD, began, f"r{who}"), now).state
    assert reached <= policy.failure_threshold + 6

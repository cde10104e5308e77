"""What the hot path is told, and what a settled attempt does to the next request."""

from __future__ import annotations

import itertools

import pytest

from proxy.breaker.keeper import Keeper
from proxy.breaker.permit import Guard, Permit, Verdict
from proxy.breaker.state import Act, Hears, Moved, Operate, Policy, View, Word

_POLICY = Policy()
_CHAT = Guard("x|chat", "x|key", _POLICY)
_OTHER = Guard("x|embeddings", "x|key", _POLICY)
_BAD = Verdict(Hears.BAD, "http_500")


class Clock:
    """Time as an argument."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A keeper with hands on its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.moves: list[tuple[str, Moved]] = []
        tokens = itertools.count()
        self.keeper = Keeper(
            self.clock, lambda: f"t{next(tokens)}", lambda: 0.0, lambda target, move: self.moves.append((target, move))
        )

    async def permit(self, guard: Guard = _CHAT, *, early: bool = False) -> Permit:
        calm = self.keeper.calm(guard, f"req_{len(self.moves)}")
        admitted = await self.keeper.admit(guard, f"req_{len(self.moves)}", early=early)
        assert isinstance(admitted, Permit)
        assert calm in (None, admitted)
        return admitted

    async def trip(self) -> None:
        for _ in range(3):
            self.keeper.settle(await self.permit(), _BAD)


async def test_a_permit_is_settled_once() -> None:
    """Counting an attempt twice is a bug of ours, and says so."""
    bench = Bench()
    permit = await bench.permit()
    bench.keeper.settle(permit, Verdict(Hears.GOOD))
    with pytest.raises(RuntimeError, match="settled twice"):
        bench.keeper.settle(permit, Verdict(Hears.GOOD))


async def test_a_tripped_target_is_denied_and_comes_home() -> None:
    """Three failures, denial, one probe, home."""
    bench = Bench()
    await bench.trip()
    denied = await bench.keeper.admit(_CHAT, "req")
    assert isinstance(denied, View)
    assert denied.word is Word.OPEN
    bench.clock.now += 15
    probe = await bench.permit()
    assert probe.kind == "half_open"
    assert isinstance(await bench.keeper.admit(_CHAT, "req"), View)
    bench.keeper.settle(probe, Verdict(Hears.GOOD))
    assert (await bench.permit()).kind == "closed"
    assert [(target, move.after) for target, move in bench.moves] == [
        ("x|chat", Word.OPEN),
        ("x|chat", Word.HALF_OPEN),
        ("x|chat", Word.CLOSED),
    ]


async def test_a_denial_is_found_once_and_holds_as_long_as_it_is_true() -> None:
    """The same answer for all who come meanwhile; whatever changes it is heard by the next."""
    bench = Bench()
    await bench.trip()
    first = await bench.keeper.admit(_CHAT, "req")
    assert isinstance(first, View)
    assert first.until is not None
    bench.clock.now = first.until - 0.01
    assert await bench.keeper.admit(_CHAT, "req") is first
    assert isinstance(await bench.keeper.admit(_CHAT, "req", early=True), Permit)
    probing = await bench.keeper.admit(_CHAT, "req")
    assert isinstance(probing, View)
    assert probing.word is Word.HALF_OPEN

    bench = Bench()
    await bench.trip()
    assert isinstance(await bench.keeper.admit(_CHAT, "req"), View)
    await bench.keeper.operate(_CHAT.target, _POLICY, Operate(Act.ISOLATE, bench.clock.now + 60))
    isolated = await bench.keeper.admit(_CHAT, "req")
    assert isinstance(isolated, View)
    assert isolated.word is Word.ISOLATED
    assert await bench.keeper.admit(_CHAT, "req") is isolated
    await bench.keeper.operate(_CHAT.target, _POLICY, Operate(Act.RELEASE))
    released = await bench.keeper.admit(_CHAT, "req")
    assert isinstance(released, View)
    assert released.word is Word.OPEN
    await bench.keeper.operate(_CHAT.target, _POLICY, Operate(Act.RESET))
    assert (await bench.permit()).kind == "closed"


async def test_a_denial_that_all_hear_alike_is_known_without_asking() -> None:
    """From the first who asked on, until it is due or anything changes; a place that one may win is asked for."""
    bench = Bench()
    keeper = bench.keeper
    assert keeper.standing(_CHAT) is None
    await bench.trip()
    assert keeper.standing(_CHAT) is None
    open_ = await keeper.admit(_CHAT, "req")
    assert isinstance(open_, View)
    assert keeper.standing(_CHAT) is open_
    assert open_.until is not None
    bench.clock.now = open_.until
    assert keeper.standing(_CHAT) is None
    probe = await bench.permit()
    assert isinstance(await keeper.admit(_CHAT, "req"), View)
    assert keeper.standing(_CHAT) is None
    keeper.settle(probe, _BAD)
    again = await keeper.admit(_CHAT, "req")
    assert isinstance(again, View)
    assert keeper.standing(_CHAT) is again
    await keeper.operate(_CHAT.target, _POLICY, Operate(Act.RESET))
    assert keeper.standing(_CHAT) is None


async def test_a_refused_credential_is_known_without_asking() -> None:
    """By all its targets, whatever their own breakers say, and until an operator resets it."""
    bench = Bench()
    keeper = bench.keeper
    await bench.trip()
    assert isinstance(await keeper.admit(_CHAT, "req"), View)
    keeper.settle(await bench.permit(_OTHER), Verdict(Hears.DISABLE, "invalid_api_key", credential=True))
    assert keeper.standing(_CHAT) is None
    refused = await keeper.admit(_OTHER, "req")
    assert isinstance(refused, View)
    assert refused.word is Word.DISABLED
    assert keeper.standing(_CHAT) is keeper.standing(_OTHER) is refused
    await keeper.operate("x|key", _POLICY, Operate(Act.RESET))
    assert keeper.standing(_OTHER) is None
    known = keeper.standing(_CHAT)
    assert known is not None
    assert known.word is Word.OPEN


async def test_a_credential_is_heard_before_a_denial_that_is_known() -> None:
    """A key that is refused elsewhere is why this tier is not asked either."""
    bench = Bench()
    await bench.trip()
    assert isinstance(await bench.keeper.admit(_CHAT, "req"), View)
    bench.keeper.settle(await bench.permit(_OTHER), Verdict(Hears.DISABLE, "invalid_api_key", credential=True))
    denied = await bench.keeper.admit(_CHAT, "req")
    assert isinstance(denied, View)
    assert denied.word is Word.DISABLED


async def test_only_what_is_well_is_let_through_unasked() -> None:
    """Neither a target that is being judged, nor one whose credential was refused."""
    bench = Bench()
    assert bench.keeper.calm(_CHAT, "req") is not None
    bench.keeper.settle(await bench.permit(), _BAD)
    assert bench.keeper.calm(_CHAT, "req") is None
    assert bench.keeper.calm(_OTHER, "req") is not None
    bench.keeper.settle(await bench.permit(_OTHER), Verdict(Hears.DISABLE, "invalid_api_key", credential=True))
    assert bench.keeper.calm(_OTHER, "req") is None


async def test_targets_are_apart() -> None:
    """One path's outage says nothing of another's."""
    bench = Bench()
    await bench.trip()
    assert (await bench.permit(_OTHER)).kind == "closed"


async def test_an_invalid_key_stops_all_its_targets() -> None:
    """The credential's row is obeyed by every target, and shown as theirs, until an operator resets it."""
    bench = Bench()
    bench.keeper.settle(await bench.permit(), Verdict(Hears.DISABLE, "invalid_api_key", fault="auth", credential=True))
    denied = await bench.keeper.admit(_OTHER, "req")
    assert isinstance(denied, View)
    assert (denied.word, denied.reason) == (Word.DISABLED, "invalid_api_key")
    assert bench.keeper.look(_CHAT).word is Word.DISABLED
    ((target, move),) = bench.moves
    assert (target, move.before, move.after, move.cause) == ("x|key", Word.CLOSED, Word.DISABLED, "auth")
    assert move.seen.tripped_by == ("req_0",)
    await bench.keeper.operate("x|key", _POLICY, Operate(Act.RESET))
    assert (await bench.permit(_OTHER)).kind == "closed"


async def test_a_probe_that_finds_an_invalid_key_frees_its_slot() -> None:
    """The target's circuit is judged by nobody, and asks again once the key is right."""
    bench = Bench()
    await bench.trip()
    bench.clock.now += 15
    bench.keeper.settle(await bench.permit(), Verdict(Hears.DISABLE, "invalid_api_key", fault="auth", credential=True))
    await bench.keeper.operate("x|key", _POLICY, Operate(Act.RESET))
    assert (await bench.permit()).kind == "half_open"


async def test_successes_in_good_health_are_counted() -> None:
    """They cost no event, and still outweigh a few failures in the rate."""
    bench = Bench()
    for _ in range(100):
        bench.keeper.settle(await bench.permit(), Verdict(Hears.GOOD))
    for _ in range(25):
        bench.keeper.settle(await bench.permit(), _BAD)
        bench.clock.now += 0.01
        bench.keeper.settle(await bench.permit(), Verdict(Hears.GOOD))
    assert bench.keeper.look(_CHAT).word is Word.CLOSED


async def test_a_cut_after_a_good_probe_counts() -> None:
    """The stream that brought a target home belongs to the time after: its cut is heard."""
    bench = Bench()
    await bench.trip()
    bench.clock.now += 15
    probe = await bench.permit()
    bench.keeper.settle(probe, Verdict(Hears.GOOD, whole=False))
    bench.keeper.report_end(probe, Verdict(Hears.BAD, "truncated"))
    assert bench.keeper.look(_CHAT).failures == 1


async def test_neutral_results_cost_nothing() -> None:
    """A caller who left leaves no trace."""
    bench = Bench()
    for _ in range(50):
        bench.keeper.settle(await bench.permit(), Verdict(Hears.NEUTRAL, "caller_left"))
    assert bench.keeper.look(_CHAT) == View(Word.CLOSED)


async def test_an_early_probe_is_granted_once() -> None:
    """Of many refused callers one asks ahead of time."""
    bench = Bench()
    await bench.trip()
    bench.clock.now += 1
    assert (await bench.permit(early=True)).kind == "early"
    assert isinstance(await bench.keeper.admit(_CHAT, "req", early=True), View)


async def test_what_is_only_looked_at_is_not_kept() -> None:
    """A target that nobody guards is foreseen like any other, by its credential too, and leaves nothing behind."""
    bench = Bench()
    assert isinstance(bench.keeper.foresee(_OTHER), Permit)
    assert bench.keeper._rows == {}
    bench.keeper.settle(await bench.permit(), Verdict(Hears.DISABLE, "invalid_api_key", fault="auth", credential=True))
    known = set(bench.keeper._rows)
    seen = bench.keeper.foresee(_OTHER)
    assert isinstance(seen, View)
    assert seen.word is Word.DISABLED
    assert set(bench.keeper._rows) == known
    assert _OTHER.target not in known

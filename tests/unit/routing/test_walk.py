"""The walk over scripted tiers: who is tried, in which order, and what is left to say."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from proxy.breaker.keeper import Keeper
from proxy.breaker.permit import Guard
from proxy.breaker.state import Policy, View, Word
from proxy.config.schema import Timeouts
from proxy.providers import kinds
from proxy.providers.dialect import Call, Dialect, Uncarried
from proxy.routing.bindings import Chain, Tier
from proxy.routing.decision import Attempted, Skipped, reason
from proxy.routing.walk import Deadline, Ports, Refused, Served, Trail, conclude, walk
from proxy.terms import (
    CHAT,
    Abandoned,
    Accepted,
    Binding,
    Cause,
    Diagnosis,
    Failed,
    Follower,
    Headers,
    Interrupted,
    Outcome,
    Progress,
    Question,
    Rejected,
    Times,
)


class Open:
    """An open answer that says no more."""

    status = 200
    headers: Headers = ()

    async def chunk(self) -> bytes | Diagnosis:
        return b""

    def ready(self) -> bytes | Diagnosis | None:
        return b""

    def whole(self) -> bytes | None:
        return b""

    def follow(self, follower: Follower | None) -> bool:
        return False

    def close(self) -> None:
        pass


GOOD = Accepted(Open(), b"{}", complete=True)
BEGUN = Accepted(Open())
DOWN = Failed(Diagnosis(Cause.NETWORK, "connect_error"))


def rejected(cause: Cause, status: int = 400, detail: str = "x", **more: object) -> Rejected:
    return Rejected(Diagnosis(cause, detail, **more), status, (), b"{}")  # type: ignore[arg-type]


Script = Callable[[Progress], Awaitable[Outcome]] | Outcome
PLAIN: Mapping[str, Any] = {"messages": [{"role": "user", "content": "Where?"}]}


class Counting:
    """What a kind speaks, and how many questions were put to it."""

    def __init__(self, inner: Dialect) -> None:
        self._inner = inner
        self.calls: list[Call | Uncarried] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def call(self, question: Question, binding: Binding) -> Call | Uncarried:
        self.calls.append(self._inner.call(question, binding))
        return self.calls[-1]


class Bench:
    """A chain whose tiers answer by script, and a clock that only the test moves."""

    def __init__(self, *bindings: Binding, cleared: bool = False) -> None:
        self.now = 1000.0
        tokens = itertools.count()
        self.keeper = Keeper(lambda: self.now, lambda: f"t{next(tokens)}", lambda: 0.0, lambda *_: None)
        self.ports = Ports(self.keeper, self._send, lambda: self.now)
        named = bindings or (Binding("a", "openai", "m"), Binding("b", "openai", "m"), Binding("c", "openai", "m"))
        names = (
            [f"fallback-{n}" for n in range(1, 9)] if cleared else ["primary", *(f"fallback-{n}" for n in range(1, 9))]
        )
        self.spoken = {each.source: Counting(kinds.dialect(each.kind, None, "both")) for each in named}
        self.chain = Chain(
            tuple(
                Tier(
                    name,
                    binding,
                    {CHAT.name: Guard(f"{binding.source}|{binding.model}", None, Policy())},
                    sifters={CHAT.name: spoken} if (spoken := self.spoken[binding.source]).sifts(CHAT, binding) else {},
                )
                for name, binding in zip(names, named, strict=False)
            ),
            cleared,
        )
        self.script: dict[str, Script] = {}
        self.asked: list[str] = []
        self.sent: list[Call | None] = []
        self.limits: list[tuple[float, str]] = []
        """When each attempt had to have an answer, and what it meant to have none."""
        self.trail = Trail("req_0")
        self.count = 0

    def _send(
        self,
        question: Question,
        binding: Binding,
        times: Times,
        started: float,
        until: float,
        overrun: Diagnosis,
        call: Call | None,
    ) -> tuple[Progress, Awaitable[Outcome]]:
        self.asked.append(binding.source)
        self.sent.append(call)
        self.limits.append((until, overrun.detail))
        progress = Progress(started)
        return progress, self._answer(self.script.get(binding.source, GOOD), progress)

    async def _answer(self, script: Script, progress: Progress) -> Outcome:
        if callable(script):
            return await script(progress)
        if not isinstance(script, Failed):
            progress.sent = True
        return script

    async def ask(
        self,
        *,
        stream: bool = False,
        needs: frozenset[str] = frozenset(),
        total: float = 600.0,
        attempt: float | None = None,
        document: Mapping[str, Any] = PLAIN,
    ) -> Served | Refused:
        self.asked, self.limits, self.sent, self.count = [], [], [], self.count + 1
        for spoken in self.spoken.values():
            spoken.calls.clear()
        self.trail = Trail(f"req_{self.count}")
        question = Question(CHAT, b"{}", document, (), "", stream, "asked", needs)
        overrun = Diagnosis(Cause.TIMEOUT_TOTAL, "total")
        deadline = Deadline(self.now + total, total, overrun, Timeouts(attempt=attempt).resolve())
        return await walk(question, self.chain, deadline, self.trail, self.ports)

    async def trip(self, source: str) -> None:
        self.script[source] = DOWN
        for _ in range(3):
            await self.ask()
        del self.script[source]

    @property
    def told(self) -> str:
        return reason(self.trail.steps)


async def test_the_primary_serves() -> None:
    """When all is well nobody else is asked."""
    bench = Bench()
    end = await bench.ask()
    assert isinstance(end, Served)
    assert (end.attempted.tier, bench.asked, bench.told) == ("primary", ["a"], "")


async def test_failures_fall_through_in_order() -> None:
    """Each failed tier is in the story, with what it met."""
    bench = Bench()
    bench.script = {"a": DOWN, "b": rejected(Cause.SERVER, 503, "http_503")}
    end = await bench.ask()
    assert isinstance(end, Served)
    assert end.attempted.tier == "fallback-2"
    assert bench.asked == ["a", "b", "c"]
    assert bench.told == "primary=network(connect_error,0ms) fallback-1=transient(http_503,0ms)"


async def test_an_open_tier_is_skipped_with_its_reason() -> None:
    """Why, for how long, and because of which requests."""
    bench = Bench()
    await bench.trip("a")
    bench.now += 3
    end = await bench.ask()
    assert isinstance(end, Served)
    assert bench.asked == ["b"]
    assert bench.told == "primary=open(connect_error,retry_in=12s)"
    skipped = bench.trail.steps[0]
    assert isinstance(skipped, Skipped)
    assert skipped.breaker is not None
    assert skipped.breaker.tripped_by == ("req_1", "req_2", "req_3")


async def test_the_way_home() -> None:
    """After the cooldown the next request is the probe, and everyone follows it home."""
    bench = Bench()
    await bench.trip("a")
    bench.now += 15
    end = await bench.ask()
    assert isinstance(end, Served)
    assert (end.attempted.tier, end.attempted.probe) == ("primary", "half_open")
    await bench.ask()
    assert bench.asked == ["a"]


@pytest.mark.parametrize("cause", [Cause.CLIENT_FAULT, Cause.CONTENT_POLICY, Cause.STATE_NOT_HERE])
async def test_the_primarys_word_on_a_request_is_final(cause: Cause) -> None:
    """A fault of the request from the primary goes back untouched, and no breaker hears of it."""
    bench = Bench()
    fault = bench.script["a"] = rejected(cause)
    for _ in range(5):
        assert await bench.ask() == Refused(fault)
        assert bench.asked == ["a"]
    assert bench.keeper.look(bench.chain.tiers[0].guards[CHAT.name]).failures == 0


async def test_a_fallbacks_word_on_a_request_is_not() -> None:
    """It may not know what the primary knows: the walk goes on; if nobody serves, the first such word is returned."""
    bench = Bench()
    first = rejected(Cause.CLIENT_FAULT)
    bench.script = {"a": DOWN, "b": first}
    end = await bench.ask()
    assert isinstance(end, Served)
    assert bench.told == "primary=network(connect_error,0ms) fallback-1=unsupported(x,0ms)"
    bench.script["c"] = rejected(Cause.CLIENT_FAULT, 422)
    assert await bench.ask() == Refused(first)


async def test_what_an_upstream_itself_cannot_do_moves_the_request_on() -> None:
    """As its source's `faults` say, from the primary too; no breaker hears of it, and who was down may come back."""
    bench = Bench()
    cannot = rejected(Cause.UNSUPPORTED, 400, "logprobs")
    bench.script = dict.fromkeys(("a", "b", "c"), cannot)
    for _ in range(5):
        assert await bench.ask() == Refused(cannot)
        assert bench.asked == ["a", "b", "c"]
    assert bench.keeper.look(bench.chain.tiers[0].guards[CHAT.name]).failures == 0
    bench.script["b"] = DOWN
    assert await bench.ask() == Refused(None)
    del bench.script["c"]
    end = await bench.ask()
    assert isinstance(end, Served)
    assert bench.told == "primary=unsupported(logprobs,0ms) fallback-1=network(connect_error,0ms)"


def _claudes(*more: Binding) -> Bench:
    return Bench(Binding("a", "anthropic", "claude"), *more)


_PROBABLE = {**PLAIN, "logprobs": True}


async def test_a_request_that_cannot_be_put_to_a_tier_has_not_tried_it() -> None:
    """The next one is asked, the story names the field, and no breaker is: the one probe is left to who can be one."""
    bench = _claudes(Binding("b", "openai", "m"))
    await bench.trip("a")
    bench.now += 15
    for _ in range(3):
        end = await bench.ask(document=_PROBABLE)
        assert isinstance(end, Served)
        assert (bench.asked, bench.told) == (["b"], "primary=unsupported(logprobs)")
        skipped = bench.trail.steps[0]
        assert isinstance(skipped, Skipped)
        assert (skipped.uncarried, skipped.missing) == ("logprobs", ())
        assert skipped.breaker is not None
        assert skipped.breaker.word is Word.OPEN
    end = await bench.ask()
    assert isinstance(end, Served)
    assert (end.attempted.tier, end.attempted.probe) == ("primary", "half_open")


async def test_a_tier_is_sent_what_was_made_for_it_once() -> None:
    """Made before its breaker is asked, and noted with what was left out, whatever came of it; of one that takes all
    as it is nothing is asked."""
    bench = _claudes(Binding("b", "openai", "m"))
    bench.script["a"] = DOWN
    end = await bench.ask(document={**PLAIN, "seed": 7, "store": True})
    assert isinstance(end, Served)
    assert bench.sent == [*bench.spoken["a"].calls, None]
    assert bench.spoken["b"].calls == []
    steps = [step for step in bench.trail.steps if isinstance(step, Attempted)]
    assert [step.dropped for step in steps] == [("seed", "store"), ()]


async def test_who_is_asked_early_is_asked_what_was_made_then() -> None:
    """Nothing is made twice."""
    bench = _claudes()
    await bench.trip("a")
    bench.now += 1
    end = await bench.ask(document={**PLAIN, "seed": 7})
    assert isinstance(end, Served)
    assert (end.attempted.probe, end.attempted.dropped) == ("early", ("seed",))
    assert bench.sent == bench.spoken["a"].calls
    assert len(bench.sent) == 1


async def test_what_no_tier_can_be_asked_is_the_callers_to_mend() -> None:
    """The first objection is what it reads, whatever the tiers' health; not where one of them could have been asked."""
    bench = _claudes(Binding("b", "anthropic", "claude"), Binding("c", "openai", "m", supports=frozenset()))
    tools = frozenset({"tools"})
    await bench.trip("a")
    for document in (_PROBABLE, {**PLAIN, "n": 2}):
        end = await bench.ask(document=document, needs=tools)
        assert isinstance(end, Refused)
        assert (end.verbatim, end.by) == (None, None)
        assert end.uncarried == bench.spoken["a"].calls[0]
        field = [*document][-1]
        told = f"primary=unsupported({field}) fallback-1=unsupported({field}) fallback-2=unsupported(tools)"
        assert (bench.asked, bench.told) == ([], told)
    bench.script["c"] = DOWN
    assert await bench.ask(document=_PROBABLE) == Refused(None)
    assert bench.asked == ["c"]


async def test_a_primary_left_empty_is_no_tier_that_could_be_asked() -> None:
    """So the caller reads the objection of the only one."""
    bench = Bench(Binding("a", "anthropic", "claude"), cleared=True)
    end = await bench.ask(document=_PROBABLE)
    assert isinstance(end, Refused)
    assert end.uncarried is not None
    assert bench.told == "primary=unbound fallback-1=unsupported(logprobs)"


async def test_too_long_goes_to_a_larger_tier_only() -> None:
    """A context that did not fit is tried only where a larger window is declared."""
    bench = Bench(
        Binding("a", "openai", "m", context=8000),
        Binding("b", "openai", "m", context=8000),
        Binding("c", "openai", "m"),
        Binding("d", "openai", "m", context=32000),
    )
    bench.script["a"] = rejected(Cause.CONTEXT_LENGTH)
    end = await bench.ask()
    assert isinstance(end, Served)
    assert bench.asked == ["a", "d"]
    assert "fallback-1=too_small_context fallback-2=too_small_context" in bench.told


async def test_what_a_tier_cannot_do_is_not_asked_of_it() -> None:
    """Declared abilities are compared with what the request needs."""
    bench = Bench(Binding("a", "openai", "m", supports=frozenset()), Binding("b", "openai", "m"))
    end = await bench.ask(needs=frozenset({"tools"}))
    assert isinstance(end, Served)
    assert (bench.asked, bench.told) == (["b"], "primary=unsupported(tools)")


async def test_a_cleared_primary_is_told() -> None:
    """Its fallbacks serve, and the story says that the primary is unbound."""
    bench = Bench(cleared=True)
    end = await bench.ask()
    assert isinstance(end, Served)
    assert (end.attempted.tier, bench.told) == ("fallback-1", "primary=unbound")


async def test_all_open_asks_one_early() -> None:
    """When the whole chain is refused, one request a second asks the tier that is due soonest; the others are told."""
    bench = Bench()
    for source in ("a", "b", "c"):
        bench.script[source] = DOWN
    for _ in range(3):
        await bench.ask()
    assert await bench.ask() == Refused(None)
    assert bench.asked == []
    bench.now += 1
    await bench.ask()
    assert bench.asked == ["a"]
    await bench.ask()
    assert bench.asked == []


async def test_a_single_tiers_own_answer_is_passed_on() -> None:
    """A chain of one keeps its upstream's status and body; a longer one says what all of them met."""
    bench = Bench(Binding("a", "openai", "m"))
    answer = bench.script["a"] = rejected(Cause.SERVER, 503)
    assert await bench.ask() == Refused(answer)
    longer = Bench()
    longer.script = dict.fromkeys("abc", answer)
    assert await longer.ask() == Refused(None)


async def test_each_attempt_leaves_a_reserve() -> None:
    """A tenth of what is left, at most 30 s, for each tier after it; the last one may use all."""
    bench = Bench()
    bench.script = dict.fromkeys("abc", DOWN)
    await bench.ask(total=600)
    assert [until - bench.now for until, _ in bench.limits] == [540, 570, 600]
    bench = Bench()
    bench.script = dict.fromkeys("abc", DOWN)
    await bench.ask(total=100)
    assert [until - bench.now for until, _ in bench.limits] == [80, 90, 100]


async def test_no_tier_is_begun_without_time() -> None:
    """With less than two seconds left the rest of the chain is not tried, and the story says why."""
    bench = Bench()

    async def slow(_: Progress) -> Outcome:
        bench.now += 58.5
        return Failed(Diagnosis(Cause.TIMEOUT_TOTAL, "total"))

    bench.script["a"] = slow
    await bench.ask(total=60)
    assert bench.asked == ["a"]
    assert bench.told == "primary=timeout(total,58s) fallback-1=deadline fallback-2=deadline"


async def test_the_attempt_limit_caps_one_try() -> None:
    """For JSON only; its running out counts against the tier."""
    bench = Bench()
    await bench.ask(attempt=10)
    assert bench.limits[0] == (bench.now + 10, "attempt")
    await bench.ask(stream=True, attempt=10)
    assert bench.limits[0] == (bench.now + 540, "total")


async def test_a_caller_who_leaves_leaks_no_permit() -> None:
    """Cancelled in the middle of a probe: the slot is free for the next request, and the story is told."""
    bench = Bench()
    await bench.trip("a")
    bench.now += 15

    hanging = asyncio.Event()

    async def hang(_: Progress) -> Outcome:
        hanging.set()
        await asyncio.Event().wait()
        raise AssertionError

    bench.script["a"] = hang
    task = asyncio.create_task(bench.ask())
    await hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (step,) = bench.trail.steps
    assert isinstance(step, Attempted)
    assert (step.outcome, step.heard) == ("cancelled", "neutral")
    del bench.script["a"]
    end = await bench.ask()
    assert isinstance(end, Served)
    assert end.attempted.probe == "half_open"


async def test_an_impatient_caller_of_a_silent_tier_is_evidence() -> None:
    """No byte for as long as a first byte may take: whoever leaves then has seen a failure."""
    bench = Bench()

    async def silent(progress: Progress) -> Outcome:
        progress.sent = True
        bench.now += 31
        raise asyncio.CancelledError

    async def silent_for_a_moment(progress: Progress) -> Outcome:
        progress.sent = True
        bench.now += 9
        raise asyncio.CancelledError

    for script, heard in ((silent, "bad"), (silent_for_a_moment, "neutral")):
        bench.script["a"] = script
        with pytest.raises(asyncio.CancelledError):
            await bench.ask()
        (step,) = bench.trail.steps
        assert isinstance(step, Attempted)
        assert step.heard == heard


async def test_a_cut_after_the_commit_is_heard() -> None:
    """The story says how the answer ended, and the breaker hears of the cut."""
    bench = Bench()
    bench.script["a"] = BEGUN
    for _ in range(3):
        bench.now += 1
        served = await bench.ask()
        assert isinstance(served, Served)
        cut = Interrupted(Diagnosis(Cause.STREAM_BROKEN, "truncated"))
        ended = conclude(served, cut, bench.trail, bench.ports)
        begun = served.attempted
        assert ended == replace(begun, ended=bench.now, outcome="stream_broken", detail="truncated", heard="bad")
        assert bench.trail.steps == [ended]
    assert bench.keeper.look(bench.chain.tiers[0].guards[CHAT.name]).word is Word.OPEN


def test_an_ending_changes_nothing_else() -> None:
    """Every other fact of the attempt stays in its place."""
    words = ("tier", "source", "model", "served", "detail", "good")
    seen = View(Word.HALF_OPEN)
    attempted = Attempted(*words, 1.0, 2.0, "yes", "early", 200, 3.0, 4.0, 5.0, True, True, "id", 6.0, seen, ("seed",))
    changed: dict[str, Any] = {"ended": 9.5, "outcome": "stream_broken", "detail": "truncated", "heard": "bad"}
    assert attempted.ending(9.5, "stream_broken", "truncated", "bad") == replace(attempted, **changed)


async def test_a_caller_who_leaves_a_stream_counts_for_nobody() -> None:
    """Abandoned after the commit is neutral."""
    bench = Bench()
    bench.script["a"] = BEGUN
    for _ in range(5):
        served = await bench.ask()
        assert isinstance(served, Served)
        conclude(served, Abandoned(), bench.trail, bench.ports)
    assert bench.keeper.look(bench.chain.tiers[0].guards[CHAT.name]).failures == 0


@pytest.mark.parametrize(
    ("outcome", "billed"),
    [(DOWN, "no"), (rejected(Cause.SERVER, 503), "maybe"), (rejected(Cause.CLIENT_FAULT, 400), "no"), (GOOD, "yes")],
)
async def test_what_may_have_been_billed(outcome: Outcome, billed: str) -> None:
    """Never sent or refused: no. Sent and lost: maybe. Served: yes."""
    bench = Bench()
    bench.script["a"] = outcome
    await bench.ask()
    step = bench.trail.steps[0]
    assert isinstance(step, Attempted)
    assert step.billed == billed

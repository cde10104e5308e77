"""Explain-now against the next request, whatever went before: the same tier, the same reason, and no trace of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.admin.api.calls import Refused as NotDone
from proxy.admin.dry_run import DryRun, DryRunOrder
from proxy.breaker import machine
from proxy.breaker.state import Act, Operate, Policy, Word
from proxy.breaker.supposed import supposed
from proxy.config import schema
from proxy.providers import openai
from proxy.routing.bindings import Bindings, Chain, Route
from proxy.routing.walk import Refused, Served, conclude
from proxy.terms import CHAT, Abandoned, Binding, Cause, Diagnosis, Failed, Interrupted
from tests.unit.routing.test_walk import BEGUN, DOWN, GOOD, PLAIN, Bench, rejected

_KEYED = {"b", "c"}
"""Sources of one credential."""
_ENDS = st.sampled_from(
    [
        GOOD,
        BEGUN,
        DOWN,
        Abandoned(),
        Failed(Diagnosis(Cause.SLOW, "first_token")),
        rejected(Cause.RATE_LIMITED, 429),
        rejected(Cause.RATE_LIMITED, 429, retry_after=8.0),
        rejected(Cause.QUOTA, 429),
        rejected(Cause.KEY_INVALID, 401),
        rejected(Cause.ACCESS_DENIED, 403),
        rejected(Cause.MODEL_MISSING, 404),
        rejected(Cause.CONTEXT_LENGTH),
        rejected(Cause.CLIENT_FAULT),
    ]
)
_REQUESTS: Any = st.none() | st.sampled_from(
    [
        PLAIN,
        {**PLAIN, "seed": 7, "store": True},
        {**PLAIN, "logprobs": True},
        {**PLAIN, "mood": "sunny", "stream": True},
        {**PLAIN, "tools": [{"type": "function", "function": {"name": "f"}}]},
        {},
    ]
)
"""Bodies that a tier translates, some of which it cannot; none where only what the request needs is said."""
_EVENTS = st.one_of(
    st.tuples(st.just("ask"), st.tuples(_ENDS, _ENDS, _ENDS), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 2.0, 7.0, 15.0, 40.0]), st.none()),
    st.tuples(st.just("operate"), st.sampled_from(["a", "b", "c"]), st.sampled_from([*Act])),
)


class _Stage(Bench):
    """A bench whose chain stands in a table: a tier that declares what it can, and two of one key that translate."""

    def __init__(self) -> None:
        super().__init__(
            Binding("a", "openai", "m", supports=frozenset({"tools"})),
            Binding("b", "anthropic", "m"),
            Binding("c", "anthropic", "m"),
        )
        tiers = tuple(
            replace(
                tier,
                guards={
                    name: replace(guard, credential="key" if tier.binding.source in _KEYED else None)
                    for name, guard in tier.guards.items()
                },
            )
            for tier in self.chain.tiers
        )
        self.chain = Chain(tiers, declares=True)
        bindings = Bindings({"bot": Route("bot", self.chain, {}, schema.Timeouts().resolve())}, "1")

        async def drafted(*_: object) -> Bindings:
            return bindings

        self.dry = DryRun(lambda: bindings, drafted, self.keeper, lambda: self.now, lambda at: at)

    def known(self) -> dict[str, Any]:
        """All that the breakers remember."""
        return {
            target: (row.state, row.goods, row.goods_before, row.turned, row.calm)
            for target, row in self.keeper._rows.items()
        }

    async def play(self, event: tuple[str, Any, Any]) -> None:
        kind, what, more = event
        if kind == "wait":
            self.now += what
        elif kind == "operate":
            guard = next(t for t in self.chain.tiers if t.binding.source == what).guards[CHAT.name]
            until = self.now + 10 if more is Act.ISOLATE else float("inf")
            await self.keeper.operate(guard.target, guard.policy, Operate(more, until))
        else:
            self.script = dict(zip("abc", what, strict=True))
            end = await self.ask(stream=more)
            if isinstance(end, Served) and not end.accepted.complete:
                broke = Interrupted(Diagnosis(Cause.STREAM_BROKEN, "truncated")) if more else None
                conclude(end, broke, self.trail, self.ports)
            self.now += 0.01


@given(
    st.lists(_EVENTS, max_size=25),
    st.sampled_from([frozenset(), frozenset({"tools"}), frozenset({"images"})]),
    _REQUESTS,
)
@example([], frozenset({"images"}), {**PLAIN, "logprobs": True})
@settings(max_examples=300, deadline=None)
def test_what_is_foreseen_is_what_the_next_request_gets(
    events: list[tuple[str, Any, Any]], needs: frozenset[str], request: dict[str, Any] | None
) -> None:
    """The tier, each step, and the reason in the header's own words; and nothing remembers that it was asked."""

    async def run() -> None:
        stage = _Stage()
        for event in events:
            await stage.play(event)
        stage.script = {}
        before = stage.known()
        foreseen = await stage.dry.play("bot", DryRunOrder(needs=needs, request=request))  # type: ignore[arg-type]
        assert {target: row for target, row in stage.known().items() if target in before} == before
        document = PLAIN if request is None else request
        end = await stage.ask(
            needs=needs | openai.needs(document), document=document, stream=document.get("stream") is True
        )
        assert isinstance(end, Served) == (foreseen["would"] == "serve")
        if isinstance(end, Refused):
            assert foreseen["refusal"] == ("unsupported" if end.uncarried else "all_tiers_failed")
        assert foreseen["reason"] == (stage.told or None)
        assert [(step["tier"], step["verdict"]) for step in foreseen["steps"]] == [
            (step.tier, "served" if getattr(step, "outcome", "") == "served" else "skipped")
            for step in stage.trail.steps
        ]
        for told, step in zip(foreseen["steps"], stage.trail.steps, strict=True):
            assert told.get("uncarried") == (getattr(step, "uncarried", "") or None)
            assert told.get("dropped", []) == [*getattr(step, "dropped", ())]
        if isinstance(end, Served):
            assert (foreseen["tier"], foreseen["probe"]) == (end.attempted.tier, end.attempted.probe)
            spoken = foreseen["steps"][-1]["breaker"]
            assert (spoken["state"], spoken["since"]) == (end.attempted.breaker.word.value, end.attempted.breaker.since)

    asyncio.run(run())


@pytest.mark.parametrize("word", Word)
@pytest.mark.parametrize("span", [None, 5.0])
def test_a_supposed_state_says_its_word(word: Word, span: float | None) -> None:
    """For as long as it is supposed to."""
    state = supposed(word, Policy(), 100.0, span)
    seen = machine.view(state, 100.0)
    assert seen.word is word
    if span and word not in (Word.CLOSED, Word.DISABLED):
        assert seen.until == 105.0


async def _played(assume: dict[str, str]) -> SimpleNamespace:
    stage = _Stage()
    told = await stage.dry.play("bot", DryRunOrder(assume=assume))
    verdicts = [step.get("reason") or step["outcome"] for step in told["steps"]]
    return SimpleNamespace(**told, verdicts=verdicts, asked=stage.asked)


async def test_assumptions_stand_in_for_what_is() -> None:
    """A tier by its name or its binding; a state, an end, and the store."""
    told = await _played({"a/m": "open", "fallback-1": "parked for 60s"})
    assert (told.would, told.tier, told.verdicts) == ("serve", "fallback-2", ["open", "parked", "served"])
    assert told.reason == "primary=open(assumed,retry_in=15s) fallback-1=parked(assumed,retry_in=60s)"
    told = await _played({"primary": "failing", "redis": "away"})
    assert (told.tier, told.verdicts, told.asked) == ("fallback-1", ["transient", "served"], [])
    told = await _played(dict.fromkeys(("primary", "fallback-1", "fallback-2"), "disabled"))
    assert (told.would, told.refusal, told.tier) == ("refuse", "all_tiers_failed", None)


@pytest.mark.parametrize(
    ("assume", "said"),
    [
        ({"fallback-9": "open"}, "Nothing of this chain is called 'fallback-9': it has primary, a/m"),
        ({"primary": "broken"}, "An assumption is one of closed, open"),
        ({"primary": "open for ever"}, "An assumption is one of closed, open"),
        ({"redis": "open"}, "`redis` can be assumed to be `away`"),
    ],
)
async def test_what_cannot_be_assumed_is_said(assume: dict[str, str], said: str) -> None:
    """With what could be."""
    with pytest.raises(NotDone) as refused:
        await _played(assume)
    assert refused.value.status == 400
    assert refused.value.message.startswith(said)

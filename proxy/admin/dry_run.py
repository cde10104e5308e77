"""`POST /api/assistants/{id}/explain`: what a request would meet now, tier by tier. Nothing is sent, nothing changes.

1. It is the real walk over the real chain, with a send that reaches nobody and breakers that are only looked at: what
   it says is what the next request gets.
2. An edit that is tried is checked as if it were made, and is in force for this walk alone.
3. A request's body, where it is given, is put to each tier as a caller's would be; nothing of it is kept or told.
4. An assumption stands in for one target's state, for how its attempt ends, or for the store; all else is as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from proxy.admin.api.answering import answer
from proxy.admin.api.calls import Asked, Refused
from proxy.admin.assistants import Rebound
from proxy.admin.configuration import NotChanged
from proxy.breaker.keeper import Keeper
from proxy.breaker.permit import Guard, Permit, Verdict
from proxy.breaker.state import State, View, Word
from proxy.breaker.supposed import REASON, supposed
from proxy.config.fault import Wrong
from proxy.config.fields import Ability
from proxy.config.quantities import duration
from proxy.providers import openai
from proxy.providers.lenient import dumps
from proxy.record.document import breaker_document, step_document
from proxy.routing.bindings import Bindings, Chain, Route, Tier
from proxy.routing.decision import Skipped, reason
from proxy.routing.story import foresee
from proxy.routing.walk import Deadline, Ports, Served, Trail, walk
from proxy.terms import (
    CHAT,
    EMBEDDINGS,
    ENDPOINTS,
    RESPONSES,
    Accepted,
    Binding,
    Cause,
    Diagnosis,
    Endpoint,
    Failed,
    Follower,
    Headers,
    Outcome,
    Progress,
    Question,
)

_FAILING = "failing"
_WORDS = (*(word.value for word in Word), _FAILING)
_LONGEST = 30 * 86400.0


class DryRunOrder(Asked):
    """The request to play through, and what to assume."""

    endpoint: str = CHAT.name
    """chat_completions, completions, responses or embeddings."""
    stream: bool = False
    needs: frozenset[Ability] = frozenset()
    """DryRunOrder the request asks of a model beyond text, where bindings declare what they support."""
    assume: dict[str, str] = {}  # noqa: RUF012  # pydantic copies it for each
    """A tier, `source/model` or `redis` → what to assume of it: `open`, `parked for 60s`, `failing`, `away`."""
    request: dict[str, Any] | None = None
    """Its body: what it needs, whether it is streamed, and which tiers it cannot be put to are read from it too."""
    edit: Rebound | None = None
    """As a PUT of the assistant would have it: what would be if it were made."""


@dataclass(slots=True)
class _Assumed:
    states: dict[str, State] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    """Names of tiers."""
    away: bool = False


class _Rehearsal:
    """A walk.Breakers that only says what would be."""

    def __init__(self, keeper: Keeper, assumed: _Assumed) -> None:
        self._keeper, self._assumed = keeper, assumed

    def calm(self, guard: Guard, request_id: str) -> Permit | None:
        return None

    def standing(self, guard: Guard) -> View | None:
        return None

    async def admit(self, guard: Guard, request_id: str, *, early: bool, patience: float) -> Permit | View:
        return self.foresee(guard, early=early)

    def foresee(self, guard: Guard, *, early: bool = False) -> Permit | View:
        return self._keeper.foresee(guard, early=early, away=self._assumed.away, assumed=self._assumed.states)

    def settle(self, permit: Permit, verdict: Verdict) -> None:
        """Nobody hears of it."""

    def report_end(self, permit: Permit, verdict: Verdict) -> None:
        """Nobody hears of it."""

    def look(self, guard: Guard) -> View:
        foreseen = self.foresee(guard)
        return foreseen if isinstance(foreseen, View) else foreseen.seen


@dataclass(frozen=True, slots=True)
class _NoReply:
    """Of an answer that nobody gives."""

    status: int = 200
    headers: Headers = ()

    async def chunk(self) -> bytes:
        return b""

    def ready(self) -> bytes:
        return b""

    def whole(self) -> bytes:
        return b""

    def follow(self, follower: Follower | None) -> bool:
        return False

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """DryRunOrder a dry run is made on."""

    bindings: Callable[[], Bindings]
    drafted: Callable[[str, Mapping[str, Any]], Awaitable[Bindings]]
    """With an edit of an assistant that is not made. Raises NotChanged."""
    keeper: Keeper
    clock: Callable[[], float]
    """The breakers'."""
    unix: Callable[[float], float]
    """From that clock."""

    async def explain(self, _: web.BaseRequest, what: DryRunOrder, *, assistant: str) -> web.StreamResponse:
        """Answer the call."""
        return answer(await self.play(assistant, what))

    async def play(self, assistant: str, what: DryRunOrder) -> dict[str, Any]:
        """The answer's document. Raises Refused."""
        route = self.bindings().routes.get(assistant)
        if route is None:
            raise Refused("assistant_not_found", f"No assistant is called {assistant[:80]!r}.")
        if what.edit is not None:
            route = await self._edited(assistant, what.edit)
        endpoint = next((each for each in ENDPOINTS if each.name == what.endpoint), None)
        if endpoint is None:
            raise Refused("invalid_request", f"`endpoint` is one of {', '.join(each.name for each in ENDPOINTS)}.")
        question = _question(endpoint, what)
        told = {
            "assistant": assistant,
            "revision": self.bindings().revision,
            "endpoint": endpoint.name,
            "stream": question.stream,
            "needs": sorted(question.needs),
            "assume": what.assume,
        }
        chain = route.chain(endpoint)
        if chain is None or not chain.tiers:
            return told | _unserved("endpoint_not_enabled" if chain is None else "assistant_unbound")
        if endpoint == RESPONSES and openai.stored_state(question.document):
            return told | _unserved("stateful_request")
        assumed = self._assumptions(chain, endpoint, what.assume)
        if what.request is None:
            # What may be in a body that was not given is not held against any tier.
            chain = replace(chain, tiers=tuple(replace(tier, sifters={}) for tier in chain.tiers))
        return told | await self._walked(route, chain, question, assumed)

    async def _edited(self, assistant: str, edit: Rebound) -> Route:
        try:
            return (await self.drafted(assistant, edit.given())).routes[assistant]
        except NotChanged as refused:
            raise Refused("configuration_invalid", refused.message) from None

    async def _walked(self, route: Route, chain: Chain, question: Question, assumed: _Assumed) -> dict[str, Any]:
        rehearsal, now, trail = _Rehearsal(self.keeper, assumed), self.clock(), Trail("")
        failing = [tier.binding for tier in chain.tiers if tier.name in assumed.failing]

        async def ends(binding: Binding) -> Outcome:
            if any(binding is each for each in failing):
                return Failed(Diagnosis(Cause.SERVER, REASON))
            return Accepted(_NoReply(), complete=True)

        def send(_: Question, binding: Binding, *__: object) -> tuple[Progress, Awaitable[Outcome]]:
            return Progress(now), ends(binding)

        end = await walk(question, chain, _deadline(route, now), trail, Ports(rehearsal, send, lambda: now))
        served = end.attempted if isinstance(end, Served) else None
        refusal = None if isinstance(end, Served) else "unsupported" if end.uncarried else "all_tiers_failed"
        reached = {step.tier for step in trail.steps}
        spare = [tier for tier in chain.tiers if tier.name not in reached]
        unmet = [(tier, rehearsal.foresee(tier.guards[question.endpoint.name])) for tier in spare]
        return {
            "would": "serve" if served else "refuse",
            "refusal": refusal,
            "tier": served.tier if served else None,
            "source": served.source if served else None,
            "model": served.model if served else None,
            "probe": served.probe if served else None,
            "reason": reason(trail.steps) or None,
            "steps": [step_document(step, now, self.unix) for step in trail.steps],
            "spare": [_spare(tier, met, self.unix) for tier, met in unmet],
            "story": [
                *foresee(trail.steps, self.unix),
                *foresee([_denied(tier, met, now) for tier, met in unmet if isinstance(met, View)], self.unix),
                *([f"Nobody would serve it: the caller would get {refusal}."] if refusal else []),
            ],
        }

    def _assumptions(self, chain: Chain, endpoint: Endpoint, given: Mapping[str, str]) -> _Assumed:
        assumed = _Assumed()
        for what, said in given.items():
            if what in ("redis", "store"):
                if said != "away":
                    raise Refused("invalid_request", f"`{what}` can be assumed to be `away`, and nothing else.")
                assumed.away = True
                continue
            tiers = [tier for tier in chain.tiers if what in (tier.name, _bound(tier))]
            if not tiers:
                known = ", ".join([name for tier in chain.tiers for name in (tier.name, _bound(tier))])
                text = f"Nothing of this chain is called {what[:80]!r}: it has {known}, and redis."
                raise Refused("invalid_request", text)
            word, span = _said(said)
            for tier in tiers:
                if word == _FAILING:
                    assumed.failing.add(tier.name)
                else:
                    guard = tier.guards[endpoint.name]
                    assumed.states[guard.target] = supposed(Word(word), guard.policy, self.clock(), span)
        return assumed


def _said(said: str) -> tuple[str, float | None]:
    word, _, rest = said.partition(" for ")
    try:
        span = duration(rest.replace(" ", "")) if rest else None
    except Wrong:
        span = -1.0
    if word not in _WORDS or (span is not None and not 0 < span <= _LONGEST):
        text = f"An assumption is one of {', '.join(_WORDS)}, with a time if you like: `parked for 60s`."
        raise Refused("invalid_request", text)
    return word, span


def _deadline(route: Route, now: float) -> Deadline:
    times = route.timeouts
    return Deadline(now + times.total, times.total, Diagnosis(Cause.TIMEOUT_TOTAL, "total"), times)


def _question(endpoint: Endpoint, what: DryRunOrder) -> Question:
    request = what.request or {}
    stream = what.stream or (request.get("stream") is True and endpoint != EMBEDDINGS)
    model, needs = request.get("model"), what.needs | openai.needs(request)
    return Question(endpoint, dumps(request), request, (), "", stream, model if isinstance(model, str) else None, needs)


def _unserved(code: str) -> dict[str, Any]:
    words = {
        "endpoint_not_enabled": "The assistant has no chain for this endpoint.",
        "assistant_unbound": "The assistant has neither a primary nor fallbacks.",
        "stateful_request": "The request refers to something kept at one source, which a fallback could not serve.",
    }
    nothing = dict.fromkeys(("tier", "source", "model", "probe", "reason"))
    return {"would": "refuse", "refusal": code, **nothing, "steps": [], "spare": [], "story": [words[code]]}


def _bound(tier: Tier) -> str:
    return f"{tier.binding.source}/{tier.binding.model}"


def _denied(tier: Tier, seen: View, now: float) -> Skipped:
    return Skipped(tier.name, tier.binding.source, tier.binding.model, seen.word.value, now, seen)


def _spare(tier: Tier, met: Permit | View, unix: Callable[[float], float]) -> dict[str, Any]:
    seen = met if isinstance(met, View) else met.seen
    return {
        "tier": tier.name,
        "source": tier.binding.source,
        "model": tier.binding.model,
        "admits": not isinstance(met, View),
        "breaker": breaker_document(seen, unix),
    }

"""The assistant → chain table of one configuration: immutable, and swapped whole.

1. Whose health it is lies in the target's name: kind, base URL, model, endpoint, credential, and the assistant only
   where it asked for breakers of its own. Rebinding a tier or rotating a key makes another target, with fresh state;
   an account whose token is refreshed stays the same.
2. A credential appears in a target's name only as the keyed digest that `identify` makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from proxy.breaker.permit import Guard
from proxy.breaker.state import Policy
from proxy.config import schema
from proxy.providers.dialect import Dialect
from proxy.terms import ENDPOINTS, Binding, Endpoint

ModelFrom = Literal["binding", "source"]
"""Who names a tier's model: its binding, or its source, as the default of those that name none."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A place in a chain."""

    name: str
    """primary, fallback-1, …"""
    binding: Binding
    guards: Mapping[str, Guard]
    """By endpoint name: a key may serve one path and be refused on another."""
    lacks: frozenset[str] = frozenset()
    """Names of endpoints that its kind of source has no way to be asked."""
    sifters: Mapping[str, Dialect] = field(default_factory=dict)
    """By endpoint name: what its source speaks, where a request may have what that refuses or leaves out."""
    model_from: ModelFrom = "binding"


@dataclass(frozen=True, slots=True)
class Chain:
    """Tiers in the order in which they are tried."""

    tiers: tuple[Tier, ...]
    cleared: bool = False
    """The operator left the primary empty."""
    declares: bool = False
    """Some tier declares what it supports, so a request's needs must be known."""


@dataclass(frozen=True, slots=True)
class Route:
    """How one assistant's requests go."""

    assistant: str
    own: Chain
    chains: Mapping[str, Chain]
    """Chains of endpoints that may not use the assistant's own, by their key."""
    timeouts: schema.Timeouts

    def chain(self, endpoint: Endpoint) -> Chain | None:
        """The chain for an endpoint; None when it is not configured."""
        return self.own if endpoint.chain is None else self.chains.get(endpoint.chain)


@dataclass(frozen=True, slots=True)
class Target:
    """Whose health a guard's row is, in the words of the configuration."""

    source: str
    model: str
    """`*` for a credential, whatever it is used for."""
    endpoint: str
    assistants: tuple[str, ...]
    """Those whose tiers it guards."""


@dataclass(frozen=True, slots=True)
class Bindings:
    """Every assistant's route."""

    routes: Mapping[str, Route]
    revision: str
    """Names the configuration that they were made of."""

    def tiers(self) -> Iterator[tuple[str, str, Tier]]:
        """Every assistant's tiers, with what operators call them: primary, fallback-1, embeddings/primary, …"""
        for name, route in self.routes.items():
            for key, chain in (("", route.own), *route.chains.items()):
                for tier in chain.tiers:
                    yield name, f"{key}/{tier.name}" if key else tier.name, tier

    def guards(self) -> Iterator[Guard]:
        """Those of every tier and endpoint."""
        for _, _, tier in self.tiers():
            yield from tier.guards.values()


def targets(bindings: Bindings) -> dict[str, Target]:
    """Every guard's rows, by name."""
    found: dict[str, Target] = {}
    for name, _, tier in bindings.tiers():
        for endpoint, guard in tier.guards.items():
            _add(found, guard.target, Target(tier.binding.source, tier.binding.model, endpoint, (name,)))
            if guard.credential is not None:
                _add(found, guard.credential, Target(tier.binding.source, "*", "*", (name,)))
    return found


def _add(found: dict[str, Target], row: str, target: Target) -> None:
    known = found.setdefault(row, target)
    if target.assistants[0] not in known.assistants:
        found[row] = replace(known, assistants=known.assistants + target.assistants)


def bind(config: schema.Config, revision: str, identify: Callable[[str], str]) -> Bindings:
    """The table of a checked configuration. `identify` turns a secret into a name that does not give it away."""
    return Bindings({name: _route(config, name, identify) for name in config.assistants}, revision)


def _route(config: schema.Config, name: str, identify: Callable[[str], str]) -> Route:
    assistant = config.assistants[name]

    def chain(
        primary: schema.Binding | None, fallbacks: tuple[schema.Binding, ...], endpoints: list[Endpoint]
    ) -> Chain:
        named = ([] if primary is None else [("primary", primary)]) + [
            (f"fallback-{place}", binding) for place, binding in enumerate(fallbacks, start=1)
        ]
        tiers = tuple(_tier(config, name, tier, binding, endpoints, identify) for tier, binding in named)
        return Chain(tiers, cleared=primary is None, declares=any(t.binding.supports is not None for t in tiers))

    return Route(
        assistant=name,
        own=chain(assistant.primary, assistant.fallbacks, [e for e in ENDPOINTS if e.chain is None]),
        chains={
            key: chain(each.primary, each.fallbacks, [e for e in ENDPOINTS if e.chain == key])
            for key, each in assistant.chains.items()
        },
        timeouts=assistant.timeouts,
    )


def _tier(
    config: schema.Config,
    assistant: str,
    tier: str,
    bound: schema.Binding,
    endpoints: list[Endpoint],
    identify: Callable[[str], str],
) -> Tier:
    source, model = config.sources[bound.source], config.model_of(bound)
    assert model is not None  # noqa: S101  # a checked configuration names one for every binding
    speaks, binding = source.speaks, bound.resolve(source.kind, model)
    secret = source.credential
    credential = f"{source.kind}|{source.base_url}|{identify(secret)}" if secret else None
    values = config.policy(assistant, bound.source)
    policy = Policy(
        values.failure_threshold, values.failure_rate, values.minimum_calls, values.cooldown, values.cooldown_max
    )
    scope = f"|{assistant}" if values.own else ""
    guards = {
        endpoint.name: Guard(
            f"{source.kind}|{source.base_url}|{model}|{endpoint.name}|{credential or ''}{scope}",
            credential,
            policy,
        )
        for endpoint in endpoints
    }
    lacks = frozenset(each.name for each in endpoints if not speaks.serves(each))
    sifters = {each.name: speaks for each in endpoints if each.name not in lacks and speaks.sifts(each, binding)}
    named: ModelFrom = "source" if bound.model is None else "binding"
    return Tier(tier, binding, guards, lacks, sifters, named)

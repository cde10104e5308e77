"""The assistant → chain table of one configuration: immutable, and swapped whole.

1. Whose health it is lies in the target's name: kind, base URL, model, endpoint, credential, and the assistant only
   where it asked for breakers of its own. Rebinding a tier or rotating a key makes another target, with fresh state;
   an account whose token is refreshed stays the same.
2. A credential appears in a target's name only as the keyed digest that `identify` makes of it.
3. What it costs grows with the tiers alone, however many of them share a target. What is equal is one object, from the
   guards to the chain: a request of an assistant that was not asked for long finds what others have just used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from proxy.breaker.permit import Guard
from proxy.breaker.state import Policy
from proxy.config import schema
from proxy.providers.dialect import Dialect
from proxy.terms import ENDPOINTS, Binding, Endpoint, Times

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
    timeouts: Times

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
    """Every assistant's route, and what is known of all of them together."""

    routes: Mapping[str, Route]
    revision: str
    """Names the configuration that they were made of."""
    guards: tuple[Guard, ...] = ()
    """Those of every tier and endpoint, each target's once."""
    targets: Mapping[str, Target] = field(default_factory=dict)
    """Every guard's rows, by name."""

    def tiers(self) -> Iterator[tuple[str, str, Tier]]:
        """Every assistant's tiers, with what operators call them: primary, fallback-1, embeddings/primary, …"""
        return _tiers(self.routes)


def _tiers(routes: Mapping[str, Route]) -> Iterator[tuple[str, str, Tier]]:
    for name, route in routes.items():
        for key, chain in (("", route.own), *route.chains.items()):
            for tier in chain.tiers:
                yield name, f"{key}/{tier.name}" if key else tier.name, tier


def _guards(routes: Mapping[str, Route]) -> tuple[Guard, ...]:
    found: dict[str, Guard] = {}
    for _, _, tier in _tiers(routes):
        for guard in tier.guards.values():
            # A credential's row goes by the values of the last tier that uses it.
            found.pop(guard.target, None)
            found[guard.target] = guard
    return tuple(found.values())


def _targets(routes: Mapping[str, Route]) -> dict[str, Target]:
    found: dict[str, tuple[str, str, str]] = {}
    users: dict[str, dict[str, None]] = {}
    for name, _, tier in _tiers(routes):
        source, model = tier.binding.source, tier.binding.model
        for endpoint, guard in tier.guards.items():
            found.setdefault(guard.target, (source, model, endpoint))
            users.setdefault(guard.target, {})[name] = None
            if guard.credential is not None:
                found.setdefault(guard.credential, (source, "*", "*"))
                users.setdefault(guard.credential, {})[name] = None
    return {row: Target(*said, tuple(users[row])) for row, said in found.items()}


def bind(config: schema.Config, revision: str, identify: Callable[[str], str]) -> Bindings:
    """The table of a checked configuration. `identify` turns a secret into a name that does not give it away."""
    binder = _Binder(config, identify)
    routes = {name: binder.route(name) for name in config.assistants}
    return Bindings(routes, revision, _guards(routes), _targets(routes))


class _Binder:
    """One run over a configuration: what many tiers share is made once."""

    def __init__(self, config: schema.Config, identify: Callable[[str], str]) -> None:
        self._config, self._identify = config, identify
        self._credentials: dict[str, str | None] = {}
        self._guards: dict[tuple[str, str, str | None, str], Mapping[str, Guard]] = {}
        """By source, model, the chain's key, and the assistant where it has breakers of its own."""
        self._tiers: dict[tuple[object, ...], Tier] = {}
        """Those that change nothing in a request, by all that is said of them."""
        self._chains: dict[tuple[object, ...], Chain] = {}
        """By their tiers."""
        self._timeouts: dict[tuple[object, ...], Times] = {}

    def route(self, name: str) -> Route:
        assistant = self._config.assistants[name]
        said = tuple(vars(assistant.timeouts).values())
        if (times := self._timeouts.get(said)) is None:
            times = self._timeouts[said] = assistant.timeouts.resolve()
        return Route(
            assistant=name,
            own=self._chain(name, assistant, None),
            chains={key: self._chain(name, each, key) for key, each in assistant.chains.items()} or _NO_CHAINS,
            timeouts=times,
        )

    def _chain(self, assistant: str, chain: schema.Chain, key: str | None) -> Chain:
        named = ([] if chain.primary is None else [("primary", chain.primary)]) + [
            (f"fallback-{place}", binding) for place, binding in enumerate(chain.fallbacks, start=1)
        ]
        tiers = tuple([self._shared_tier(assistant, tier, binding, key) for tier, binding in named])
        made = (chain.primary is None, *map(id, tiers))
        known = self._chains.get(made)
        if known is None:
            declares = any(tier.binding.supports is not None for tier in tiers)
            known = self._chains[made] = Chain(tiers, cleared=chain.primary is None, declares=declares)
        return known

    def _shared_tier(self, assistant: str, tier: str, bound: schema.Binding, key: str | None) -> Tier:
        if (params := bound.params).drop or params.set or params.cap:
            return self._tier(assistant, tier, bound, key)
        apart = assistant if self._config.assistants[assistant].apart else ""
        said = (tier, bound.source, bound.model, bound.context, bound.supports, key, apart)
        known = self._tiers.get(said)
        if known is None:
            known = self._tiers[said] = self._tier(assistant, tier, bound, key)
        return known

    def _tier(self, assistant: str, tier: str, bound: schema.Binding, key: str | None) -> Tier:
        source, model = self._config.sources[bound.source], self._config.model_of(bound)
        assert model is not None  # noqa: S101  # a checked configuration names one for every binding
        speaks, binding = source.speaks, bound.resolve(source.kind, model)
        endpoints = _endpoints(key)
        lacks = frozenset(each.name for each in endpoints if not speaks.serves(each))
        sifters = {each.name: speaks for each in endpoints if each.name not in lacks and speaks.sifts(each, binding)}
        named: ModelFrom = "source" if bound.model is None else "binding"
        return Tier(tier, binding, self._guarding(assistant, bound.source, model, key), lacks, sifters, named)

    def _guarding(self, assistant: str, source: str, model: str, key: str | None) -> Mapping[str, Guard]:
        apart = assistant if self._config.assistants[assistant].apart else ""
        known = self._guards.get((source, model, key, apart))
        if known is None:
            known = self._guards[source, model, key, apart] = self._guard(assistant, source, model, key)
        return known

    def _guard(self, assistant: str, name: str, model: str, key: str | None) -> Mapping[str, Guard]:
        source, values = self._config.sources[name], self._config.policy(assistant, name)
        credential = self._credential(name)
        policy = Policy(
            values.failure_threshold, values.failure_rate, values.minimum_calls, values.cooldown, values.cooldown_max
        )
        scope = f"|{assistant}" if values.own else ""
        return {
            endpoint.name: Guard(
                f"{source.kind}|{source.base_url}|{model}|{endpoint.name}|{credential or ''}{scope}",
                credential,
                policy,
            )
            for endpoint in _endpoints(key)
        }

    def _credential(self, name: str) -> str | None:
        if name not in self._credentials:
            source = self._config.sources[name]
            key = self._identify(secret) if (secret := source.credential) else None
            self._credentials[name] = key and f"{source.kind}|{source.base_url}|{key}"
        return self._credentials[name]


_NO_CHAINS: Mapping[str, Chain] = MappingProxyType({})


@functools.cache
def _endpoints(key: str | None) -> tuple[Endpoint, ...]:
    """Those that go by an assistant's own chain, or by the chain of this key."""
    return tuple(each for each in ENDPOINTS if each.chain == key)

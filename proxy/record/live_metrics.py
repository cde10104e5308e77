"""Prometheus metrics that are true now: breakers, requests in flight and the shared store, read at every scrape.

1. Nothing is mirrored: a wait that has run out shows at the next scrape, though nothing has happened since.
2. A scrape runs beside the event loop, so whatever is read here is read in one step or never changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from proxy.breaker.keeper import Guard
from proxy.breaker.linked import LinkStatus
from proxy.breaker.state import View, Word
from proxy.record.series import Family, number
from proxy.routing.bindings import Bindings, Route, Tier
from proxy.upstream.client import Connections

Look = Callable[[Guard], View]

_SEVERITY = (Word.CLOSED, Word.HALF_OPEN, Word.OPEN, Word.PARKED, Word.DISABLED, Word.ISOLATED)


def labelled(route: Route) -> Iterator[tuple[str, Tier]]:
    """Every tier with the name that metrics give it; those of a chain of its own with the chain's before it."""
    for tier in route.own.tiers:
        yield tier.name, tier
    for key, chain in route.chains.items():
        for tier in chain.tiers:
            yield f"{key}/{tier.name}", tier


class Live:
    """What is true now: read at scrape."""

    def __init__(
        self,
        bindings: Bindings,
        look: Look,
        to_unix: Callable[[float], float],
        serving: Mapping[str, int],
        connections: Callable[[], Mapping[str, Connections]],
    ) -> None:
        self._bindings, self._look, self._to_unix, self._serving = bindings, look, to_unix, serving
        self._connections = connections
        a, t, s, m = "assistant", "tier", "source", "model"
        self._in_flight = _gauge("homeport_requests_in_flight", "Requests being served", a)
        self._state = _gauge("homeport_breaker_state", "1 for the state this replica sees", a, t, "state")
        self._info = _gauge("homeport_tier_info", "What a tier is bound to", a, t, s, m, "kind")
        self._until = _gauge(
            "homeport_breaker_open_until_timestamp_seconds",
            "Unix time the target may be tried, 0 = now, +Inf = when an operator says so",
            s,
            m,
        )
        self._failures = _gauge("homeport_breaker_failures", "Failures in the current run", s, m)
        self._lines = _gauge("homeport_upstream_connections", "Connections to a source", s, "state")

    def lines(self) -> Iterator[str]:
        """As it is exposed."""
        targets: dict[tuple[str, str], View] = {}
        seen: dict[str, View] = {}

        def look(guard: Guard) -> View:
            # Of a target that many assistants share one look is enough.
            view = seen.get(guard.target)
            if view is None:
                view = seen[guard.target] = self._look(guard)
            return view

        yield self._state.head
        for name, route in self._bindings.routes.items():
            for label, tier in labelled(route):
                # One tier has a breaker per endpoint; the worst of them is the tier's.
                view = max((look(guard) for guard in tier.guards.values()), key=_severity)
                for each in Word:
                    yield f"{self._state.start(name, label, each.value)}{1.0 if each is view.word else 0.0}\n"
                target = (tier.binding.source, tier.binding.model)
                known = targets.get(target)
                targets[target] = view if known is None else max(known, view, key=_severity)
        yield self._until.head
        for target, view in targets.items():
            yield f"{self._until.start(*target)}{number(self._may_be_tried(view))}\n"
        yield self._failures.head
        for target, view in targets.items():
            yield f"{self._failures.start(*target)}{number(view.failures)}\n"
        yield from self._bound()
        yield self._in_flight.head
        for name in self._bindings.routes:
            yield f"{self._in_flight.start(name)}{number(self._serving.get(name, 0))}\n"
        yield self._lines.head
        for source, count in self._connections().items():
            for state, value in (("in_use", count.in_use), ("idle", count.idle), ("waiting", count.waiting)):
                yield f"{self._lines.start(source, state)}{number(value)}\n"

    def _bound(self) -> Iterator[str]:
        yield self._info.head
        for name, route in self._bindings.routes.items():
            for label, tier in labelled(route):
                binding = tier.binding
                yield f"{self._info.start(name, label, binding.source, binding.model, binding.kind)}1.0\n"

    def _may_be_tried(self, view: View) -> float:
        if view.until is not None:
            return self._to_unix(view.until)
        return 0.0 if view.word is Word.CLOSED else math.inf


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family("gauge", name, text, labels)


def _severity(view: View) -> int:
    return _SEVERITY.index(view.word)


class Shared:
    """The shared store as it is now: read at scrape."""

    def __init__(self, link: Callable[[], LinkStatus], to_unix: Callable[[float], float]) -> None:
        self._link, self._to_unix = link, to_unix
        self._up = _gauge("homeport_redis_up", "1 while the shared store answers")
        self._away = Family("counter", "homeport_redis_degraded_seconds_total", "Time on this replica's own state")
        self._synced = _gauge("homeport_state_last_sync_timestamp_seconds", "Unix time, 0 = never")
        self._version = _gauge("homeport_state_version", "Equal in replicas that know the same")

    def lines(self) -> Iterator[str]:
        """As it is exposed."""
        link = self._link()
        synced = 0.0 if link.last_sync is None else self._to_unix(link.last_sync)
        for family, value in (
            (self._up, float(link.up)),
            (self._away, link.away),
            (self._synced, synced),
            (self._version, float(link.version)),
        ):
            yield f"{family.head}{family.start()}{number(value)}\n"

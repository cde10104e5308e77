"""Prometheus metrics that are true now: breakers, requests in flight and the shared store, read at every scrape.

1. Nothing is mirrored: a wait that has run out shows at the next scrape, though nothing has happened since.
2. A scrape runs beside the event loop, so whatever is read here is read in one step or never changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from proxy.breaker.keeper import Guard
from proxy.breaker.linked import LinkStatus
from proxy.breaker.state import View, Word
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


class Live(Collector):
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

    def collect(self) -> Iterator[GaugeMetricFamily]:
        a, t, s, m = "assistant", "tier", "source", "model"
        serving = GaugeMetricFamily("homeport_requests_in_flight", "Requests being served", labels=[a])
        state = GaugeMetricFamily("homeport_breaker_state", "1 for the state this replica sees", labels=[a, t, "state"])
        info = GaugeMetricFamily("homeport_tier_info", "What a tier is bound to", labels=[a, t, s, m, "kind"])
        until = GaugeMetricFamily(
            "homeport_breaker_open_until_timestamp_seconds",
            "Unix time the target may be tried, 0 = now, +Inf = when an operator says so",
            labels=[s, m],
        )
        failures = GaugeMetricFamily("homeport_breaker_failures", "Failures in the current run", labels=[s, m])
        targets: dict[tuple[str, str], View] = {}
        for name, route in self._bindings.routes.items():
            serving.add_metric([name], self._serving.get(name, 0))
            for label, tier in labelled(route):
                binding = tier.binding
                info.add_metric([name, label, binding.source, binding.model, binding.kind], 1)
                # One tier has a breaker per endpoint; the worst of them is the tier's.
                view = max((self._look(guard) for guard in tier.guards.values()), key=_severity)
                for word in Word:
                    state.add_metric([name, label, word.value], float(word is view.word))
                known = targets.get((binding.source, binding.model))
                targets[binding.source, binding.model] = view if known is None else max(known, view, key=_severity)
        for (source, model), view in targets.items():
            until.add_metric([source, model], self._until(view))
            failures.add_metric([source, model], view.failures)
        lines = GaugeMetricFamily("homeport_upstream_connections", "Connections to a source", labels=[s, "state"])
        for source, count in self._connections().items():
            lines.add_metric([source, "in_use"], count.in_use)
            lines.add_metric([source, "idle"], count.idle)
            lines.add_metric([source, "waiting"], count.waiting)
        yield from (serving, state, info, until, failures, lines)

    def _until(self, view: View) -> float:
        if view.until is not None:
            return self._to_unix(view.until)
        return 0.0 if view.word is Word.CLOSED else math.inf


def _severity(view: View) -> int:
    return _SEVERITY.index(view.word)


class Shared(Collector):
    """The shared store as it is now: read at scrape."""

    def __init__(self, link: Callable[[], LinkStatus], to_unix: Callable[[float], float]) -> None:
        self._link, self._to_unix = link, to_unix

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        link = self._link()
        synced = 0.0 if link.last_sync is None else self._to_unix(link.last_sync)
        yield GaugeMetricFamily("homeport_redis_up", "1 while the shared store answers", value=float(link.up))
        yield CounterMetricFamily(
            "homeport_redis_degraded_seconds_total", "Time on this replica's own state", value=link.away
        )
        yield GaugeMetricFamily("homeport_state_last_sync_timestamp_seconds", "Unix time, 0 = never", value=synced)
        yield GaugeMetricFamily(
            "homeport_state_version", "Equal in replicas that know the same", value=float(link.version)
        )

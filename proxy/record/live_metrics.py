"""Prometheus metrics that are true now: breakers, requests in flight and the shared store, read at every scrape.

1. Nothing is mirrored: a wait that has run out shows at the next scrape, though nothing has happened since.
2. A scrape runs beside the event loop, so whatever is read here is read in one step or never changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from proxy.breaker.linked import LinkStatus
from proxy.breaker.permit import Guard
from proxy.breaker.state import View, Word, severity
from proxy.record.journal import DROPS, JournalStatus
from proxy.record.lately import Lately
from proxy.routing.bindings import Bindings, Route, Tier
from proxy.upstream.client import Connections

Look = Callable[[Guard], View]


def labelled(route: Route) -> Iterator[tuple[str, Tier]]:
    """Every tier with the name that metrics give it; those of a chain of its own with the chain's before it."""
    for tier in route.own.tiers:
        yield tier.name, tier
    for key, chain in route.chains.items():
        for tier in chain.tiers:
            yield f"{key}/{tier.name}", tier


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is known of the configuration in force."""

    revision: str
    file: str
    """The file's fingerprint."""
    differences: int
    """Fields in which an operator's edit and the file do not say the same, and nobody has settled it."""


@dataclass(frozen=True, slots=True)
class Now:
    """Where what is true now is read."""

    bindings: Callable[[], Bindings]
    look: Look
    to_unix: Callable[[float], float]
    """From the breakers' clock."""
    serving: Mapping[str, int]
    """Requests by assistant."""
    connections: Callable[[], Mapping[str, Connections]]
    """Of each source."""
    lately: Lately
    journal: Callable[[], JournalStatus]
    configuration: Callable[[], Configuration]
    link: Callable[[], LinkStatus] | None = None
    """What is known of the shared store, where there is one."""


class Live(Collector):
    """Tiers, breakers and connections."""

    def __init__(self, now: Now) -> None:
        self._now = now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        a, t, s, m, now = "assistant", "tier", "source", "model", self._now
        serving = GaugeMetricFamily("homeport_requests_in_flight", "Requests being served", labels=[a])
        state = GaugeMetricFamily("homeport_breaker_state", "1 for the state this replica sees", labels=[a, t, "state"])
        info = GaugeMetricFamily("homeport_tier_info", "What a tier is bound to", labels=[a, t, s, m, "kind"])
        until = GaugeMetricFamily(
            "homeport_breaker_open_until_timestamp_seconds",
            "Unix time the target may be tried, 0 = now, +Inf = when an operator says so",
            labels=[s, m],
        )
        failures = GaugeMetricFamily("homeport_breaker_failures", "Failures in the current run", labels=[s, m])
        used, succeeded, failed = (
            GaugeMetricFamily(f"homeport_tier_last_{what}_timestamp_seconds", text, labels=[a, t])
            for what, text in (
                ("used", "Unix time of the last attempt, 0 = never"),
                ("success", "Unix time it last served, 0 = never"),
                ("failure", "Unix time it last failed, 0 = never"),
            )
        )
        targets: dict[tuple[str, str], View] = {}
        for name, route in now.bindings().routes.items():
            serving.add_metric([name], now.serving.get(name, 0))
            for label, tier in labelled(route):
                binding = tier.binding
                info.add_metric([name, label, binding.source, binding.model, binding.kind], 1)
                times = now.lately.of(name, label)
                used.add_metric([name, label], times.used)
                succeeded.add_metric([name, label], times.succeeded)
                failed.add_metric([name, label], times.failed)
                # One tier has a breaker per endpoint; the worst of them is the tier's.
                view = max((now.look(guard) for guard in tier.guards.values()), key=severity)
                for word in Word:
                    state.add_metric([name, label, word.value], float(word is view.word))
                known = targets.get((binding.source, binding.model))
                targets[binding.source, binding.model] = view if known is None else max(known, view, key=severity)
        for (source, model), view in targets.items():
            until.add_metric([source, model], self._until(view))
            failures.add_metric([source, model], view.failures)
        lines = GaugeMetricFamily("homeport_upstream_connections", "Connections to a source", labels=[s, "state"])
        for source, count in now.connections().items():
            lines.add_metric([source, "in_use"], count.in_use)
            lines.add_metric([source, "idle"], count.idle)
            lines.add_metric([source, "waiting"], count.waiting)
        yield from (serving, state, info, until, failures, lines, used, succeeded, failed)

    def _until(self, view: View) -> float:
        if view.until is not None:
            return self._now.to_unix(view.until)
        return 0.0 if view.word is Word.CLOSED else math.inf


class Kept(Collector):
    """The journal and the configuration."""

    def __init__(self, now: Now) -> None:
        self._now = now

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        journal, config = self._now.journal(), self._now.configuration()
        dropped = CounterMetricFamily("homeport_decisions_dropped_total", "Records not kept", labels=["reason"])
        for reason in DROPS:
            dropped.add_metric([reason], journal.dropped.get(reason, 0))
        yield dropped
        yield GaugeMetricFamily(
            "homeport_decisions_pending", "Records that wait for the shared journal", value=journal.pending
        )
        revision = GaugeMetricFamily("homeport_config_revision_info", "Always 1", labels=["revision", "file"])
        revision.add_metric([config.revision, config.file], 1)
        yield revision
        yield GaugeMetricFamily(
            "homeport_config_differences", "Edited fields of which the file says otherwise", value=config.differences
        )


class Shared(Collector):
    """The shared store."""

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

"""Prometheus metrics that are true now: breakers, requests in flight and the shared store, read at every scrape.

1. Nothing is mirrored: a wait that has run out shows at the next scrape, though nothing has happened since.
2. A scrape runs beside the event loop, so whatever is read here is read in one step or never changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from proxy.breaker.linked import LinkStatus
from proxy.breaker.permit import Guard
from proxy.breaker.state import View, Word, severity
from proxy.record.families import Family
from proxy.record.journal import DROPS, JournalStatus
from proxy.record.lately import Lately
from proxy.record.series import number
from proxy.routing.bindings import Bindings, Tier
from proxy.upstream.client import Connections

Look = Callable[[Guard], View]


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
    serving: Callable[[], Mapping[str, int]]
    """Requests by assistant."""
    trying: Callable[[], Mapping[tuple[str, str], int]]
    """Requests that an upstream has now, by assistant and tier."""
    connections: Callable[[], Mapping[str, Connections]]
    """Of each source."""
    remaining: Callable[[], Mapping[tuple[str, str, str], float]]
    """By source, model and kind: how many more requests or tokens an upstream takes, as it said last."""
    expiries: Callable[[], Mapping[str, float]]
    """When each account's access token runs out, in Unix seconds."""
    lately: Lately
    journal: Callable[[], JournalStatus]
    configuration: Callable[[], Configuration]
    link: Callable[[], LinkStatus] | None = None
    """What is known of the shared store, where there is one."""


class Live:
    """Tiers, breakers and connections."""

    def __init__(self, now: Now) -> None:
        self._now = now
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
        self._trying = _gauge("homeport_tier_in_flight", "Requests that its upstream has now", a, t)
        self._remaining = _gauge(
            "homeport_upstream_ratelimit_remaining", "Left of its window, as the upstream said last", a, t, "kind"
        )
        self._lines = _gauge("homeport_upstream_connections", "Connections to a source", s, "state")
        self._expiry = _gauge(
            "homeport_credential_expiry_timestamp_seconds", "Unix time an account's access token ends", "credential"
        )
        self._used = _gauge(
            "homeport_tier_last_used_timestamp_seconds", "Unix time of the last attempt, 0 = never", a, t
        )
        self._served = _gauge(
            "homeport_tier_last_success_timestamp_seconds", "Unix time it last served, 0 = never", a, t
        )
        self._failed = _gauge(
            "homeport_tier_last_failure_timestamp_seconds", "Unix time it last failed, 0 = never", a, t
        )

    def lines(self) -> Iterator[str]:
        """As it is exposed."""
        now, bindings = self._now, self._now.bindings()
        tiers = list(bindings.tiers())
        yield from self._breakers(tiers)
        yield self._info.head
        for name, label, tier in tiers:
            binding = tier.binding
            yield f"{self._info.start(name, label, binding.source, binding.model, binding.kind)}1.0\n"
        for family, which in ((self._used, "used"), (self._served, "succeeded"), (self._failed, "failed")):
            yield family.head
            for name, label, _ in tiers:
                yield f"{family.start(name, label)}{number(getattr(now.lately.of(name, label), which))}\n"
        trying = now.trying()
        yield self._trying.head
        for name, label, _ in tiers:
            count = trying.get((name, label), 0)
            if count or now.lately.of(name, label).used:
                yield f"{self._trying.start(name, label)}{number(count)}\n"
        yield from self._windows(tiers)
        serving = now.serving()
        yield self._in_flight.head
        for name in bindings.routes:
            yield f"{self._in_flight.start(name)}{number(serving.get(name, 0))}\n"
        yield self._lines.head
        for source, each in now.connections().items():
            for state, value in (("in_use", each.in_use), ("idle", each.idle), ("waiting", each.waiting)):
                yield f"{self._lines.start(source, state)}{number(value)}\n"
        yield self._expiry.head
        for source, expires in now.expiries().items():
            yield f"{self._expiry.start(source)}{number(expires)}\n"

    def _windows(self, tiers: list[tuple[str, str, Tier]]) -> Iterator[str]:
        remaining = self._now.remaining()
        yield self._remaining.head
        for name, label, tier in tiers:
            for kind in ("requests", "tokens"):
                left = remaining.get((tier.binding.source, tier.binding.model, kind))
                if left is not None:
                    yield f"{self._remaining.start(name, label, kind)}{number(left)}\n"

    def _breakers(self, tiers: list[tuple[str, str, Tier]]) -> Iterator[str]:
        targets: dict[tuple[str, str], View] = {}
        seen: dict[str, View] = {}

        def look(guard: Guard) -> View:
            # Of a target that many assistants share one look is enough.
            view = seen.get(guard.target)
            if view is None:
                view = seen[guard.target] = self._now.look(guard)
            return view

        yield self._state.head
        for name, label, tier in tiers:
            # One tier has a breaker per endpoint; the worst of them is the tier's.
            view = max((look(guard) for guard in tier.guards.values()), key=severity)
            for each in Word:
                yield f"{self._state.start(name, label, each.value)}{'1.0' if each is view.word else '0.0'}\n"
            target = (tier.binding.source, tier.binding.model)
            known = targets.get(target)
            targets[target] = view if known is None else max(known, view, key=severity)
        yield self._until.head
        for target, view in targets.items():
            yield f"{self._until.start(*target)}{number(self._may_be_tried(view))}\n"
        yield self._failures.head
        for target, view in targets.items():
            yield f"{self._failures.start(*target)}{number(view.failures)}\n"

    def _may_be_tried(self, view: View) -> float:
        if view.until is not None:
            return self._now.to_unix(view.until)
        return 0.0 if view.word is Word.CLOSED else math.inf


class Kept:
    """The journal and the configuration."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._dropped = Family("counter", "homeport_decisions_dropped_total", "Records not kept", ("reason",))
        self._pending = _gauge("homeport_decisions_pending", "Records that wait for the shared journal")
        self._revision = _gauge("homeport_config_revision_info", "Always 1", "revision", "file")
        self._differences = _gauge("homeport_config_differences", "Edited fields of which the file says otherwise")

    def lines(self) -> Iterator[str]:
        """As it is exposed."""
        journal, config = self._now.journal(), self._now.configuration()
        yield self._dropped.head
        for reason in DROPS:
            yield f"{self._dropped.start(reason)}{number(journal.dropped.get(reason, 0))}\n"
        yield f"{self._pending.head}{self._pending.start()}{number(journal.pending)}\n"
        # There is always another revision, so its text is not kept.
        yield f"{self._revision.head}{self._revision.once(config.revision, config.file)}1.0\n"
        yield f"{self._differences.head}{self._differences.start()}{number(config.differences)}\n"


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family("gauge", name, text, labels)


class Shared:
    """The shared store."""

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

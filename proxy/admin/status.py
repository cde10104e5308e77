"""What `GET /api/status` tells of this replica, its store and its breakers.

1. Everything is read when it is asked for. Times are Unix seconds, durations seconds.
2. Only words from configuration and from closed lists: no URL, no credential, no target's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from proxy.admin.api.answering import page
from proxy.admin.configuration import Configuration
from proxy.breaker.linked import LinkStatus
from proxy.breaker.permit import Guard
from proxy.breaker.state import View, Word
from proxy.config.edits import unsettled
from proxy.record.document import breaker_document
from proxy.record.journal import JournalStatus
from proxy.routing.bindings import Bindings


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the facts are read."""

    version: str
    replica: str
    began: float
    """Unix."""
    bindings: Callable[[], Bindings]
    configured: Configuration
    look: Callable[[Guard], View]
    link: Callable[[], LinkStatus | None]
    """None where state is kept in memory."""
    delays: Callable[[], list[float]]
    """The latest delays of pushes, in seconds."""
    in_flight: Callable[[], int]
    draining: Callable[[], bool]
    journal: Callable[[], JournalStatus]
    now: Callable[[], float]
    """Unix."""
    to_unix: Callable[[float], float]
    """From the breakers' clock."""


def status(facts: Sources) -> dict[str, Any]:
    """The answer's document."""
    breakers = list(_breakers(facts))
    told, _ = page(breakers)
    return {
        "version": facts.version,
        "replica": facts.replica,
        "started_at": facts.began,
        "uptime_seconds": max(0.0, facts.now() - facts.began),
        "draining": facts.draining(),
        "in_flight": facts.in_flight(),
        "revision": facts.configured.revision,
        "configuration": _configuration(facts.configured),
        "store": _store(facts),
        "journal": _journal(facts.journal()),
        "breakers": told,
        "breakers_left_out": len(breakers) - len(told),
    }


def _store(facts: Sources) -> dict[str, Any]:
    link = facts.link()
    if link is None:
        return {"kind": "memory", "shared": False}
    synced = None if link.last_sync is None else facts.to_unix(link.last_sync)
    delays = sorted(facts.delays())
    return {
        "kind": "redis",
        "shared": True,
        "up": link.up,
        "since": facts.to_unix(link.since),
        "why": link.why or None,
        "decides": "together" if link.up else "each replica alone",
        "last_sync_at": synced,
        "staleness_seconds": None if synced is None else max(0.0, facts.now() - synced),
        "replicas": link.replicas,
        "targets": link.targets,
        "propagation_seconds": {"p50": _part(delays, 0.5), "p99": _part(delays, 0.99), "count": len(delays)},
    }


def _configuration(configured: Configuration) -> dict[str, Any]:
    book, file = configured.book, configured.file
    return {
        "number": book.number,
        "file": file.fingerprint,
        "edits": configured.current.edits,
        "max_fallbacks": configured.current.limits.max_fallbacks,
        "edited": sorted(book.edits),
        "differences": len(list(unsettled(file, book.edits, book.settled))),
        "faults": [str(fault) for fault in configured.faults],
    }


def _journal(journal: JournalStatus) -> dict[str, Any]:
    return {
        "kind": journal.kind,
        "up": journal.up,
        "why": journal.why or None,
        "keep": journal.keep,
        "age_seconds": journal.age,
        "held": journal.held,
        "pending": journal.pending,
        "dropped": journal.dropped,
    }


def _part(ordered: list[float], part: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


def _breakers(facts: Sources) -> Iterator[dict[str, Any]]:
    bindings = facts.bindings()
    # Many assistants share a target, and one look is enough.
    views = {guard.target: facts.look(guard) for guard in bindings.guards}
    for name, label, tier in bindings.tiers():
        for endpoint, guard in tier.guards.items():
            view = views[guard.target]
            if view.word is Word.CLOSED and not view.failures:
                continue
            yield {
                "assistant": name,
                "tier": label,
                "endpoint": endpoint,
                "source": tier.binding.source,
                "model": tier.binding.model,
                **breaker_document(view, facts.to_unix),
            }

"""What the audit holds against the records: the upstreams' log, what callers saw, operators' acts, counters, lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.long.records import Document, Record
from tests.long.scripted_upstream import Call, Outage


@dataclass(slots=True)
class View:
    """One request as its caller saw it. Times are Unix seconds."""

    marker: str
    replica: str
    assistant: str
    endpoint: str
    stream: bool
    sent: float
    ended: float = 0.0
    status: int | None = None
    """None: no answer's head came."""
    request_id: str | None = None
    named: str | None = None
    """The assistant, as the answer named it."""
    tier: str | None = None
    """Of the headers; of the comment that names the tier, where the answer was held."""
    source: str | None = None
    model: str | None = None
    attempts: int | None = None
    reason: str | None = None
    upstream_id: str | None = None
    held: bool = False
    """The headers came before it was known who answers."""
    said: str | None = None
    """The upstream's own header: source/model/marker."""
    words: frozenset[str] = frozenset()
    """Every source/model/marker in the answer's text."""
    whole: bool = False
    error: Mapping[str, Any] | None = None
    """The error object of an error answer, or of the event that ended a stream."""
    left: bool = False
    """The caller ended it."""
    broke: str | None = None
    """The connection did, before a head."""
    tools: bool = False
    """The request needs tools."""


@dataclass(frozen=True, slots=True)
class Killed:
    """A replica that was killed, and when."""

    replica: str
    at: float


@dataclass(frozen=True, slots=True)
class Act:
    """An operator's hand on a binding."""

    action: str
    source: str
    model: str
    sent: float
    done: float
    status: int
    seconds: float = 0.0
    """How long it isolates."""


@dataclass(slots=True)
class Evidence:
    """Everything that one run has left."""

    records: Sequence[Record]
    calls: Sequence[Call]
    outages: Sequence[Outage]
    views: Sequence[View]
    killed: Sequence[Killed] = ()
    acts: Sequence[Act] = ()
    troubles: Sequence[tuple[float, float]] = ()
    """When replicas could not rely on the store."""
    counters: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Samples of /metrics, by replica; none for one that was killed."""
    lines: Mapping[str, Sequence[Document]] = field(default_factory=dict)
    """Log lines of requests, by replica."""

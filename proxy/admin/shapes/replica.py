"""Answers about one replica: its status and its catalog, its operators' sessions, and every error.

1. Every member is always there. Times are Unix seconds where they end in `at`, `since` or `until`; what is not known is
   null.
"""

from __future__ import annotations

from typing import Literal

from proxy.admin.shapes.records import BreakerSaid
from proxy.admin.shapes.shape import Shape


class Fault(Shape):
    """What went wrong."""

    message: str
    """What is wrong, and what to do about it."""
    type: str
    """The same word as `code`."""
    param: None
    code: str


class Error(Shape):
    """A call that was not done."""

    error: Fault


class Used(Shape):
    """Who uses it."""

    assistant: str
    tier: str


class CatalogModel(Shape):
    """A model that is bound at a source."""

    model: str
    context: int | None
    supports: list[str] | None
    used_by: list[Used]
    """The first hundred."""
    uses: int


class CatalogSource(Shape):
    """A source that a binding can name."""

    name: str
    kind: str
    base_url: str
    enabled: bool
    credential: Literal["set", "none"]
    default_model: str | None
    used_by: list[Used]
    """The first hundred."""
    uses: int
    models: list[CatalogModel]


class Catalog(Shape):
    """The sources."""

    revision: str
    sources: list[CatalogSource]


class Memory(Shape):
    """Nothing is shared."""

    kind: Literal["memory"]
    shared: Literal[False]


class Propagation(Shape):
    """How long others' changes took until they were known here, in seconds."""

    p50: float | None
    p99: float | None
    count: int


class Redis(Shape):
    """The shared store, as this replica sees it."""

    kind: Literal["redis"]
    shared: Literal[True]
    up: bool
    since: float
    why: str | None
    decides: Literal["together", "each replica alone"]
    last_sync_at: float | None
    staleness_seconds: float | None
    replicas: int
    targets: int
    propagation_seconds: Propagation


class JournalStatus(Shape):
    """How records are kept."""

    kind: Literal["memory", "redis"]
    up: bool
    why: str | None
    keep: int
    age_seconds: float
    held: int
    pending: int
    dropped: dict[str, int]


class Configuration(Shape):
    """What is in force."""

    number: int
    file: str
    edits: Literal["on", "off"]
    max_fallbacks: int
    edited: list[str]
    differences: int
    faults: list[str]


class BreakerRow(BreakerSaid):
    """A breaker where something is amiss."""

    assistant: str
    tier: str
    endpoint: str
    source: str
    model: str


class Status(Shape):
    """This replica."""

    version: str
    replica: str
    started_at: float
    uptime_seconds: float
    draining: bool
    in_flight: int
    revision: str
    configuration: Configuration
    store: Memory | Redis
    journal: JournalStatus
    breakers: list[BreakerRow]
    breakers_left_out: int
    """Where very many are amiss."""


class Session(Shape):
    """Whether the cookie that came is that of an open session."""

    signed_in: bool


class SignedIn(Shape):
    """A session."""

    max_age_seconds: float


class SignedOut(Shape):
    """Nothing is left of it."""

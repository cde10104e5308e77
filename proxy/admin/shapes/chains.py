"""Answers about assistants: their chains, revisions of them, and what a request or a binding would meet.

1. Every member is always there. Times are Unix seconds where they end in `at`, `since` or `until`; what is not known is
   null.
2. What a configuration says stands as its file would write it: config/schema.py has those shapes.
"""

from __future__ import annotations

from typing import Any, Literal

from proxy.admin.shapes.records import BreakerSaid, SkippedStep, TriedStep
from proxy.admin.shapes.shape import Shape
from proxy.admin.trial.findings import Level, What
from proxy.breaker.state import Word
from proxy.config import schema
from proxy.config.thresholds import OwnBreaker
from proxy.routing.bindings import ModelFrom


class Resolved(Shape):
    """Where the primary's requests go."""

    source: str
    kind: str
    model: str
    model_from: ModelFrom
    url: str


class Tier(Shape):
    """One tier of a chain, and how it is."""

    tier: str
    chain: str | None
    """Its key, where it is not the assistant's own."""
    source: str
    kind: str
    model: str
    model_from: ModelFrom
    """Its binding, or its source as the default of those that name none."""
    url: str
    breaker: BreakerSaid
    """The worst of them."""
    breakers: dict[str, BreakerSaid]
    """By endpoint."""
    admits: bool
    failure_threshold: int
    cooldown_seconds: float
    last_used_at: float | None
    last_success_at: float | None
    last_failure_at: float | None


class Difference(Shape):
    """A field in which an edit and the file do not say the same."""

    field: str
    file: Any
    edit: Any
    settled: bool


class Assistant(Shape):
    """An assistant as it is in force."""

    id: str
    revision: int
    """That a change of it has to name."""
    primary: schema.Binding | None
    fallbacks: list[schema.Binding]
    chains: dict[str, schema.Chain]
    timeouts: schema.Timeouts
    breaker: OwnBreaker | None
    origin: dict[str, Literal["operator", "migration", "default"]]
    """Of each field."""
    edited: list[str]
    differs: list[Difference]
    resolved: Resolved | None
    serves_now: str | None
    last_used_tier: str | None
    tiers: list[Tier]


class Assistants(Shape):
    """A page of assistants, in the order of the configuration."""

    revision: str
    assistants: list[Assistant]
    next: str | None
    """`after` of the next page."""


class Change(Shape):
    """One field of an assistant, as it was in force and as it is."""

    assistant: str
    field: str
    before: Any
    after: Any


class Revision(Shape):
    """One change of what is served."""

    number: int
    at: float
    by: str
    origin: str
    note: str
    file: str
    """The fingerprint of the file that it was made upon."""
    changes: list[Change]
    changes_left_out: int
    """Of a revision that changed very much."""


class Revisions(Shape):
    """A page of revisions, newest first."""

    revision: str
    number: int
    revisions: list[Revision]
    next: int | None
    """`before` of the next page."""


class Reloaded(Shape):
    """What became of the file."""

    result: Literal["ok", "unchanged", "invalid"]
    revision: str
    faults: list[str]


class Acted(Shape):
    """What was done."""

    action: Literal["reset", "isolate", "release"]
    source: str
    model: str
    breakers: int
    """Rows that it was done to."""


class Spare(Shape):
    """A tier that would not be reached."""

    tier: str
    source: str
    model: str
    admits: bool
    breaker: BreakerSaid


class Foreseen(Shape):
    """What the next request would meet."""

    assistant: str
    revision: str
    endpoint: str
    stream: bool
    needs: list[str]
    assume: dict[str, str]
    would: Literal["serve", "refuse"]
    refusal: str | None
    tier: str | None
    source: str | None
    model: str | None
    probe: str | None
    reason: str | None
    steps: list[SkippedStep | TriedStep]
    spare: list[Spare]
    story: list[str]


class Resolves(Shape):
    """Where a request would go."""

    kind: str
    model: str
    model_from: ModelFrom
    url: str
    headers: list[str]
    """Names of those that the source adds."""
    credential: Literal["set", "none"]
    proxy: bool
    tier: str | None


class TestedBreaker(Shape):
    """A breaker that requests would meet."""

    assistant: str
    tier: str
    endpoint: str
    state: Word


class Reached(Shape):
    """What was seen of the source."""

    status: int | None
    detail: str | None
    listed: bool | None
    models: int | None


class Finding(Shape):
    """One thing that was found."""

    level: Level
    what: What
    said: str
    remedy: str | None


class Tested(Shape):
    """What a test of a binding found."""

    source: str
    model: str | None
    """As it was asked for; `resolves` has the one that is meant."""
    assistant: str | None
    ok: bool
    resolves: Resolves | None
    breakers: list[TestedBreaker]
    reached: Reached | None
    reset_worthwhile: bool | None
    findings: list[Finding]

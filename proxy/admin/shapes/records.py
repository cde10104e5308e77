"""Answers about requests: records, what is told of a breaker, and the events of the stream.

1. Every member is always there. Times are Unix seconds where they end in `at`, `since` or `until`; what is not known is
   null.
"""

from __future__ import annotations

from typing import Literal, NotRequired

from proxy.admin.shapes.shape import Shape
from proxy.breaker.state import Word


class BreakerSaid(Shape):
    """A breaker, as it was seen."""

    state: Word
    reason: str | None
    since: float | None
    until: float | None
    """When it may be tried."""
    tripped_by: list[str]
    """Ids of the requests whose failures led to it."""
    failures: int
    """Of the current run."""
    local: bool
    """This replica's own word, where a shared one was asked for."""


class Step(Shape):
    """Where one tier was looked at."""

    tier: str
    source: str
    model: str


class SkippedStep(Step):
    """A tier that was not tried."""

    verdict: Literal["skipped"]
    reason: str
    missing: list[str]
    """What the request needs, and the binding does not declare or its kind of source cannot be asked."""
    uncarried: str | None
    """The request's field that its kind of source cannot be told."""
    at_ms: float
    breaker: BreakerSaid | None


class TriedStep(Step):
    """A tier that was tried. Milliseconds since the request's arrival."""

    verdict: Literal["served", "attempted"]
    outcome: str
    detail: str
    heard: str
    """What the breaker was told."""
    status: int | None
    started_ms: float
    connected_ms: float | None
    first_byte_ms: float | None
    first_token_ms: float | None
    ended_ms: float
    reused: bool
    retried: bool
    billed: Literal["no", "maybe", "yes"]
    probe: Literal["half_open", "early", "trickle"] | None
    upstream_request_id: str | None
    retry_after_s: float | None
    dropped: list[str]
    """The request's fields that its source was not told."""
    breaker: BreakerSaid


class Usage(Shape):
    """Tokens as billed."""

    input: int
    output: int
    cache_read: int
    reasoning: int


class DecisionRecord(Shape):
    """One request's record."""

    request_id: str
    caller_request_id: str | None
    at: float
    replica: str
    revision: str
    client: str | None
    assistant: str | None
    identified_by: str | None
    endpoint: str
    stream: bool
    outcome: str
    code: int
    """The HTTP status that the caller got; 499 when it left before."""
    refusal: str | None
    tier: str | None
    source: str | None
    model: str | None
    served_model: str | None
    reason: str | None
    duration_ms: float
    first_byte_ms: float | None
    overhead_ms: float
    body_in: int
    body_out: int
    usage: Usage | None
    steps: list[SkippedStep | TriedStep]
    story: list[str]
    """The same in sentences."""


class OneDecision(DecisionRecord):
    """A record that was asked for by its id."""

    also: list[str]
    """Ids of other requests that bear the id."""


class Decisions(Shape):
    """A page of records, newest first."""

    decisions: list[DecisionRecord]
    next: str | None
    """The `cursor` to go on with, also where nothing was found yet."""
    complete: bool
    """False: only this replica's own were read."""
    why: str | None


class Event(Shape):
    """Something that happened."""

    at: float
    replica: str


class BreakerEvent(Event):
    """A breaker changed its word."""

    event: Literal["breaker"]
    source: str
    model: str
    endpoint: str
    assistants: list[str]
    before: Word
    after: Word
    cause: str
    reason: str | None
    until: float | None
    tripped_by: list[str]


class StoreEvent(Event):
    """The shared store came or went, as the replica sees it."""

    event: Literal["store"]
    up: bool
    why: str | None


class ConfigEvent(Event):
    """The replica serves another configuration."""

    event: Literal["config"]
    revision: str
    by: str
    origin: str
    changes: NotRequired[int]
    """Of an operator's edit."""


class Gap(Shape):
    """Something may be missing: ask for the whole state again."""

    why: str

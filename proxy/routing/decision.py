"""The story of one request, as frozen facts: every tier skipped or attempted, in order, and how it ended.

1. Headers, metrics and the log line are all made from these facts; none of them keeps a version of its own.
2. Nothing of a prompt, an answer or a credential is ever a fact here.
3. Times are seconds on the walk's clock; `at` is the one Unix time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.terms import Usage


@dataclass(frozen=True, slots=True)
class Skipped:
    """A tier that was not tried."""

    tier: str
    source: str
    model: str
    reason: str
    """A breaker's word, or unbound, unsupported, too_small_context, deadline."""
    detail: str = ""
    """Why the breaker says so: a terms.Diagnosis.detail, or `operator`."""
    since: float | None = None
    until: float | None = None
    """When the tier may be tried again; None when only an operator can tell, or nothing is known."""
    tripped_by: tuple[str, ...] = ()
    """Ids of the requests whose failures led to it."""
    fault: str = ""
    """With a latch: what it was set for: rate_limited, quota, auth, …"""
    local: bool = False
    """The breaker's word is this replica's own, where a shared one was asked for."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """A tier that was tried."""

    tier: str
    source: str
    model: str
    outcome: str
    """A word of verdict.ATTEMPT_LABELS."""
    detail: str
    heard: str
    """What the breaker was told: good, bad, neutral, …"""
    started: float
    ended: float
    billed: str
    """no, maybe or yes."""
    probe: str | None = None
    """half_open, early or trickle, when the attempt asked a tier whether it is back."""
    status: int | None = None
    connected: float | None = None
    first_byte: float | None = None
    first_token: float | None = None
    reused: bool = False
    retried: bool = False
    upstream_id: str | None = None
    retry_after: float | None = None
    """Seconds, as the upstream asked."""


Step = Skipped | Attempted


@dataclass(frozen=True, slots=True)
class Decision:
    """How one request was answered, and why so."""

    request_id: str
    caller_request_id: str | None
    at: float
    """Unix time of arrival."""
    client: str | None
    assistant: str | None
    endpoint: str
    stream: bool
    steps: tuple[Step, ...]
    served: Attempted | None
    outcome: str
    """success, fallback_success, client_error, exhausted, rejected, cancelled or stream_broken."""
    code: int
    """The HTTP status that the caller got; 499 when it left before one was sent."""
    refusal: str | None
    """The error's `code`, where Homeport itself refused."""
    duration: float
    first_byte: float | None
    """Seconds until the first body byte went to the caller."""
    waited: float
    """Seconds of `duration` that were spent waiting for upstreams and for a slow caller."""
    body_in: int
    body_out: int
    """Bytes."""
    usage: Usage | None

    @property
    def attempts(self) -> int:
        """How many tiers were tried."""
        return sum(isinstance(step, Attempted) for step in self.steps)


def reason(steps: Sequence[Step], now: float) -> str:
    """Why no earlier tier served, for `x-homeport-reason`: `primary=open(connect_error,retry_in=42s)`.

    Tokens only, no upstream text; a chain is at most a few tiers, so this is short.
    """
    return " ".join(_say(step, now) for step in steps if not (isinstance(step, Attempted) and step.outcome == "served"))


def _say(step: Step, now: float) -> str:
    if isinstance(step, Attempted):
        word = "timeout" if step.outcome == "slow" or step.outcome.startswith("timeout_") else step.outcome
        return f"{step.tier}={word}({step.detail},{_seconds(step.ended - step.started)})"
    notes = [step.detail] if step.detail else []
    if step.until is not None:
        notes.append(f"retry_in={max(0, round(step.until - now))}s")
    if step.local:
        notes.append("state=local")
    return f"{step.tier}={step.reason}({','.join(notes)})" if notes else f"{step.tier}={step.reason}"


def _seconds(duration: float) -> str:
    return f"{duration:.0f}s" if duration >= 10 else f"{duration:.1f}s" if duration >= 1 else f"{duration * 1000:.0f}ms"

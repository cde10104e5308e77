"""The story of one request, as frozen facts: every tier skipped or attempted, in order, and how it ended.

1. Headers, metrics, log line, record and story are all made from these facts; none of them keeps a version of its own.
2. Nothing of a prompt, an answer or a credential is ever a fact here.
3. Times are seconds on the walk's clock; `at` is the one Unix time, and `started` the same moment on that clock.
4. Facts are numbers, words and ids, so that a journal can keep them as JSON and make the same Decision of it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from proxy.breaker.state import CLOSED, View
from proxy.terms import Usage


@dataclass(slots=True, unsafe_hash=True, init=False)
class Skipped:
    """A tier that was not tried."""

    tier: Final[str]
    source: Final[str]
    model: Final[str]
    reason: Final[str]
    """A breaker's word, or unbound, unsupported, too_small_context, deadline."""
    at: Final[float]
    breaker: Final[View | None]
    """What its breaker said then; None for a place without a binding."""
    missing: Final[tuple[str, ...]]
    """With unsupported: what the request needs, and neither the binding declares nor its kind of source has."""
    uncarried: Final[str]
    """With unsupported: the field that its kind of source cannot be told, as in dialect.Uncarried.detail."""

    def __init__(
        self,
        tier: str,
        source: str,
        model: str,
        reason: str,
        at: float,
        breaker: View | None = None,
        missing: tuple[str, ...] = (),
        uncarried: str = "",
    ) -> None:
        self.tier, self.source, self.model, self.reason, self.at = tier, source, model, reason, at
        self.breaker, self.missing, self.uncarried = breaker, missing, uncarried

    @property
    def denied(self) -> bool:
        """Its breaker kept it from being tried."""
        return self.breaker is not None and self.reason == self.breaker.word


@dataclass(slots=True, unsafe_hash=True, init=False)
class Attempted:
    """A tier that was tried."""

    tier: Final[str]
    source: Final[str]
    model: Final[str]
    outcome: Final[str]
    """A word of verdict.ATTEMPT_LABELS."""
    detail: Final[str]
    heard: Final[str]
    """What the breaker was told: good, bad, neutral, …"""
    started: Final[float]
    ended: Final[float]
    billed: Final[str]
    """no, maybe or yes."""
    probe: Final[str | None]
    """half_open, early or trickle, when the attempt asked a tier whether it is back."""
    status: Final[int | None]
    connected: Final[float | None]
    first_byte: Final[float | None]
    first_token: Final[float | None]
    reused: Final[bool]
    retried: Final[bool]
    upstream_id: Final[str | None]
    retry_after: Final[float | None]
    """Seconds, as the upstream asked."""
    breaker: Final[View]
    """What its breaker said when it let the request through."""
    dropped: Final[tuple[str, ...]]
    """Fields of the request that its source was not told, of those that Homeport knows: names, never values."""

    def __init__(
        self,
        tier: str,
        source: str,
        model: str,
        outcome: str,
        detail: str,
        heard: str,
        started: float,
        ended: float,
        billed: str,
        probe: str | None = None,
        status: int | None = None,
        connected: float | None = None,
        first_byte: float | None = None,
        first_token: float | None = None,
        reused: bool = False,
        retried: bool = False,
        upstream_id: str | None = None,
        retry_after: float | None = None,
        breaker: View = CLOSED,
        dropped: tuple[str, ...] = (),
    ) -> None:
        self.tier, self.source, self.model = tier, source, model
        self.outcome, self.detail, self.heard = outcome, detail, heard
        self.started, self.ended, self.billed, self.probe = started, ended, billed, probe
        self.status, self.connected, self.first_byte, self.first_token = status, connected, first_byte, first_token
        self.reused, self.retried, self.upstream_id, self.retry_after = reused, retried, upstream_id, retry_after
        self.breaker, self.dropped = breaker, dropped

    def ending(self, at: float, outcome: str, detail: str, heard: str) -> Attempted:
        """The same, as its answer has ended."""
        return Attempted(
            self.tier,
            self.source,
            self.model,
            outcome,
            detail,
            heard,
            self.started,
            at,
            self.billed,
            self.probe,
            self.status,
            self.connected,
            self.first_byte,
            self.first_token,
            self.reused,
            self.retried,
            self.upstream_id,
            self.retry_after,
            self.breaker,
            self.dropped,
        )


Step = Skipped | Attempted


@dataclass(slots=True, unsafe_hash=True, init=False)
class Decision:
    """How one request was answered, and why so."""

    request_id: Final[str]
    caller_request_id: Final[str | None]
    """What the caller called its request, cut to 128 characters."""
    at: Final[float]
    """Unix time of arrival."""
    started: Final[float]
    replica: Final[str]
    revision: Final[str]
    """Of the configuration that the request met, from its start to its end."""
    client: Final[str | None]
    assistant: Final[str | None]
    identified_by: Final[str | None]
    """How the assistant was found: header, key, model or default."""
    endpoint: Final[str]
    stream: Final[bool]
    steps: Final[tuple[Step, ...]]
    served: Final[Attempted | None]
    served_model: Final[str | None]
    """The model that the upstream says it was, cut to 128 characters."""
    outcome: Final[str]
    """success, fallback_success, client_error, exhausted, rejected, cancelled or stream_broken."""
    code: Final[int]
    """The HTTP status that the caller got; 499 when it left before one was sent."""
    refusal: Final[str | None]
    """The error's `code`, where Homeport itself refused."""
    duration: Final[float]
    first_byte: Final[float | None]
    """Seconds until the first body byte went to the caller."""
    waited: Final[float]
    """Seconds of `duration` that were spent waiting for upstreams and for a slow caller."""
    body_in: Final[int]
    body_out: Final[int]
    """Bytes."""
    usage: Final[Usage | None]

    def __init__(
        self,
        request_id: str,
        caller_request_id: str | None,
        at: float,
        started: float,
        replica: str,
        revision: str,
        client: str | None,
        assistant: str | None,
        identified_by: str | None,
        endpoint: str,
        stream: bool,
        steps: tuple[Step, ...],
        served: Attempted | None,
        served_model: str | None,
        outcome: str,
        code: int,
        refusal: str | None,
        duration: float,
        first_byte: float | None,
        waited: float,
        body_in: int,
        body_out: int,
        usage: Usage | None,
    ) -> None:
        self.request_id, self.caller_request_id, self.at, self.started = request_id, caller_request_id, at, started
        self.replica, self.revision, self.client = replica, revision, client
        self.assistant, self.identified_by = assistant, identified_by
        self.endpoint, self.stream, self.steps = endpoint, stream, steps
        self.served, self.served_model, self.outcome = served, served_model, outcome
        self.code, self.refusal, self.duration = code, refusal, duration
        self.first_byte, self.waited, self.body_in, self.body_out = first_byte, waited, body_in, body_out
        self.usage = usage

    @property
    def attempts(self) -> int:
        """How many tiers were tried."""
        return sum(isinstance(step, Attempted) for step in self.steps)

    def unix(self, moment: float) -> float:
        """A moment of the walk's clock, as Unix time."""
        return self.at + moment - self.started


def word(step: Step) -> str:
    """What became of a tier, in one word."""
    return step.outcome if isinstance(step, Attempted) else step.reason


def reason(steps: Sequence[Step]) -> str:
    """Why no earlier tier served, for `x-homeport-reason`: `primary=open(connect_error,retry_in=42s)`.

    Tokens only, no upstream text; a chain is at most a few tiers, so this is short. `retry_in` counts from the moment
    that the tier was skipped.
    """
    return " ".join([_say(step) for step in steps if isinstance(step, Skipped) or step.outcome != "served"])


def _say(step: Step) -> str:
    if isinstance(step, Attempted):
        word = "timeout" if step.outcome == "slow" or step.outcome.startswith("timeout_") else step.outcome
        return f"{step.tier}={word}({step.detail},{lasted(step.ended - step.started)})"
    seen = step.breaker
    if seen is not None and step.denied:
        wait = None if seen.until is None else int(max(0.0, seen.until - step.at) + 0.5)
        return _denied(step.tier, step.reason, seen.reason, wait, seen.local)
    notes = [*step.missing, step.uncarried] if step.uncarried else step.missing
    return f"{step.tier}={step.reason}({','.join(notes)})" if notes else f"{step.tier}={step.reason}"


@lru_cache(maxsize=1024)
def _denied(tier: str, word: str, why: str, wait: int | None, local: bool) -> str:
    """The same for all who come within a second."""
    notes = [why] if why else []
    if wait is not None:
        notes.append(f"retry_in={wait}s")
    if local:
        notes.append("state=local")
    return f"{tier}={word}({','.join(notes)})" if notes else f"{tier}={word}"


def lasted(duration: float) -> str:
    """Seconds in a few letters: `340ms`, `2.1s`, `20s`."""
    return f"{duration:.0f}s" if duration >= 10 else f"{duration:.1f}s" if duration >= 1 else f"{duration * 1000:.0f}ms"

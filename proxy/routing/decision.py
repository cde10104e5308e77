"""The story of one request, as frozen facts: every tier skipped or attempted, in order, and how it ended.

1. Headers, metrics, log line, record and story are all made from these facts; none of them keeps a version of its own.
2. Nothing of a prompt, an answer or a credential is ever a fact here.
3. Times are seconds on the walk's clock; `at` is the one Unix time, and `started` the same moment on that clock.
4. Facts are numbers, words and ids, so that a journal can keep them as JSON and make the same Decision of it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter

from proxy.breaker.state import CLOSED, View
from proxy.terms import Usage, fact


@fact
class Skipped:
    """A tier that was not tried."""

    tier: str
    source: str
    model: str
    reason: str
    """A breaker's word, or unbound, unsupported, too_small_context, deadline."""
    at: float
    breaker: View | None = None
    """What its breaker said then; None for a place without a binding."""
    missing: tuple[str, ...] = ()
    """With unsupported: what the request needs, and neither the binding declares nor its kind of source has."""
    uncarried: str = ""
    """With unsupported: the field that its kind of source cannot be told, as in dialect.Uncarried.detail."""

    @property
    def denied(self) -> bool:
        """Its breaker kept it from being tried."""
        return self.breaker is not None and self.reason == self.breaker.word


@fact
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
    breaker: View = CLOSED
    """What its breaker said when it let the request through."""
    dropped: tuple[str, ...] = ()
    """Fields of the request that its source was not told, of those that Homeport knows: names, never values."""

    def ending(self, at: float, outcome: str, detail: str, heard: str) -> Attempted:
        """The same, as its answer has ended."""
        facts = [*_who(self), outcome, detail, heard, self.started, at, *_how(self)]
        return Attempted(*facts)


_NAMES = [each.name for each in fields(Attempted)]
_who = attrgetter(*_NAMES[: _NAMES.index("outcome")])
_how = attrgetter(*_NAMES[_NAMES.index("ended") + 1 :])

Step = Skipped | Attempted


@fact
class Decision:
    """How one request was answered, and why so."""

    request_id: str
    caller_request_id: str | None
    """What the caller called its request, cut to 128 characters."""
    at: float
    """Unix time of arrival."""
    started: float
    replica: str
    revision: str
    """Of the configuration that the request met, from its start to its end."""
    client: str | None
    assistant: str | None
    identified_by: str | None
    """How the assistant was found: header, key, model or default."""
    endpoint: str
    stream: bool
    steps: tuple[Step, ...]
    served: Attempted | None
    served_model: str | None
    """The model that the upstream says it was, cut to 128 characters."""
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
        wait = None if seen.until is None else max(0, round(seen.until - step.at))
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

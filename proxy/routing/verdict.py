"""What an outcome means: one table says what the breaker hears of it and whether the next tier may be tried.

1. Only what says something about the tier reaches the breaker as good or bad; what says something about the request,
   the caller or ourselves is neutral.
2. A fallback may not know what the primary knows: its objection to a request is `unsupported`, and the walk goes on.
   So it does from any tier whose source is said to have no way to do such a thing.
3. A deadline is evidence only against a tier that had a fair time to answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import assert_never

from proxy.breaker.permit import Verdict
from proxy.breaker.state import Hears
from proxy.terms import Abandoned, Accepted, Cause, Diagnosis, Failed, Interrupted, Outcome, Rejected, fact


class Onward(StrEnum):
    """May the next tier be tried?"""

    NEXT = "next"
    LARGER = "larger"
    """Only one that declares a larger context window."""
    STOP = "stop"
    """Served, or no tier can help: the answer goes to the caller as it is."""


@fact
class Ruling:
    """The verdict on one attempt."""

    label: str
    """The outcome's word in metrics and records, from the closed list of docs/metrics.md."""
    detail: str
    """See terms.Diagnosis.detail; empty when served."""
    onward: Onward
    verdict: Verdict
    heard: str
    """What of the verdict is told: its `hears`."""


def _ruling(label: str, detail: str, onward: Onward, verdict: Verdict) -> Ruling:
    return Ruling(label, detail, onward, verdict, verdict.hears.value)


_TABLE: Mapping[Cause, tuple[str, Hears, Onward]] = {
    Cause.NETWORK: ("network", Hears.BAD, Onward.NEXT),
    Cause.TIMEOUT_CONNECT: ("timeout_connect", Hears.BAD, Onward.NEXT),
    Cause.TIMEOUT_FIRST_BYTE: ("timeout_first_byte", Hears.BAD, Onward.NEXT),
    Cause.TIMEOUT_IDLE: ("timeout_idle", Hears.BAD, Onward.NEXT),
    Cause.TIMEOUT_TOTAL: ("timeout_total", Hears.BAD, Onward.NEXT),
    Cause.PATIENCE: ("timeout_total", Hears.NEUTRAL, Onward.NEXT),
    Cause.SLOW: ("slow", Hears.NEUTRAL, Onward.NEXT),
    Cause.SERVER: ("transient", Hears.BAD, Onward.NEXT),
    Cause.REDIRECT: ("config", Hears.BAD, Onward.NEXT),
    Cause.ADDRESS_REFUSED: ("config", Hears.BAD, Onward.NEXT),
    Cause.STREAM_BROKEN: ("stream_broken", Hears.BAD, Onward.NEXT),
    Cause.RATE_LIMITED: ("rate_limited", Hears.RATE_LIMIT, Onward.NEXT),
    Cause.RATE_LIMITED_SIZE: ("rate_limited", Hears.NEUTRAL, Onward.NEXT),
    Cause.LOADING: ("transient", Hears.RATE_LIMIT, Onward.NEXT),
    Cause.QUOTA: ("quota", Hears.QUOTA, Onward.NEXT),
    Cause.KEY_INVALID: ("auth", Hears.DISABLE, Onward.NEXT),
    Cause.ACCESS_DENIED: ("auth", Hears.DISABLE_TWICE, Onward.NEXT),
    Cause.MODEL_MISSING: ("config", Hears.DISABLE, Onward.NEXT),
    Cause.PATH_MISSING: ("config", Hears.DISABLE_TWICE, Onward.NEXT),
    Cause.CONTEXT_LENGTH: ("context_length", Hears.NEUTRAL, Onward.LARGER),
    Cause.CONTENT_POLICY: ("content_policy", Hears.NEUTRAL, Onward.STOP),
    Cause.STATE_NOT_HERE: ("client_fault", Hears.NEUTRAL, Onward.STOP),
    Cause.CLIENT_FAULT: ("client_fault", Hears.NEUTRAL, Onward.STOP),
    Cause.UNSUPPORTED: ("unsupported", Hears.NEUTRAL, Onward.NEXT),
    Cause.LOCAL: ("local", Hears.NEUTRAL, Onward.NEXT),
}

REQUEST_FAULTS = frozenset(
    {Cause.CLIENT_FAULT, Cause.CONTEXT_LENGTH, Cause.CONTENT_POLICY, Cause.STATE_NOT_HERE, Cause.RATE_LIMITED_SIZE}
)
"""Causes that lie in the request: if nobody serves, the caller reads the first of them as its upstream wrote it."""

ATTEMPT_LABELS = (*dict.fromkeys((*(label for label, _, _ in _TABLE.values()), "served", "cancelled")),)
"""Every word that a Ruling's label can be."""


_WHOLE = _ruling("served", "", Onward.STOP, Verdict(Hears.GOOD))
_BEGUN = _ruling("served", "", Onward.STOP, Verdict(Hears.GOOD, whole=False))


def served(accepted: Accepted) -> Ruling:
    """The ruling on an answer."""
    return _WHOLE if accepted.complete else _BEGUN


def judge(outcome: Outcome, *, fallback: bool, fair: bool, silent: bool) -> Ruling:
    """The ruling on one attempt's outcome.

    `fallback`: the tier is not the primary. `fair`: it had time enough for a deadline to say something about it.
    `silent`: it showed no byte for so long that a caller's leaving is no whim.
    """
    match outcome:
        case Accepted():
            return served(outcome)
        case Abandoned(why):
            return _ruling("cancelled", why, Onward.STOP, Verdict(_if(silent), why))
        case Rejected(diagnosis) | Failed(diagnosis) | Interrupted(diagnosis):
            return _diagnosed(diagnosis, fallback, fair, silent)
        case _:
            assert_never(outcome)


def _if(evidence: bool) -> Hears:
    return Hears.BAD if evidence else Hears.NEUTRAL


def _diagnosed(diagnosis: Diagnosis, fallback: bool, fair: bool, silent: bool) -> Ruling:
    label, hears, onward = _TABLE[diagnosis.cause]
    match diagnosis.cause:
        case Cause.CLIENT_FAULT | Cause.STATE_NOT_HERE if fallback:
            label, onward = "unsupported", Onward.NEXT
        case Cause.TIMEOUT_TOTAL:
            hears = _if(fair)
        case Cause.PATIENCE:
            hears = _if(silent)
        case _:
            pass
    verdict = Verdict(
        hears,
        diagnosis.detail,
        fault=label,
        retry_after=diagnosis.retry_after,
        exhausted=diagnosis.exhausted,
        credential=diagnosis.cause is Cause.KEY_INVALID,
    )
    return _ruling(label, diagnosis.detail, onward, verdict)

"""What an outcome means: one table says what the breaker hears of it and whether the next tier may be tried.

1. Only what says something about the tier reaches the breaker as good or bad; what says something about the request,
   the caller or ourselves is neutral.
2. A fallback may not know what the primary knows: its objection to a request is `unsupported`, and the walk goes on.
   So it does from any tier whose source is said to have no way to do such a thing.
3. A deadline is evidence only against a tier that had a fair time to answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from proxy.breaker.permit import Verdict
from proxy.breaker.state import Hears
from proxy.terms import Abandoned, Accepted, Cause, Diagnosis, Outcome


class Onward(StrEnum):
    """May the next tier be tried?"""

    NEXT = "next"
    LARGER = "larger"
    """Only one that declares a larger context window."""
    STOP = "stop"
    """Served, or no tier can help: the answer goes to the caller as it is."""


@dataclass(slots=True, unsafe_hash=True, init=False)
class Ruling:
    """The verdict on one attempt."""

    label: Final[str]
    """The outcome's word in metrics and records, from the closed list of docs/metrics.md."""
    detail: Final[str]
    """See terms.Diagnosis.detail; empty when served."""
    onward: Final[Onward]
    verdict: Final[Verdict]
    heard: Final[str]
    """What of the verdict is told: its `hears`."""

    def __init__(self, label: str, detail: str, onward: Onward, verdict: Verdict, heard: str) -> None:
        self.label, self.detail, self.onward, self.verdict, self.heard = label, detail, onward, verdict, heard


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

_IF: Final = ((Hears.NEUTRAL, Hears.NEUTRAL.value), (Hears.BAD, Hears.BAD.value))
"""What is heard without evidence, and with it."""
# Members of enums and their values, found once: each time it would cost as much as all else here.
_RULES: Final = {cause: (label, (hears, hears.value), onward) for cause, (label, hears, onward) in _TABLE.items()}
_NEXT, _KEY_INVALID, _CLIENT_FAULT = Onward.NEXT, Cause.KEY_INVALID, Cause.CLIENT_FAULT
_STATE_NOT_HERE, _TIMEOUT_TOTAL, _PATIENCE = Cause.STATE_NOT_HERE, Cause.TIMEOUT_TOTAL, Cause.PATIENCE

REQUEST_FAULTS = frozenset(
    {Cause.CLIENT_FAULT, Cause.CONTEXT_LENGTH, Cause.CONTENT_POLICY, Cause.STATE_NOT_HERE, Cause.RATE_LIMITED_SIZE}
)
"""Causes that lie in the request: if nobody serves, the caller reads the first of them as its upstream wrote it."""

ATTEMPT_LABELS = (*dict.fromkeys((*(label for label, _, _ in _TABLE.values()), "served", "cancelled")),)
"""Every word that a Ruling's label can be."""


_WHOLE: Final = _ruling("served", "", Onward.STOP, Verdict(Hears.GOOD))
_BEGUN: Final = _ruling("served", "", Onward.STOP, Verdict(Hears.GOOD, whole=False))


def served(accepted: Accepted) -> Ruling:
    """The ruling on an answer."""
    return _WHOLE if accepted.complete else _BEGUN


def judge(outcome: Outcome, *, fallback: bool, fair: bool, silent: bool) -> Ruling:
    """The ruling on one attempt's outcome.

    `fallback`: the tier is not the primary. `fair`: it had time enough for a deadline to say something about it.
    `silent`: it showed no byte for so long that a caller's leaving is no whim.
    """
    if isinstance(outcome, Accepted):
        return served(outcome)
    if isinstance(outcome, Abandoned):
        return _ruling("cancelled", outcome.why, Onward.STOP, Verdict(_IF[silent][0], outcome.why))
    return _diagnosed(outcome.diagnosis, fallback, fair, silent)


def _diagnosed(diagnosis: Diagnosis, fallback: bool, fair: bool, silent: bool) -> Ruling:
    cause, detail = diagnosis.cause, diagnosis.detail
    label, (hears, heard), onward = _RULES[cause]
    if fallback and (cause is _CLIENT_FAULT or cause is _STATE_NOT_HERE):
        label, onward = "unsupported", _NEXT
    elif cause is _TIMEOUT_TOTAL:
        hears, heard = _IF[fair]
    elif cause is _PATIENCE:
        hears, heard = _IF[silent]
    # In the order of its fields.
    verdict = Verdict(hears, detail, True, label, diagnosis.retry_after, diagnosis.exhausted, cause is _KEY_INVALID)
    return Ruling(label, detail, onward, verdict, heard)

"""What the walk and the keeper hand each other: whose health guards a tier, leave to try it once, what came of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from proxy.breaker.state import Hears, Policy, View
from proxy.terms import fact


@dataclass(frozen=True, slots=True)
class Guard:
    """Whose health guards a tier."""

    target: str
    credential: str | None
    """The credential's row; None for a source without one."""
    policy: Policy


@fact
class Verdict:
    """What an attempt's end says about its target."""

    hears: Hears
    reason: str = ""
    """A terms.Diagnosis.detail."""
    whole: bool = True
    """With GOOD: False while the answer has only begun; then `report_end` owes its end."""
    fault: str = ""
    """What it was, in the judge's word: auth, config, quota, rate_limited, …; a latch keeps it."""
    retry_after: float | None = None
    exhausted: bool = False
    credential: bool = False
    """It says so of the credential, whatever it is used for."""


@dataclass(slots=True)
class Permit:
    """The tier may be tried once."""

    guard: Guard
    request_id: str
    began: float
    kind: str
    """closed, half_open, early or trickle."""
    seen: View
    """What the breaker said when it let the request through."""
    epoch: int
    """Of the guard."""
    shared_epoch: int = 0
    credential_epoch: int = 0
    credential_shared_epoch: int = 0
    token: str | None = None
    """Of a probe."""
    shared: bool = False
    """The place was given by the shared view: the guard judges this result like any other."""
    renewal: asyncio.TimerHandle | None = None
    settled: bool = False

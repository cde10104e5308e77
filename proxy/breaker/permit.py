"""What the walk and the keeper hand each other: whose health guards a tier, leave to try it once, what came of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from proxy.breaker.state import Hears, Policy, View


@dataclass(frozen=True, slots=True)
class Guard:
    """Whose health guards a tier."""

    target: str
    credential: str | None
    """The credential's row; None for a source without one."""
    policy: Policy


@dataclass(slots=True, unsafe_hash=True, init=False)
class Verdict:
    """What an attempt's end says about its target."""

    hears: Final[Hears]
    reason: Final[str]
    """A terms.Diagnosis.detail."""
    whole: Final[bool]
    """With GOOD: False while the answer has only begun; then `report_end` owes its end."""
    fault: Final[str]
    """What it was, in the judge's word: auth, config, quota, rate_limited, …; a latch keeps it."""
    retry_after: Final[float | None]
    exhausted: Final[bool]
    credential: Final[bool]
    """It says so of the credential, whatever it is used for."""

    def __init__(
        self,
        hears: Hears,
        reason: str = "",
        whole: bool = True,
        fault: str = "",
        retry_after: float | None = None,
        exhausted: bool = False,
        credential: bool = False,
    ) -> None:
        self.hears, self.reason, self.whole, self.fault = hears, reason, whole, fault
        self.retry_after, self.exhausted, self.credential = retry_after, exhausted, credential


@dataclass(slots=True, init=False)
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
    shared_epoch: int
    credential_epoch: int
    credential_shared_epoch: int
    token: str | None
    """Of a probe."""
    shared: bool
    """The place was given by the shared view: the guard judges this result like any other."""
    renewal: asyncio.TimerHandle | None
    settled: bool

    def __init__(self, guard: Guard, request_id: str, began: float, kind: str, seen: View, epoch: int) -> None:
        self.guard, self.request_id, self.began, self.kind = guard, request_id, began, kind
        self.seen, self.epoch = seen, epoch
        self.shared_epoch, self.credential_epoch, self.credential_shared_epoch = 0, 0, 0
        self.token, self.shared, self.renewal, self.settled = None, False, None, False

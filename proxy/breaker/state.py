"""What a breaker remembers of its target, hears and is asked: the nouns of machine.py.

1. Nobody changes a value, and it is made of nothing but numbers, words and request ids: a store can keep it anywhere.
2. Times are seconds on the machine's clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar, dataclass_transform

# Nouns of the machine as well. They have a module of their own since that can be compiled.
from proxy.breaker.view import CLOSED as CLOSED
from proxy.breaker.view import View as View
from proxy.breaker.view import Word as Word
from proxy.breaker.view import severity as severity

Noun = TypeVar("Noun")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def fact(noun: type[Noun]) -> type[Noun]:
    """A frozen dataclass, for what is made in numbers: that nobody changes it is the type checker's to see.

    One that watches over itself takes ten times as long to make.
    """
    return dataclass(slots=True, unsafe_hash=True)(noun)


Moment = float
"""A time on the clock of whoever holds the state; other floats are lengths."""
Failure = tuple[str, str]
"""A request's id, and the reason for which it failed: told apart, one would be blamed for what another met. No id where
nobody failed and it is only supposed."""


class Hears(StrEnum):
    """What an attempt's verdict tells the breaker."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    DISABLE = "disable"
    """A permanent fault, beyond doubt."""
    DISABLE_TWICE = "disable_twice"
    """A permanent fault if it is met again a while later; until then a failure like any other."""


@fact
class Policy:
    """When a target trips and how long it rests. Bounds are config's business."""

    failure_threshold: int = 3
    failure_rate: float = 0.5
    minimum_calls: int = 20
    cooldown: float = 15.0
    cooldown_max: float = 300.0


@fact
class Circuit:
    """Closed, open or half_open."""

    word: Word = Word.CLOSED
    since: Moment = -math.inf
    until: Moment = 0.0
    """Open: when it may be probed. Half-open: when the lease ends."""
    span: float = 0.0
    """How long before `until` it was set: more than this is never left, whatever happens to a clock."""
    failed: tuple[Failure, ...] = ()
    """What tripped it; the last of them gave the reason."""
    streak: int = 0
    """Probes that failed in a row."""
    token: str = ""
    """Half-open: the probe's owner."""
    early: Moment | None = None
    """Half-open by an early probe: the `until` that its failure goes back to."""
    probed: Moment = -math.inf
    """When the last probe was let through."""
    recovered: bool = False
    """Closed by a good probe."""

    @property
    def reason(self) -> str:
        return self.failed[-1][1] if self.failed else ""

    @property
    def tripped_by(self) -> tuple[str, ...]:
        return tuple(request_id for request_id, _ in self.failed if request_id)


@fact
class Evidence:
    """What a closed circuit has heard. Empty while nothing is wrong."""

    failures: int = 0
    """The run: failures since its first, unless a success that began after that one cleared it."""
    outcomes: int = 0
    """All results since the run's first failure."""
    began: Moment = 0.0
    """When the run's first failure was heard."""
    turned: Moment = 0.0
    """When the current bucket began."""
    now: tuple[int, int] = (0, 0)
    """Calls and failures in the current bucket."""
    before: tuple[int, int] = (0, 0)
    """Likewise in the bucket before."""
    failed: tuple[Failure, ...] = ()
    """The last of them."""
    strike: Moment | None = None
    """When a DISABLE_TWICE was first heard, without a success since."""


@fact
class Latch:
    """Why and since when a target is kept from requests."""

    reason: str
    since: Moment
    until: Moment = math.inf
    tripped_by: tuple[str, ...] = ()
    span: float = math.inf
    """As of a circuit."""
    fault: str = ""
    """The word of whoever judged the attempt: auth, config, quota, rate_limited, …"""


@fact
class Wait:
    """How long, and how often in a row, the upstream asked to wait. Stays until the first success after it."""

    latch: Latch | None = None
    times: int = 0
    """Waits in a row that the upstream gave no time for."""
    last: Moment = -math.inf
    """When the last rate limit was heard, and by whom."""
    last_id: str = ""
    next: Moment = 0.0
    """When the next request may try."""


@fact
class State:
    """All that is known of one target."""

    epoch: int = 0
    """One more at each change of the circuit."""
    reset_epoch: int = 0
    """The epoch that the last reset began."""
    serial: int = 0
    """One more each time that an operator acts."""
    circuit: Circuit = field(default_factory=Circuit)
    evidence: Evidence = field(default_factory=Evidence)
    wait: Wait = field(default_factory=Wait)
    disabled: Latch | None = None
    isolated: Latch | None = None


@fact
class Acquire:
    """A request asks to be let through."""

    token: str
    """Names this request, in case it becomes a probe."""
    early: bool = False
    """No tier of its chain may be tried: ask ahead of time."""


@fact
class Renew:
    """A probe is still under way."""

    token: str


@fact
class Heard:
    """An attempt has ended."""

    epoch: int
    """That it was let through in."""
    hears: Hears
    began: float
    request_id: str
    whole: bool = True
    """With GOOD: False at a stream's first content, when it is not known yet whether it will end well."""
    late: bool = False
    """The end of an attempt that was GOOD but not whole: BAD when it was cut, GOOD when it was not."""
    again: bool = False
    """Told once more, in case it was lost: what was counted already counts no more."""
    token: str | None = None
    """Of a probe."""
    paced: bool = False
    """It was the one request that may try a parked target whose wait is over."""
    reason: str = ""
    fault: str = ""
    """The word of whoever judged it, for a latch to keep: auth, config, quota, rate_limited, …"""
    retry_after: float | None = None
    exhausted: bool = False
    chance: float = 0.0
    """0 ≤ chance < 1, spreads the end of a wait."""
    goods: tuple[int, int] = (0, 0)
    """Successes heard since the last failure but not told yet: in this bucket, and in the one before."""


class Act(StrEnum):
    """An operator's hand."""

    RESET = "reset"
    ISOLATE = "isolate"
    RELEASE = "release"


@fact
class Operate:
    """An operator acts; `until` bounds an isolation."""

    act: Act
    until: float = math.inf


@fact
class Returned:
    """While the store was away a replica's own probe has brought the target home, at `since`."""

    epoch: int
    """Of the shared state that does not know it."""
    since: Moment


Event = Acquire | Renew | Heard | Operate | Returned


@fact
class Granted:
    """The request may be sent."""

    kind: str
    """closed, half_open, early or trickle; all but the first ask whether the target is back."""
    epoch: int


@fact
class Moved:
    """The word that people are shown has changed."""

    before: Word
    after: Word
    cause: str
    seen: View = CLOSED
    """What they are shown now."""


@fact
class Step:
    """What an event did."""

    state: State
    answer: Granted | View | None = None
    """To an Acquire: let through, or the view that denies it."""
    moved: Moved | None = None

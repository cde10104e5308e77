"""What people are shown of a target, and what a request that is denied it is told.

1. Nobody changes a view, and whoever is told the same has the same one: a tier that rests is passed by every request.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Word(StrEnum):
    """What people are shown, and what the circuit is in (its first three)."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    PARKED = "parked"
    DISABLED = "disabled"
    ISOLATED = "isolated"


@dataclass(slots=True, unsafe_hash=True, init=False)
class View:
    """The strongest of latches and circuit, as it is now."""

    word: Final[Word]
    reason: Final[str]
    since: Final[float | None]
    until: Final[float | None]
    """When it may be tried again; None when only an operator can tell, or when it may be tried now."""
    tripped_by: Final[tuple[str, ...]]
    failures: Final[int]
    fault: Final[str]
    """Of a latch, as it has it."""
    local: Final[bool]
    """This replica's own view, where a shared one was asked for: the store is away, or has not heard of it yet."""

    def __init__(
        self,
        word: Word,
        reason: str = "",
        since: float | None = None,
        until: float | None = None,
        tripped_by: tuple[str, ...] = (),
        failures: int = 0,
        fault: str = "",
        local: bool = False,
    ) -> None:
        self.word, self.reason, self.since, self.until = word, reason, since, until
        self.tripped_by, self.failures, self.fault, self.local = tripped_by, failures, fault, local


CLOSED: Final = View(Word.CLOSED)
"""Nothing is amiss."""


_SEVERITY = (Word.CLOSED, Word.HALF_OPEN, Word.OPEN, Word.PARKED, Word.DISABLED, Word.ISOLATED)


def severity(view: View) -> int:
    """How bad a word is: of several breakers behind one tier, the worst is shown."""
    return _SEVERITY.index(view.word)

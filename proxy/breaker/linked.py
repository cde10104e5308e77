"""Whom a link speaks to, and what it tells of itself: the nouns of link.py.

1. Whoever is told is told from the event loop, and does not wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from proxy.breaker.state import Event, Granted, Moved, Policy, State, Word


class Facts(Protocol):
    """What becomes of what a link notices: metrics and the log."""

    def moved(self, target: str, move: Moved) -> None:
        """This replica changed a target's word."""
        ...

    def link(self, *, up: bool, why: str) -> None:
        """The store came or went."""
        ...

    def propagated(self, seconds: float) -> None:
        """A push took so long to arrive."""
        ...


class Owner(Protocol):
    """Whoever acts on the views."""

    def changed(self, target: str, before: State, after: State) -> None:
        """A view is another one now."""
        ...

    def flipped(self) -> None:
        """The link came or went."""
        ...

    def unheard(self) -> Iterable[tuple[str, list[Event]]]:
        """What this replica knows of targets and the shared views do not show: told again at every sync."""
        ...


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """What operators are told of the link. Times are this process's."""

    up: bool
    since: float
    why: str
    """Why it is away; empty while it is up."""
    last_sync: float | None
    lineage: str
    replicas: int
    targets: int
    version: int
    """All views' versions together: equal in replicas that know the same."""
    away: float
    """Seconds without the store so far."""


@dataclass(slots=True)
class Row:
    """One target as the store is known to hold it."""

    policy: Policy
    state: State = field(default_factory=State)
    version: int = 0
    lineage: str = ""
    present: int = 0
    """The version that the store holds, 0 when it has lost the row."""
    offered: bytes = b""
    """What was proposed last: its push is no news."""
    outbox: list[Event] = field(default_factory=list)
    flushing: bool = False
    asking: bool = False
    won: tuple[str, Granted] | None = None
    """A place won too late for the request that asked."""

    def take(self) -> tuple[str, Granted] | None:
        """That place, if it can still be had; nobody else has it then."""
        won, self.won = (self.won if self.won_lives else None), None
        return won

    @property
    def won_lives(self) -> bool:
        """That place is still its owner's."""
        if self.won is None:
            return False
        token, granted = self.won
        circuit = self.state.circuit
        return granted.kind == "trickle" or (circuit.word is Word.HALF_OPEN and circuit.token == token)

"""What a shared store is: rows with versions under one clock, and no rules; those are machine.py's alone.

1. A row changes by compare-and-swap alone: expected version, within a window of the store's own clock.
2. A reply carries the row as it is now and the store's time, so that whoever lost can propose again at once.
3. `lineage` names the store's data: another one means that it was born empty since.
4. A push is a hint; what counts is what `sync` and `read` say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol


class StoreError(Exception):
    """The store did not answer, or refused. `args[0]` is a word for metrics and logs: timeout, refused, auth, …"""

    @property
    def word(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Stored:
    """One target's row."""

    version: int
    lineage: str
    row: bytes


@dataclass(frozen=True, slots=True)
class Swapped:
    """What became of a proposal."""

    applied: bool
    stored: Stored | None
    """The row as it is now; None when there is none."""
    now: float
    """The store's clock, in seconds."""
    lineage: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the store holds, by version."""

    now: float
    lineage: str
    versions: Mapping[str, int]
    replicas: int
    """That have shown themselves lately."""


@dataclass(frozen=True, slots=True)
class Push:
    """A row was written."""

    target: str
    stored: Stored
    now: float
    """The store's clock when it was written."""


class Store(Protocol):
    """All of it raises StoreError, and nothing else, when it cannot."""

    async def swap(
        self, target: str, expected: int, new: Stored, *, not_before: float, not_after: float, lasting: bool
    ) -> Swapped:
        """Put `new` in place of version `expected` (0: no row), if the store's clock lies within the bounds.

        A row that is not `lasting` is forgotten when nobody has written it for a day.
        """
        ...

    async def read(self, targets: Collection[str]) -> tuple[float, Mapping[str, Stored]]:
        """The store's clock, and the rows of these targets; those that have none are left out."""
        ...

    async def sync(self, replica: str) -> Snapshot:
        """Show that `replica` is alive, which proves that the store takes writes, and see what changed."""
        ...

    async def listen(self, ready: Callable[[], None], heard: Callable[[Push], None]) -> None:
        """Call `ready` at each (re)subscription and `heard` at each push, until cancelled or StoreError."""
        ...

    async def close(self) -> None:
        """Drop every connection."""
        ...

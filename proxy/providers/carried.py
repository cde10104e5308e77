"""What a translation could not carry into another API: refused by an exception, or noted as dropped.

1. What changes an answer's meaning or shape is refused; what only tunes it is dropped, and named.
2. A name in either is one of docs/anthropic.md or docs/responses.md, never a caller's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.providers.dialect import Uncarried


class CannotCarry(Exception):
    """The question cannot be put to this API. Raised and caught within one translation."""

    def __init__(self, detail: str, why: str, param: str | None = None) -> None:
        """`param` is the field as the caller wrote it, where that is more than `detail` says."""
        super().__init__(why)
        self.uncarried = Uncarried(detail, param or detail, why)


class Dropped:
    """The fields that were left out, each once, in the order in which they were met."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def note(self, name: str) -> None:
        """One was left out."""
        self._names[name] = None

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self._names)


@dataclass(frozen=True, slots=True)
class Sieve:
    """What becomes of each field of a request at another API. A field in none of these is refused."""

    read: Collection[str]
    """Those that the translation reads by name."""
    same: Collection[str]
    """Those that are carried as they are."""
    dropped: Collection[str]
    refused: Mapping[str, str]
    """Each with a sentence on why."""
    asks_nothing: Mapping[str, tuple[object, ...]]
    """Values that hold anyway: such a field is as good as not there."""

    def sift(self, asked: Mapping[str, Any], dropped: Dropped) -> dict[str, Any]:
        """What is carried as it is. Raises CannotCarry."""
        same = {}
        for key, value in asked.items():
            if key in self.read or value in self.asks_nothing.get(key, ()):
                continue
            if key in self.same:
                same[key] = value
            elif key in self.dropped:
                dropped.note(key)
            elif key in self.refused:
                raise CannotCarry(key, f"`{key}` has no counterpart: {self.refused[key]}")
            else:
                why = "This field is not known here, so what it would have changed is not; `params.drop` leaves it out."
                raise CannotCarry("unknown_field", why, key[:128])
        return same

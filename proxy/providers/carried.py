"""What a translation could not carry into another API: refused by an exception, or noted as dropped.

1. What changes an answer's meaning or shape is refused; what only tunes it is dropped, and named.
2. A name in either is one of docs/anthropic.md or docs/responses.md, never a caller's own.
"""

from __future__ import annotations

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

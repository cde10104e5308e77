"""What the operators' API needs of whoever holds the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from proxy.config.fault import Fault
from proxy.config.ledger import Author, Ledger
from proxy.config.schema import Config


class NotChanged(Exception):
    """A change that was not made; what was in force still is."""

    def __init__(self, code: str, message: str) -> None:
        """`code`: outdated, faulty, unknown, store_away or not_kept."""
        super().__init__(message)
        self.code, self.message = code, message


class Configuration(Protocol):
    """What is in force, and who may change it."""

    file: Config
    current: Config
    book: Ledger
    faults: tuple[Fault, ...]

    @property
    def revision(self) -> str: ...
    async def reload(self) -> str:
        """Read the file again: ok, unchanged or invalid."""
        ...

    async def edit(self, assistant: str, fields: Mapping[str, Any], seen: int | None, author: Author) -> None:
        """Set fields of an assistant. Raises NotChanged."""
        ...

    async def settle(self, assistant: str, field: str, choice: str, author: Author) -> None:
        """Where an edit and the file differ. Raises NotChanged."""
        ...

    async def restore(self, number: int, seen: int | None, author: Author) -> None:
        """Go back to a revision. Raises NotChanged."""
        ...

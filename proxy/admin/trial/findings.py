"""What a test has found out, as a list that a person reads from top to bottom.

1. A finding says what holds and, where that is not good, what to do. Its words are Homeport's and the configuration's;
   nothing that a source said is repeated.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    """It may be meant so."""
    ERROR = "error"
    """Requests would not be served like this."""


class What(StrEnum):
    """What a finding is about, in the order in which they are told."""

    SOURCE = "source"
    ENABLED = "enabled"
    CREDENTIAL = "credential"
    MODEL = "model"
    URL = "url"
    HEADERS = "headers"
    CHAIN = "chain"
    BREAKER = "breaker"
    REACH = "reach"
    LISTING = "listing"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    level: Level
    what: What
    said: str
    remedy: str | None = None

    def document(self) -> dict[str, Any]:
        """As the API tells it."""
        return asdict(self)


def ok(what: What, said: str) -> Finding:
    """All is well with it."""
    return Finding(Level.OK, what, said)


def warning(what: What, said: str, remedy: str) -> Finding:
    """It may be meant so, or not."""
    return Finding(Level.WARNING, what, said, remedy)


def error(what: What, said: str, remedy: str) -> Finding:
    """It cannot serve."""
    return Finding(Level.ERROR, what, said, remedy)

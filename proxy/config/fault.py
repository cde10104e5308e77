"""What is wrong with a configuration, as values: a Fault to print, a Finding to place, a Wrong value.

1. A text says where the value at fault stands and what was expected. Where it must repeat a value, that stands between
   backticks, so that it can be masked.
2. Every fault names its remedy.
3. A key is repeated only if it looks like a word: a slip of the pen (a colon or its space left out) makes a key of the
   secret beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_WORD = re.compile(r"[A-Za-z]{0,16}[0-9]{0,4}([-_./][A-Za-z]{0,16}[0-9]{0,4})*", re.ASCII)
_SHORT = 11
"""Characters of a key that is shown whatever it looks like."""
_BEGINNING = re.compile(r"[A-Za-z_-]{0,8}", re.ASCII)

Loc = tuple[str | int, ...]
"""Where a value stands in the document: keys and list positions from the top."""


class Wrong(ValueError):
    """A value that cannot be what its place asks for; whoever knows the place turns it into a Fault."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


@dataclass(frozen=True, slots=True)
class Finding:
    """Two parts of a configuration that do not go together."""

    loc: Loc
    problem: str
    remedy: str
    rests_on: tuple[Loc, ...] = ()
    """What it was concluded from. Where one of these is at fault itself, the conclusion would only be noise."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to repair before the configuration can be served."""

    file: str
    """The file as it was named, or what stands in its place: `environment`, `--listen`."""
    line: int
    """From 1; 0 where there are no lines."""
    column: int
    path: str
    """Keys joined by dots; empty for the file as a whole."""
    problem: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        line = ": ".join(part for part in (place, self.path, f"{self.problem}; {self.remedy}") if part)
        # Keys come from the file, and a fault is one line.
        return "".join(character if character.isprintable() else "?" for character in line)


def dotted(loc: Iterable[str | int]) -> str:
    """A location as people read it; of a key that may hold a secret its beginning."""
    return ".".join(_shown(str(segment)) for segment in loc)


def _shown(key: str) -> str:
    if len(key) <= _SHORT or _WORD.fullmatch(key):
        return key
    beginning = _BEGINNING.match(key)
    return f"{beginning.group() if beginning else ''}…"


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """By position, each one once."""
    return tuple(sorted(set(faults), key=lambda each: (each.line, each.column, each.path, each.problem)))

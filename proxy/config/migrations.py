"""From an older form of the configuration to this one: named steps over plain data, and what each of them changed.

1. A step fills what nobody has set and moves what somebody has; it can do nothing else. A value that stands is never
   replaced, an explicit null included, and neither is anything below it.
2. A moved value stays its operator's: only its place changes, or the way it is written. What is filled is of origin
   `migration`.
3. What would have to replace a newer value gives way to it and is told, never lost without a word.
4. Plain data in, plain data and the list of changes out: nothing is read, nothing written, the input is left alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from proxy.config.fault import Loc, Wrong, dotted

Origin = Literal["operator", "default", "migration"]


@dataclass(frozen=True, slots=True)
class Fill:
    """Set what nobody has set."""

    loc: Loc
    value: Any
    """Plain data, as a file would hold it."""


@dataclass(frozen=True, slots=True)
class Move:
    """Take a value, whatever it is, to another place."""

    loc: Loc
    to: Loc
    reading: Callable[[Any], Any] | None = None
    """The same value as the newer form writes it. Never asked of a null; raises Wrong for what it cannot read."""

    def __post_init__(self) -> None:
        if _within(self.to, self.loc) or _within(self.loc, self.to):
            raise ValueError("a value cannot move into itself, or over what holds it")


Edit = Fill | Move


@dataclass(frozen=True, slots=True)
class Step:
    """From one version to the next."""

    to: int
    """The version that it leads to."""
    name: str
    rule: str
    """What it does, in one sentence for the operator."""
    edits: Callable[[Mapping[str, Any]], Iterable[Edit]]
    """What there is to do for this data; reads it, and changes nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one edit came to."""

    step: Step
    kind: Literal["filled", "moved", "superseded", "unread"]
    """Superseded: an older value that gave way to the newer one beside it. Unread: it cannot be written anew; it is out
    of the data, and a fault."""
    loc: Loc
    """Where the value stood; for what was filled, where it stands."""
    to: Loc
    """Where the value stands, or the one that it gave way to."""
    value: Any = None
    """The value as it is now; of one that is gone nothing."""
    rewritten: bool = False
    """Its way of writing changed, not only its place."""
    wrong: Wrong | None = None
    """Why it could not be read."""

    @property
    def origin(self) -> Origin:
        """Whose the value at `to` is."""
        return "migration" if self.kind == "filled" else "operator"

    def __str__(self) -> str:
        match self.kind:
            case "filled":
                return f"{dotted(self.to)} is filled in: {self.step.rule}"
            case "moved":
                return f"{dotted(self.loc)} is now {dotted(self.to)}: {self.step.rule}"
            case "superseded":
                return f"{dotted(self.loc)} is dropped, because {dotted(self.to)} is set: {self.step.rule}"
            case "unread":
                return f"{dotted(self.loc)} cannot be read: {self.step.rule}"


@dataclass(frozen=True, slots=True)
class Migrated:
    """Data in the newest form, and the way there."""

    data: dict[str, Any]
    changes: tuple[Change, ...]
    """In the order in which they were made; each `loc` is a place in the data as it was then."""


STEPS: tuple[Step, ...] = ()
"""The way from each older version of the file to this one. Version 1 is the first, so there is none yet."""


def first_version(steps: Sequence[Step]) -> int | None:
    """The oldest version that the steps begin at; None where there are none."""
    return steps[0].to - 1 if steps else None


def migrate(data: Mapping[str, Any], version: int, steps: Sequence[Step], held: Collection[Loc] = ()) -> Migrated:
    """Lead data of this version through every later step.

    `held`: where something stands that `data` does not show, because it could not be read. It counts as set.
    A `version` in the data follows; where it has none, none is made.
    """
    changed = copy.deepcopy(dict(data))
    running = _Running(changed, set(held))
    for step in steps:
        if step.to <= version:
            continue
        for edit in list(step.edits(copy.deepcopy(changed))):
            running.apply(step, edit)
        if "version" in changed:
            changed["version"] = step.to
    return Migrated(changed, tuple(running.changes))


def doomed(data: Any, loc: Loc) -> Loc:
    """What goes when the value at `loc` goes: mappings that held nothing else go too, items of a list stay."""
    while len(loc) > 1 and isinstance(loc[-2], str) and len(at(data, loc[:-1])) == 1:
        loc = loc[:-1]
    return loc


def at(data: Any, loc: Loc) -> Any:
    """The value at a place that exists."""
    for segment in loc:
        data = data[segment]
    return data


def stands(data: Any, loc: Loc) -> bool:
    """Is there anything at this place, a null included?"""
    for segment in loc:
        if isinstance(data, dict):
            if segment not in data:
                return False
        elif not (isinstance(data, list) and isinstance(segment, int) and 0 <= segment < len(data)):
            return False
        data = data[segment]
    return True


def in_the_way(data: Any, loc: Loc) -> Loc | None:
    """What keeps a value from being set at `loc`: the place itself or one above it that holds something else."""
    for depth, segment in enumerate(loc):
        if isinstance(data, dict):
            if segment not in data:
                return None
        elif not (isinstance(data, list) and isinstance(segment, int) and 0 <= segment < len(data)):
            return loc[:depth]
        data = data[segment]
    return loc


class _Running:
    """The data on its way, and what was done to it."""

    def __init__(self, data: dict[str, Any], held: set[Loc]) -> None:
        self.changes: list[Change] = []
        self._data, self._held = data, held

    def apply(self, step: Step, edit: Edit) -> None:
        if isinstance(edit, Fill):
            if self._blocked(edit.loc) is None:
                _put(self._data, edit.loc, copy.deepcopy(edit.value))
                self.changes.append(Change(step, "filled", edit.loc, edit.loc, copy.deepcopy(edit.value)))
        elif stands(self._data, edit.loc) or edit.loc in self._held:
            self._move(step, edit)

    def _move(self, step: Step, edit: Move) -> None:
        blocked, hidden = self._blocked(edit.to), edit.loc in self._held
        value = None if hidden else at(self._data, edit.loc)
        if not hidden:
            parent = doomed(self._data, edit.loc)
            _drop(self._data, parent)
        if blocked is not None:
            self._held = {each for each in self._held if not _within(each, edit.loc)}
            self.changes.append(Change(step, "superseded", edit.loc, blocked))
            return
        rewritten = edit.reading is not None and value is not None
        if edit.reading is not None and value is not None:
            try:
                value = edit.reading(value)
            except Wrong as wrong:
                self.changes.append(Change(step, "unread", edit.loc, edit.to, wrong=wrong))
                return
        self._held = {edit.to + each[len(edit.loc) :] if _within(each, edit.loc) else each for each in self._held}
        if not hidden:
            _put(self._data, edit.to, value)
        self.changes.append(Change(step, "moved", edit.loc, edit.to, copy.deepcopy(value), rewritten))

    def _blocked(self, loc: Loc) -> Loc | None:
        hidden = (each for each in self._held if _within(each, loc) or _within(loc, each))
        return next(hidden, None) or in_the_way(self._data, loc)


def _within(loc: Loc, around: Loc) -> bool:
    return loc[: len(around)] == around


def _put(data: Any, loc: Loc, value: Any) -> None:
    for segment in loc[:-1]:
        data = data[segment] if isinstance(segment, int) else data.setdefault(segment, {})
    data[loc[-1]] = value


def _drop(data: Any, loc: Loc) -> None:
    del at(data, loc[:-1])[loc[-1]]

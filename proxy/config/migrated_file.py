"""What a migration makes of a file: shown as a diff, printed whole, or written with the original kept.

1. A write is whole or not at all: beside the file, flushed to the disk, then put into its place in one step.
2. The original stays, byte for byte, as FILE.orig-<n>; a name that is taken is never written over.
3. A file that changed meanwhile is left alone. A symbolic link stays one: what it leads to is written.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.config import load, migrations, older, yaml_map
from proxy.config.fault import Fault, Wrong, in_order
from proxy.config.rewrite import CannotRewrite, rewrite
from proxy.config.words import VERSION, version


@dataclass(frozen=True, slots=True)
class Plan:
    """A file, and what a migration would make of it."""

    file: Path
    before: str
    after: str
    changes: tuple[migrations.Change, ...] = ()

    @property
    def due(self) -> bool:
        """Is there anything to migrate?"""
        return self.before != self.after

    @property
    def diff(self) -> str:
        """From the file to what it would be, as a unified diff; empty where nothing is due."""
        before, after = (each.splitlines(keepends=True) for each in (self.before, self.after))
        lines = difflib.unified_diff(before, after, str(self.file), f"{self.file} (version {VERSION})")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)

    @property
    def notes(self) -> list[str]:
        """What is done and why, one line each."""
        if not self.due:
            return [f"{self.file} is of version {VERSION}, the newest: there is nothing to migrate"]
        return [str(change) for change in self.changes]


def _unknown_version(root: yaml_map.Node, file: Path) -> Fault | None:
    node = yaml_map.child(root, "version")
    try:
        version(node.content if node is not None else None)
    except Wrong as wrong:
        line, column = yaml_map.position(root, ("version",))
        return Fault(str(file), line, column, "version", wrong.problem, wrong.remedy)
    return None


class CannotWrite(Exception):
    """The file stays as it is; the text says why."""


def plan(file: Path, steps: Sequence[migrations.Step] = migrations.STEPS) -> Plan | tuple[Fault, ...]:
    """What a migration would make of a file. Reads it; references in it stay references."""
    before = load.read_text(file)
    if isinstance(before, Fault):
        return (before,)
    root, faults = yaml_map.compose(before, str(file), lambda value: value)
    if root is None or not isinstance(root.content, dict) or faults:
        return in_order(faults) or (Fault(str(file), 1, 1, "", "expected a mapping of keys", "see `homeport check`"),)
    brought = older.bring(root, str(file), steps)
    if isinstance(brought, Fault):
        return (brought,)
    if unknown := _unknown_version(brought.root, file):
        return (unknown,)
    if brought.faults:
        return in_order(brought.faults)
    if brought.root is root:
        return Plan(file, before, before)
    try:
        after = rewrite(before, brought.changes, yaml_map.plain(brought.root))
    except CannotRewrite:
        by_hand = "; ".join([*map(str, brought.changes), f"version is now {VERSION}"])
        problem = "written in a way (aliases, or keys in unusual places) that cannot be changed without a person"
        return (Fault(str(file), 1, 1, "", problem, f"change it by hand: {by_hand}"),)
    return Plan(file, before, after, brought.changes)


def write(planned: Plan) -> Path:
    """Put the migrated file in its place; where the original is kept. Raises CannotWrite."""
    try:
        file = planned.file.resolve(strict=True)
        fd, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(fd, "wb") as beside:
                beside.write(planned.after.encode())
                beside.flush()
                os.fchmod(beside.fileno(), file.stat().st_mode & 0o7777)
                os.fsync(beside.fileno())
            if load.read_text(file) != planned.before:
                raise CannotWrite(f"{planned.file} changed meanwhile and was left as it is; run it again")
            kept = _keep(file)
            try:
                os.replace(name, file)
            except BaseException:
                kept.unlink()
                raise
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _flush(file.parent)
    except OSError as error:
        raise CannotWrite(f"{planned.file} cannot be migrated: {error.strerror}") from error
    return kept


def _keep(file: Path) -> Path:
    """The original under the first name that is free: a second name where the file system has such, else a copy."""
    number = 1
    while True:
        kept = file.with_name(f"{file.name}.orig-{number}")
        try:
            os.link(file, kept)
        except FileExistsError:
            number += 1
            continue
        except OSError:
            with kept.open("xb") as copy:
                copy.write(file.read_bytes())
                copy.flush()
                os.fsync(copy.fileno())
        return kept


def _flush(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

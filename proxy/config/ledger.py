"""The book of revisions: every change of what is served, numbered, with who, when, from where, and what it changed.

1. Pure: every entry is made from the book before it. A book is a value; who keeps it (state_dir.py, a shared store)
   keeps it whole.
2. A revision's changes are of what is in force, by assistant and field, so that any kept revision can be gone back to
   by undoing those after it; going back is itself a revision. The book tells what was in force last, so that a file
   which has changed unseen is known by what it changed.
3. Edits change only here, and only by an operator's act: `edited`, `settled`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter

from proxy.config.edits import FIELDS, Edits, shown
from proxy.config.schema import Config

KEPT = 200
"""Revisions; older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field of an assistant, as it was in force and as it is."""

    assistant: str
    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of what is served."""

    number: int
    at: float
    """Unix time."""
    by: str
    """Who: `operator`, or `file`."""
    origin: str
    """From where: api, page, or file."""
    note: str
    changes: tuple[Change, ...]
    file: str
    """Fingerprint of the file that it was made upon."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The whole book."""

    revisions: tuple[Revision, ...] = ()
    """Oldest first, without gaps."""
    edits: Edits = field(default_factory=dict)
    settled: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Assistant → field → what the file said when an operator chose to keep the edit all the same."""
    held: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Assistant → field → what is in force by the newest revision."""
    changed: Mapping[str, int] = field(default_factory=dict)
    """Assistant → the newest revision that changed it, also when that one is no longer kept."""

    @property
    def number(self) -> int:
        """Of the newest revision; 0 before the first."""
        return self.revisions[-1].number if self.revisions else 0

    @property
    def file(self) -> str:
        """Fingerprint of the file that was last taken in."""
        return self.revisions[-1].file if self.revisions else ""

    @property
    def mark(self) -> str:
        """Names the newest revision, whoever keeps it: books of one mark are one book. Empty before the first."""
        if not self.revisions:
            return ""
        newest = self.revisions[-1]
        # Of nothing that a later version of the book might write in another way.
        words = f"{newest.at!r} {newest.by} {newest.origin}"
        return f"{newest.number}.{hashlib.sha256(words.encode()).hexdigest()[:12]}"

    def missing(self, other: Ledger) -> tuple[Revision, ...]:
        """Revisions of `other` that this book does not have, those aside that it may have forgotten."""
        since = self.revisions[0].number if self.revisions else 0
        return tuple(each for each in other.revisions if each.number >= since and each not in self.revisions)

    def outweighs(self, other: Ledger) -> bool:
        """This book, and not `other`, is the one to go on with, where a store has lost what it had.

        It is `other` and more; or else operators have made something here that `other` does not have, and nothing there
        that this does not: a file is entered again wherever it is, and what an operator said is not said again.
        """
        here, there = other.missing(self), self.missing(other)
        return bool(here and not there) or (_operators(here) and not _operators(there))

    def touched(self, assistant: str) -> int:
        """The newest revision that changed this assistant; 0 if none did."""
        return self.changed.get(assistant, 0)


def _operators(revisions: Iterable[Revision]) -> bool:
    return any(each.origin != "file" for each in revisions)


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a revision, when, and from where."""

    at: float
    by: str
    origin: str


def edited(book: Ledger, before: Config, after: Config, edits: Edits, author: Author, note: str = "") -> Ledger:
    """An operator's edits have made `after` of `before`, both with edits on them."""
    made = tuple(_changes(in_force(before), in_force(after)))
    held = {name: dict(fields) for name, fields in book.held.items()}
    for change in made:
        held.setdefault(change.assistant, {})[change.field] = change.after
    return _entered(replace(book, edits=edits, held=held), made, author, note, book.file)


def filed(book: Ledger, after: Config, fingerprint: str, author: Author, note: str = "") -> Ledger:
    """A file was taken in; `after` has the edits on it. Nothing is entered where it is the last one again."""
    if book.file == fingerprint:
        return book
    held = in_force(after)
    made = tuple(_changes(book.held, held)) if book.revisions else ()
    return _entered(replace(book, held=held), made, author, note, fingerprint)


def settled(book: Ledger, assistant: str, field: str, said: Any, author: Author) -> Ledger:
    """An operator keeps an edit in spite of what the file says of it."""
    own = dict(book.settled.get(assistant, {})) | {field: said}
    kept = replace(book, settled={**book.settled, assistant: own})
    return _entered(kept, (), author, f"{assistant}: {field} kept as edited", book.file)


def _entered(book: Ledger, made: tuple[Change, ...], author: Author, note: str, file: str) -> Ledger:
    revision = Revision(book.number + 1, author.at, author.by, author.origin, note, made, file)
    changed = {**book.changed, **dict.fromkeys((each.assistant for each in made), revision.number)}
    return replace(book, revisions=(*book.revisions, revision)[-KEPT:], changed=changed)


def in_force(config: Config) -> dict[str, dict[str, Any]]:
    """Assistant → field → value, of a configuration with the edits on it."""
    return {name: shown(each) for name, each in config.assistants.items()}


_NOTHING = dict.fromkeys(FIELDS)
"""An assistant that is not there; one that is has a list of fallbacks at least."""


def _changes(before: Edits, after: Edits) -> Iterator[Change]:
    """What differs, field by field; an assistant that is not there is empty in every field."""
    for name in {**before, **after}:
        was, became = before.get(name, _NOTHING), after.get(name, _NOTHING)
        for each in FIELDS:
            if was[each] != became[each]:
                yield Change(name, each, was[each], became[each])


def at_revision(book: Ledger, current: Config, number: int) -> dict[str, dict[str, Any]]:
    """What was in force at a revision, by assistant and field, where it differs from `current`.

    An assistant that was not there then is left as it is. Raises KeyError when the revision is not kept.
    """
    if not book.revisions or not book.revisions[0].number <= number <= book.number:
        raise KeyError(number)
    now = in_force(current)
    then = {name: dict(fields) for name, fields in now.items()}
    for revision in reversed(book.revisions):
        if revision.number <= number:
            break
        for change in revision.changes:
            then.setdefault(change.assistant, dict(_NOTHING))[change.field] = change.before
    there = {name: fields for name, fields in then.items() if fields["fallbacks"] is not None}
    wanted: dict[str, dict[str, Any]] = {}
    for change in _changes({name: now.get(name, _NOTHING) for name in there}, there):
        wanted.setdefault(change.assistant, {})[change.field] = change.after
    return wanted


def edits_to(file: Config, edits: Edits, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The edits that bring `wanted` into force: none where the file says so already."""
    made = {assistant: dict(fields) for assistant, fields in edits.items()}
    for assistant, fields in wanted.items():
        if assistant not in file.assistants:
            continue
        said, own = shown(file.assistants[assistant]), made.setdefault(assistant, {})
        for name, value in fields.items():
            if said[name] == value:
                own.pop(name, None)
            else:
                own[name] = value
    return {assistant: fields for assistant, fields in made.items() if fields}


_BOOK: TypeAdapter[Ledger] = TypeAdapter(Ledger)
_HELD: TypeAdapter[Edits] = TypeAdapter(Edits)
_PIECE = 100
"""Assistants."""


def encoded(book: Ledger) -> bytes:
    """As JSON that a person can read."""
    names = list(book.held)
    if not names:
        return _BOOK.dump_json(book, indent=2) + b"\n"
    # What is in force is nearly all of it, and is written in pieces: nobody else runs while one is.
    parts = (names[at : at + _PIECE] for at in range(0, len(names), _PIECE))
    pieces = [_inner({name: book.held[name] for name in part}) for part in parts]
    # Only a key of the book itself is two characters from the margin.
    key = b'\n  "held": {'
    before, _, after = _BOOK.dump_json(replace(book, held={}), indent=2).partition(key)
    return b"".join((before, key, b",".join(pieces), b"\n  ", after, b"\n"))


def _inner(held: Edits) -> bytes:
    """As it stands within a book, without its own brackets."""
    return _HELD.dump_json(held, indent=2)[1:-2].replace(b"\n", b"\n  ")


def decoded(text: bytes) -> Ledger:
    """What `encoded` made. Raises ValueError for anything else."""
    return _BOOK.validate_json(text)

"""Whatever sequence of files, edits, settlements, restores and restarts: what an operator has set holds until one
changes it, and going back gives exactly what was in force.

1. The real thing runs, its book on a real disk; the model knows only what each act means for what is in force.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from proxy.admin.configuration import NotChanged
from proxy.app.configured import Configured
from proxy.config import edits, ledger
from proxy.config.edits import FIELDS
from proxy.config.ledger import Author, decoded, encoded
from proxy.config.schema import Config
from proxy.config.state_dir import StateDir
from tests.property import virtual
from tests.unit.config.books import bound, file

_VALUES: dict[str, list[Any]] = {
    "primary": [
        None,
        bound("one"),
        bound("two"),
        {"source": "three", "model": None},
        bound("one", "*", params={"set": {"n": None, "t": 0.5}}),
    ],
    "fallbacks": [None, [], [bound("two", "f")], [bound("one"), bound("two", "f", context=9)], [{"source": "three"}]],
    "chains": [None, {}, {"embeddings": {"primary": bound("one", "e")}}],
    "timeouts": [None, {}, {"total": "90s", "attempt": None}, {"hold": 5}],
    "breaker": [None, {"scope": "assistant", "cooldown": "9s"}, {"scope": "assistant", "failure_rate": 0.25}],
}
_NAMES = ("bot", "other", "third")

_assistant = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in _VALUES.items()})
_file = st.fixed_dictionaries({}, optional=dict.fromkeys(_NAMES, _assistant)) | st.fixed_dictionaries(
    {"bot": _assistant}
)
_set = st.sampled_from(FIELDS).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(_VALUES[name])))
_name = st.sampled_from((*_NAMES, "bot", "bot"))
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("edit"), _name, st.lists(_set, min_size=1, max_size=2).map(dict)),
        st.tuples(st.just("settle"), _name, st.tuples(st.sampled_from(FIELDS), st.sampled_from(["keep", "file"]))),
        st.tuples(st.just("restore"), st.integers(1, 4), st.none()),
        st.tuples(st.just("reload"), _file, st.none()),
        st.tuples(st.just("restart"), st.none() | _file, st.none()),
        st.tuples(st.just("disk"), st.booleans(), st.none()),
    ),
    min_size=2,
    max_size=14,
)

_Held = dict[str, dict[str, Any]]


def _read(assistants: Mapping[str, object]) -> Config | None:
    """The file; None where it has faults by itself."""
    try:
        return file(assistants)
    except AssertionError:
        return None


class _Served:
    """A configured.Told that remembers."""

    def __init__(self) -> None:
        self.config: Config | None = None
        self.revision = ""

    async def serve(self, config: Config, revision: str) -> None:
        self.config, self.revision = config, revision

    def event(self, what: str, **facts: Any) -> None:
        orjson.dumps({"event": what, **facts})

    def reloaded(self, result: str) -> None:
        assert result in ("ok", "invalid", "unchanged")


class _Replica:
    """What is under test, beside what it ought to be."""

    def __init__(self, folder: Path, first: Config) -> None:
        self.folder, self.state = folder, folder / "state"
        self.first = self.on_disk = first
        self.clock = itertools.count(1)
        self.edits: _Held = {}
        """As operators have left them."""
        self.was: dict[int, _Held] = {}
        """In force at each revision."""

    async def start(self) -> bool:
        """False where edits and file do not go together; nothing is changed then."""
        self.served = _Served()
        disk = StateDir(self.state)
        self.real = Configured(self.on_disk, lambda: self.on_disk, disk, None, lambda: float(next(self.clock)))
        if await self.real.start():
            return False
        self.file = self.on_disk
        await self.real.take_in(self.served)
        self.check()
        return True

    def author(self) -> Author:
        return Author(float(next(self.clock)), "somebody", "api")

    def expected(self) -> _Held:
        """The file's value, unless an operator has set one."""
        return {name: {**edits.shown(each), **self.edits.get(name, {})} for name, each in self.file.assistants.items()}

    def check(self, before: _Held | None = None) -> None:
        """What holds after every act; `before` is what was in force when it began."""
        real, held = self.real, ledger.in_force(self.real.current)
        assert held == self.expected()
        assert (self.served.config, self.served.revision) == (real.current, real.revision)
        assert {name: dict(own) for name, own in real.book.edits.items() if own} == self.edits
        for name, own in self.edits.items():
            if name in held:
                origins = edits.origins(real.current.assistants[name], own)
                assert {origins[field] for field in own} <= {"operator"}
        newest, known = real.book.number, max(self.was, default=0)
        if newest > known + 1 and before is not None:
            self.was[newest - 1] = before
            event("a file was entered late")
        if newest > known:
            self.was[newest] = held
        numbers = [each.number for each in real.book.revisions]
        assert numbers == list(range(1, newest + 1))
        assert decoded(encoded(real.book)) == real.book
        for number in numbers:
            self.check_undo(number, held)

    def check_undo(self, number: int, held: _Held) -> None:
        then, wanted = self.was[number], ledger.at_revision(self.real.book, self.real.current, number)
        if self.real.book.held != held:
            return  # the file is not in the book yet
        for name, fields in then.items():
            assert {**held.get(name, dict.fromkeys(FIELDS)), **wanted.get(name, {})} == fields
        assert set(wanted) <= set(then)

    # -- acts

    async def edit(self, name: str, fields: Mapping[str, Any]) -> None:
        before = ledger.in_force(self.real.current)
        seen = self.real.book.touched(name)
        if await self._made(self.real.edit(name, fields, seen, self.author())):
            understood = edits.shown(self.real.current.assistants[name])
            for field, value in fields.items():
                # An explicit null is nothing, and not what the file or a default would have.
                assert value is not None or not understood[field]
                self.edits.setdefault(name, {})[field] = understood[field]
        self.check(before)

    async def settle(self, name: str, field: str, choice: str) -> None:
        before = ledger.in_force(self.real.current)
        if await self._made(self.real.settle(name, field, choice, self.author())) and choice == "file":
            del self.edits[name][field]
            self.edits = {name: own for name, own in self.edits.items() if own}
        self.check(before)
        if choice == "keep" and name in self.file.assistants and field in self.edits.get(name, {}):
            unsettled = edits.unsettled(self.file, self.real.book.edits, self.real.book.settled)
            assert self.full or (name, field) not in {(each.assistant, each.field) for each in unsettled}

    async def restore(self, number: int) -> None:
        for _ in range(2):  # the second time nothing is left to do
            before = ledger.in_force(self.real.current)
            if await self._made(self.real.restore(number, self.real.book.number, self.author())):
                event("restored")
                self._restored(self.was[number], before)
            self.check(before)

    def _restored(self, then: _Held, before: _Held) -> None:
        held = ledger.in_force(self.real.current)
        for name, fields in held.items():
            if name not in then:
                assert fields == before[name]
                continue
            assert fields == then[name]
            said, own = edits.shown(self.file.assistants[name]), self.edits.setdefault(name, {})
            for field in FIELDS:
                if fields[field] != before[name][field]:
                    own[field] = fields[field]
                    if said[field] == fields[field]:
                        del own[field]
        self.edits = {name: own for name, own in self.edits.items() if own}

    async def reload(self, fresh: Config) -> None:
        former, before, self.on_disk = self.on_disk, ledger.in_force(self.real.current), fresh
        match await self.real.reload():
            case "ok" | "unchanged":
                self.file = fresh
                assert self.real.faults == ()
            case _:
                assert self.real.faults
                self.on_disk = former
                assert await self.real.reload() == "unchanged"
        self.check(before)

    async def restart(self, fresh: Config | None) -> None:
        self.fill(full=False)
        former, self.on_disk = self.on_disk, fresh or self.on_disk
        if not await self.start():
            self.on_disk = former
            # What was in force was good: it was served.
            assert await self.start()

    full = False

    def fill(self, *, full: bool) -> None:
        """Have the disk take nothing, or take it again."""
        if full and not self.full:
            self.state.rename(self.folder / "away")
            self.state.write_text("no folder")
        elif self.full and not full:
            self.state.unlink()
            (self.folder / "away").rename(self.state)
        self.full = full

    async def _made(self, change: Any) -> bool:
        before = self.real.book, self.real.current
        refused = await _refused(change)
        if refused is None:
            assert not self.full
            return True
        event(f"refused: {refused}")
        assert self.full or refused != "not_kept"
        assert (self.real.book, self.real.current) == before
        return False


async def _refused(change: Any) -> str | None:
    """Why a change was not made."""
    try:
        await change
    except NotChanged as refused:
        return refused.code
    return None


async def _play(folder: Path, first: Config, steps: list[tuple[str, Any, Any]]) -> None:
    replica = _Replica(folder, first)
    assert await replica.start()
    for act, what, more in steps:
        match act:
            case "edit":
                await replica.edit(what, more)
            case "settle":
                await replica.settle(what, *more)
            case "restore":
                await replica.restore(what)
            case "reload" if (fresh := _read(what)) is not None:
                await replica.reload(fresh)
            case "restart":
                await replica.restart(None if what is None else _read(what))
            case "disk":
                replica.fill(full=what)
            case _:
                pass


_ONE, _TWO = {"bot": {"primary": bound("one")}}, {"bot": {"primary": bound("two")}}


@settings(max_examples=100, deadline=None)
@given(_file.map(_read).filter(bool), _steps)
@example(  # a file that came while the disk was full is entered with the next edit, apart from it
    file(_ONE),
    [
        ("disk", True, None),
        ("reload", _TWO, None),
        ("disk", False, None),
        ("edit", "bot", {"fallbacks": None}),
        ("restore", 2, None),
        ("restore", 1, None),
    ],
)
@example(file(_ONE), [("restart", _TWO, None), ("restore", 1, None), ("restart", None, None), ("restore", 2, None)])
def test_what_an_operator_has_set_holds_and_going_back_gives_what_was_in_force(
    first: Config, steps: list[tuple[str, Any, Any]]
) -> None:
    """Explicit nulls included, with a file that changes while the replica is down or its disk is full."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder), first, steps))


@given(st.integers(0, 3), st.integers(0, 3))
def test_who_has_not_seen_the_newest_changes_nothing(made: int, seen: int) -> None:
    """An edit or a restore is upon the revision that it names, or is refused."""

    async def work() -> None:
        real = Configured(file({"bot": {"primary": bound("one")}}), None, None, None, lambda: 1.0)
        await real.start()
        await real.take_in(_Served())
        for number in range(made):
            await real.edit("bot", {"primary": bound("one", f"m{number}")}, None, Author(float(number), "a", "api"))
        touched, newest, before = real.book.touched("bot"), real.book.number, real.current
        if seen != touched:
            with pytest.raises(NotChanged) as outdated:
                await real.edit("bot", {"primary": None}, seen, Author(9.0, "a", "api"))
            assert outdated.value.code == "outdated"
            assert f"revision {touched} " in outdated.value.message
        if seen != newest:
            with pytest.raises(NotChanged, match="It has changed since"):
                await real.restore(1, seen, Author(9.0, "a", "api"))
        assert (real.book.number, real.current) == (newest, before)

    virtual.run(work())

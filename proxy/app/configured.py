"""What is in force: the file, the operators' edits on it, and the book that tells who changed what.

1. A change is whole or is not made: it is read, checked, kept, and only then served. What is refused leaves the last
   good one in force.
2. What is told to be in force is what is served: both change in one step.
3. Operators' edits change by operators' acts alone; a file that is read again is laid under them.
4. Where a store is shared, its book is the fleet's: an edit that has not seen the newest is refused, and a store that
   lost the book, or the end of it, is filled again by whoever has all of it. `state_dir` holds a copy.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from proxy.admin.configuration import NotChanged
from proxy.beside import beside, let_go
from proxy.breaker.store import StoreError
from proxy.config import edits as over
from proxy.config import ledger
from proxy.config.fault import Fault
from proxy.config.ledger import Author, Ledger
from proxy.config.schema import Config
from proxy.config.state_dir import KeepError, StateDir

if TYPE_CHECKING:
    # Who shares nothing need not load the store's client, which takes a moment.
    from proxy.record.shared_ledger import SharedLedger

_POLL = 1.0
"""Seconds between looks at the shared book; a change is in force everywhere within two of these."""
_TRIES = 5
_RESTART = ("listen", "admin.listen", "admin.token", "store", "state_dir", "decisions", "lane")
"""What a running replica cannot change."""

Load = Callable[[], Config | tuple[Fault, ...]]


class Told(Protocol):
    """What becomes of what happens to the configuration."""

    async def serve(self, config: Config, revision: str) -> None:
        """Serve this from now on."""
        ...

    def event(self, what: str, **facts: Any) -> None:
        """For the log and the journal, in our own words."""
        ...

    def reloaded(self, result: str) -> None:
        """The file was looked at again: ok, invalid or unchanged."""
        ...


class Configured:
    """One replica's configuration through time."""

    def __init__(
        self,
        file: Config,
        load: Load | None,
        disk: StateDir | None,
        shared: SharedLedger | None,
        unix: Callable[[], float],
    ) -> None:
        """`load` reads the file again; None where there is no file."""
        self.file, self.current, self.book = file, file, Ledger()
        self._load, self._disk, self._shared, self._wall = load, disk, shared, unix
        self._told: Told | None = None
        self._lock = asyncio.Lock()
        self._entered = False
        """The file, as it is served, stands in the book. Entered once: while replicas have different files the book
        does not go to and fro between them."""
        self._copied = self._had = Ledger()
        """What the disk has, and what was served last."""
        self._refused = ""
        """The newest revision that does not go with this replica's file."""
        self.faults: tuple[Fault, ...] = ()
        """Of the file as it was last read; what is in force is an older one then."""

    @property
    def revision(self) -> str:
        """The book's number, and the fingerprint of what is in force."""
        return _revision(self.book, self.current)

    async def start(self) -> tuple[Fault, ...]:
        """Take up the newest book that is known; faults if its edits do not go with the file. Raises KeepError."""
        if self._disk is not None:
            self.book = self._copied = self._had = await beside(self._disk.read)
        # While the store is away the copy on disk is the newest that is known; the fleet's is followed later.
        with contextlib.suppress(NotChanged):
            if self._shared is not None:
                self.book = await self._newest(self._shared, self.book)
        laid = over.laid_over(self.file, self.book.edits, "edits")
        if isinstance(laid, tuple):
            return laid
        self.current = laid
        return ()

    async def take_in(self, told: Told) -> None:
        """Tell `told` of changes from now on, enter the file in the book if it is another than the last, and serve."""
        self._told = told
        async with self._lock:
            book, laid = await self._enter_file(self.file, self.current, "")
            await self._serve(self.file, book, laid)

    async def _serve(self, file: Config, book: Ledger, config: Config) -> None:
        assert self._told is not None  # noqa: S101  # nothing changes before it is served
        if self._disk is not None and book.mark != self._copied.mark:
            try:
                await beside(self._disk.prepare, book)
                await beside(self._disk.keep)
                self._copied = book
            except KeepError:
                self._tell("revision_not_kept", why="not_kept")
        await self._told.serve(config, await beside(_revision, book, config))
        before = [*self.book.held.values()]
        self.file, self.book, self.current = file, book, config
        # The fleet's book is of another history, or another was made in the moment in which the store was flushed.
        if lost := [each.number for each in book.missing(self._had) if each.origin != "file"]:
            self._tell("revisions_dropped", numbers=lost, newest=book.number)
        self._had = book
        await beside(let_go, before)

    # -- what operators do

    async def edit(self, assistant: str, fields: Mapping[str, Any], seen: int | None, author: Author) -> None:
        """Set fields of an assistant. `seen` is the revision that the operator has seen of it; None: whichever."""

        def make(book: Ledger) -> tuple[Ledger, Config]:
            self._check_seen(assistant, seen)
            draft = _with(book.edits, assistant, fields)
            after = self._checked(draft)
            # As they were understood, so that they can be compared with the file's.
            held = over.shown(after.assistants[assistant])
            edits = {**draft, assistant: {name: held[name] for name in draft[assistant]}}
            return ledger.edited(book, self.current, after, edits, author), after

        await self._change(make)

    def draft(self, assistant: str, fields: Mapping[str, Any]) -> Config:
        """What would be in force with such an edit; nothing is changed. Raises NotChanged."""
        self._check_seen(assistant, None)
        return self._checked(_with(self.book.edits, assistant, fields))

    async def settle(self, assistant: str, field: str, choice: str, author: Author) -> None:
        """Where edit and file differ: keep the edit, or take the file."""

        def make(book: Ledger) -> tuple[Ledger, Config]:
            self._check_seen(assistant, None)
            if field not in book.edits.get(assistant, {}):
                raise NotChanged("unknown", f"{field} of {assistant} was not edited.")
            if choice == "keep":
                said = over.shown(self.file.assistants[assistant])[field]
                return ledger.settled(book, assistant, field, said, author), self.current
            own = {name: value for name, value in book.edits[assistant].items() if name != field}
            edits = {name: value for name, value in {**book.edits, assistant: own}.items() if value}
            after = self._checked(edits)
            return ledger.edited(book, self.current, after, edits, author, f"{field} as in the file"), after

        await self._change(make)

    async def restore(self, number: int, seen: int | None, author: Author) -> None:
        """Go back to what was in force at a revision. `seen`: the newest revision that the operator has seen."""

        def make(book: Ledger) -> tuple[Ledger, Config]:
            if seen is not None and seen != self.book.number:
                raise _outdated(self.book.number)
            try:
                # The file may be entered with this; nobody has asked for that.
                wanted = ledger.at_revision(book, self.current, number if number <= self.book.number else 0)
            except KeyError:
                raise NotChanged("unknown", f"Revision {number} is not kept.") from None
            edits = ledger.edits_to(self.file, book.edits, wanted)
            after = self._checked(edits)
            return ledger.edited(book, self.current, after, edits, author, f"restored {number}"), after

        await self._change(make)

    def _check_seen(self, assistant: str, seen: int | None) -> None:
        if assistant not in self.file.assistants:
            raise NotChanged("unknown", f"No assistant is called {assistant[:80]!r}.")
        if seen is not None and seen != self.book.touched(assistant):
            raise _outdated(self.book.touched(assistant))

    def _checked(self, edits: over.Edits) -> Config:
        after = over.laid_over(self.file, edits, "edit")
        if isinstance(after, tuple):
            raise NotChanged("faulty", "\n".join(f"{fault.path}: {fault.problem}; {fault.remedy}" for fault in after))
        return after

    async def _change(self, make: Callable[[Ledger], tuple[Ledger, Config]]) -> None:
        async with self._lock:
            for _ in range(_TRIES):
                book = self.book
                if not self._entered:
                    book = await self._filed(book, self.file, self.current, "")
                book, after = await beside(make, book)
                if await self._keep(self.book, book):
                    self._entered = True
                    await self._serve(self.file, book, after)
                    newest = book.revisions[-1]
                    told = {"by": newest.by, "origin": newest.origin, "changes": len(newest.changes)}
                    self._tell("config", revision=self.revision, **told)
                    return
                # Somebody else was first: see what they made, and whether this still goes.
                former = self.book
                await self._catch_up()
                if self.book.missing(former):
                    raise _outdated(self.book.number)  # the same numbers tell of other changes now
            raise NotChanged("store_away", "The shared book changes too fast: try again.")

    async def _keep(self, seen: Ledger, book: Ledger) -> bool:
        """In place of `seen`; False: another replica has made a revision meanwhile. Raises NotChanged."""
        try:
            if self._disk is not None:
                await beside(self._disk.prepare, book)
            if self._shared is not None and not await self._shared.replace(seen, book):
                if self._disk is not None:
                    self._disk.discard()
                return False
        except KeepError as error:
            raise _not_kept(error) from None
        except StoreError as error:
            if self._disk is not None:
                self._disk.discard()
            raise _away(error) from None
        if self._disk is not None:
            try:
                await beside(self._disk.keep)
                self._copied = book
            except KeepError as error:
                if self._shared is None:
                    raise _not_kept(error) from None
                # The fleet has it already; the copy is tried again when it is served.
        return True

    def _tell(self, what: str, **facts: Any) -> None:
        if self._told is not None:
            self._told.event(what, **facts)

    # -- the file

    async def reload(self) -> str:
        """Read the file again, under load: `ok`, `unchanged`, or `invalid` and then nothing has changed."""
        assert self._told is not None  # noqa: S101  # as above
        async with self._lock:
            result = "unchanged" if self._load is None else await self._reload(self._load)
        self._told.reloaded(result)
        return result

    async def _reload(self, load: Load) -> str:
        assert self._told is not None  # noqa: S101  # as above
        loaded, laid, same = await beside(self._read, load)
        if isinstance(laid, tuple):
            self.faults = laid
            self._told.event("reload_refused", faults=[str(fault) for fault in laid])
            return "invalid"
        assert not isinstance(loaded, tuple)  # noqa: S101  # it was laid under the edits
        self.faults = ()
        if same:
            return "unchanged"
        if late := [name for name in _RESTART if _value(loaded, name) != _value(self.file, name)]:
            self._told.event("restart_needed", fields=late)
        self._entered = False
        book, laid = await self._enter_file(loaded, laid, ", ".join(_parts(self.file, loaded)))
        await self._serve(loaded, book, laid)
        self._told.event("config", revision=self.revision, by="file", origin="file")
        return "ok"

    def _read(self, load: Load) -> tuple[Config | tuple[Fault, ...], Config | tuple[Fault, ...], bool]:
        """The file; with the edits on it; whether it is the one that is served. Works beside the event loop."""
        loaded = load()
        laid = loaded if isinstance(loaded, tuple) else over.laid_over(loaded, self.book.edits, "edits")
        return loaded, laid, loaded == self.file

    async def _filed(self, book: Ledger, file: Config, laid: Config, note: str) -> Ledger:
        return await beside(lambda: ledger.filed(book, laid, file.fingerprint, self._by_file(), note))

    async def _enter_file(self, file: Config, laid: Config, note: str) -> tuple[Ledger, Config]:
        """The book with the file in it, and what is in force then.

        The file counts even where the book cannot be kept: it is on the disk itself, and is entered later.
        """
        book = self.book
        try:
            for _ in range(_TRIES):
                filed = await self._filed(book, file, laid, note)
                if filed is book or await self._keep(book, filed):
                    self._entered = True
                    return filed, laid
                assert self._shared is not None  # noqa: S101  # only a shared book runs ahead
                newest = await self._newest(self._shared, book)
                laid, book = self._laid_over(file, newest), newest
        except NotChanged as refused:
            self._tell("revision_not_kept", why=refused.code)
        return book, laid

    def _by_file(self) -> Author:
        return Author(self._wall(), "file", "file")

    async def close(self) -> None:
        """Let go of the shared book."""
        if self._shared is not None:
            await self._shared.close()

    # -- the other replicas

    async def follow(self) -> None:
        """Until cancelled: what others have made is in force here too, and what the store has lost comes back."""
        if self._shared is None:
            return
        while True:
            await asyncio.sleep(_POLL)
            try:
                known, mark = self.book.mark, await self._shared.mark()
                async with self._lock:
                    # What was made here meanwhile is no news.
                    if mark not in (known, self.book.mark):
                        await self._catch_up()
                    if not self._entered:
                        book, laid = await self._enter_file(self.file, self.current, "")
                        if book is not self.book:
                            await self._serve(self.file, book, laid)
            except (StoreError, NotChanged):
                continue
            except Exception as error:  # noqa: BLE001  # whatever went wrong, the next look may find it mended
                self._tell("follow_failed", error=type(error).__name__)

    async def _catch_up(self) -> None:
        """Serve what the fleet's book says. Raises NotChanged."""
        assert self._shared is not None  # noqa: S101  # only a shared book runs ahead
        book = await self._newest(self._shared, self.book)
        if book is self.book:
            return
        await self._serve(self.file, book, self._laid_over(self.file, book))
        self._tell("config", revision=self.revision, by=book.revisions[-1].by, origin="another replica")

    async def _newest(self, shared: SharedLedger, own: Ledger) -> Ledger:
        """The fleet's book; where the store has lost it, or the end of it, that is `own`, which is put back.

        Raises NotChanged.
        """
        try:
            theirs = await shared.read()
            if theirs.mark == own.mark:
                return own
            if own.outweighs(theirs):
                await shared.fill(theirs, own)
                return own
        except StoreError as error:
            raise _away(error) from None
        return theirs

    def _laid_over(self, file: Config, book: Ledger) -> Config:
        laid = over.laid_over(file, book.edits, "edits")
        if not isinstance(laid, tuple):
            return laid
        # This replica's file is not the one that the edit was made upon: what it serves stays as it is.
        if self._refused != book.mark:
            self._refused = book.mark
            self._tell("revision_refused", number=book.number, faults=[str(fault) for fault in laid])
        raise NotChanged("faulty", "The newest revision does not go with this replica's file.")


def _with(edits: over.Edits, assistant: str, fields: Mapping[str, Any]) -> over.Edits:
    return {**edits, assistant: {**edits.get(assistant, {}), **fields}}


def _revision(book: Ledger, config: Config) -> str:
    return f"{book.number}.{config.fingerprint[:8]}"


def _not_kept(error: KeepError) -> NotChanged:
    return NotChanged("not_kept", f"The change cannot be kept, so it is not made: {error}.")


def _away(error: StoreError) -> NotChanged:
    # What it has not answered it may have heard.
    text = f"The shared store is away ({error.word}), so the replicas would not agree: look before you try again."
    return NotChanged("store_away", text)


def _parts(before: Config, after: Config) -> list[str]:
    """What differs beside the assistants, of which the changes tell."""
    names = [name for name in Config.model_fields if name != "assistants"]
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def _outdated(number: int) -> NotChanged:
    return NotChanged("outdated", f"It has changed since: revision {number} is in force. Look at it, then try again.")


def _value(config: Config, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value

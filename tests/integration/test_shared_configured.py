"""Replicas that share a book of revisions, on a real Redis: they agree, one of two writers wins, nothing made is lost
in silence, and whoever has all of it puts it back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.admin.configuration import NotChanged
from proxy.app.configured import Configured
from proxy.breaker.redis_door import LIMIT
from proxy.config.ledger import Author, Ledger, encoded
from proxy.config.schema import Config
from proxy.config.state_dir import StateDir
from proxy.record.shared_ledger import SharedLedger
from tests.integration.conftest import OpenBook
from tests.integration.redis_server import RedisServer
from tests.unit.config.books import bound, file, primaries

_KEY = "{homeport}:config:book"
_SLACK = 2.0
"""Seconds that a shared machine may add."""


class Replica:
    """What is in force at one of them, with nothing else of it running: it looks at the book when it is told to."""

    def __init__(self, config: Config, folder: Path, shared: SharedLedger) -> None:
        self.folder, self.on_disk = folder, config
        self.events: list[tuple[str, dict[str, Any]]] = []
        clock = itertools.count(1)
        self.real = Configured(config, lambda: self.on_disk, StateDir(folder), shared, lambda: float(next(clock)))

    async def start(self) -> Replica:
        assert await self.real.start() == ()
        await self.real.take_in(self)
        return self

    async def serve(self, config: Config, revision: str) -> None:
        self.served = config, revision

    def event(self, what: str, **facts: Any) -> None:
        self.events.append((what, facts))

    def reloaded(self, result: str) -> None:
        self.events.append(("reload", {"result": result}))

    def told(self, what: str) -> list[dict[str, Any]]:
        return [facts for event, facts in self.events if event == what]

    async def bind(self, model: str, seen: int | None = None, by: str = "ann") -> None:
        """Rebind the bot's primary."""
        await self.real.edit("bot", {"primary": bound("one", model)}, seen, Author(time.time(), by, "api"))

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Look once a second, as it does in earnest."""
        task = asyncio.ensure_future(self.real.follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> float:
        """How long it took."""
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  # another task's turn
                await asyncio.sleep(0.01)
        return time.monotonic() - began

    @property
    def model(self) -> str | None:
        primary = self.served[0].assistants["bot"].primary
        return None if primary is None else primary.model

    @property
    def copy(self) -> Ledger:
        """On its disk."""
        return StateDir(self.folder).read()


_BOT = {"bot": {"primary": bound("one", "m0")}}
_Join = Callable[..., Awaitable[Replica]]


@pytest.fixture
async def join(tmp_path: Path, own_redis: RedisServer, opened: OpenBook) -> _Join:
    """`join(name, assistants)`: a replica whose disk goes by this name."""

    async def go(name: str, assistants: dict[str, Any] = _BOT, url: str = "") -> Replica:
        return await Replica(file(assistants), tmp_path / name, opened(url or own_redis.url)).start()

    return go


async def test_a_newcomer_has_the_fleets_book_and_a_copy_of_it(join: _Join, shared: SharedLedger) -> None:
    """So that it alone could put it back; and it makes no revision, as its file is the same."""
    first = await join("first")
    await first.bind("m1")
    newcomer = await join("newcomer")
    assert newcomer.model == "m1"
    assert newcomer.real.book == first.real.book == await shared.read() == newcomer.copy == first.copy
    assert newcomer.served[1] == first.served[1]


async def test_two_edits_upon_one_revision_have_one_winner(join: _Join, shared: SharedLedger) -> None:
    """At once, from two replicas, forty times: the other is told that it is outdated, and has the winner's by then."""
    replicas = [await join("first"), await join("second")]
    for turn in range(40):
        seen = replicas[0].real.book.touched("bot")
        assert seen == replicas[1].real.book.touched("bot")
        ends = await asyncio.gather(
            *(each.bind(f"m{turn}-{place}", seen) for place, each in enumerate(replicas)), return_exceptions=True
        )
        (loser,) = [end for end in ends if end is not None]
        assert isinstance(loser, NotChanged)
        assert loser.code == "outdated"
        winner = f"m{turn}-{ends.index(None)}"
        assert [each.model for each in replicas] == [winner, winner]
        assert replicas[0].real.book == replicas[1].real.book == await shared.read()
    assert replicas[0].real.book.number == 41


async def test_an_edit_upon_whichever_revision_is_made_upon_the_newest(join: _Join) -> None:
    """`*`: both are made, one after the other, and neither is lost from the book."""
    first, second = await join("first"), await join("second")
    await first.bind("m1", by="ann")
    await second.bind("m2", by="ben")
    await first.bind("m3", by="ann")
    assert [each.by for each in first.real.book.revisions] == ["file", "ann", "ben", "ann"]


async def test_a_change_is_in_force_everywhere_within_two_seconds(join: _Join, own_redis: RedisServer) -> None:
    """And on every disk; a flushed store has the book again as soon."""
    first, second, third = [await join(name) for name in ("first", "second", "third")]
    async with first.following(), second.following(), third.following():
        await first.bind("m1")
        assert await first.until(lambda: second.model == third.model == "m1") < 2 + _SLACK
        assert first.copy == second.copy == third.copy
        own_redis.command("FLUSHALL")
        assert await first.until(lambda: own_redis.command("EXISTS", _KEY)) < 2 + _SLACK
        await second.bind("m2", seen=2)
        assert await first.until(lambda: first.model == third.model == "m2") < 2 + _SLACK
    assert first.told("revisions_dropped") == []


async def test_a_flushed_store_is_filled_from_whoever_has_all_of_it(
    join: _Join, shared: SharedLedger, own_redis: RedisServer
) -> None:
    """Whoever fills it first: who has an older copy gives way to who has the newest."""
    old, new = await join("old"), await join("new")
    await new.bind("m1")
    await new.bind("m2")
    own_redis.command("FLUSHALL")
    async with old.following():
        await old.until(lambda: own_redis.command("EXISTS", _KEY))
        assert (await shared.read()).number == 1
        async with new.following():
            await old.until(lambda: old.model == "m2")
    assert await shared.read() == new.real.book == old.copy
    assert old.told("revisions_dropped") == new.told("revisions_dropped") == []


async def test_an_edit_meets_a_flushed_store_and_loses_nothing_that_its_replica_knew(
    join: _Join, shared: SharedLedger, own_redis: RedisServer
) -> None:
    """The book is put back first, and the edit made upon it."""
    only = await join("only")
    await only.bind("m1")
    own_redis.command("FLUSHALL")
    await only.bind("m2", seen=2)
    assert [each.number for each in (await shared.read()).revisions] == [1, 2, 3]


async def test_what_a_flush_and_another_edit_have_replaced_is_told(join: _Join, own_redis: RedisServer) -> None:
    """A revision that only this replica had seen when the store was flushed: the fleet agrees on the other one, and the
    log names what it replaced."""
    first, second = await join("first"), await join("second")
    await first.bind("m1", by="ann")
    own_redis.command("FLUSHALL")
    await second.bind("m2", by="ben")
    assert first.real.book.number == second.real.book.number
    with pytest.raises(NotChanged) as outdated:
        await first.bind("m3", seen=2, by="ann")
    assert outdated.value.code == "outdated"
    assert first.model == second.model == "m2"
    assert first.real.book == second.real.book
    assert first.told("revisions_dropped") == [{"numbers": [2], "newest": 2}]


async def test_a_disk_of_another_history_does_not_overwrite_the_fleets_book(
    join: _Join, shared: SharedLedger, tmp_path: Path
) -> None:
    """However many revisions it has; they are told."""
    fleet = await join("fleet")
    await fleet.bind("m1")
    disk = StateDir(tmp_path / "stranger")
    disk.prepare(primaries(9))
    disk.keep()
    stranger = await join("stranger")
    assert stranger.model == "m1"
    assert await shared.read() == fleet.real.book == stranger.copy
    assert stranger.told("revisions_dropped") == [{"numbers": list(range(2, 11)), "newest": 2}]


@pytest.mark.parametrize("assistants", [_BOT, {"bot": {"primary": bound("two", "helpful")}}])
async def test_whoever_starts_first_after_all_was_lost_what_operators_have_set_comes_back(
    join: _Join, own_redis: RedisServer, shared: SharedLedger, assistants: dict[str, Any]
) -> None:
    """Be it a replica without a copy, or with an older one and another file by now."""
    replica, older = await join("replica"), await join("older")
    await replica.real.edit("bot", {"primary": None}, None, Author(5.0, "ann", "api"))
    own_redis.command("FLUSHALL")
    for name in ("fresh", "older"):
        first = await join(name, assistants)
        assert first.model is not None
        again = await join("replica", assistants)
        async with first.following():
            await first.until(lambda first=first: first.model is None)  # type: ignore[misc]
        assert again.model is None
        assert await shared.read() == again.real.book == first.copy
        assert again.told("revisions_dropped") == first.told("revisions_dropped") == []
        own_redis.command("FLUSHALL")
        older.folder.joinpath("revisions.json").write_bytes(encoded(older.real.book))


async def test_while_the_store_is_away_nothing_is_changed(join: _Join, own_redis: RedisServer) -> None:
    """Not in force, not on the disk, not in the store when it is back; what was set stays, through a restart too."""
    replica = await join("replica")
    await replica.bind("m1")
    own_redis.kill()
    with pytest.raises(NotChanged) as away:
        await replica.bind("m2")
    assert away.value.code == "store_away"
    assert "refused" in away.value.message
    assert replica.model == "m1"
    again = await join("replica")
    assert (again.model, again.served[1]) == ("m1", replica.served[1])
    with pytest.raises(NotChanged, match="store is away"):
        await again.real.restore(1, None, Author(9.0, "ann", "api"))
    own_redis.restart()
    async with again.following():
        await again.until(lambda: own_redis.command("EXISTS", _KEY))
    assert (await join("newcomer")).model == "m1"
    assert sorted(path.name for path in again.folder.iterdir()) == ["revisions.json"]


async def test_a_file_that_changed_while_the_store_was_away_is_entered_when_it_is_back(
    join: _Join, own_redis: RedisServer
) -> None:
    """It counts at once; its revision tells what it changed, and going back before it is exact."""
    replica = await join("replica")
    own_redis.kill()
    replica.on_disk = file({"bot": {"primary": bound("two", "new")}})
    assert await replica.real.reload() == "ok"
    assert (replica.model, replica.real.book.number) == ("new", 1)
    assert replica.told("revision_not_kept") == [{"why": "store_away"}]
    own_redis.restart()
    async with replica.following():
        await replica.until(lambda: replica.real.book.number == 2)
    (change,) = replica.real.book.revisions[-1].changes
    assert (change.field, change.before, change.after) == ("primary", bound("one", "m0"), bound("two", "new"))
    assert replica.served[1].startswith("2.")
    await replica.real.restore(1, 2, Author(9.0, "ann", "api"))
    assert replica.model == "m0"


async def test_replicas_of_two_files_agree_on_edits_and_leave_each_other_alone(join: _Join) -> None:
    """As while a new file is rolled out: each has its own file under the same edits; no revision goes to and fro."""
    first = await join("first")
    second = await join("second", {"bot": {"primary": bound("two", "new")}, "more": {}})
    async with first.following(), second.following():
        await first.until(lambda: first.real.book.number == 2)
        assert (first.model, second.model) == ("m0", "new")
        await first.bind("m1")
        await second.until(lambda: second.model == "m1")
        await second.real.edit("bot", {"fallbacks": [bound("three")]}, 3, Author(9.0, "ben", "api"))
        await first.until(lambda: first.real.book.number == 4)
        await asyncio.sleep(2.5)
    assert first.real.book == second.real.book
    assert [each.by for each in first.real.book.revisions] == ["file", "file", "ann", "ben"]
    assert first.served[0].assistants["bot"].fallbacks == second.served[0].assistants["bot"].fallbacks


async def test_a_replica_whose_file_lacks_what_an_edit_names_keeps_what_it_serves(
    join: _Join, own_redis: RedisServer, opened: OpenBook, tmp_path: Path
) -> None:
    """It says so once, refuses edits, and takes the book up when its file has it."""
    first = await join("first")
    small = file(_BOT, sources={"one": {"kind": "openai", "api_key": "k"}})
    second = await Replica(small, tmp_path / "second", opened(own_redis.url)).start()
    await first.real.edit("bot", {"fallbacks": [bound("three")]}, None, Author(1.0, "ann", "api"))
    async with second.following():
        await second.until(lambda: second.told("revision_refused"))
        await asyncio.sleep(2.5)
        (told,) = second.told("revision_refused")
        assert "`three` does not stand under `sources`" in told["faults"][0]
        with pytest.raises(NotChanged, match="does not go with this replica's file"):
            await second.bind("m9")
        assert second.served[0].assistants["bot"].fallbacks == ()
        second.on_disk = file(_BOT)
        assert await second.real.reload() == "ok"
        await second.until(lambda: second.served[0].assistants["bot"].fallbacks)
    assert second.real.book.edits == first.real.book.edits


@pytest.mark.parametrize("command", [("SET", _KEY, "mine"), ("HSET", _KEY, "mark", "9.mine", "book", "mine")])
async def test_somebody_elses_data_stops_changes_and_nothing_else(
    join: _Join, own_redis: RedisServer, command: tuple[str, ...]
) -> None:
    """Starts, reloads and what is in force go on; when it is gone the book comes back from a replica."""
    replica = await join("replica")
    await replica.bind("m1")
    own_redis.command("DEL", _KEY)
    own_redis.command(*command)
    for each in (replica, await join("replica")):
        with pytest.raises(NotChanged) as away:
            await each.bind("m2")
        assert away.value.code == "store_away"
        assert each.model == "m1"
        each.on_disk = file(_BOT, breaker={"cooldown": "9s"})
        assert await each.real.reload() == "ok"
        assert each.told("revision_not_kept") == [{"why": "store_away"}]
    own_redis.command("DEL", _KEY)
    await replica.bind("m2")
    assert [each.by for each in replica.real.book.revisions] == ["file", "ann", "file", "ann"]


async def test_a_change_that_the_fleet_has_is_made_whatever_the_disk_says(join: _Join, shared: SharedLedger) -> None:
    """The copy is behind then, which is told, and caught up with the next one."""
    replica = await join("replica")
    book = replica.folder / "revisions.json"
    book.unlink()
    book.mkdir()
    await replica.bind("m1")
    assert replica.model == "m1"
    assert await shared.read() == replica.real.book
    assert replica.told("revision_not_kept") == [{"why": "not_kept"}]
    book.rmdir()
    await replica.bind("m2")
    assert replica.copy == replica.real.book


async def test_a_frozen_store_may_have_heard_all_the_same_and_the_fleet_agrees(
    join: _Join, own_redis: RedisServer
) -> None:
    """The change is refused in time; should it be made when the store thaws, it is in force here as everywhere."""
    replica = await join("replica")
    own_redis.pause()
    began = time.monotonic()
    with pytest.raises(NotChanged) as away:
        await replica.bind("m1")
    assert time.monotonic() - began < LIMIT + _SLACK
    assert away.value.code == "store_away"
    assert replica.model == "m0"
    own_redis.resume()
    other = await join("other")
    async with replica.following(), other.following():
        await asyncio.sleep(2.5)
        assert replica.real.book == other.real.book
        assert replica.served == other.served
        assert "look before you try again" in away.value.message

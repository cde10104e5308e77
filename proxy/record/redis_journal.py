"""The journal that replicas share: one stream in Redis, one entry for each batch, one script for each command.

1. An entry's id is `<ms>-<total>`: the server's clock, never less than the entry before, and all items ever added, this
   batch included. What is kept is told by the first and the last entry alone; there is no counter that could drift.
2. The breakers come first: at more than SHARE of the server's memory the stream gives half of itself back and takes
   nothing. Trimming is what a full Redis allows.
3. A batch is added once. The number of each replica's last one lies beside the stream and goes when an entry of that
   time would: looking through the stream for a batch would take longer the longer Redis was away. A number not above
   it has been seen, also when a command that was given up arrives after the next one.
4. What somebody else put at the end of the stream, or in its place, is left alone: nothing is added or trimmed then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from proxy.breaker.redis_door import LIMIT, RedisDoor
from proxy.breaker.redis_scripts import Script
from proxy.breaker.store import StoreError
from proxy.record.pages import PAGE, PAGE_BYTES, RING_PLACE, ROOM, SHARED_PLACE, BadPlace, Chunk

SHARE = 0.8
"""Of `maxmemory`."""
_CONNECTIONS = 2
_START = "0-0"
_Entry = tuple[str, list[bytes]]

_PRELUDE = """
local stream = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function digits(number) return string.format('%.0f', number) end

local function entry(raw)
  local ms, total = string.match(raw[1], '^(%d+)-(%d+)$')
  local fields = raw[2]
  if #fields ~= 6 or fields[1] ~= 'n' or fields[3] ~= 'bytes' or fields[5] ~= 'items' then return nil end
  local n, bytes = tonumber(fields[2]), tonumber(fields[4])
  if not n or not bytes or #ms > 15 or #total > 15 then return nil end
  return {ms = tonumber(ms), total = tonumber(total), n = n, bytes = bytes, size = #fields[6]}
end

local function first(from) return redis.call('XRANGE', stream, from, '+', 'COUNT', 1)[1] end
local function last(to, from) return redis.call('XREVRANGE', stream, to, from, 'COUNT', 1)[1] end
"""

ADD = Script.of(
    _PRELUDE,
    """
local writer, items = KEYS[2], ARGV[3]
local keep, age, room, share = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local function give_back()
  local length = redis.call('XLEN', stream)
  if length > 1 then
    redis.call('XTRIM', stream, 'MAXLEN', math.floor(length / 2))
  elseif length == 1 then
    redis.call('DEL', stream)
  end
  return {'memory'}
end

if (tonumber(redis.call('GET', writer) or '') or 0) >= tonumber(ARGV[1]) then return {'seen'} end
local newest = last('+', '-')
local before = {ms = 0, total = 0, bytes = 0}
if newest then
  before = entry(newest)
  if not before then return redis.error_reply('WRONGTYPE somebody else writes to the journal') end
end

local memory = redis.call('INFO', 'memory')
local function said(name) return tonumber(string.match(memory, name .. ':(%d+)') or '') or 0 end
local most = said('maxmemory')
local used = said('used_memory') - said('mem_not_counted_for_evict')
if most > 0 and used + #items > share * most then return give_back() end

local ms = math.max(now, before.ms)
local total, bytes = before.total + tonumber(ARGV[2]), before.bytes + #items
local id = digits(ms) .. '-' .. digits(total)
local added = redis.pcall('XADD', stream, id, 'n', ARGV[2], 'bytes', digits(bytes), 'items', items)
if type(added) == 'table' and added.err then
  if string.find(added.err, 'OOM', 1, true) then return give_back() end
  return added
end

redis.call('XTRIM', stream, 'MINID', digits(math.max(0, now - age)))
local oldest, looked = first('-'), 0
local stays = oldest[1]
for _ = 1, 100 do
  local each = entry(oldest)
  stays = oldest[1]
  if stays == id or looked > 524288 then break end
  if each and total - each.total < keep and bytes - each.bytes + each.size <= room then break end
  looked = looked + (each and each.size or 0)
  oldest = first('(' .. stays)
end
redis.call('XTRIM', stream, 'MINID', stays)
redis.call('PEXPIRE', stream, ARGV[5])
redis.call('SET', writer, ARGV[1], 'PX', ARGV[5])
return {'added'}
""",
)
"""KEYS stream, the replica's last number. ARGV number, count of items, items in lines, items to keep, milliseconds to
keep, bytes to keep, share of the memory. → added, seen or memory."""

OLDER = Script.of(
    _PRELUDE,
    """
local id, index, oldest = ARGV[1], tonumber(ARGV[2]), digits(math.max(0, now - ARGV[3]))
local most, room = tonumber(ARGV[4]), tonumber(ARGV[5])
local found, count, size, more, at = {}, 0, 0, 0, '+'
if id ~= '' then
  local here = redis.call('XRANGE', stream, id, id)[1]
  if not here then return {0, 0, {}} end
  at = '(' .. id
  if index > 0 and entry(here) and last(id, oldest) then
    found[1], count, size = here, index, math.min(#here[2][6], room / 2)
  end
end
while true do
  local each = last(at, oldest)
  if not each then break end
  if count >= most or size >= room then
    more = 1
    break
  end
  local known = entry(each)
  found[#found + 1] = each
  count, size, at = count + (known and known.n or 0), size + 64 + (known and known.size or 0), '(' .. each[1]
end
return {1, more, found}
""",
)
"""KEYS stream. ARGV id or nothing, index, milliseconds that items are kept, items and bytes after which it is enough.
→ 1 if the entry is there, 1 if there are more, entries from the newest."""

NEWER = Script.of(
    _PRELUDE,
    """
local id, oldest = ARGV[1], now - ARGV[2]
local most, room = tonumber(ARGV[3]), tonumber(ARGV[4])
local found, count, size, more, known, from = {}, 0, 0, 0, 1, digits(math.max(0, oldest))
if id == '0-0' then
  local begin = first('-')
  local each = begin and entry(begin)
  known = (not begin or (each and each.total == each.n)) and 1 or 0
elseif id ~= '' then
  local here = redis.call('XRANGE', stream, id, id)[1]
  if not here then
    known = 0
  elseif tonumber(string.match(id, '^%d+')) >= oldest then
    from = '(' .. id
    if entry(here) then found[1], size = here, math.min(#here[2][6], room / 2) end
  else
    local after = first('(' .. id)
    known = (not after or tonumber(string.match(after[1], '^%d+')) >= oldest) and 1 or 0
  end
end
while true do
  local each = first(from)
  if not each then break end
  if count >= most or size >= room then
    more = 1
    break
  end
  local is = entry(each)
  found[#found + 1] = each
  count, size, from = count + (is and is.n or 0), size + 64 + (is and is.size or 0), '(' .. each[1]
end
return {known, more, found}
""",
)
"""KEYS stream. ARGV id or nothing, milliseconds that items are kept, items and bytes after which it is enough.
→ 1 if nothing is missing after the id, 1 if there are more, entries from the oldest, the id's own included."""

END = Script.of(
    _PRELUDE,
    """
local newest = last('+', '-')
if not newest then return {'0-0', 1} end
local each = entry(newest)
return {newest[1], each and each.n or 1}
""",
)
"""KEYS stream. → the newest entry's id, and how many items it has."""


class RedisJournal:
    """A journal.Shared. Nothing is connected until it is used."""

    def __init__(
        self,
        url: str,
        namespace: str,
        keep: int,
        age: float,
        clock: Callable[[], float] = time.monotonic,
        timed: Callable[[str, float, str | None], None] = lambda operation, seconds, error: None,
    ) -> None:
        """Keeps about `keep` items for `age` seconds; up to one batch more, as entries go whole.

        `timed` is told of each record, older, newer and end: its name, its seconds, and the error's word. Raises
        ValueError when the URL cannot be used; the text does not repeat it.
        """
        self._door = RedisDoor(url, clock, timed, _CONNECTIONS)
        self._stream = f"{{{namespace}}}:decisions"
        self._keep, self._age = max(1, keep), max(1, round(age * 1000))
        # One connection is for writing, however many read.
        self._reading = asyncio.Lock()

    def __repr__(self) -> str:
        return f"RedisJournal({self._door.where})"

    async def add(self, replica: str, number: int, items: Sequence[bytes]) -> None:
        """See Shared."""
        keys = (self._stream, f"{self._stream}:{replica}")
        args = (number, len(items), b"\n".join(items), self._keep, self._age, ROOM, SHARE)
        became = await self._door.run("record", ADD, keys, args, lambda reply: bytes(reply[0]))
        if became == b"memory":
            raise StoreError("memory")

    async def older(self, than: str | None, most: int) -> Chunk:
        """See Pages."""
        at = _asked(than)
        most = min(max(most, 0), PAGE)
        if at is None or at[0] == _START:
            return Chunk((), False, gap=at is None)
        known, more, entries = await self._read("older", OLDER, (*at, self._age, most, PAGE_BYTES))
        found = _placed((name, items[: at[1]] if name == at[0] else items) for name, items in entries)
        while more and not found and most:
            # All of it was somebody else's.
            args = (entries[-1][0], 0, self._age, most, PAGE_BYTES)
            _, more, entries = await self._read("older", OLDER, args)
            found = _placed(entries)
        return Chunk(tuple(found[:most]), more or len(found) > most, not known)

    async def newer(self, than: str | None) -> Chunk:
        """See Pages."""
        at = _asked(than)
        begin, after = ("", 0) if at is None else at
        known, more, entries = await self._read("newer", NEWER, (begin, self._age, PAGE, PAGE_BYTES))
        found = _placed(entries, 1)
        if entries and entries[0][0] == begin:
            found = found[min(after + 1, len(entries[0][1])) :]
        while more and not found:
            begin = entries[-1][0]
            _, more, entries = await self._read("newer", NEWER, (begin, self._age, PAGE, PAGE_BYTES))
            found = _placed(((name, items) for name, items in entries if name != begin), 1)
        gap = (at is None or not known) and bool(found)
        return Chunk(tuple(found[:PAGE]), more or len(found) > PAGE, gap)

    async def end(self) -> str:
        """See Pages."""

        def shape(reply: list[Any]) -> str:
            name, count = reply
            return f"{name.decode('ascii')}.{max(0, int(count) - 1)}"

        async with self._one_reader():
            return await self._door.run("end", END, (self._stream,), (), shape)

    async def close(self) -> None:
        """See Shared."""
        await self._door.close()

    async def _read(
        self, operation: str, script: Script, args: Sequence[str | float]
    ) -> tuple[bool, bool, list[_Entry]]:
        async with self._one_reader():
            return await self._door.run(operation, script, (self._stream,), args, _entries)

    def _one_reader(self) -> _Turn:
        return _Turn(self._reading)


class _Turn:
    """A lock that is waited for no longer than Redis would be."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        try:
            async with asyncio.timeout(LIMIT):
                await self._lock.acquire()
        except TimeoutError:
            raise StoreError("timeout") from None

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


def _asked(place: str | None) -> tuple[str, int] | None:
    """Id and index; an empty id for the end one begins at; None for a place in a ring, which is not kept here."""
    if place is None:
        return "", 0
    found = SHARED_PLACE.fullmatch(place)
    if found is not None:
        return found[1], int(found[2])
    if RING_PLACE.fullmatch(place):
        return None
    raise BadPlace("not a place in the journal")


def _entries(reply: list[Any]) -> tuple[bool, bool, list[_Entry]]:
    known, more, raw = reply
    return known == 1, more == 1, [(name.decode("ascii"), _lines(fields)) for name, fields in raw]


def _lines(fields: list[bytes]) -> list[bytes]:
    """An entry's items; none when somebody else has put it between ours."""
    if len(fields) == 6 and fields[::2] == [b"n", b"bytes", b"items"]:
        items = bytes(fields[5]).split(b"\n")
        if fields[1] == b"%d" % len(items):
            return items
    return []


def _placed(entries: Iterable[_Entry], step: int = -1) -> list[tuple[str, bytes]]:
    """The entries' items with their places; within an entry from the last (-1) or the first (1)."""
    return [(f"{name}.{index}", items[index]) for name, items in entries for index in range(len(items))[::step]]

"""What Redis runs for the shared store: its keys, three scripts, and the shape of a push.

1. Every key bears one hash tag and is declared, so each script is one slot and one round trip.
2. The clock is Redis's TIME alone. A script's first write is one that a full or read-only server refuses, so a refused
   script has changed nothing.
3. Whatever somebody else wrote in place of a row is no row: it is overwritten, never obeyed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from proxy.breaker.store import Push, Stored

ROW_TTL = 24 * 3600
"""Seconds that a row is kept after its last write, unless it is lasting."""
REPLICA_TTL = 5
"""Seconds that a replica counts after it showed itself."""

RIGHTS = (
    "~{homeport}:breaker:* &{homeport}:breaker:pushes "
    "+evalsha +eval +time +get +set +hmget +hset +hdel +hgetall +pexpire +persist "
    "+zadd +zremrangebyscore +zcard +publish +subscribe +ping"
)
"""What the breakers need."""
JOURNAL_RIGHTS = (
    "~{homeport}:decisions* +evalsha +eval +time +get +set +pexpire +xadd +xrange +xrevrange +xtrim +xlen +del +info"
)
"""What the journal needs."""
BOOK_RIGHTS = "~{homeport}:config:book +evalsha +eval +hmget +hset"
"""What the book of revisions needs."""
TOKEN_RIGHTS = "~{homeport}:oauth:* +evalsha +eval +get +set +del +hmget +hset +pexpire"  # noqa: S105  # rights are no secret
"""What accounts' tokens need."""
ACL = "resetkeys resetchannels -@all " + " ".join(
    dict.fromkeys(f"{RIGHTS} {JOURNAL_RIGHTS} {BOOK_RIGHTS} {TOKEN_RIGHTS}".split())
)
"""All that a Redis user needs, as `ACL SETUSER name on >password …` takes it; `+select` too for a database beyond 0.
Another namespace than `homeport` stands in all patterns."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Where one namespace's things lie."""

    lineage: str
    """string: a random word, new when the data is."""
    index: str
    """hash: target → `version end`, the end in whole seconds of the server's clock, 0 for never."""
    replicas: str
    """sorted set: replica → when it showed itself, in whole seconds."""
    pushes: str
    """channel."""
    rows: str
    """prefix of hashes {target, version, lineage, row, by}."""

    @staticmethod
    def of(namespace: str) -> Keys:
        """`namespace` keeps several fleets apart in one Redis."""
        tag = f"{{{namespace}}}:breaker:"
        return Keys(tag + "lineage", tag + "index", tag + "replicas", tag + "pushes", tag + "row:")

    def row(self, target: str) -> str:
        """A target may hold any characters and be long; a key should not."""
        return self.rows + hashlib.sha256(target.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Script:
    """Its text, and the digest under which Redis may know it."""

    text: str
    digest: str

    @staticmethod
    def of(*parts: str) -> Script:
        """The parts one after the other: what several scripts begin with, and a body."""
        text = "".join(parts)
        return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_PRELUDE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local function lineage()
  local known = redis.call('GET', KEYS[1])
  if known and string.find(known, '^%w+$') then return known end
  redis.call('SET', KEYS[1], ARGV[1])
  return ARGV[1]
end

local function row(key)
  local got = redis.call('HMGET', key, 'version', 'lineage', 'row', 'by')
  local version, lineage = got[1] or '', got[2] or ''
  if #version < 16 and string.find(version, '^%d+$') and string.find(lineage, '^%w+$') and got[3] then return got end
  return {}
end
"""

SWAP = Script.of(
    _PRELUDE,
    """
local expected, not_before, not_after = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local ttl, channel, target = tonumber(ARGV[5]), ARGV[6], ARGV[7]
local new = {ARGV[8], ARGV[9], ARGV[10], ARGV[11]}

local current = lineage()
local stored = row(KEYS[3])
local applied = 0
if stored[4] == new[4] then
  applied = 1  -- sent again because the first reply was lost
elseif current == new[2] and (tonumber(stored[1]) or 0) == expected and now >= not_before and now <= not_after then
  applied = 1
  redis.call('HSET', KEYS[3], 'target', target, 'version', new[1], 'lineage', new[2], 'row', new[3], 'by', new[4])
  local ends = 0
  if ttl > 0 then
    redis.call('PEXPIRE', KEYS[3], ttl * 1000)
    ends = time[1] + ttl
  else
    redis.call('PERSIST', KEYS[3])
  end
  redis.call('HSET', KEYS[2], target, new[1] .. string.format(' %d', ends))
  local head = table.concat({new[1], time[1], time[2], #target, new[2]}, ' ')
  redis.call('PUBLISH', channel, head .. '\\n' .. target .. new[3])
  stored = new
end
return {time[1], time[2], current, applied, stored[1], stored[2], stored[3]}
""",
)
"""KEYS lineage, index, row. ARGV lineage to begin, expected version, not before, not after, seconds to keep (0: for
ever), channel, target, version, lineage, row, a word that no other proposal bears.
→ seconds, microseconds, lineage, 1 if applied, and the row's version, lineage and bytes if there is one."""

READ = Script.of(
    _PRELUDE,
    """
local rows = {}
for each = 3, #KEYS do
  local stored = row(KEYS[each])
  if not stored[1] then redis.call('HDEL', KEYS[2], ARGV[each - 1]) end
  rows[each - 2] = {stored[1], stored[2], stored[3]}
end
return {time[1], time[2], rows}
""",
)
"""KEYS lineage, index, rows… ARGV lineage to begin, targets…
→ seconds, microseconds, for each target its version, lineage and bytes, or nothing. What is gone leaves the index."""

SYNC = Script.of(
    _PRELUDE,
    """
redis.call('ZADD', KEYS[3], time[1], ARGV[2])
local current = lineage()
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', time[1] - ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '(' .. time[1], '+inf')
redis.call('PEXPIRE', KEYS[3], ARGV[3] * 1000)

local index, live = redis.call('HGETALL', KEYS[2]), {}
for each = 1, #index, 2 do
  local version, ends = string.match(index[each + 1], '^(%d+) (%d+)$')
  if version and #version < 16 and (ends == '0' or now < tonumber(ends)) then
    live[#live + 1] = index[each]
    live[#live + 1] = version
  else
    redis.call('HDEL', KEYS[2], index[each])
  end
end
return {time[1], time[2], current, redis.call('ZCARD', KEYS[3]), live}
""",
)
"""KEYS lineage, index, replicas. ARGV lineage to begin, replica, seconds that a replica counts.
→ seconds, microseconds, lineage, replicas, and target, version, target, version, …"""


def clock(seconds: bytes, microseconds: bytes) -> float:
    """Redis's TIME as seconds."""
    return int(seconds) + int(microseconds) / 1e6


def stored(version: bytes, lineage: bytes, row: bytes) -> Stored:
    """A row as a script gives it."""
    return Stored(int(version), lineage.decode("ascii"), row)


def push(message: bytes) -> Push | None:
    """What SWAP has published; None when somebody else wrote it."""
    try:
        head, body = message.split(b"\n", 1)
        version, seconds, microseconds, length, lineage = head.split(b" ")
        cut = int(length)
        if not 0 <= cut <= len(body):
            return None
        row = Stored(int(version), lineage.decode("ascii"), body[cut:])
        return Push(body[:cut].decode(), row, clock(seconds, microseconds))
    except ValueError:
        return None

"""Accounts' tokens in Redis: the newest of each login, and the lock of who refreshes it. What lies there is a secret.

1. A token is kept only over an older version, so whoever was too slow changes nothing.
2. The lock ends by itself; only its owner gives it back before.
3. What lies there and is no token is never obeyed: the store counts as away for that login.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from proxy.breaker.redis_door import RedisDoor
from proxy.breaker.redis_scripts import Script
from proxy.breaker.store import StoreError
from proxy.providers import tokens
from proxy.providers.tokens import Token
from proxy.upstream.oauth.vault import LOCK, SETTLE, Found

KEEP = 90 * 24 * 3600
"""Seconds that a token is kept after its last refresh."""
_MOMENT = math.ceil(SETTLE * 1000)


class SharedTokens:
    """Those under one namespace (a vault.Shared)."""

    def __init__(self, door: RedisDoor, namespace: str) -> None:
        self._door, self._prefix = door, f"{{{namespace}}}:oauth:"

    async def look(self, key: str, token: Token | None) -> Token | Found:
        return await self._ask("oauth_look", _TAKE, key, token, "", 0, 0, _MOMENT)

    async def take(self, key: str, token: Token | None, owner: str, *, settled: bool) -> Token | Found:
        return await self._ask("oauth_take", _TAKE, key, token, owner, math.ceil(LOCK * 1000), int(settled), _MOMENT)

    async def keep(self, key: str, token: Token, owner: str) -> Token | Found:
        return await self._ask("oauth_keep", _KEEP, key, token, owner)

    async def release(self, key: str, owner: str) -> None:
        await self._ask("oauth_release", _KEEP, key, None, owner)

    async def close(self) -> None:
        """Drop every connection."""
        await self._door.close()

    async def _ask(
        self, operation: str, script: Script, key: str, token: Token | None, owner: str, *more: float
    ) -> Token | Found:
        keys = (self._prefix + key, f"{self._prefix}{key}:lock")
        version = token.version if token is not None else 0
        text = tokens.encoded(token) if token is not None and version else b""
        try:
            return await self._door.run(operation, script, keys, (version, text, KEEP * 1000, owner, *more), _found)
        except StoreError:
            return Found.AWAY


def _found(reply: Sequence[Any]) -> Token | Found:
    word = reply[0].decode()
    return tokens.decoded(reply[1]) if word == "newer" else Found(word)


_STORED = """
local mine = tonumber(ARGV[1])
local got = redis.call('HMGET', KEYS[1], 'version', 'token')
local stored = got[1] and got[2] and #got[1] < 16 and string.find(got[1], '^%d+$') and tonumber(got[1]) or 0

local function put()
  redis.call('HSET', KEYS[1], 'version', ARGV[1], 'token', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
"""
"""KEYS token, lock. ARGV version and token of the asker, 0 and empty for none yet; milliseconds to keep; the asker."""

_TAKE = Script.of(
    _STORED,
    """
if stored > mine then return {'newer', got[2]} end
if stored < mine then
  put()
  -- Nor has another who knows no more than this one the lock before the others had their moment.
  redis.call('SET', KEYS[2], 'settling', 'NX', 'PX', ARGV[7])
  return {'behind'}
end
if stored == 0 and ARGV[6] == '0' then return {'behind'} end
if ARGV[4] == '' then return {'same'} end
-- It is the asker's already when this was sent again because the first reply was lost.
if redis.call('GET', KEYS[2]) == ARGV[4] then return {'held'} end
return {redis.call('SET', KEYS[2], ARGV[4], 'NX', 'PX', ARGV[5]) and 'held' or 'busy'}
""",
)
"""ARGV also: milliseconds that the lock holds; 1 if others have had time to put back what they know, where nobody knows
anything; milliseconds that they have.
"""

_KEEP = Script.of(
    _STORED,
    """
local newer = stored > mine or (stored == mine and got[2] ~= ARGV[2])
if mine > 0 and not newer then put() end
if redis.call('GET', KEYS[2]) == ARGV[4] then redis.call('DEL', KEYS[2]) end
if mine > 0 and newer then return {'newer', got[2]} end
return {'same'}
""",
)

"""Where one login's tokens lie, and whose turn it is to refresh them: a file, a store that replicas share, or neither.

1. A refresh token is spent by one at a time: whoever has the store's lock, and the file's where there is a file. Within
   both it looks once more, and takes what another has got meanwhile instead of asking again.
2. The store's lock outlasts an exchange. Who had to wait for the file until that is no longer sure does not ask.
3. While a store that is configured is away and there is no file, nothing that may be good for one use is spent.
4. A new token goes to the file, then to the store. The store takes it only over an older version: that is what fences
   off whoever was too slow.
5. A store that knows less than a replica is filled, and given a moment in which nobody gets its lock, so that whoever
   knows more can say so. Emptied again within it, it is given another.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from proxy.providers.tokens import Token
from proxy.upstream.oauth.exchange import LIMIT, Denied
from proxy.upstream.oauth.token_file import Busy, FileError, Mark, TokenFile

LOCK = LIMIT + 4.0
"""Seconds that the store's lock holds."""
SETTLE = 1.5
"""Seconds in which everybody looks at the store at least once."""
_MARGIN = 3.0
"""Seconds after the store's lock was asked for in which an exchange may begin."""
_AGAIN = 0.2
"""Seconds between looks at a lock that another has."""


class Found(StrEnum):
    """What a store says when it has nothing newer."""

    SAME = "same"
    HELD = "held"
    """The lock is the asker's."""
    BUSY = "busy"
    BEHIND = "behind"
    """It knew less than the asker, and has been told."""
    AWAY = "away"


class Shared(Protocol):
    """A store of tokens that replicas share. `key` names a login; a Token in return is newer than the one given."""

    async def look(self, key: str, token: Token | None) -> Token | Found:
        """Is there a newer one? SAME, BEHIND or AWAY if not."""
        ...

    async def take(self, key: str, token: Token | None, owner: str, *, settled: bool) -> Token | Found:
        """Likewise, and get the lock if not. `settled`: others have had their moment, so an empty store is not BEHIND
        one who has no token either.
        """
        ...

    async def keep(self, key: str, token: Token, owner: str) -> Token | Found:
        """Keep a new one, and give the lock back. A Token: another is kept that is as new; AWAY: it is not."""
        ...

    async def release(self, key: str, owner: str) -> None:
        """Give the lock back."""
        ...


@dataclass(frozen=True, slots=True)
class Renewed:
    """Another token than before."""

    token: Token
    taken: bool
    """Somebody else has got it."""


Ask = Callable[[], Awaitable[Token | Denied]]
"""Spends the refresh token."""


class Vault:
    """One login's."""

    def __init__(
        self,
        login: str,
        key: str,
        file: TokenFile | None,
        shared: Shared | None,
        clock: Callable[[], float],
        new_word: Callable[[], str],
    ) -> None:
        """`login` is what the file calls it, `key` what the store does."""
        self._login, self._key, self._file, self._shared = login, key, file, shared
        self._clock, self._new_word = clock, new_word
        self._mark: Mark = None
        self.replaced = False
        """Somebody has put tokens of another login into the file."""
        self.unkept = ""
        """Why the newest token is not in the file; empty when it is, or when there is none."""

    async def newest(self, token: Token | None) -> Token | None:
        """The newest that lies anywhere, which is `token` if nothing is newer. The store is told of it."""
        newest = self._newer(token, await self._from_file())
        if self._shared is not None:
            found = await self._shared.look(self._key, newest)
            if isinstance(found, Token):
                newest = found
                await self._also_into_file(found)
        return newest

    async def renew(self, token: Token | None, ask: Ask, *, rotates: bool) -> Renewed | Denied:
        """The successor of `token`: what `ask` gets, or what somebody else has got. `rotates`: see rule 3."""
        owner, began = self._new_word(), self._clock()
        found: Token | Found = Found.SAME
        if self._shared is not None:
            found, began = await self._turn(self._shared, token, owner)
        match found:
            case Token():
                await self._also_into_file(found)
                return Renewed(found, taken=True)
            case Found.BUSY | Found.BEHIND:
                return Denied("busy", final=False)
            case Found.AWAY if self._file is None and rotates:
                return Denied("store_away", final=False)
            case _:
                pass
        until = began + _MARGIN if found is Found.HELD else began + LOCK
        try:
            renewed = await self._within_file(token, ask, until)
        except BaseException:
            await self._release(owner, found)
            raise
        if isinstance(renewed, Denied):
            await self._release(owner, found)
            return await self._after_all(token, renewed)
        if self._shared is not None:
            kept = await self._shared.keep(self._key, renewed.token, owner)
            if isinstance(kept, Token):
                return Renewed(kept, taken=True)
        return renewed

    async def _turn(self, shared: Shared, token: Token | None, owner: str) -> tuple[Token | Found, float]:
        """What the store says, and when it was asked for what it says."""
        # Who has the lock may have let others have their moment first, and got it that much later than this one came.
        until, settled = self._clock() + LOCK + 2 * SETTLE, False
        while True:
            began = self._clock()
            found = await shared.take(self._key, token, owner, settled=settled)
            if found not in (Found.BUSY, Found.BEHIND) or began >= until:
                return found, began
            settled = settled or found is Found.BEHIND
            await asyncio.sleep(SETTLE if found is Found.BEHIND else _AGAIN)

    async def _release(self, owner: str, found: Token | Found) -> None:
        if self._shared is not None and found is Found.HELD:
            await self._shared.release(self._key, owner)

    async def _after_all(self, token: Token | None, denied: Denied) -> Renewed | Denied:
        """Refused for good: unless somebody who was slow has kept the successor meanwhile."""
        if denied.final and self._shared is not None:
            found = await self._shared.look(self._key, token)
            if isinstance(found, Token):
                return Renewed(found, taken=True)
        return denied

    # -- the file

    async def _within_file(self, token: Token | None, ask: Ask, until: float) -> Renewed | Denied:
        with contextlib.ExitStack() as lock:
            try:
                if self._file is not None:
                    await self._lock(self._file, lock, until)
            except Busy:
                return Denied("busy", final=False)
            except FileError as error:
                # A folder that cannot be written to: nobody else can write there either.
                self.unkept = str(error)
            newer = await self._from_file(anew=True)
            if self.replaced:
                return Denied("replaced", final=False)
            if newer is not None and (token is None or newer.version > token.version):
                return Renewed(newer, taken=True)
            if self._clock() > until:
                return Denied("busy", final=False)
            asked = await ask()
            if isinstance(asked, Denied):
                return asked
            await self._into_file(asked)
            return Renewed(asked, taken=False)

    async def _lock(self, file: TokenFile, lock: contextlib.ExitStack, until: float) -> None:
        while True:
            try:
                await asyncio.to_thread(lock.enter_context, file.locked())
                return
            except Busy:
                if self._clock() >= until:
                    raise
            await asyncio.sleep(_AGAIN)

    async def _from_file(self, *, anew: bool = False) -> Token | None:
        """What is in the file, if that is another one than when it was last looked at."""
        if self._file is None:
            return None
        mark = await asyncio.to_thread(self._file.mark)
        if mark == self._mark and not anew:
            return None
        try:
            token, login = await asyncio.to_thread(self._file.read)
        except FileError as error:
            self.unkept = str(error)
            return None
        self._mark, self.replaced = mark, login != self._login
        return None if self.replaced else token

    async def _into_file(self, token: Token) -> None:
        if self._file is None:
            return
        try:
            await asyncio.to_thread(self._file.write, token, self._login)
            self.unkept = ""
        except FileError as error:
            self.unkept = str(error)

    async def _also_into_file(self, token: Token) -> None:
        """Of a token that the store has: if the file cannot have it now, the store's is found at the next start."""
        if self._file is None:
            return
        with contextlib.suppress(Busy, FileError), contextlib.ExitStack() as lock:
            await asyncio.to_thread(lock.enter_context, self._file.locked())
            known = await self._from_file(anew=True)
            if known is not None and known.version < token.version:
                await self._into_file(token)

    @staticmethod
    def _newer(one: Token | None, other: Token | None) -> Token | None:
        if one is None or other is None:
            return one or other
        return other if other.version > one.version else one

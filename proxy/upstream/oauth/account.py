"""One account: the access token that requests carry, refreshed ahead of its end, and again when it is refused.

1. One refresh at a time, whoever asks for it: the clock, a request without a usable token, or one that met a 401.
2. A refresh that has begun to ask is never cancelled: what it spends may be good for one use. A request waits for it no
   longer than it may.
3. A token is used until it has run out, whatever becomes of its refresh. Then the attempt fails: as the credential's
   fault where the refresh was refused for good, otherwise as the network's.
4. No token, and nothing that an endpoint has said of it, is told to anybody.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from proxy.providers.tokens import Token
from proxy.terms import Cause, Diagnosis
from proxy.upstream.client import Connecting, Door
from proxy.upstream.oauth.exchange import Denied, Grant, door, exchange
from proxy.upstream.oauth.token_file import TokenFile
from proxy.upstream.oauth.vault import Renewed, Shared, Vault

_TICK = 1.0
"""Seconds between looks at the file, the store and the time."""
_YOUNG, _YOUNG_SHARE = 10.0, 0.1
"""Seconds, and the share of its life, for which a token is not blamed for a 401: it has just come."""
_REST, _REST_MOST = 1.0, 60.0
"""Seconds after a refresh that failed; twice as long each time."""
_REST_REFUSED = 10.0
UNREACHABLE = "oauth_unreachable"
NO_REFRESH_TOKEN = "oauth_no_refresh_token"  # noqa: S105  # the word for there being none
RESULTS = ("refreshed", "taken", "failed", "refused")
"""What a refresh ends as: by this replica; by another one; not now; for good."""


class Told(Protocol):
    """Who hears of an account's refreshes."""

    def refreshed(self, account: Account, result: str, why: str) -> None:
        """One has ended as one of RESULTS; `why` is a word where no token came, or where it is not in its file."""
        ...

    def replaced(self) -> None:
        """An operator has put tokens of another login into the file: the configuration is another one now."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """What accounts are given of the world."""

    unix: Callable[[], float]
    clock: Callable[[], float]
    chance: Callable[[], float]
    new_word: Callable[[], str]
    shared: Shared | None
    told: Told


@dataclass(frozen=True, slots=True)
class Settings:
    """An account, as config resolved it."""

    grant: Grant
    login: str
    """Names what the operator gave, which does not change as tokens are refreshed."""
    key: str
    """The same for a store, slow to guess from."""
    file: Path | None = None
    refresh: str | None = field(default=None, repr=False)
    """The refresh token that was given by reference."""


class Account:
    """One login's tokens, for all sources that use it."""

    def __init__(self, settings: Settings, world: World) -> None:
        self.grant, self._world = settings.grant, world
        self.names: tuple[str, ...] = ()
        """The sources that use it."""
        file = None if settings.file is None else TokenFile(settings.file)
        self._vault = Vault(settings.login, settings.key, file, world.shared, world.clock, world.new_word)
        self._token = None if settings.refresh is None else Token("", settings.refresh)
        self._former = ""
        self._since, self._due, self._came = world.unix(), -math.inf, -math.inf
        self._refused, self._rest, self._again = "", _REST, -math.inf
        self._refreshing: asyncio.Task[None] | None = None
        self._door: tuple[Connecting, Door] | None = None
        self._told_replaced = self._begun = self._asking = False

    @property
    def expires(self) -> float | None:
        """When the access token runs out, a Unix time; None if nobody knows, or if there is none."""
        return self._token.expires if self._token is not None and self._token.access else None

    @property
    def refused(self) -> str:
        """Why the last refresh was refused for good, a detail token; empty if it was not."""
        return self._refused

    def secrets(self) -> Iterator[str]:
        """All that is secret in what it sends."""
        token = self._token
        known = (self._former, token.access if token else "", token.refresh if token else "", self.grant.client_secret)
        yield from filter(None, known)

    # -- for attempts

    async def bearer(self, limit: float) -> str | Diagnosis:
        """The access token to send now; waits at most `limit` seconds if it has to be got."""
        usable = self._usable()
        return usable if usable else await self._wait(limit)

    def renewable(self, used: str) -> bool:
        """Is there any sense in another token, now that `used` was answered with 401?"""
        if self._refreshing is not None or self._usable() not in ("", used):
            return True
        token = self._token
        if self.grant.rotates and (token is None or token.refresh is None):
            return False
        if token is not None and token.early(self._world.unix()):
            return False
        life = math.inf if token is None or token.expires is None else token.expires - self._since
        return self._world.clock() - self._came >= min(_YOUNG, _YOUNG_SHARE * life)

    async def renewed(self, used: str, limit: float) -> str | Diagnosis:
        """Another access token than `used`."""
        usable = self._usable()
        return usable if usable not in ("", used) else await self._wait(limit, used)

    def _usable(self) -> str:
        token = self._token
        return token.access if token is not None and token.usable(self._world.unix()) else ""

    async def _wait(self, limit: float, used: str = "") -> str | Diagnosis:
        if (task := self._start()) is not None:
            # Not the task itself: rule 2.
            await asyncio.wait({task}, timeout=limit)
        usable = self._usable()
        if usable not in ("", used):
            return usable
        return Diagnosis(Cause.KEY_INVALID, self._refused) if self._refused else Diagnosis(Cause.NETWORK, UNREACHABLE)

    # -- refreshing

    def _start(self) -> asyncio.Task[None] | None:
        """The refresh that is under way, or a new one; None while it is too soon for another."""
        if self._refreshing is None and self._world.clock() >= self._again:
            # Of the token that it is begun for: one that comes before it runs is new, and must not end at once.
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh(self._token))
        return self._refreshing

    async def _refresh(self, token: Token | None) -> None:
        try:
            renewed = await self._renew(token)
        except Exception as error:  # noqa: BLE001  # whatever went wrong, the next try may find it mended
            renewed = Denied(type(error).__name__, final=False)
        finally:
            self._refreshing, self._asking = None, False
        if isinstance(renewed, Renewed):
            self._adopt(renewed.token)
            self._world.told.refreshed(self, "taken" if renewed.taken else "refreshed", self._vault.unkept)
            return
        if renewed.final:
            self._refused, rest = renewed.why, _REST_REFUSED
        else:
            rest, self._rest = self._rest, min(2 * self._rest, _REST_MOST)
        self._again = self._world.clock() + rest * (0.75 + 0.5 * self._world.chance())
        self._world.told.refreshed(self, "refused" if renewed.final else "failed", renewed.why)

    async def _renew(self, token: Token | None) -> Renewed | Denied:
        grant = self.grant
        if grant.rotates and (token is None or token.refresh is None):
            return Denied(NO_REFRESH_TOKEN, final=True)
        through = await self._through(grant.connecting)

        async def ask() -> Token | Denied:
            self._asking = True
            return await exchange(through, grant, token, self._world.unix())

        return await self._vault.renew(token, ask, rotates=grant.rotates)

    async def _through(self, connecting: Connecting) -> Door:
        if self._door is not None and self._door[0] != connecting:
            await self._door[1].close()
            self._door = None
        if self._door is None:
            self._door = connecting, door(connecting)
        return self._door[1]

    def _adopt(self, token: Token) -> None:
        self._former = self._token.access if self._token is not None else ""
        self._token, self._since = token, self._world.unix()
        if self._begun:
            self._came = self._world.clock()
        self._due = token.due(self._since, self._world.chance())
        self._refused, self._rest, self._again = "", _REST, -math.inf

    # -- beside the requests

    async def look(self) -> None:
        """Take what is newer in the file or in the store, and refresh if it is time."""
        newest = await self._vault.newest(self._token)
        known = self._token
        if newest is not None and (known is None or newest.version > known.version):
            self._adopt(newest)
            if self._begun:
                self._world.told.refreshed(self, "taken", self._vault.unkept)
        # What was there at the start may be old, and be blamed for a 401.
        self._begun = True
        if self._vault.replaced and not self._told_replaced:
            self._world.told.replaced()
        self._told_replaced = self._vault.replaced
        if self._world.unix() >= self._due and not self._refused:
            self._start()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_TICK)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001  # as above
                self._world.told.refreshed(self, "failed", type(error).__name__)

    async def close(self) -> None:
        """Let a refresh that has begun to ask end, and drop the connection."""
        if (task := self._refreshing) is not None:
            if not self._asking:
                task.cancel()
            await asyncio.wait({task})
        if self._door is not None:
            await self._door[1].close()

"""All accounts of a replica: which source uses which, through changes of the configuration.

1. One login is one account, whatever sources use it and however their other settings change: its tokens outlive a
   configuration that still names it.
2. An account that is no longer named ends after the exchange that it is in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from proxy.upstream.oauth.account import Account, Settings, World


class Accounts:
    """Those of the configuration in force."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[object, Account] = {}
        self._running: dict[Account, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.by_source: dict[str, Account] = {}
        """Each source's that has one."""

    def follow(self, settings: Mapping[str, Settings]) -> Mapping[str, Account]:
        """The accounts of these sources from now on. Starts and ends nothing: `settle` does."""
        former, self._known, found = self._known, {}, {}
        for name, each in settings.items():
            key = (each.login, each.file)
            account = self._known.get(key) or former.get(key) or Account(each, self._world)
            # Two sources of one login may differ here; checks.py does not let them.
            account.grant = each.grant
            self._known[key] = found[name] = account
        for account in self._known.values():
            account.names = tuple(name for name, each in found.items() if each is account)
        self.by_source = found
        return found

    def expiries(self) -> dict[str, float]:
        """When each source's access token runs out, in Unix seconds, where that is known. Another thread may ask."""
        known = {name: account.expires for name, account in self.by_source.items()}
        return {name: expires for name, expires in known.items() if expires is not None}

    async def settle(self) -> None:
        """Begin with what is new, and let what is gone end."""
        new = [each for each in self._known.values() if each not in self._running]
        await asyncio.gather(*(each.look() for each in new))
        loop = asyncio.get_running_loop()
        self._running |= {each: loop.create_task(each.run()) for each in new}
        for gone in set(self._running) - set(self._known.values()):
            self._end(gone)

    def _end(self, account: Account) -> None:
        self._running.pop(account).cancel()
        task = asyncio.get_running_loop().create_task(account.close())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End them all; an exchange that is under way ends first."""
        for each in list(self._running):
            self._end(each)
        await asyncio.gather(*self._ending)

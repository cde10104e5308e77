"""Who has signed in from a browser: sessions that this process alone knows, in place of the token.

1. An id is made of chance, and only its digest is kept: what is compared is no secret that timing could give away.
2. A session ends LONGEST seconds after it began, however much it is used; at most MOST are open, and one more ends the
   oldest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

LONGEST = 12 * 3600.0
MOST = 64


class Sessions:
    """All that are open."""

    def __init__(self, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        """`clock` gives seconds that only grow; `new_id` something that nobody can guess."""
        self._clock, self._new_id = clock, new_id
        self._began: dict[bytes, float] = {}

    def open(self) -> str:
        """The id of a new one."""
        now = self._clock()
        self._began = {key: began for key, began in self._began.items() if now - began < LONGEST}
        while len(self._began) >= MOST:
            del self._began[next(iter(self._began))]
        made = self._new_id()
        self._began[_key(made)] = now
        return made

    def known(self, name: str) -> bool:
        """Is it open?"""
        began = self._began.get(_key(name))
        return began is not None and self._clock() - began < LONGEST

    def close(self, name: str) -> None:
        """End it, if it is open."""
        self._began.pop(_key(name), None)


def _key(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()

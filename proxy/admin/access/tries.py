"""Wrong tokens: how long each has to wait for its answer, by where it comes from and by how many there are in all.

1. Nobody is locked out: what is right never asks here.
2. The wait doubles with each wrong try of an address, and with each beyond a few of everybody's, up to SLOWEST. Tries
   are forgotten with time, not with success: whoever shares an address with an operator gains nothing by it.
3. What is kept is bounded: addresses, and tries that wait. A try that its sender gave up waits on.
"""

from __future__ import annotations

import ipaddress
import math
from collections import Counter

SLOWEST = 2.0
WAITING_EACH = 4
"""Tries of one address that wait at a time."""
WAITING_ALL = 64
_FIRST = 0.05
"""Seconds for the first wrong try."""
_FORGET_EACH = 10.0
"""Seconds until one try of an address is forgotten."""
_FORGET_ALL = 1.0
_FREE = 20.0
"""Tries of all addresses together that slow nobody else's."""
_KEPT = 4096
"""Addresses."""


class Tries:
    """The wrong ones of late."""

    def __init__(self) -> None:
        self._each: dict[str, tuple[float, float]] = {}
        """By address: how many, and as of when."""
        self._all = (0.0, 0.0)
        self._waiting: Counter[str] = Counter()

    def begin(self, remote: str, now: float) -> float | None:
        """A wrong try from an address: seconds until it may be told so, and then `end`. None: too many wait."""
        address = _network(remote)
        each = _level(self._each.pop(address, (0.0, now)), now, _FORGET_EACH)
        whole = _level(self._all, now, _FORGET_ALL)
        if len(self._each) >= _KEPT:
            del self._each[next(iter(self._each))]
        self._each[address] = (min(each + 1, 100.0), now)
        self._all = (min(whole + 1, 1000.0), now)
        if self._waiting[address] >= WAITING_EACH or self._waiting.total() >= WAITING_ALL:
            return None
        self._waiting[address] += 1
        return min(SLOWEST, _FIRST * math.exp2(min(10.0, max(each, whole - _FREE))))

    def end(self, remote: str) -> None:
        """It waits no longer."""
        address = _network(remote)
        self._waiting[address] -= 1
        if self._waiting[address] <= 0:
            del self._waiting[address]


def _level(known: tuple[float, float], now: float, forget: float) -> float:
    level, at = known
    return max(0.0, level - (now - at) / forget)


def _network(remote: str) -> str:
    """What one sender can choose at will counts as one: the lower half of an IPv6 address."""
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return remote
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))

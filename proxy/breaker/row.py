"""What a keeper has of one target: its guard, and what need not be heard or asked of that one by one.

1. Nothing here decides: whoever changes the state says whether it is calm, and takes back the denial.
"""

from __future__ import annotations

import math

from proxy.breaker.machine import BUCKET
from proxy.breaker.state import Policy, State, View, Word

_STANDING = (Word.OPEN, Word.DISABLED, Word.ISOLATED)
"""Words that one request hears like another: there is no place that somebody has won and left to the next."""


class Row:
    """One target's guard, and the successes that it need not hear of one by one."""

    __slots__ = ("calm", "denial", "goods", "goods_before", "policy", "state", "turned")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.state = State()
        self.calm = True
        """Nothing is amiss in the guard, nor in the shared view."""
        self.denial: tuple[View, float] | None = None
        """What every request is told until then, unless something changes before."""
        self.turned = 0.0
        self.goods = self.goods_before = 0

    def deny(self, denial: View) -> None:
        """Tell whoever comes next the same, if it is a denial that all hear alike."""
        if denial.word in _STANDING:
            self.denial = denial, math.inf if denial.until is None else denial.until

    def count(self, now: float) -> None:
        """A success."""
        if now - self.turned >= BUCKET:
            self._turn(now)
        self.goods += 1

    def _turn(self, now: float) -> None:
        self.goods_before = self.goods if now - self.turned < 2 * BUCKET else 0
        self.turned, self.goods = now, 0

    def take(self, now: float) -> tuple[int, int]:
        """The counts of this bucket and the one before, which start anew."""
        if now - self.turned >= BUCKET:
            self._turn(now)
        taken = self.goods, self.goods_before
        self.goods = self.goods_before = 0
        return taken

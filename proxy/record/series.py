"""Series that are cheap to count and cheap to show: the children of counters, gauges and histograms (families.py).

1. The event loop counts, another thread shows: each reads or writes one number at a time, and nobody waits for a lock.
   A histogram may be shown between an observation's bucket and its sum; the next scrape has both.
2. What does not change is written once: a child keeps its name and labels as text. Showing thousands of series must
   make few objects, since whoever makes many brings on a garbage collection that holds everybody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

Key = TypeVar("Key")
Child = TypeVar("Child")


class Children(dict[Key, Child]):
    """What is made when it is first asked for, and then kept: `children[key]`.

    So only for keys of values of the configuration and of closed lists.
    """

    def __init__(self, make: Callable[[Key], Child]) -> None:
        super().__init__()
        self._make: Callable[[Key], Child] = make

    def __missing__(self, key: Key) -> Child:
        child = self[key] = self._make(key)
        return child


class Value:
    """A counter's or gauge's child."""

    __slots__ = ("start", "value")

    def __init__(self, start: str) -> None:
        self.start, self.value = start, 0.0

    def inc(self, by: float = 1.0) -> None:
        self.value += by

    def set(self, value: float) -> None:
        self.value = value


class Spread:
    """A histogram's child."""

    __slots__ = ("_bounds", "_starts", "_sum", "counts", "total")

    def __init__(self, name: str, labels: Mapping[str, str], bounds: tuple[float, ...]) -> None:
        """`bounds` are those of all children of its family."""
        self._bounds = bounds
        limits = [{"le": number(bound)} for bound in (*bounds, math.inf)]
        self._starts = [begin(f"{name}_bucket", {**labels, **limit}) for limit in limits]
        self._starts.append(begin(f"{name}_count", labels))
        self._sum = begin(f"{name}_sum", labels)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bucket(self._bounds, value)] += 1
        self.total += value

    def take(self, counts: Sequence[int], total: float) -> None:
        """So many observations in each bucket, which make `total` together."""
        for at, count in enumerate(counts):
            self.counts[at] += count
        self.total += total

    def lines(self) -> Iterator[str]:
        """As it is exposed."""
        upto = list(accumulate(self.counts.copy()))
        for start, count in zip(self._starts, (*upto, upto[-1]), strict=True):
            yield f"{start}{count}.0\n"
        yield f"{self._sum}{number(self.total)}\n"


def bucket(bounds: tuple[float, ...], value: float) -> int:
    """Where a value's bucket is among those of these bounds."""
    # One after the other: most are among the first, and compiled that costs a tenth of a search.
    at = 0
    for bound in bounds:
        if value <= bound:
            break
        at += 1
    return at


def begin(name: str, labels: Mapping[str, str]) -> str:
    """What a series' line starts with."""
    # By name, as other exporters write them, so that a series looks the same to whoever compares text.
    written = ",".join(f'{label}="{_quoted(value)}"' for label, value in sorted(labels.items()))
    return f"{name}{{{written}}} " if written else f"{name} "


def number(value: float) -> str:
    """As Prometheus reads it."""
    if value == math.inf:
        return "+Inf"
    return "-Inf" if value == -math.inf else repr(float(value))


def escaped(text: str) -> str:
    """On one line, as texts of the format are."""
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(value: str) -> str:
    return escaped(value).replace('"', r"\"")

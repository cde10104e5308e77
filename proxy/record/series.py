"""Series that are cheap to count and cheap to show: a counter, gauge or histogram and its children by label values.

1. The event loop counts, another thread shows: each reads or writes one number at a time, and nobody waits for a lock.
   A histogram may be shown between an observation's bucket and its sum; the next scrape has both.
2. What does not change is written once: a child keeps its name and labels as text. Showing thousands of series must
   make few objects, since whoever makes many brings on a garbage collection that holds everybody.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate


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

    def __init__(self, name: str, labels: str, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        comma = "," if labels else ""
        self._starts = [f'{name}_bucket{{{labels}{comma}le="{number(bound)}"}} ' for bound in (*bounds, math.inf)]
        braced = f"{{{labels}}}" if labels else ""
        self._starts += [f"{name}_count{braced} "]
        self._sum = f"{name}_sum{braced} "
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def lines(self) -> Iterator[str]:
        """As it is exposed."""
        upto = list(accumulate(self.counts.copy()))
        for start, count in zip(self._starts, (*upto, upto[-1]), strict=True):
            yield f"{start}{count}\n"
        yield f"{self._sum}{number(self.total)}\n"


class Family:
    """A name with its meaning and its labels."""

    def __init__(self, kind: str, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        # By name, as the official client has them: who compares texts finds the same.
        self._labels = sorted(zip(labels, range(len(labels)), strict=True))
        self.head = f"# HELP {name} {_escaped(text)}\n# TYPE {name} {kind}\n"
        self._starts: dict[tuple[str, ...], str] = {}

    def start(self, *values: str) -> str:
        """What a child's line begins with; kept, so only for values of the configuration and of closed lists."""
        start = self._starts.get(values)
        if start is None:
            written = self.written(values)
            start = self._starts[values] = f"{self.name}{{{written}}} " if written else f"{self.name} "
        return start

    def written(self, values: Sequence[str]) -> str:
        """Labels with their values, without the braces."""
        if len(values) != len(self._labels):
            raise ValueError(f"{self.name} has {len(self._labels)} labels")
        return ",".join(f'{name}="{_quoted(values[place])}"' for name, place in self._labels)


class Values(Family):
    """A counter or gauge that is counted."""

    def __init__(self, kind: str, name: str, text: str, labels: Sequence[str]) -> None:
        super().__init__(kind, name, text, labels)
        self._children: dict[tuple[str, ...], Value] = {}

    def __call__(self, *values: str) -> Value:
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Value(self.start(*values))
        return child

    def lines(self) -> Iterator[str]:
        """As it is exposed."""
        yield self.head
        for child in list(self._children.values()):
            yield f"{child.start}{number(child.value)}\n"


class Spreads(Family):
    """A histogram that is counted."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str]) -> None:
        super().__init__("histogram", name, text, labels)
        self._bounds = bounds
        self._children: dict[tuple[str, ...], Spread] = {}

    def __call__(self, *values: str) -> Spread:
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Spread(self.name, self.written(values), self._bounds)
        return child

    def lines(self) -> Iterator[str]:
        """As it is exposed."""
        yield self.head
        for child in list(self._children.values()):
            yield from child.lines()


def number(value: float) -> str:
    """As Prometheus reads it."""
    if value == math.inf:
        return "+Inf"
    return "-Inf" if value == -math.inf else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(value: str) -> str:
    return _escaped(value).replace('"', r"\"")

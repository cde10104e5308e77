"""Series that are cheap to count and cheap to show: a counter, gauge or histogram and its children by label values.

1. The event loop counts, another thread shows: each reads or writes one number at a time, and nobody waits for a lock.
   A histogram may be shown between an observation's bucket and its sum; the next scrape has both.
2. What does not change is written once: a child keeps its name and labels as text. Showing thousands of series must
   make few objects, since whoever makes many brings on a garbage collection that holds everybody.
"""

from __future__ import annotations

import math
from bisect import bisect_left
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

    def __init__(self, name: str, labels: Mapping[str, str], bounds: Sequence[float]) -> None:
        self._bounds = bounds
        limits = [{"le": number(bound)} for bound in (*bounds, math.inf)]
        self._starts = [_start(f"{name}_bucket", {**labels, **limit}) for limit in limits]
        self._starts.append(_start(f"{name}_count", labels))
        self._sum = _start(f"{name}_sum", labels)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def lines(self) -> Iterator[str]:
        """As it is exposed."""
        upto = list(accumulate(self.counts.copy()))
        for start, count in zip(self._starts, (*upto, upto[-1]), strict=True):
            yield f"{start}{count}.0\n"
        yield f"{self._sum}{number(self.total)}\n"


class Family:
    """A name with its meaning and its labels."""

    def __init__(self, kind: str, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name, self._labels = name, labels
        self.head = f"# HELP {name} {_escaped(text)}\n# TYPE {name} {kind}\n"
        self._starts: dict[tuple[str, ...], str] = {}

    def start(self, *values: str) -> str:
        """What a child's line begins with; kept, so only for values of the configuration and of closed lists."""
        start = self._starts.get(values)
        if start is None:
            start = self._starts[values] = _start(self.name, self.labelled(values))
        return start

    def labelled(self, values: Sequence[str]) -> dict[str, str]:
        """The labels with these values."""
        return dict(zip(self._labels, values, strict=True))

    def once(self, *values: str) -> str:
        """What a line begins with whose values are always others: nothing is kept."""
        return _start(self.name, self.labelled(values))


class Values(Family):
    """A counter or gauge that is counted."""

    def __init__(self, kind: str, name: str, text: str, labels: Sequence[str]) -> None:
        super().__init__(kind, name, text, labels)
        self.of: Children[tuple[str, ...], Value] = Children(lambda values: Value(self.start(*values)))

    def __call__(self, *values: str) -> Value:
        return self.of[values]

    def lines(self) -> Iterator[str]:
        """As it is exposed."""
        yield self.head
        for child in list(self.of.values()):
            yield f"{child.start}{number(child.value)}\n"


class Spreads(Family):
    """A histogram that is counted."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str]) -> None:
        super().__init__("histogram", name, text, labels)
        self.of: Children[tuple[str, ...], Spread] = Children(
            lambda values: Spread(self.name, self.labelled(values), bounds)
        )

    def __call__(self, *values: str) -> Spread:
        return self.of[values]

    def lines(self) -> Iterator[str]:
        """As it is exposed."""
        yield self.head
        for child in list(self.of.values()):
            yield from child.lines()


def _start(name: str, labels: Mapping[str, str]) -> str:
    # By name, as other exporters write them, so that a series looks the same to whoever compares text.
    written = ",".join(f'{label}="{_quoted(value)}"' for label, value in sorted(labels.items()))
    return f"{name}{{{written}}} " if written else f"{name} "


def number(value: float) -> str:
    """As Prometheus reads it."""
    if value == math.inf:
        return "+Inf"
    return "-Inf" if value == -math.inf else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(value: str) -> str:
    return _escaped(value).replace('"', r"\"")

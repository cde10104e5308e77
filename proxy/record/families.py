"""Counters, gauges and histograms: a name with its meaning and its labels, and its children by their values.

Not compiled: a subclass that can be called, of one that cannot, is laid out wrongly by mypyc, and crashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proxy.record.series import Children, Spread, Value, begin, escaped, number


class Family:
    """A name with its meaning and its labels."""

    def __init__(self, kind: str, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name, self._labels = name, labels
        self.head = f"# HELP {name} {escaped(text)}\n# TYPE {name} {kind}\n"
        self._starts: dict[tuple[str, ...], str] = {}

    def start(self, *values: str) -> str:
        """What a child's line begins with; kept, so only for values of the configuration and of closed lists."""
        start = self._starts.get(values)
        if start is None:
            start = self._starts[values] = begin(self.name, self.labelled(values))
        return start

    def labelled(self, values: Sequence[str]) -> dict[str, str]:
        """The labels with these values."""
        return dict(zip(self._labels, values, strict=True))

    def once(self, *values: str) -> str:
        """What a line begins with whose values are always others: nothing is kept."""
        return begin(self.name, self.labelled(values))


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
        limits = tuple([float(bound) for bound in bounds])
        self.of: Children[tuple[str, ...], Spread] = Children(
            lambda values: Spread(self.name, self.labelled(values), limits)
        )

    def __call__(self, *values: str) -> Spread:
        return self.of[values]

    def lines(self) -> Iterator[str]:
        """As it is exposed."""
        yield self.head
        for child in list(self.of.values()):
            yield from child.lines()

"""What decisions that are alike are counted in, found once for all of them (metrics.py, kinds.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from proxy.record.lately import Times
from proxy.record.lines import Look
from proxy.record.series import Children, Spread, Value, bucket
from proxy.routing.decision import Attempted, Decision

LONG: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds: bounds of what an assistant's requests take."""
Tried = tuple[int, Spread, Spread | None, Spread | None]
"""An attempt's place among the steps; what its duration, its first token and its connecting are measured in."""


@dataclass(slots=True)
class Counts:
    """What decisions that are alike (see kinds.py) are counted in. Nobody changes which.

    What is an assistant's own is added up here first and goes to its series when those are shown (`settle`): with
    thousands of assistants each object is fetched from memory, which takes longer than to count, and this is one where
    series are twenty. The rest is the same for all, and counted at once.
    """

    new: list[Counts]
    """Those of which something is not in the series yet."""
    ones: tuple[Value, ...]
    """One more in each."""
    body_in: Value | None
    body_out: Value
    duration: Spread | None
    first_byte: Spread | None
    """How long they took; of those that came as far as a chain."""
    served: tuple[str, str] | None
    """The assistant and the tier that are billed for what an upstream says; None where nobody is."""
    billed: Children[tuple[str, ...], Value]
    """By these, and what it is: input, output, cache_read, reasoning. What never is has no series."""
    # What each request asks for stands together, from here on.
    overhead: Spread | None
    """How much of their time was spent here; None where `duration` is."""
    tried: tuple[Tried, ...]
    lately: tuple[Times, ...]
    """Of each of those."""
    look: Look
    """Of their lines in the log."""
    count: float = 0.0
    """Of those that are not in the series yet, as all that follows."""
    came: float = 0.0
    went: float = 0.0
    """Bytes of bodies."""
    lasted: float = 0.0
    began: float = 0.0
    """Seconds: all durations together, and all until the first byte."""
    input: float = 0.0
    output: float = 0.0
    cache_read: float = 0.0
    reasoning: float = 0.0
    places: list[int] = field(default_factory=lambda: [0] * (2 * len(LONG) + 2))
    """How many durations, and how many first bytes, are in each bucket: in turn, since most are in the same."""

    def add(self, decision: Decision) -> None:
        """One more of them."""
        if self.count == 0.0:
            self.new.append(self)
        self.count += 1.0
        self.went += decision.body_out
        self.came += decision.body_in
        overhead, whole = self.overhead, decision.duration
        if overhead is None:
            return
        self.places[2 * bucket(LONG, whole)] += 1
        self.lasted += whole
        spent = whole - decision.waited
        overhead.observe(spent if spent > 0.0 else 0.0)
        if decision.first_byte is not None:
            self.places[2 * bucket(LONG, decision.first_byte) + 1] += 1
            self.began += decision.first_byte
        for number, (at, duration, first_token, connect) in enumerate(self.tried):
            step, times = decision.steps[at], self.lately[number]
            if isinstance(step, Attempted):
                duration.observe(step.ended - step.started)
                times.tried(step.outcome, decision.at + step.ended - decision.started)
                if first_token is not None and step.first_token is not None:
                    first_token.observe(step.first_token - step.started)
                if connect is not None and step.connected is not None:
                    connect.observe(step.connected - step.started)
        usage = decision.usage
        if usage is not None:
            self.input += usage.input
            self.output += usage.output
            self.cache_read += usage.cache_read
            self.reasoning += usage.reasoning

    def settle(self) -> None:
        """Put what was added up into the series."""
        for one in self.ones:
            one.value += self.count
        self.body_out.value += self.went
        if self.body_in is not None:
            self.body_in.value += self.came
        if self.duration is not None:
            self.duration.take(self.places[::2], self.lasted)
        if self.first_byte is not None:
            self.first_byte.take(self.places[1::2], self.began)
        if self.served is not None:
            for kind, tokens in (
                ("input", self.input),
                ("output", self.output),
                ("cache_read", self.cache_read),
                ("reasoning", self.reasoning),
            ):
                if tokens > 0.0:
                    self.billed[(*self.served, kind)].value += tokens
        self.places = [0] * len(self.places)
        self.count = self.came = self.went = self.lasted = self.began = 0.0
        self.input = self.output = self.cache_read = self.reasoning = 0.0

"""One line of the fault script: what a scripted upstream does, and by hand what a record is to say of it.

1. The words are an attempt's outcome, its detail, whether it was billed, what the breaker heard, whether the walk goes
   on (next, larger, stop), and the status with which the answer reaches the caller if it is passed on. `-` is none.
2. `fallback` stands where the same answer of a fallback is called something else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.demo.answers import whole
from proxy.demo.moods import Mood

Play = Callable[[str], Mood]
"""What is done, of the model that was asked for."""
JSON, STREAM = "json", "stream"


@dataclass(frozen=True, slots=True)
class Words:
    """What a record is to say of one attempt."""

    outcome: str
    detail: str
    billed: str
    heard: tuple[str, ...]
    """Any of these is right."""
    onward: str
    passed_on: int | None
    """The status that a caller reads if this answer is passed on to it; None where there is no answer."""

    @classmethod
    def of(cls, column: str) -> Words:
        """`rate_limited http_429 no rate_limit next 429`."""
        outcome, detail, billed, heard, onward, passed_on = column.split()
        status = None if passed_on == "-" else int(passed_on)
        return cls(outcome, "" if detail == "-" else detail, billed, tuple(heard.split("|")), onward, status)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the script."""

    name: str
    play: Play
    words: Words
    fallback: Words | None = None
    only: str | None = None
    """JSON or STREAM, where it can be played to one of them alone."""
    retry_after: float | None = None
    """Seconds, as the upstream says."""
    at_fault: bool = False
    """The request is: if nobody serves, the caller reads the first such answer."""
    cuts: bool = False
    """The answer breaks after its commit."""
    drops: bool = False
    """The connection ends without a byte: once more on a fresh one, if it had served before."""
    large: bool = False
    """Megabytes, so played rarely."""

    @property
    def well(self) -> bool:
        """A whole answer is given."""
        return self.words.outcome == "served"

    @property
    def left(self) -> bool:
        """It is the caller who ends it."""
        return self.words.outcome == "cancelled"

    def of(self, tier: str) -> Words:
        """The words that hold for an attempt at this tier."""
        return self.fallback if self.fallback is not None and tier != "primary" else self.words


def row(
    name: str,
    play: Play | Mood,
    column: str,
    fallback: str | None = None,
    *,
    only: str | None = None,
    retry_after: float | None = None,
    at_fault: bool = False,
    cuts: bool = False,
    drops: bool = False,
    large: bool = False,
) -> Row:
    """A line, its words as columns."""
    mood = play
    played: Play = (lambda _: mood) if isinstance(mood, Mood) else mood
    other = None if fallback is None else Words.of(fallback)
    return Row(name, played, Words.of(column), other, only, retry_after, at_fault, cuts, drops, large)


def said(status: int, body: Any, *, kind: str = "application/json", **headers: str) -> Mood:
    """An answer with this body: text as it is, anything else as JSON. `retry_after="2"` is a header."""
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Mood(str(status), instead=whole(status, raw, kind=kind, headers=fields))


def error(status: int, message: str, **more: Any) -> Mood:
    """OpenAI's shape, with these other members."""
    return said(status, {"error": {"message": message, **more}})


def not_a_stream(model: str) -> Mood:
    """The answer as one document, whoever asked for a stream."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
    return said(200, {"id": "c-1", "object": "chat.completion", "model": model, "choices": [choice]})

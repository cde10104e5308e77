"""A head as bytes, of a request or of an answer.

1. Nothing that a header or a URL holds can end its line early: a CR, LF or NUL is refused, whoever it came from.
2. What could not be read as UTF-8, and is handed on as lone surrogates, leaves as the bytes that it came as.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proxy.terms import Headers

Fields = list[str]
"""Header fields as lines of a head, without their ends."""


def fields(headers: Headers) -> Fields:
    """As lines."""
    return [": ".join(pair) for pair in headers]


def pairs(fields: Iterable[str]) -> Headers:
    """As names and values."""
    return tuple([(name, value) for name, _, value in [field.partition(": ") for field in fields]])


def text(lines: Sequence[str]) -> str:
    """The lines, each with its end, and the blank line. Raises ValueError for what could end one early."""
    run_together = "".join(lines)
    if "\n" in run_together or "\r" in run_together or "\0" in run_together:
        raise ValueError("a header holds a line break or a NUL")
    return "\r\n".join([*lines, "\r\n"])


def head(lines: Sequence[str]) -> bytes:
    """That as bytes."""
    return text(lines).encode("utf-8", "surrogateescape")

"""A head as bytes, of a request or of an answer.

1. Nothing that a header or a URL holds can end its line early: a CR, LF or NUL is refused, whoever it came from.
2. What could not be read as UTF-8, and is handed on as lone surrogates, leaves as the bytes that it came as.
"""

from __future__ import annotations

from collections.abc import Sequence


def head(lines: Sequence[str]) -> bytes:
    """The lines, each with its end, and the blank line. Raises ValueError for what could end one early."""
    text = "\r\n".join([*lines, "\r\n"])
    breaks = len(lines) + 1
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError("a header holds a line break or a NUL")
    return text.encode("utf-8", "surrogateescape")

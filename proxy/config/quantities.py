"""Durations, sizes, rates and numbers as people write them, read into seconds, bytes and plain numbers.

1. A number may come as text: an interpolated value always does.
2. A value that cannot be read is a Wrong that says what was expected, and never repeats the value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from proxy.config.fault import Wrong

DURATION = r"[0-9]+(\.[0-9]+)?(ms|s|m|h)?"
SIZE = r"[0-9]+(B|KB|MB|GB|KiB|MiB|GiB)?"
RATE = r"[0-9]+(\.[0-9]+)?%"

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_LONGEST = 20
"""Characters of a number; nothing here has a meaning beyond that, and longer ones take long to convert."""


def duration(value: object) -> float:
    """Seconds: `500ms`, `5s`, `5m`, `1h`, or a plain number of seconds."""
    match = _match(DURATION, value)
    if match is None:
        raise Wrong(f"expected a duration, found {_found(value)}", "write it like 500ms, 5s, 5m or 1h")
    text, unit = match.group(), match.group(2) or ""
    return float(text.removesuffix(unit)) * _SECONDS[unit or "s"]


def size(value: object) -> int:
    """Bytes: `32MiB`, `256KiB`, `10MB`, or a plain number of bytes."""
    match = _match(SIZE, value)
    if match is None:
        raise Wrong(f"expected a size, found {_found(value)}", "write it like 256KiB, 32MiB, 10MB or 1048576")
    text, unit = match.group(), match.group(1) or ""
    return int(text.removesuffix(unit)) * _BYTES[unit or "B"]


def rate(value: object) -> float:
    """A share of 1: `50%` or 0.5."""
    if match := _match(RATE, value):
        share = float(match.group()[:-1]) / 100
    else:
        try:
            share = float(number(value))
        except Wrong:
            raise Wrong(f"expected a rate, found {_found(value)}", "write it like 50% or 0.5") from None
    if not 0 < share <= 1:
        raise Wrong("a rate must be over 0% and at most 100%", "write it like 50% or 0.5")
    return share


def whole(value: object) -> int:
    """A whole number."""
    match = _match(r"-?(0|[1-9][0-9]*)", value)
    if match is None:
        raise Wrong(f"expected a whole number, found {_found(value)}", "write it in digits, like 100")
    return int(match.group())


def number(value: object) -> int | float:
    """A number; a whole one stays an int, because that is how it will be sent."""
    match = _match(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]{1,2})?", value)
    if match is None:
        raise Wrong(f"expected a number, found {_found(value)}", "write it in digits, like 100 or 0.5")
    return float(match.group()) if match.group(1) or match.group(2) else int(match.group())


def within(low: float, high: float, words: str) -> Callable[[float], float]:
    """A check of bounds, both of them allowed; `words` says them as they are written."""

    def check(value: float) -> float:
        if not low <= value <= high:
            raise Wrong(f"out of bounds: it must be {words}", "choose a value within the bounds")
        return value

    return check


def kind_of(value: object) -> str:
    """What sort of thing stands in the file, without saying what it is."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return "something else"


def _found(value: object) -> str:
    return "other text" if isinstance(value, str) else "another number" if _is_number(value) else kind_of(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _match(pattern: str, value: object) -> re.Match[str] | None:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    text = value.strip() if isinstance(value, str) else repr(value) if _is_number(value) else ""
    return re.fullmatch(pattern, text, re.ASCII) if len(text) <= _LONGEST else None

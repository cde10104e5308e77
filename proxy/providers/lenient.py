"""JSON as the upstreams write and read it: orjson, and for the few documents that it refuses the standard parser.

1. What is refused by both is no JSON. Numbers beyond any float and halves of surrogate pairs are: whether such values
   will do is for the other side to say, so they are read here and passed on byte for byte.
2. `NaN` and its like are not JSON.
3. What was read so can be written again.
"""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

# Once here, so that no request looks for them.
_loads: Final = orjson.loads
_dumps: Final = orjson.dumps
_PATIENCE = 4 * 1024 * 1024
"""Bytes that the slower parser may be given: a tenth of a second or so, during which all else waits."""


def loads(data: bytes) -> Any:
    """The document; raises orjson.JSONDecodeError (a ValueError) for what is none."""
    try:
        return _loads(data)
    except orjson.JSONDecodeError:
        if len(data) > _PATIENCE:
            raise
        try:
            return json.loads(data.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError):
            pass
        raise


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def dumps(value: object) -> bytes:
    """JSON; also of halves of surrogate pairs and of numbers beyond 64 bits, which orjson does not write."""
    try:
        return _dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()

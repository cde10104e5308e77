"""A piece of a body as a chunk of HTTP (RFC 9112, 7.1), frame and all. Those of a stream's events are short ones.

1. A frame is written in one way: no zeros before its size, no letters in upper case, no extension.
"""

from __future__ import annotations

from typing import Final

_SHORT: Final = 4096
"""Bytes of a chunk."""
HEADS: Final = tuple([b"%x\r\n" % size for size in range(_SHORT)])
"""How a short chunk begins, by how many bytes it holds."""


def framed(data: bytes) -> bytes:
    """The chunk that holds `data`, of which there is some."""
    size = len(data)
    return b"%b%b\r\n" % (HEADS[size] if size < _SHORT else b"%x\r\n" % size, data)


def held(size: int) -> int:
    """How many bytes a short chunk holds that has so many with its frame; 0 if none is as long."""
    holds = size - (7 if size >= 0x107 else 6 if size >= 0x16 else 5)
    return holds if 0 < holds < _SHORT and len(HEADS[holds]) + holds + 2 == size else 0

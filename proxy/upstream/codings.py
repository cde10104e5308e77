"""Content codings undone. None is asked for, but some servers compress whatever they are asked.

1. Memory is bounded: what is short and grows long when it is undone comes out in pieces of at most PIECE bytes.
2. What stops before its own end is not whole, whatever the framing around it says.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

PIECE = 256 * 1024
"""Bytes that come out at once."""
FIELD = "content-encoding"
"""Which header field names one, in lower case."""
_GZIP = frozenset({"gzip", "x-gzip"})
_MAGIC = b"\x1f\x8b"
_NEVER = frozenset({"br", "zstd", "compress", "x-compress"})
"""Those that are not undone here. Other words, like a charset, stand on what is not compressed at all."""


class Undo:
    """One answer's coding, from its first byte to its last."""

    def __init__(self, coding: str) -> None:
        """`coding` is gzip, x-gzip or deflate."""
        self._gzip = coding in _GZIP
        self._data = b""
        self._full = False
        """The last piece was, so more may come without a further byte."""
        self._inflate: zlib._Decompress | None = None

    def feed(self, data: bytes) -> None:
        """Bytes as they came. What was fed before must have been read."""
        self._data += data

    def read(self) -> bytes:
        """The next piece; b"" when more has to be fed first. Raises zlib.error for what is not in the coding."""
        while self._data or self._full:
            if self._inflate is None or self._inflate.eof:
                self._inflate = self._begin()
            made = self._inflate.decompress(self._data, PIECE)
            self._full = len(made) == PIECE and not self._inflate.eof
            if not self._inflate.eof:
                self._data = self._inflate.unconsumed_tail
            else:
                # A further gzip member belongs to the same body; other bytes after its end are padding.
                rest = self._inflate.unused_data
                self._data = rest if self._gzip and rest.startswith(_MAGIC) else b""
            if made:
                return made
        return b""

    def _begin(self) -> zlib._Decompress:
        if self._gzip:
            return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        # Some send the bare stream that the name promises, most the wrapped one that is meant.
        wrapped = self._data[0] & 0x0F == zlib.DEFLATED
        return zlib.decompressobj(wbits=zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)

    @property
    def whole(self) -> bool:
        """True if what was fed and read ended where its coding says, or if nothing was fed at all."""
        return self._inflate is None or self._inflate.eof


def undo(named: Sequence[str]) -> Undo | None:
    """What undoes the coding that an answer's fields of that name say; None where there is none. Raises ValueError for
    one that cannot be undone.
    """
    for value in named:
        coding = value.lower()
        if coding in _GZIP or coding == "deflate":
            return Undo(coding)
        if coding in _NEVER:
            raise ValueError("a content coding that is not undone here")
    return None

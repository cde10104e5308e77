"""The shape of a stream's plain event: most events of an answer differ in their text alone, and need no parse.

1. What fits is, byte for byte, the event that the mould was cast from with another text, and a text is a JSON string
   that is not empty. So whatever a parse would find there, but for the text, has been found in that event already.
2. Only an event is cast that, but for the text of its one choice, tells nothing by being read once more: no usage.
3. In doubt nothing fits: the parse decides. What a mould says of an event is what the parse would have made of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from proxy.providers.lenient import dumps

# Within JSON these bytes are a key and its value: a quote inside of a string has a backslash before it.
_TEXT = re.compile(rb'"content" ?: ?"((?:[^"\\]|\\.)+)"', re.DOTALL)
_PADDING = re.compile(rb'"obfuscation" ?: ?"((?:[^"\\]|\\.)*)"', re.DOTALL)
"""OpenAI's noise, which makes lengths say nothing of texts."""
_BRACES = re.compile(rb'"\} *\}\n\n')
"""How Anthropic's events end: its noise is blanks."""
_TRIES = 4
"""Moulds that fit nothing, after which no more are cast."""
_SHORT = 4096
"""Bytes of a chunk; a plain event is shorter by far."""


def _framed(size: int) -> tuple[bytes, int]:
    """How a chunk of so many bytes, its frame among them, begins; and how many of them are what it holds."""
    for digits in (1, 2, 3):
        holds = size - digits - 4
        if holds > 0 and len(b"%x" % holds) == digits:
            return b"%x\r\n" % holds, holds
    return b"no chunk is as long", 0


_FRAMES = tuple(_framed(size) for size in range(_SHORT))


class Mould:
    """What stands before, between and behind what differs: the text, and the padding if there is any."""

    __slots__ = ("_after", "_before", "_between", "_end", "_frame", "_joint", "_retold", "used")

    def __init__(self, before: bytes, between: bytes, after: bytes, retold: tuple[bytes, bytes] | None = None) -> None:
        """`before` and what follows the text have the text's quotes. `retold`: what stands around it in the event
        that the caller gets, where that is another one; its padding is blanks then, and else a string.
        """
        self._before, self._between, self._after, self._retold = before, between, after, retold
        self._joint, self._frame, self._end = after + before, len(before) + len(after), after + b"\r\n"
        self.used = False
        """Something fitted."""

    def glance(self, data: bytes) -> tuple[bytes, int]:
        inner = data.removeprefix(self._before).removesuffix(self._after)
        if len(inner) + self._frame != len(data) or len(inner) >= self._frame:
            return self._several(data)
        # One event, as nearly all come.
        text = self._text(inner)
        if text is None:
            return b"", 0
        self.used = True
        return (data if self._retold is None else text.join(self._retold)), len(data)

    def chunk(self, data: bytes) -> tuple[bytes, int] | None:
        # Per event of a stream, so each step is one that takes no time.
        size = len(data)
        if size >= _SHORT:
            return None
        head, holds = _FRAMES[size]
        inner = data.removeprefix(head).removeprefix(self._before).removesuffix(self._end)
        if len(inner) + self._frame != holds or (text := self._text(inner)) is None:
            return None
        self.used = True
        if self._retold is None:
            return data, holds
        told = text.join(self._retold)
        holds = len(told)
        return b"%x\r\n%b\r\n" % (holds, told), holds

    def _several(self, data: bytes) -> tuple[bytes, int]:
        if not data.startswith(self._before):
            return b"", 0
        told, reached = [], 0
        *inners, last = data[len(self._before) :].split(self._joint)
        # Behind the last there may be anything: an event that is cut, or another one.
        for inner in (*inners, *last.split(self._after, 1)[:-1]):
            text = self._text(inner)
            if text is None:
                break
            told.append(text)
            reached += self._frame + len(inner)
        if not reached:
            return b"", 0
        self.used = True
        if self._retold is None:
            return data[:reached], reached
        head, tail = self._retold
        return b"".join((head, (tail + head).join(told), tail)), reached

    def _text(self, inner: bytes) -> bytes | None:
        """The text, as the caller gets it; None if this is anything else than a text, or a text and its padding."""
        if self._between:
            inner, between, padding = inner.partition(self._between)
            if not between or (padding and (padding.strip(b" ") if self._retold else not _is_string(padding))):
                return None
        try:
            text = inner.decode()
            if '"' in text or "\\" in text or not text.isprintable():
                # To parse it costs more by far, and few need it.
                said = orjson.loads(b'"%b"' % inner)
                return inner if self._retold is None else dumps(said)[1:-1]
        except ValueError:
            return None
        return inner or None


def _is_string(letters: bytes) -> bool:
    """Are they, between quotes, a string of JSON?"""
    try:
        orjson.loads(b'"%b"' % letters)
    except ValueError:
        return False
    return True


def cast(event: bytes, document: Mapping[str, Any]) -> Mould | None:
    """The mould of an event that was read as content, and what it was read as; None where it says more than a text."""
    if not _plain(document) or (match := _TEXT.search(event)) is None:
        return None
    # Without escapes by number a key is spelled in one way only, so one `"content"` is all there is.
    if event.count(b'"content"') != 1 or b"\\u" in event:
        return None
    before, after = event[: match.start(1)], event[match.end(1) :]
    padding = _PADDING.search(event, match.end())
    if padding is None:
        return Mould(before, b"", after)
    return Mould(before, event[match.end(1) : padding.start(1)], event[padding.end(1) :])


def _plain(document: Mapping[str, Any]) -> bool:
    """Does it say one choice's text, and no usage?"""
    choices = document.get("choices")
    if type(choices) is not list or len(choices) != 1 or document.get("usage") is not None:
        return False
    delta = choices[0].get("delta") if type(choices[0]) is dict else None
    text = delta.get("content") if type(delta) is dict else None
    return type(text) is str and text != ""


def recast(event: bytes, key: bytes, text: bytes, retold: tuple[bytes, bytes]) -> Mould | None:
    """The mould of an event of Anthropic's of which nothing but the value of `key`, which is `text`, was told: around
    it stands what is `retold`.
    """
    before, told, after = event.partition(b'"%b":%b' % (key, text))
    # As above: there is no other key of the name, and it was told what it says.
    if not told or event.count(b'"%b"' % key) != 1 or b"\\u" in event or not _BRACES.fullmatch(b'"' + after):
        return None
    return Mould(before + told[: len(key) + 4], b'"}', b"}\n\n", retold)


class Moulds:
    """The latest mould of one stream."""

    __slots__ = ("_left", "latest")

    def __init__(self) -> None:
        self.latest: Mould | None = None
        self._left = _TRIES

    @property
    def wanting(self) -> bool:
        """An event was parsed that is content: is it worth while to cast it?"""
        if self.latest is not None and self.latest.used:
            self._left = _TRIES
        return self._left > 0

    def keep(self, mould: Mould | None) -> None:
        """It was cast from that event."""
        if mould is not None:
            self.latest = mould
            self._left -= 1

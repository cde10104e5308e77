"""The shape of a stream's plain event: most events of an answer differ in their text alone, and need no parse.

1. What fits is, byte for byte, the event that the mould was cast from with another text, and a text is a JSON string
   that is not empty. So whatever a parse would find there, but for the text, has been found in that event already.
2. Only an event is cast that, but for the text of its one choice, tells nothing by being read once more: no usage.
3. In doubt nothing fits: the parse decides. What a mould says of an event is what the parse would have made of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from proxy.providers.chunks import HEADS, framed, held
from proxy.providers.lenient import dumps
from proxy.terms import Shape

# Within JSON these bytes are a key and its value: a quote inside of a string has a backslash before it.
_TEXT: Final = re.compile(rb'"content" ?: ?"((?:[^"\\]|\\.)+)"', re.DOTALL)
_PADDING: Final = re.compile(rb'"obfuscation" ?: ?"((?:[^"\\]|\\.)*)"', re.DOTALL)
"""OpenAI's noise, which makes lengths say nothing of texts."""
_BRACES: Final = re.compile(rb'"\} *\}\n\n')
"""How Anthropic's events end: its noise is blanks."""
_TRIES: Final = 4
"""Moulds that fit nothing, after which no more are cast."""
_BACKSLASH: Final = 0x5C
_PLAIN: Final = bytes(letter if 32 <= letter <= 126 and letter not in b'"\\' else letter ^ 255 for letter in range(256))
"""Leaves ASCII as it is that stands for itself between quotes, and nothing else."""


class Mould(Shape):
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
        begins, ends = len(self._before), len(data) - len(self._after)
        if not data.startswith(self._before):
            return b"", 0
        if begins > ends or ends - begins >= self._frame or not data.endswith(self._after):
            return self._several(data)
        # One event, as nearly all come.
        text = self._text(data[begins:ends])
        if text is None:
            return b"", 0
        self.used = True
        return (data if self._retold is None else text.join(self._retold)), len(data)

    def chunk(self, data: bytes) -> tuple[bytes, int]:
        # Per event of a stream, so each step is one that takes no time.
        size = len(data)
        holds = held(size)
        if not holds:
            return b"", 0
        head, end = HEADS[holds], self._end
        starts = len(head)
        begins, ends = starts + len(self._before), size - len(end)
        if begins >= ends or not data.startswith(head) or data[starts:begins] != self._before or not data.endswith(end):
            return b"", 0
        text = self._text(data[begins:ends])
        if text is None:
            return b"", 0
        self.used = True
        if self._retold is None:
            return data, holds
        told = text.join(self._retold)
        return framed(told), len(told)

    def _several(self, data: bytes) -> tuple[bytes, int]:
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
        if inner.translate(_PLAIN) == inner:
            return inner if len(inner) else None
        try:
            text = inner.decode()
            if '"' in text or "\\" in text or not text.isprintable():
                # To parse it costs more by far, and few need it.
                said = orjson.loads(b'"%b"' % inner)
                return inner if self._retold is None else dumps(said)[1:-1]
        except ValueError:
            return None
        return inner


def _is_string(letters: bytes) -> bool:
    """Are they, between quotes, a string of JSON?"""
    if letters.translate(_PLAIN) == letters:
        return True
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
    if event.count(b'"content"') != 1 or (_BACKSLASH in event and b"\\u" in event):
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

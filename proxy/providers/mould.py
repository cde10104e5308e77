"""The shape of a stream's plain chunk: most chunks of an answer differ in their text alone, and need no parse.

1. What fits is, byte for byte, the chunk that the mould was cast from with another text, and a text is a JSON string
   that is not empty. So whatever a parse would find there, but for the text, has been found in that chunk already.
2. Only a chunk is cast that, but for the text of its one choice, tells nothing by being read once more: no usage.
3. In doubt nothing fits: the parse decides.
"""

from __future__ import annotations

import re

import orjson

from proxy.providers import sse

# Within JSON these bytes are a key and its value: a quote inside of a string has a backslash before it.
_TEXT = re.compile(rb'"content" ?: ?"((?:[^"\\]|\\.)+)"', re.DOTALL)
_PADDING = re.compile(rb'"obfuscation" ?: ?"((?:[^"\\]|\\.)*)"', re.DOTALL)
"""OpenAI's noise, which makes lengths say nothing of texts."""
_TRIES = 4
"""Moulds that fit nothing, after which no more are cast."""


class Mould:
    """The bytes of a chunk before and behind its text, and between its text and its padding if it has any."""

    __slots__ = ("_after", "_before", "_between", "_from", "_least", "_upto", "used")

    def __init__(self, before: bytes, between: bytes, after: bytes) -> None:
        """Each begins and ends with the quotes of the strings that it stands beside."""
        self._before, self._between, self._after = before, between, after
        # What lies between the two is cut with its quotes.
        self._from, self._upto = len(before) - 1, 1 - len(after)
        self._least = len(before) + len(between) + len(after)
        self.used = False
        """Something fitted."""

    def fits(self, event: bytes) -> bool:
        """Is this event the one that was cast, with another text?"""
        if not (event.startswith(self._before) and event.endswith(self._after) and len(event) > self._least):
            return False
        text = event[self._from : self._upto]
        try:
            if self._between:
                text, _, padding = text.partition(self._between)
                text += b'"'
                orjson.loads(b'"' + padding)
            orjson.loads(text)
        except orjson.JSONDecodeError:
            return False
        self.used = True
        return text != b'""'


def cast(event: bytes) -> Mould | None:
    """The mould of an event that was read as content; None where it says more than one text."""
    match = _TEXT.search(event)
    # Without escapes by number a key is spelled in one way only, so one `"content"` is all there is.
    if match is None or event.count(b'"content"') != 1 or b"\\u" in event or not _plain(event):
        return None
    before, after = event[: match.start(1)], event[match.end(1) :]
    padding = _PADDING.search(event, match.end())
    if padding is None:
        return Mould(before, b"", after)
    return Mould(before, event[match.end(1) : padding.start(1)], event[padding.end(1) :])


def _plain(event: bytes) -> bool:
    """Does it say one choice's text, and no usage?"""
    try:
        document = orjson.loads(sse.parse(event)[1] or b"")
    except orjson.JSONDecodeError:
        return False
    match document:
        case {"choices": [{"delta": {"content": str(text)}}], **rest}:
            return bool(text) and rest.get("usage") is None
        case _:
            return False


class Moulds:
    """The latest mould of one stream."""

    __slots__ = ("_left", "_mould")

    def __init__(self) -> None:
        self._mould: Mould | None = None
        self._left = _TRIES

    def fit(self, event: bytes) -> bool:
        """Does the event need no parse? Then it is content, and changes nothing of what is known of its stream."""
        return self._mould is not None and self._mould.fits(event)

    def learn(self, event: bytes) -> None:
        """The event was parsed, and is content."""
        if self._mould is not None and self._mould.used:
            self._left = _TRIES
        if self._left and (mould := cast(event)) is not None:
            self._mould = mould
            self._left -= 1

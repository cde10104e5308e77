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
    """What stands before, between and behind the strings that differ: the text, and the padding if there is any."""

    __slots__ = ("_after", "_before", "_between", "_frame", "_joint", "used")

    def __init__(self, before: bytes, between: bytes, after: bytes) -> None:
        """Each begins and ends with the quotes of the strings that it stands beside."""
        self._before, self._between, self._after = before, between, after
        self._joint, self._frame = after + before, len(before) + len(after)
        self.used = False
        """Something fitted."""

    def reach(self, data: bytes) -> int:
        """How many bytes are the event that was cast, once or more often, with other texts? From the first one on."""
        inner = data.removeprefix(self._before).removesuffix(self._after)
        if len(inner) + self._frame == len(data) and len(inner) < self._frame:
            # One event, as nearly all come.
            reached = len(data) if self._tells(inner) else 0
        else:
            reached = self._reach(data)
        self.used = self.used or reached > 0
        return reached

    def _reach(self, data: bytes) -> int:
        if not data.startswith(self._before):
            return 0
        reached = 0
        *texts, last = data[len(self._before) :].split(self._joint)
        # Behind the last there may be anything: an event that is cut, or another one.
        for text in (*texts, *last.split(self._after, 1)[:-1]):
            if not self._tells(text):
                break
            reached += self._frame + len(text)
        return reached

    def _tells(self, text: bytes) -> bool:
        """Is it a text, or a text and its padding?"""
        if self._between:
            text, between, padding = text.partition(self._between)
            if not between or not _is_string(padding):
                return False
        return bool(text) and _is_string(text)


def _is_string(letters: bytes) -> bool:
    """Are they, between quotes, a string of JSON?"""
    try:
        text = letters.decode()
        if '"' in text or "\\" in text or not text.isprintable():
            # To parse it costs more by far, and few need it.
            orjson.loads(b'"%b"' % letters)
    except ValueError:
        return False
    return True


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

    __slots__ = ("_left", "latest")

    def __init__(self) -> None:
        self.latest: Mould | None = None
        self._left = _TRIES

    def fit(self, event: bytes) -> bool:
        """Does the event need no parse? Then it is content, and changes nothing of what is known of its stream."""
        return self.latest is not None and self.latest.reach(event) == len(event)

    def learn(self, event: bytes) -> None:
        """The event was parsed, and is content."""
        if self.latest is not None and self.latest.used:
            self._left = _TRIES
        if self._left and (mould := cast(event)) is not None:
            self.latest = mould
            self._left -= 1

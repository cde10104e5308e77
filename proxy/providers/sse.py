"""Server-sent events, bytes in, whole events out.

1. What comes out, put together, is what went in: nothing is normalised, so the relay can forward it untouched.
2. CR, LF and CRLF end a line; a blank line ends an event; any split of the bytes gives the same events to a parser.
3. An event larger than MAX_EVENT raises EventTooLarge: memory per stream is bounded.
"""

from __future__ import annotations

import re
from typing import Final

MAX_EVENT: Final = 16 * 1024 * 1024
"""Bytes. A Responses stream repeats its whole answer in one last event, so this is generous."""

_BLANK_LINE: Final = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_BOM = b"\xef\xbb\xbf"
_CR: Final = 13
"""As a number: bytes are asked for bytes by way of an exception (in CPython), which takes ten times as long."""


class EventTooLarge(Exception):
    """One event outgrew MAX_EVENT bytes."""


class Splitter:
    """Cuts a byte stream after each event's blank line."""

    def __init__(self) -> None:
        self.pending = bytearray()
        """The beginning of an event."""
        self._scanned = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes, each with its closing blank line."""
        pending = self.pending
        if not pending and data.endswith(b"\n\n") and _CR not in data:
            # As nearly all streams are written and arrive.
            return [event + b"\n\n" for event in data[:-2].split(b"\n\n")]
        pending += data
        events, start = [], 0
        # A blank line may straddle two chunks: its first three bytes can be old ones.
        match = _BLANK_LINE.search(pending, max(0, self._scanned - 3))
        while match:
            events.append(bytes(pending[start : match.end()]))
            start = match.end()
            match = _BLANK_LINE.search(pending, start)
        if start:
            del pending[:start]
        self._scanned = len(pending)
        if len(pending) > MAX_EVENT:
            raise EventTooLarge
        return events

    def finish(self) -> bytes:
        """What is left: an event without its closing blank line, or nothing."""
        rest, self.pending, self._scanned = bytes(self.pending), bytearray(), 0
        return rest


def parse(event: bytes) -> tuple[str, bytes | None]:
    """An event's name and its data lines joined; data is None for comments and for events without any."""
    if event.endswith(b"\n\n") and _CR not in event:
        # As nearly all streams are written: one line of data, or one with the event's name before it.
        if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2:
            return "", event[6:-2]
        lines = event.count(b"\n")
        if lines == 3 and event.startswith(b"event: "):
            title, between, said = event[7:-2].partition(b"\ndata: ")
            if between:
                return title.decode("utf-8", "replace"), said
    name, data = "", None
    for line in event.removeprefix(_BOM).splitlines():
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data = value if data is None else data + b"\n" + value
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return name, data


def comment(text: str) -> bytes:
    """A comment event: every SSE parser skips it. `text` is one line of ours."""
    return b": " + text.encode("ascii", "replace") + b"\n\n"

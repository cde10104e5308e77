"""A chat's stream, as its own reader gives it, told on as a stream of the Responses API.

1. What is content, what an error and what the end is the chat's reader to say; here it only changes its words.
2. The stream is whole once its last event was told, and that is told only of a chat that was whole.
3. What the last event repeats is kept, and no more than MOST of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.providers import lenient, sse
from proxy.providers.responses.telling import Telling
from proxy.terms import Shape, Sign, StreamEvent, StreamReader, Usage

MOST = sse.MAX_EVENT
"""Characters."""
_GARBAGE = StreamEvent(b"", Sign.GARBAGE)


class ChatRetold:
    """One streamed answer."""

    plain: Shape | None = None

    def __init__(self, chat: StreamReader, asked: Mapping[str, Any], now_unix: float) -> None:
        """`chat` reads what comes; `asked` is the caller's request."""
        self._chat, self._telling = chat, Telling(asked, now_unix)
        self.usage: Usage | None = None
        self.model: str | None = None
        self._ended = False

    @property
    def whole(self) -> bool:
        return self._ended

    def feed(self, data: bytes) -> list[StreamEvent]:
        return self._retold(self._chat.feed(data))

    def finish(self) -> list[StreamEvent]:
        events = self._retold(self._chat.finish())
        if self._chat.whole and not self._ended and self._telling.kept <= MOST:
            # Servers that close without `[DONE]`, after a finish reason.
            events.append(self._end(b""))
        return events

    def _retold(self, events: list[StreamEvent]) -> list[StreamEvent]:
        retold = [self._event(event) for event in events if not self._ended]
        self.usage, self.model = self._chat.usage, self._chat.model
        return retold

    def _event(self, event: StreamEvent) -> StreamEvent:
        if event.sign not in (Sign.LIFE, Sign.CONTENT, Sign.DONE):
            return StreamEvent(b"", event.sign, event.error)
        told, spoke = b"", False
        splitter = sse.Splitter()
        for raw in (*splitter.feed(event.raw), splitter.finish()):
            data = sse.parse(raw)[1]
            if not data or data.isspace():
                # A comment, which every reader skips.
                told += raw
            elif not data.startswith(b"[DONE]"):
                told += self._telling.piece(lenient.loads(data))
                spoke = spoke or self._telling.spoke
        if self._telling.kept > MOST:
            return _GARBAGE
        if event.sign is Sign.DONE:
            return self._end(told) if self._chat.whole else StreamEvent(b"", Sign.DONE)
        return StreamEvent(told, Sign.CONTENT if spoke else Sign.LIFE)

    def _end(self, before: bytes) -> StreamEvent:
        self._ended = True
        return StreamEvent(before + self._telling.end(), Sign.DONE)

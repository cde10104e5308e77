"""A ChatGPT account's stream: the Responses API, with events of its own between, and an end that repeats nothing.

1. A caller sees OpenAI's events alone: any other becomes a comment, which is a sign of life and no content.
2. The last event has the whole answer, put together of the items that were done, where the source leaves it out. What
   is kept for that is no more than MOST.
3. For a caller who asked for no stream the last event is the answer itself, and nothing stands before it. An answer of
   which something was told but nothing was done is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.providers import sse
from proxy.providers.lenient import dumps
from proxy.providers.openai import ResponsesReader
from proxy.terms import Shape, Sign, StreamEvent, Usage

MOST = sse.MAX_EVENT
"""Bytes of the events that tell of items which are done."""
_QUIET = sse.comment("waiting")
_OURS = "response."
_NOT_OURS = frozenset({"response.metadata"})
"""What the backend calls like OpenAI's own and is none of them."""
_ENDS: Mapping[str, str] = {"response.completed": "completed", "response.incomplete": "incomplete"}


class AccountReader(ResponsesReader):
    """One streamed answer."""

    def __init__(self, named: Callable[[str], str | None]) -> None:
        super().__init__(named)
        self.response: dict[str, Any] | None = None
        """The whole answer, once the stream has ended with one."""
        self._found: tuple[str, Mapping[str, Any]] | None = None
        """What the event at hand says, until it is told."""
        self._done: dict[int, Mapping[str, Any]] = {}
        """Items by their place."""
        self._kept = 0

    def _read(self, name: str, document: dict[str, Any]) -> tuple[Sign, Mapping[str, Any] | None]:
        kind = self.kind(name, document)
        self._found = kind, document
        if (not kind.startswith(_OURS) or kind in _NOT_OURS) and kind != "error" and not document.get("error"):
            return Sign.LIFE, None
        return super()._read(name, document)

    def _event(self, raw: bytes) -> StreamEvent:
        event = super()._event(raw)
        found, self._found = self._found, None
        if found is None:
            # A comment, or a name without anything to it, which the caller's SDK could not read.
            quiet = event.sign is Sign.LIFE and not raw.startswith(b":")
            return StreamEvent(_QUIET, Sign.LIFE) if quiet else event
        kind, document = found
        if event.sign is Sign.LIFE and (not kind.startswith(_OURS) or kind in _NOT_OURS):
            return StreamEvent(_QUIET, Sign.LIFE)
        if kind == "response.output_item.done":
            return self._keep(event, document)
        return self._last(event, kind, document) if kind in _ENDS else event

    def _keep(self, event: StreamEvent, document: Mapping[str, Any]) -> StreamEvent:
        place, item = document.get("output_index"), document.get("item")
        self._kept += len(event.raw)
        if self._kept > MOST:
            return StreamEvent(b"", Sign.GARBAGE)
        if isinstance(item, Mapping):
            self._done[place if isinstance(place, int) else len(self._done)] = item
        return event

    def _last(self, event: StreamEvent, kind: str, document: Mapping[str, Any]) -> StreamEvent:
        found = document.get("response")
        response = dict(found) if isinstance(found, Mapping) else {}
        self.response = {"object": "response", "status": _ENDS[kind], **response}
        if response.get("output") or not self._done:
            return event
        self.response["output"] = [self._done[place] for place in sorted(self._done)]
        whole = dumps({**document, "type": kind, "response": self.response})
        return StreamEvent(b"event: " + kind.encode() + b"\ndata: " + whole + b"\n\n", event.sign)


class Gatherer:
    """The same stream, read for a caller who asked for none."""

    def __init__(self, named: Callable[[str], str | None]) -> None:
        self.plain: Shape | None = None
        self._reader = AccountReader(named)
        self.usage: Usage | None = None
        self.model: str | None = None
        self._told = False

    @property
    def whole(self) -> bool:
        return self._answer() is not None

    def feed(self, data: bytes) -> list[StreamEvent]:
        return self._gathered(self._reader.feed(data))

    def finish(self) -> list[StreamEvent]:
        return self._gathered(self._reader.finish())

    def _gathered(self, events: list[StreamEvent]) -> list[StreamEvent]:
        self.usage, self.model = self._reader.usage, self._reader.model
        return [self._event(event) for event in events]

    def _event(self, event: StreamEvent) -> StreamEvent:
        self._told = self._told or event.sign is Sign.CONTENT
        answer = self._answer() if event.sign is Sign.DONE else None
        return StreamEvent(b"" if answer is None else dumps(answer), event.sign, event.error)

    def _answer(self) -> Mapping[str, Any] | None:
        response = self._reader.response
        return None if response is None or (self._told and not response.get("output")) else response

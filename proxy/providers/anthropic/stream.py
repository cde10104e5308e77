"""A stream of the Messages API, read event by event, and spoken on as chunks of a chat completion.

1. Each event is at most one event for the caller; one that says nothing there (a signature, say) is none.
2. Calls of tools are counted by themselves, whatever stands between them; their arguments, put together, are JSON also
   where the model gave none.
3. The stream is whole on `message_stop` after a stop reason, and on nothing else. It is followed by the usage, where
   the caller asked for it, and by `[DONE]`.
4. Nearly all events are a few words of text. They are not even parsed: what differs in them is put between bytes that
   were made beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.providers import lenient, sse
from proxy.providers.anthropic import answer
from proxy.providers.lenient import dumps
from proxy.providers.mould import Moulds, recast
from proxy.terms import Shape, Sign, StreamEvent, Usage

_PING = b": ping\n\n"
_DONE = b"data: [DONE]\n\n"
_GARBAGE = StreamEvent(b"", Sign.GARBAGE)


class MessagesReader:
    """One streamed answer."""

    def __init__(self, named: Callable[[str], str | None], now_unix: float, *, with_usage: bool) -> None:
        """`now_unix` is when the answer is said to be made; `with_usage`: the caller wants it told at the end."""
        self.usage: Usage | None = None
        self.model: str | None = None
        self.plain: Shape | None = None
        self._splitter, self._moulds = sse.Splitter(), Moulds()
        self._named, self._created = named, int(now_unix)
        self._with_usage = with_usage
        self._head = self._text = self._thought = b""
        """What every chunk begins with, and how chunks of text and of thoughts go on; empty before message_start."""
        self._tail = b'},"logprobs":null,"finish_reason":null}]' + (b',"usage":null}\n\n' if with_usage else b"}\n\n")
        self._counts: dict[str, Any] = {}
        self._calls: dict[int, int] = {}
        """Of blocks that are calls: which call each is."""
        self._silent: dict[int, bytes] = {}
        """Calls whose arguments have not begun: what they are if none come."""
        self._finished = self._stopped = False

    @property
    def whole(self) -> bool:
        return self._finished and self._stopped

    def feed(self, data: bytes) -> list[StreamEvent]:
        try:
            raws = self._splitter.feed(data)
        except sse.EventTooLarge:
            return [_GARBAGE]
        events = [event for raw in raws if (event := self._event(raw)) is not None]
        self.plain = None if self._splitter.pending else self._moulds.latest
        return events

    def finish(self) -> list[StreamEvent]:
        event = self._event(self._splitter.finish())
        return [event] if event is not None and event.sign is not Sign.GARBAGE else []

    def _event(self, raw: bytes) -> StreamEvent | None:
        mould = self._moulds.latest
        if mould is not None:
            told, reached = mould.glance(raw)
            if reached == len(raw) > 0:
                return StreamEvent(told, Sign.CONTENT)
        data = sse.parse(raw)[1]
        if not data or data.isspace():
            return None
        try:
            document = lenient.loads(data)
        except ValueError:
            return _GARBAGE
        if not isinstance(document, dict):
            return _GARBAGE
        kind = document.get("type")
        if kind == "content_block_delta":
            return self._delta(raw, document)
        read = _READ.get(kind) if isinstance(kind, str) else None
        # What this version does not know of says nothing: the API promises more kinds of events.
        return read(self, document) if read is not None else None

    def _delta(self, raw: bytes, document: dict[str, Any]) -> StreamEvent | None:
        delta = document.get("delta")
        if type(delta) is not dict or not self._head:
            return _GARBAGE
        kind = delta.get("type")
        if kind == "text_delta":
            return self._words(self._text, delta.get("text"), (raw, b"text"))
        if kind == "input_json_delta":
            return self._arguments(document.get("index"), delta.get("partial_json"))
        if kind == "thinking_delta":
            return self._words(self._thought, delta.get("thinking"), (raw, b"thinking"))
        return None

    def _words(self, head: bytes, words: object, said: tuple[bytes, bytes] | None = None) -> StreamEvent | None:
        """`said`: the event that said nothing else, and as what."""
        if not words:
            return None
        if type(words) is not str:
            return _GARBAGE
        text = dumps(words)
        if said is not None and self._moulds.wanting:
            self._moulds.keep(recast(*said, text, (head + b'"', b'"' + self._tail)))
        return StreamEvent(head + text + self._tail, Sign.CONTENT)

    def _arguments(self, index: object, part: object) -> StreamEvent | None:
        if not part or not isinstance(index, int) or index not in self._calls:
            # A beginning that says nothing yet, or a tool of the source's own.
            return None
        if type(part) is not str:
            return _GARBAGE
        self._silent.pop(index, None)
        return self._call(b'{"index":%d,"function":{"arguments":%b}}' % (self._calls[index], dumps(part)))

    def _call(self, call: bytes) -> StreamEvent:
        return StreamEvent(self._head + b'{"tool_calls":[' + call + b"]" + self._tail, Sign.CONTENT)

    # -- the events that come once, or once a block

    def _start(self, document: Mapping[str, Any]) -> StreamEvent:
        message = document.get("message")
        if not isinstance(message, Mapping) or self._head:
            return _GARBAGE
        model = message.get("model") if isinstance(message.get("model"), str) else ""
        if model:
            self.model = self._named(model)
        self._count(message.get("usage"))
        shared = {"id": str(message.get("id") or ""), "object": "chat.completion.chunk", "created": self._created}
        # Open to what follows: the choice's delta is the last thing in it.
        self._shared = b"data: " + dumps({**shared, "model": model})[:-1]
        self._head = self._shared + b',"choices":[{"index":0,"delta":'
        self._text, self._thought = self._head + b'{"content":', self._head + b'{"reasoning_content":'
        return StreamEvent(self._head + b'{"role":"assistant","content":"","refusal":null' + self._tail, Sign.LIFE)

    def _block(self, document: Mapping[str, Any]) -> StreamEvent | None:
        block, index = document.get("content_block"), document.get("index")
        if not isinstance(block, Mapping) or not isinstance(index, int) or not self._head:
            return _GARBAGE
        match block.get("type"):
            case "tool_use":
                self._calls[index] = number = len(self._calls)
                self._silent[index] = dumps(dumps(block.get("input") or {}).decode())
                named = dumps({"name": str(block.get("name") or ""), "arguments": ""})
                ids = (number, dumps(str(block.get("id") or "")), named)
                return self._call(b'{"index":%d,"id":%b,"type":"function","function":%b}' % ids)
            case "text":
                return self._words(self._text, block.get("text"))
            case "thinking":
                return self._words(self._thought, block.get("thinking"))
            case _:
                return None

    def _block_end(self, document: Mapping[str, Any]) -> StreamEvent | None:
        index = document.get("index")
        silent = self._silent.pop(index, None) if isinstance(index, int) else None
        if silent is None or not isinstance(index, int):
            return None
        return self._call(b'{"index":%d,"function":{"arguments":%b}}' % (self._calls[index], silent))

    def _end(self, document: Mapping[str, Any]) -> StreamEvent | None:
        self._count(document.get("usage"))
        delta = document.get("delta")
        reason = delta.get("stop_reason") if isinstance(delta, Mapping) else None
        if not isinstance(delta, Mapping) or not self._head:
            return _GARBAGE
        if not isinstance(reason, str) or self._finished:
            return None
        self._finished = True
        refusal = answer.refused(delta.get("stop_details"))
        said = dumps({"refusal": refusal} if refusal else {})[:-1]
        tail = self._tail.replace(b"null}]", dumps(answer.finish(reason)) + b"}]", 1)
        return StreamEvent(self._head + said + tail, Sign.CONTENT)

    def _stop(self, _: Mapping[str, Any]) -> StreamEvent:
        self._stopped = True
        if not self._with_usage or not self._head:
            return StreamEvent(_DONE, Sign.DONE)
        cost = b',"choices":[],"usage":' + dumps(answer.usage(self._counts)[0]) + b"}\n\n"
        return StreamEvent(self._shared + cost + _DONE, Sign.DONE)

    def _ping(self, _: Mapping[str, Any]) -> StreamEvent:
        return StreamEvent(_PING, Sign.LIFE)

    def _error(self, document: Mapping[str, Any]) -> StreamEvent:
        error = document.get("error")
        return StreamEvent(b"", Sign.ERROR, error if isinstance(error, Mapping) else document)

    def _count(self, counts: object) -> None:
        """Later counts hold: they are sums, but say only what has changed."""
        if isinstance(counts, Mapping):
            self._counts |= {key: value for key, value in counts.items() if value is not None}
            self.usage = answer.usage(self._counts)[1]


_READ: Mapping[str, Callable[[MessagesReader, dict[str, Any]], StreamEvent | None]] = {
    "message_start": MessagesReader._start,
    "content_block_start": MessagesReader._block,
    "content_block_stop": MessagesReader._block_end,
    "message_delta": MessagesReader._end,
    "message_stop": MessagesReader._stop,
    "ping": MessagesReader._ping,
    "error": MessagesReader._error,
}

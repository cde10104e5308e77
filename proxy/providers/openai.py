"""OpenAI's own protocol: what goes up, and how its answers are read. Homeport's callers and most sources speak it.

1. A request keeps its bytes: only the values of top-level `model` keys are replaced, and the members that the tier's
   `params` name.
2. Content is anything a caller could show or act on; role-only chunks, pings, comments and lifecycle events are signs
   of life.
3. A stream is whole only by its own word: `[DONE]` after something was said, or a finish reason for every choice seen;
   for Responses its completed, incomplete or failed event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from proxy.providers import lenient, splice, sse
from proxy.providers.mould import Moulds, cast
from proxy.terms import (
    CHAT,
    COMPLETIONS,
    RESPONSES,
    Binding,
    Endpoint,
    Params,
    Question,
    Shape,
    Sign,
    StreamEvent,
    StreamReader,
    Usage,
)

_MODEL: Final = b'"model"'
_MODEL_COLON: Final = b'"model":'
_VALUE: Final = re.compile(rb'\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")', re.DOTALL)


def render(question: Question, binding: Binding) -> bytes:
    """The request body for one tier."""
    body, model = question.body, binding.bound_model
    if binding.amends:
        return _with_params(question, binding)
    if model is None or model == question.model:
        return body
    value = orjson.dumps(model)
    if "model" not in question.document:
        return splice.edit(body, lambda _: True, {b'"model"': value})
    # One `"model"` in the whole body, and no escape that could spell the key another way: that one is the key. Nearly
    # always it comes first, and to look for one byte is quicker by far.
    key = body.find(_MODEL)
    if key >= 0 and body.rfind(_MODEL) == key and (body.find(b"\\") < 0 or b"\\u" not in body):
        start = key + len(_MODEL_COLON)
        said = f'"{question.model}"'.encode()
        if body.startswith(said, start) and body.startswith(_MODEL_COLON, key):
            return b"".join((body[:start], value, body[start + len(said) :]))
        if (match := _VALUE.match(body, key + len(_MODEL))) is not None:
            return b"".join((body[: match.start(1)], value, body[match.end(1) :]))
    return splice.edit(body, lambda key: value if key == "model" else True, {})


def _with_params(question: Question, binding: Binding) -> bytes:
    params, document = binding.params, question.document
    new = {key: orjson.dumps(value) for key, value in params.set.items()}
    for key, bound in params.cap.items():
        if key not in new and _over(document.get(key), bound):
            new[key] = orjson.dumps(bound)
    if binding.bound_model is not None:
        new["model"] = orjson.dumps(binding.bound_model)

    def change(key: str) -> bytes | bool:
        return new.get(key, key not in params.drop)

    return splice.edit(
        question.body, change, {orjson.dumps(key): value for key, value in new.items() if key not in document}
    )


def amended(document: Mapping[str, Any], params: Params) -> Mapping[str, Any]:
    """A request's document with a tier's `params` applied, for a dialect that writes it anew."""
    if not params:
        return document
    capped = {key: bound for key, bound in params.cap.items() if _over(document.get(key), bound)}
    return {key: value for key, value in document.items() if key not in params.drop} | capped | dict(params.set)


def _over(value: object, bound: int | float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > bound


def needs(document: Mapping[str, Any]) -> frozenset[str]:
    """What a request asks of a model beyond text: tools, images, json_schema."""
    wanted = set()
    if document.get("tools") or document.get("functions"):
        wanted.add("tools")
    form = document.get("response_format") or (_mapping(document.get("text")).get("format"))
    if _mapping(form).get("type") == "json_schema":
        wanted.add("json_schema")
    for turn in _mappings(document.get("messages")) + _mappings(document.get("input")):
        if any(part.get("type") in ("image_url", "input_image") for part in _mappings(turn.get("content"))):
            wanted.add("images")
    return frozenset(wanted)


_STORED = ("previous_response_id", "conversation", "prompt")


def stored_state(document: Mapping[str, Any]) -> str | None:
    """The field of a Responses request that names something kept at one source; None when any tier could serve it."""
    for field in _STORED:
        if document.get(field):
            return field
    if document.get("background") is True:
        return "background"
    for index, tool in enumerate(_mappings(document.get("tools"))):
        for field in ("vector_store_ids", "container"):
            value = tool.get(field)
            if value and not (isinstance(value, dict) and value.get("type") == "auto" and not value.get("file_ids")):
                return f"tools[{index}].{field}"
    for index, item in enumerate(_mappings(document.get("input"))):
        if item.get("type") == "item_reference":
            return f"input[{index}]"
        if item.get("encrypted_content"):
            return f"input[{index}].encrypted_content"
        if any(part.get("file_id") for part in _mappings(item.get("content"))):
            return f"input[{index}].content.file_id"
    return None


# Documents come from a parser, which makes every object a dict; asking for a Mapping would take ten times as long.
def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def read_usage(usage: object) -> Usage | None:
    """Tokens from a `usage` object of either API, or None if there is none."""
    if not isinstance(usage, dict):
        return None
    get = usage.get
    of_input = get("prompt_tokens_details") or get("input_tokens_details")
    of_output = get("completion_tokens_details") or get("output_tokens_details")
    return Usage(
        _count(get("prompt_tokens")) or _count(get("input_tokens")),
        _count(get("completion_tokens")) or _count(get("output_tokens")),
        _count(of_input.get("cached_tokens")) if of_input and isinstance(of_input, dict) else 0,
        _count(of_output.get("reasoning_tokens")) if of_output and isinstance(of_output, dict) else 0,
    )


def _count(said: object) -> int:
    """What an upstream says may be anything; a count is no less than nothing, and no more than JSON can say exactly."""
    return said if type(said) is int and 0 <= said < 2**53 else 0


def stream_reader(endpoint: Endpoint, named: Callable[[str], str | None] = str) -> StreamReader:
    """A fresh reader for one streamed answer of `endpoint`; `named` says what may be told of its model's name."""
    if endpoint is RESPONSES:
        return ResponsesReader(named)
    if endpoint is CHAT or endpoint is COMPLETIONS:
        return ChoicesReader(named)
    raise ValueError(f"{endpoint.name} has no streamed form")


# Per event or stream: to ask the class for one of its members takes ten times as long.
_CONTENT: Final = Sign.CONTENT
_LIFE: Final = Sign.LIFE
_NOTHING: Final[Mapping[str, Any]] = {}


class _Reader:
    """What both readers share: events cut, data parsed, and one verdict asked of the subclass."""

    def __init__(self, named: Callable[[str], str | None]) -> None:
        self.plain: Shape | None = None
        self._splitter, self._named = sse.Splitter(), named
        self.usage: Usage | None = None
        self.model: str | None = None

    def feed(self, data: bytes) -> list[StreamEvent]:
        try:
            return [self._event(raw) for raw in self._splitter.feed(data)]
        except sse.EventTooLarge:
            return [StreamEvent(b"", Sign.GARBAGE)]

    def finish(self) -> list[StreamEvent]:
        rest = self._splitter.finish()
        event = self._event(rest) if rest.strip() else None
        return [event] if event and event.sign is not Sign.GARBAGE else []

    def _event(self, raw: bytes) -> StreamEvent:
        name, data = sse.parse(raw)
        if not data or data.isspace():
            return StreamEvent(raw, Sign.LIFE)
        if data.startswith(b"[DONE]"):
            return StreamEvent(raw, self._end())
        try:
            document = lenient.loads(data)
        except ValueError:
            return StreamEvent(raw, Sign.GARBAGE)
        if not isinstance(document, dict):
            return StreamEvent(raw, Sign.GARBAGE)
        sign, error = self._read(name, document)
        return StreamEvent(raw, sign, error)

    def _end(self) -> Sign:
        raise NotImplementedError

    def _read(self, name: str, document: dict[str, Any]) -> tuple[Sign, Mapping[str, Any] | None]:
        raise NotImplementedError

    def _note(self, answer: Mapping[str, Any]) -> None:
        if (usage := answer.get("usage")) is not None:
            self.usage = read_usage(usage) or self.usage
        # Azure's first chunk is about the prompt, and its model has no name.
        if self.model is None and (model := answer.get("model")) and isinstance(model, str):
            self.model = self._named(model)


def _error_in(document: Mapping[str, Any]) -> Mapping[str, Any]:
    error = document.get("error")
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else document


class ChoicesReader(_Reader):
    """Chat completions and completions: chunks with `choices`, ended by `[DONE]`."""

    def __init__(self, named: Callable[[str], str | None]) -> None:
        super().__init__(named)
        self._moulds = Moulds()
        self._document: Mapping[str, Any] = _NOTHING
        """What the event at hand says."""
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self._spoke = False
        self._done = False

    @property
    def whole(self) -> bool:
        return self._spoke and (self._done or not self._open)

    def feed(self, data: bytes) -> list[StreamEvent]:
        events = super().feed(data)
        self.plain = None if self._splitter.pending else self._moulds.latest
        return events

    def _event(self, raw: bytes) -> StreamEvent:
        mould = self._moulds.latest
        if mould is not None and mould.glance(raw)[1] == len(raw):
            return StreamEvent(raw, _CONTENT)
        event = super()._event(raw)
        if event.sign is _CONTENT and self._moulds.wanting:
            self._moulds.keep(cast(raw, self._document))
        # A stream that waits need not hold it.
        self._document = _NOTHING
        return event

    def _end(self) -> Sign:
        self._done = True
        return Sign.DONE

    def _read(self, name: str, document: dict[str, Any]) -> tuple[Sign, Mapping[str, Any] | None]:
        if document.get("error") or name == "error":
            return Sign.ERROR, _error_in(document)
        self._document = document
        self._note(document)
        content = False
        for choice in _mappings(document.get("choices")):
            content = self._choice(choice) or content
        self._spoke = self._spoke or content
        return (_CONTENT if content else _LIFE), None

    def _choice(self, choice: Mapping[str, Any]) -> bool:
        index = choice.get("index")
        if not isinstance(index, int):
            index = 0
        if choice.get("finish_reason"):
            self._finished.add(index)
            self._open.discard(index)
            return True
        if index not in self._finished:
            self._open.add(index)
        delta = choice.get("delta")
        # Vendors add fields of their own (reasoning_content, annotations): all but the role is content.
        if isinstance(delta, dict):
            for key, value in delta.items():
                if value and key != "role":
                    return True
        return bool(choice.get("text"))


_LIFECYCLE = frozenset({"response.created", "response.queued", "response.in_progress", "keepalive", "ping"})
_OPENING = frozenset(
    {"response.output_item.added", "response.content_part.added", "response.reasoning_summary_part.added"}
)
_SILENT_ITEMS = frozenset({"message", "reasoning"})
_TERMINAL = frozenset({"response.completed", "response.incomplete"})


class ResponsesReader(_Reader):
    """The Responses API: typed events, ended by response.completed, .incomplete or .failed."""

    def __init__(self, named: Callable[[str], str | None]) -> None:
        super().__init__(named)
        self._ended = False

    @property
    def whole(self) -> bool:
        return self._ended

    @staticmethod
    def kind(name: str, document: Mapping[str, Any]) -> str:
        """What an event says that it is, within or before its data."""
        kind = document.get("type")
        return kind if kind and isinstance(kind, str) else name

    def _end(self) -> Sign:
        # Not of this protocol, but some servers close with chat's marker: it ends the stream without making it whole.
        return Sign.DONE

    def _read(self, name: str, document: dict[str, Any]) -> tuple[Sign, Mapping[str, Any] | None]:
        kind = self.kind(name, document)
        response = document.get("response")
        if isinstance(response, dict):
            self._note(response)
        if kind in _LIFECYCLE:
            return Sign.LIFE, None
        if kind in _TERMINAL:
            self._ended = True
            return Sign.DONE, None
        if kind == "response.failed":
            self._ended = True
            return Sign.FAILED, _error_in(response if isinstance(response, dict) else document)
        if kind == "error" or document.get("error"):
            return Sign.ERROR, _error_in(document)
        if kind in _OPENING:
            item = document.get("item")
            what = item.get("type") if isinstance(item, dict) else None
            silent = not isinstance(what, str) or what in _SILENT_ITEMS
            return (Sign.LIFE if silent else Sign.CONTENT), None
        if kind.endswith(".delta") and not document.get("delta"):
            return Sign.LIFE, None
        return Sign.CONTENT, None

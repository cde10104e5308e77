"""A Response as it comes to be: pieces of a chat's answer in, typed events out.

1. An item begins when its first piece comes, a call with its name, and items have their places in that order. Thoughts
   and words end when something else begins; calls, which may come side by side, end with the answer.
2. Each event is numbered, and the last one repeats the whole answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.providers.lenient import dumps
from proxy.providers.responses import answer, shape
from proxy.providers.responses.shape import Item, Names


@dataclass(slots=True)
class _Words:
    """A thought or a message that is being told."""

    name: str
    place: int
    kind: str
    """`reasoning`, `message`."""
    parts: list[Item] = field(default_factory=list)
    """Of a message: those that are over."""
    part: str = ""
    """`text`, `refusal`, `summary`: the one that is open."""
    said: list[str] = field(default_factory=list)
    """In it."""


@dataclass(slots=True)
class _Call:
    place: int = -1
    """Once it has begun."""
    given: object = None
    """Its id, as the source says it."""
    function: str = ""
    said: list[str] = field(default_factory=list)
    begun: bool = False


_PARTS = {"text": shape.text, "refusal": shape.refusal, "summary": shape.summary}
_TOLD = {"text": "output_text", "refusal": "refusal", "summary": "reasoning_summary_text"}


class Telling:
    """One answer."""

    def __init__(self, asked: Mapping[str, Any], now_unix: float) -> None:
        """`asked` is the caller's request."""
        self._asked, self._now = asked, now_unix
        self._names = Names(None, now_unix)
        self._head: Item | None = None
        self._events: list[bytes] = []
        self._number = 0
        self._output: list[Item | None] = []
        """Items by place; None while one is being told."""
        self._words: _Words | None = None
        self._calls: dict[int, _Call] = {}
        """Those that are being told, by the source's count."""
        self._finish: str | None = None
        self._usage: Item | None = None
        self.spoke = False
        """The last piece had content."""
        self.kept = 0
        """Characters that the last event will repeat."""

    def piece(self, chunk: Mapping[str, Any]) -> bytes:
        """Events for one chunk of a chat completion."""
        self.spoke = False
        self._usage = shape.usage(chunk.get("usage")) or self._usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(choice, Mapping):
            self._begin(chunk)
            if self._finish is None:
                self._choice(choice)
        return self._told()

    def end(self) -> bytes:
        """The answer is over, and whole."""
        self._begin({})
        if self._finish is None:
            self._over("stop")
        assert self._head is not None and self._finish is not None  # noqa: PT018, S101  # both were just set
        output = [item for item in self._output if item is not None]
        whole = shape.response(self._head, self._finish, output, self._usage)
        self._event(f"response.{whole['status']}", response=whole)
        return self._told()

    def _told(self) -> bytes:
        told, self._events = b"".join(self._events), []
        return told

    def _event(self, kind: str, **fields: object) -> None:
        data = dumps({"type": kind, **fields, "sequence_number": self._number})
        self._number += 1
        self._events.append(b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n")

    def _begin(self, chunk: Mapping[str, Any]) -> None:
        if self._head is not None:
            return
        self._names = Names(chunk.get("id"), self._now)
        created, model = shape.created_at(chunk.get("created"), self._now), chunk.get("model")
        self._head = shape.begun(self._asked, self._names, created, model if isinstance(model, str) else "")
        for kind in ("created", "in_progress"):
            self._event(f"response.{kind}", response=shape.response(self._head, None, [], None))

    def _choice(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta")
        if isinstance(delta, Mapping):
            self._say("reasoning", "summary", answer.thought(delta))
            self._say("message", "text", answer.words(delta.get("content")))
            self._say("message", "refusal", answer.words(delta.get("refusal")))
            for call, function in answer.called(delta):
                self._piece_of_call(call, function)
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            self._over(finish)

    def _over(self, finish: str) -> None:
        self._finish = finish
        status = "incomplete" if finish in shape.INCOMPLETE else "completed"
        self._end_words(status)
        for call in self._calls.values():
            self._end_call(call, status)
        if not self._output:
            # Nothing was said, and that is said as well.
            words = self._begin_words("message")
            self._begin_part(words, "text")
            self._end_words(status)

    def _place(self) -> int:
        self._output.append(None)
        return len(self._output) - 1

    # -- thoughts and words

    def _say(self, kind: str, part: str, said: str) -> None:
        if not said:
            return
        words = self._words
        if words is None or words.kind != kind:
            words = self._begin_words(kind)
        if words.part != part:
            self._end_part(words)
            self._begin_part(words, part)
        words.said.append(said)
        self.kept, self.spoke = self.kept + len(said), True
        more: Item = {"logprobs": []} if part == "text" else {}
        self._event(f"response.{_TOLD[part]}.delta", **_at(words), delta=said, **more)

    def _begin_words(self, kind: str) -> _Words:
        self._end_words("completed")
        place = self._place()
        name = self._names.item("rs" if kind == "reasoning" else "msg", place)
        words = self._words = _Words(name, place, kind)
        item = shape.thought(name, None) if kind == "reasoning" else shape.message(name, [], "in_progress")
        self._event("response.output_item.added", output_index=place, item=item)
        return words

    def _begin_part(self, words: _Words, part: str) -> None:
        words.part, words.said = part, []
        self._event(_part_event(part, "added"), **_at(words), part=_PARTS[part](""))

    def _end_part(self, words: _Words) -> None:
        if not words.part:
            return
        said, part = "".join(words.said), words.part
        more: Item = {"logprobs": []} if part == "text" else {}
        told = "refusal" if part == "refusal" else "text"
        self._event(f"response.{_TOLD[part]}.done", **_at(words), **{told: said}, **more)
        self._event(_part_event(part, "done"), **_at(words), part=_PARTS[part](said))
        words.parts.append(_PARTS[part](said))
        words.part = ""

    def _end_words(self, status: str) -> None:
        words, self._words = self._words, None
        if words is None:
            return
        self._end_part(words)
        if words.kind == "reasoning":
            item = {**shape.thought(words.name, None), "summary": words.parts}
        else:
            item = shape.message(words.name, words.parts, status)
        self._done(words.place, item)

    # -- calls

    def _piece_of_call(self, piece: Mapping[str, Any], function: Mapping[str, Any]) -> None:
        self._end_words("completed")
        call = self._which(piece)
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(name, str) and name and not call.begun:
            call.function = name
            self._begin_call(call)
        if isinstance(arguments, str) and arguments:
            call.said.append(arguments)
            self.kept += len(arguments)
            if call.begun:
                self._arguments(call, arguments)

    def _which(self, piece: Mapping[str, Any]) -> _Call:
        index, given = piece.get("index"), piece.get("id")
        if type(index) is not int:
            # Servers that do not count give each call an id, and mostly the whole call at once.
            index = max(self._calls, default=0)
            index += bool(index in self._calls and given and given != self._calls[index].given)
        call = self._calls.get(index)
        if call is not None and given and call.given and given != call.given:
            # Others count them all as the first.
            self._end_call(self._calls.pop(index), "completed")
            call = None
        if call is None:
            call = self._calls[index] = _Call()
        call.given = call.given or given
        return call

    def _begin_call(self, call: _Call) -> None:
        # Not before: until its name came something else may have begun, and places are those of what was told.
        call.place = self._place()
        call.begun, self.spoke = True, True
        self._event("response.output_item.added", output_index=call.place, item=self._item(call, "", "in_progress"))
        if call.said:
            self._arguments(call, "".join(call.said))

    def _arguments(self, call: _Call, said: str) -> None:
        self.spoke = True
        place = {"item_id": self._names.item("fc", call.place), "output_index": call.place}
        self._event("response.function_call_arguments.delta", **place, delta=said)

    def _end_call(self, call: _Call, status: str) -> None:
        if not call.begun:
            self._begin_call(call)
        item = self._item(call, "".join(call.said), status)
        done = {"output_index": call.place, "name": call.function, "arguments": item["arguments"]}
        self._event("response.function_call_arguments.done", item_id=item["id"], **done)
        self._done(call.place, item)

    def _item(self, call: _Call, arguments: str, status: str) -> Item:
        name, called = self._names.item("fc", call.place), self._names.call(call.given, call.place)
        return shape.call(name, called, call.function, arguments, status)

    def _done(self, place: int, item: Item) -> None:
        self._output[place] = item
        self._event("response.output_item.done", output_index=place, item=item)


def _part_event(part: str, what: str) -> str:
    return f"response.{'reasoning_summary_part' if part == 'summary' else 'content_part'}.{what}"


def _at(words: _Words) -> Item:
    index = {"summary_index" if words.kind == "reasoning" else "content_index": len(words.parts)}
    return {"item_id": words.name, "output_index": words.place, **index}

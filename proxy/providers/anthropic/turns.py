"""A chat's messages as turns of the Messages API: system text apart, users' and assistants' turns by turns.

1. Messages of one role that follow each other become one turn; results of tools are a user's, and come first in it.
2. Text of white space alone is left out, as this API refuses it; every other word stays, in its order.
3. What has no place there is refused: sounds, files kept elsewhere, a last turn of the assistant's, which this API
   would go on with instead of answering it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from proxy.providers import lenient
from proxy.providers.carried import CannotCarry, Dropped

Block = dict[str, Any]

_IMAGES = {name: name for name in ("image/jpeg", "image/png", "image/gif", "image/webp")} | {"image/jpg": "image/jpeg"}
"""What this API takes, by what callers call it."""
_PDF = "application/pdf"
_PDF_BEGINS = "JVBERi0"
"""`%PDF-`, in base64."""
_DATA_URL = re.compile(r"data:([a-z0-9.+/-]{1,100})(?:;[^,;]{1,100})*;base64,", re.IGNORECASE)
_NOT_OF_IDS = re.compile(r"[^A-Za-z0-9_-]")


def translate(messages: object, dropped: Dropped) -> tuple[list[Block], list[Block]]:
    """The `system` blocks and the `messages`. Raises CannotCarry."""
    if not isinstance(messages, list):
        raise CannotCarry("messages", "`messages` has to be a list.")
    turns = _Turns(dropped)
    for message in messages:
        turns.take(_object(message, "messages"))
    return turns.whole()


class _Turns:
    def __init__(self, dropped: Dropped) -> None:
        self._dropped = dropped
        self._system: list[Block] = []
        self._turns: list[Block] = []

    def whole(self) -> tuple[list[Block], list[Block]]:
        if not self._turns:
            # Instructions alone are a question too, and this API has to be asked one.
            return [], [{"role": "user", "content": self._system}]
        if self._turns[-1]["role"] == "assistant":
            raise CannotCarry("messages", "The last message is the assistant's: Claude would go on with it.")
        return self._system, self._turns

    def take(self, message: Mapping[str, Any]) -> None:
        role, content = message.get("role"), message.get("content")
        if message.get("name") is not None and role != "tool":
            self._dropped.note("messages.name")
        if role in ("system", "developer"):
            self._system += _texts(content)
        elif role == "user":
            self._add("user", self._parts(content))
        elif role == "assistant":
            self._add("assistant", self._assistant(message))
        elif role == "tool":
            self._result(message)
        else:
            raise CannotCarry("messages.role", "Claude knows the roles system, developer, user, assistant and tool.")

    def _add(self, role: str, blocks: list[Block]) -> None:
        if not blocks:
            return
        if self._turns and self._turns[-1]["role"] == role:
            self._turns[-1]["content"] += blocks
        else:
            self._turns.append({"role": role, "content": blocks})

    def _parts(self, content: object) -> list[Block]:
        if not isinstance(content, list):
            return _texts(content)
        blocks: list[Block] = []
        for each in content:
            part = _object(each, "messages.content")
            kind = part.get("type")
            read = _PARTS.get(kind) if isinstance(kind, str) else None
            if read is None:
                raise CannotCarry("messages.content", "Claude takes text, images and PDF files alone.")
            blocks += [_marked(block, part) for block in read(part, self._dropped)]
        return blocks

    def _assistant(self, message: Mapping[str, Any]) -> list[Block]:
        for field in ("audio", "function_call"):
            if message.get(field) is not None:
                raise CannotCarry(f"messages.{field}", f"A turn with `{field}` cannot be told to Claude.")
        if message.get("reasoning_content") or message.get("reasoning"):
            # It goes back signed or not at all, and the signature is not part of OpenAI's API.
            self._dropped.note("messages.reasoning_content")
        blocks = [*_texts(message.get("content")), *_texts(message.get("refusal"))]
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise CannotCarry("messages.tool_calls", "`tool_calls` has to be a list.")
        return blocks + [_call(_object(call, "messages.tool_calls")) for call in calls]

    def _result(self, message: Mapping[str, Any]) -> None:
        block: Block = {"type": "tool_result", "tool_use_id": _tool_id(message.get("tool_call_id"))}
        if texts := _texts(message.get("content")):
            block["content"] = texts
        last = self._turns[-1] if self._turns else None
        if last is not None and last["role"] == "user" and any(b["type"] != "tool_result" for b in last["content"]):
            raise CannotCarry("messages", "A tool's result has to follow the call right away.")
        self._add("user", [_marked(block, message)])


def _object(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CannotCarry(field, f"An entry of `{field}` is no object.")
    return value


def _texts(content: object) -> list[Block]:
    """Text, or a list of parts that are text; a refusal that the assistant once spoke is text as well."""
    if content is None:
        return []
    if isinstance(content, str):
        return _spoken(content)
    if not isinstance(content, list):
        raise CannotCarry("messages.content", "`content` has to be text or a list of parts.")
    blocks: list[Block] = []
    for each in content:
        part = _object(each, "messages.content")
        text = part.get("refusal" if part.get("type") == "refusal" else "text")
        if part.get("type") not in ("text", "refusal") or not isinstance(text, str):
            raise CannotCarry("messages.content", "Here Claude takes text alone.")
        blocks += [_marked(block, part) for block in _spoken(text)]
    return blocks


def _spoken(text: str) -> list[Block]:
    return [{"type": "text", "text": text}] if text.strip() else []


def _marked(block: Block, part: Mapping[str, Any]) -> Block:
    """With the caller's mark for the prompt's cache, which is this API's own and may come along."""
    if isinstance(mark := part.get("cache_control"), Mapping):
        block["cache_control"] = mark
    return block


def _call(call: Mapping[str, Any]) -> Block:
    function = call.get("function")
    if call.get("type", "function") != "function" or not isinstance(function, Mapping):
        raise CannotCarry("messages.tool_calls", "Claude knows calls of functions alone.")
    arguments = function.get("arguments") or "{}"
    try:
        given = lenient.loads(arguments.encode()) if isinstance(arguments, str) else None
    except ValueError:  # UnicodeEncodeError is one
        given = None
    if not isinstance(given, dict):
        raise CannotCarry("messages.tool_calls", "The arguments of a call in `messages` are no JSON object.")
    return {"type": "tool_use", "id": _tool_id(call.get("id")), "name": function.get("name"), "input": given}


def _tool_id(given: object) -> str:
    """An id in letters that this API takes; different ids stay different."""
    if not isinstance(given, str) or not given:
        raise CannotCarry("messages.tool_calls", "A call of a tool, or its result, has no id.")
    return _NOT_OF_IDS.sub(lambda found: f"_{ord(found[0]):x}_", given)


def _text_part(part: Mapping[str, Any], _: Dropped) -> list[Block]:
    text = part.get("text")
    if not isinstance(text, str):
        raise CannotCarry("messages.content", "A part of type text has no text.")
    return _spoken(text)


def _image(part: Mapping[str, Any], dropped: Dropped) -> list[Block]:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    if not isinstance(url, str):
        raise CannotCarry("messages.image_url", "A part of type image_url has no URL.")
    if isinstance(image, Mapping) and image.get("detail") not in (None, "auto"):
        dropped.note("messages.image_url.detail")
    if url.startswith(("https://", "http://")):
        return [{"type": "image", "source": {"type": "url", "url": url}}]
    head = _DATA_URL.match(url)
    if head is None or head[1].lower() not in _IMAGES:
        raise CannotCarry(
            "messages.image_url", "Claude sees JPEG, PNG, GIF and WebP: by http(s), or base64 in the URL."
        )
    source = {"type": "base64", "media_type": _IMAGES[head[1].lower()], "data": url[head.end() :]}
    return [{"type": "image", "source": source}]


def _file(part: Mapping[str, Any], _: Dropped) -> list[Block]:
    file = part.get("file")
    data = file.get("file_data") if isinstance(file, Mapping) else None
    if not isinstance(file, Mapping) or not isinstance(data, str):
        raise CannotCarry(
            "messages.file", "A file can only be sent along, as `file_data`: what is kept elsewhere stays."
        )
    head = _DATA_URL.match(data)
    bare = head is None and data.startswith(_PDF_BEGINS)
    if not bare and (head is None or head[1].lower() != _PDF):
        raise CannotCarry("messages.file", "Claude reads PDF files alone, as base64.")
    source = {"type": "base64", "media_type": _PDF, "data": data if head is None else data[head.end() :]}
    title = file.get("filename")
    return [{"type": "document", "source": source, **({"title": title} if isinstance(title, str) and title else {})}]


_PARTS: Mapping[str, Callable[[Mapping[str, Any], Dropped], list[Block]]] = {
    "text": _text_part,
    "image_url": _image,
    "file": _file,
}

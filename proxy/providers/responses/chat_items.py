"""A chat's messages as the input items of a Responses request, in their order.

1. A message becomes one item, and its calls one each behind it; nothing is put together that came apart.
2. Sounds and what is kept elsewhere are refused; names and thoughts have no place there and are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from proxy.providers.carried import CannotCarry, Dropped

Item = dict[str, Any]


def translate(messages: object, dropped: Dropped) -> list[Item]:
    """The items. Raises CannotCarry."""
    if not isinstance(messages, list):
        raise CannotCarry("messages", "`messages` has to be a list.")
    return [item for message in messages for item in _items(_object(message, "messages"), dropped)]


def _items(message: Mapping[str, Any], dropped: Dropped) -> Iterator[Item]:
    role, content = message.get("role"), message.get("content")
    if message.get("name") is not None and role != "tool":
        dropped.note("messages.name")
    if role in ("system", "developer"):
        yield {"role": role, "content": _words(content)}
    elif role == "user":
        yield {"role": "user", "content": _content(content)}
    elif role == "assistant":
        yield from _assistant(message, dropped)
    elif role == "tool":
        yield {
            "type": "function_call_output",
            "call_id": _id(message.get("tool_call_id")),
            "output": _words(content),
        }
    else:
        raise CannotCarry("messages.role", "The roles are system, developer, user, assistant and tool.")


def _assistant(message: Mapping[str, Any], dropped: Dropped) -> Iterator[Item]:
    for field in ("audio", "function_call"):
        if message.get(field) is not None:
            raise CannotCarry(f"messages.{field}", f"A turn with `{field}` cannot be told to the Responses API.")
    if message.get("reasoning_content") or message.get("reasoning"):
        # They go back sealed or not at all, and a chat has no seal.
        dropped.note("messages.reasoning_content")
    if said := _words(message.get("content")) + _words(message.get("refusal")):
        yield {"role": "assistant", "content": said}
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise CannotCarry("messages.tool_calls", "`tool_calls` has to be a list.")
    for each in calls:
        call = _object(each, "messages.tool_calls")
        function = call.get("function")
        match function:
            case {"name": str(name), "arguments": str(arguments)} if call.get("type", "function") == "function":
                yield {"type": "function_call", "call_id": _id(call.get("id")), "name": name, "arguments": arguments}
            case _:
                raise CannotCarry("messages.tool_calls", "A call has to be of a function, with a name and arguments.")


def _object(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CannotCarry(field, f"An entry of `{field}` is no object.")
    return value


def _id(given: object) -> str:
    if not isinstance(given, str) or not given:
        raise CannotCarry("messages.tool_calls", "A call of a tool, or its result, has no id.")
    return given


def _words(content: object) -> str:
    """Text, or the text of a list of parts; a refusal that the assistant once spoke is text as well."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise CannotCarry("messages.content", "`content` has to be text or a list of parts.")
    said = ""
    for each in content:
        part = _object(each, "messages.content")
        text = part.get("refusal" if part.get("type") == "refusal" else "text")
        if part.get("type") not in ("text", "refusal") or not isinstance(text, str):
            raise CannotCarry("messages.content", "Here a message is text alone.")
        said += text
    return said


def _content(content: object) -> object:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise CannotCarry("messages.content", "`content` has to be text or a list of parts.")
    parts = []
    for each in content:
        part = _object(each, "messages.content")
        kind = part.get("type")
        read = _PARTS.get(kind) if isinstance(kind, str) else None
        if read is None:
            raise CannotCarry("messages.content", "The Responses API takes text, images and files.")
        parts.append(read(part))
    return parts


def _text(part: Mapping[str, Any]) -> Item:
    if not isinstance(part.get("text"), str):
        raise CannotCarry("messages.content", "A part of type text has no text.")
    return {"type": "input_text", "text": part["text"]}


def _image(part: Mapping[str, Any]) -> Item:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    if not isinstance(url, str):
        raise CannotCarry("messages.image_url", "A part of type image_url has no URL.")
    detail = image.get("detail") if isinstance(image, Mapping) else None
    return {"type": "input_image", "image_url": url, "detail": detail if isinstance(detail, str) else "auto"}


def _file(part: Mapping[str, Any]) -> Item:
    file = part.get("file")
    data = file.get("file_data") if isinstance(file, Mapping) else None
    if not isinstance(file, Mapping) or not isinstance(data, str):
        raise CannotCarry("messages.file", "A file can only be sent along, as `file_data`.")
    name = file.get("filename")
    return {"type": "input_file", "file_data": data, **({"filename": name} if isinstance(name, str) else {})}


_PARTS: Mapping[str, Callable[[Mapping[str, Any]], Item]] = {"text": _text, "image_url": _image, "file": _file}

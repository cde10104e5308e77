"""A Responses request's input as the messages of a chat: instructions first, then its items in their order.

1. Calls of one turn are one assistant's message, together with what it said beside them, as a chat's API insists.
2. Thoughts stay behind and are named: they go back sealed or not at all, and a chat has no seal.
3. What stands for something kept elsewhere, or was made by a tool of the source's own, is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.providers.carried import CannotCarry, Dropped

Message = dict[str, Any]

_TEXTS = ("input_text", "output_text", "text")
_MARK = "prompt_cache_breakpoint"
_ROLES = {"user": "user", "system": "system", "developer": "system"}
"""Of a chat. Servers that speak OpenAI's API all know `system`, and not all `developer`."""


def translate(instructions: object, given: object, dropped: Dropped) -> list[Message]:
    """The messages. Raises CannotCarry."""
    chat = _Chat(dropped)
    if isinstance(instructions, str):
        chat.say("system", instructions)
    elif instructions is not None:
        raise CannotCarry("instructions", "`instructions` have to be text.")
    if isinstance(given, str):
        chat.say("user", given)
        return chat.messages
    if not isinstance(given, list):
        raise CannotCarry("input", "`input` has to be text or a list of items.")
    for item in given:
        chat.take(_object(item, "input"))
    return chat.messages


class _Chat:
    def __init__(self, dropped: Dropped) -> None:
        self._dropped = dropped
        self.messages: list[Message] = []

    def say(self, role: str, content: object) -> None:
        self.messages.append({"role": role, "content": content})

    def take(self, item: Mapping[str, Any]) -> None:
        kind = item.get("type", "message")
        read = _ITEMS.get(kind) if isinstance(kind, str) else None
        if read is None:
            raise CannotCarry("input.type", "A chat has messages, calls of functions and their results, nothing else.")
        read(self, item)

    def _message(self, item: Mapping[str, Any]) -> None:
        role = item.get("role")
        if role == "assistant":
            self._assistant(item)
        elif isinstance(role, str) and role in _ROLES:
            self.say(_ROLES[role], self._content(item.get("content")))
        else:
            raise CannotCarry("input.role", "A chat knows the roles system, developer, user and assistant.")

    def _content(self, content: object) -> object:
        """Text as a string, for servers that know nothing else; with pictures and files, parts."""
        if isinstance(content, str):
            return content
        if not isinstance(content, list):
            raise CannotCarry("input.content", "`content` has to be text or a list of parts.")
        parts = [self._part(_object(part, "input.content")) for part in content]
        return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts

    def _part(self, part: Mapping[str, Any]) -> Message:
        if part.get(_MARK) is not None:
            self._dropped.note(f"input.{_MARK}")
        kind = part.get("type")
        if kind in _TEXTS:
            return {"type": "text", "text": _text(part, "text")}
        read = _PARTS.get(kind) if isinstance(kind, str) else None
        if read is None:
            raise CannotCarry("input.content", "A chat takes text, images and files.")
        return read(part, self._dropped)

    def _assistant(self, item: Mapping[str, Any]) -> None:
        if item.get("phase") is not None:
            self._dropped.note("input.phase")
        said, refused = _spoken(item.get("content"))
        last = self._last_calls()
        if last is None:
            self.say("assistant", said or (None if refused else ""))
            if refused:
                self.messages[-1]["refusal"] = refused
            return
        # Their results still come, and have to follow them: what was said in between is said with them.
        last["content"] = (last["content"] or "") + said or None
        if refused:
            last["refusal"] = last.get("refusal", "") + refused

    def _call(self, item: Mapping[str, Any]) -> None:
        name, arguments = item.get("name"), item.get("arguments")
        if not isinstance(name, str) or not isinstance(arguments, str):
            raise CannotCarry("input.arguments", "A call in `input` has no name or no arguments.")
        call = {"id": _call_id(item), "type": "function", "function": {"name": name, "arguments": arguments}}
        last = self.messages[-1] if self.messages else None
        if last is None or last["role"] != "assistant":
            last = {"role": "assistant", "content": None}
            self.messages.append(last)
        last["content"] = last["content"] or None
        last.setdefault("tool_calls", []).append(call)

    def _last_calls(self) -> Message | None:
        last = self.messages[-1] if self.messages else None
        return last if last is not None and "tool_calls" in last else None

    def _result(self, item: Mapping[str, Any]) -> None:
        output = item.get("output")
        if isinstance(output, list):
            parts = [_object(part, "input.output") for part in output]
            if any(part.get("type") not in _TEXTS for part in parts):
                raise CannotCarry("input.output", "In a chat the result of a function is text.")
            output = "".join(_text(part, "text") for part in parts)
        if not isinstance(output, str):
            raise CannotCarry("input.output", "`output` has to be text or a list of parts.")
        self.messages.append({"role": "tool", "tool_call_id": _call_id(item), "content": output})

    def _thought(self, _: Mapping[str, Any]) -> None:
        self._dropped.note("input.reasoning")


_ITEMS: Mapping[str, Callable[[_Chat, Mapping[str, Any]], None]] = {
    "message": _Chat._message,
    "function_call": _Chat._call,
    "function_call_output": _Chat._result,
    "reasoning": _Chat._thought,
}


def _object(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CannotCarry(field, f"An entry of `{field}` is no object.")
    return value


def _text(part: Mapping[str, Any], field: str) -> str:
    text = part.get(field)
    if not isinstance(text, str):
        raise CannotCarry("input.content", f"A part of type {field} has no text.")
    return text


def _call_id(item: Mapping[str, Any]) -> str:
    given = item.get("call_id")
    if not isinstance(given, str) or not given:
        raise CannotCarry("input.call_id", "A call of a function, or its result, has no `call_id`.")
    return given


def _spoken(content: object) -> tuple[str, str]:
    """What the assistant once said, and what it refused."""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list):
        raise CannotCarry("input.content", "`content` has to be text or a list of parts.")
    said, refused = "", ""
    for each in content:
        part = _object(each, "input.content")
        if part.get("type") == "refusal":
            refused += _text(part, "refusal")
        elif part.get("type") in _TEXTS:
            said += _text(part, "text")
        else:
            raise CannotCarry("input.content", "In a chat the assistant's own words are text.")
    return said, refused


def _image(part: Mapping[str, Any], _: Dropped) -> Message:
    url = part.get("image_url")
    if not isinstance(url, str):
        raise CannotCarry("input.image_url", "An image is sent along, or by its URL: what is kept elsewhere stays.")
    detail = part.get("detail")
    return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if isinstance(detail, str) else {})}}


def _file(part: Mapping[str, Any], dropped: Dropped) -> Message:
    data, name = part.get("file_data"), part.get("filename")
    if not isinstance(data, str):
        raise CannotCarry("input.file_data", "A file can only be sent along, as `file_data`.")
    if part.get("detail") not in (None, "auto"):
        dropped.note("input.file.detail")
    return {"type": "file", "file": {"file_data": data, **({"filename": name} if isinstance(name, str) else {})}}


_PARTS: Mapping[str, Callable[[Mapping[str, Any], Dropped], Message]] = {"input_image": _image, "input_file": _file}

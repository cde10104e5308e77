"""A chat completion, whole, as a Response.

1. One choice is read, the first: no more was asked for.
2. Thoughts come first, then what is said, then calls. Where there is none of them an empty text is said, so that a
   caller finds a message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.providers.responses import shape
from proxy.providers.responses.shape import Item, Names


def response(asked: Mapping[str, Any], completion: Mapping[str, Any], now_unix: float) -> Item | None:
    """The Response to the request `asked`; None when the completion is none."""
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        return None
    names = Names(completion.get("id"), now_unix)
    model = completion.get("model")
    head = shape.begun(
        asked, names, shape.created_at(completion.get("created"), now_unix), model if isinstance(model, str) else ""
    )
    finish = choice.get("finish_reason")
    reason = finish if isinstance(finish, str) else "stop"
    output = list(_output(message, names, "incomplete" if reason in shape.INCOMPLETE else "completed"))
    return shape.response(head, reason, output, shape.usage(completion.get("usage")))


def _output(message: Mapping[str, Any], names: Names, status: str) -> Iterator[Item]:
    place = 0
    if thoughts := thought(message):
        yield shape.thought(names.item("rs", place), thoughts)
        place += 1
    said, calls = words(message.get("content")), list(called(message))
    parts = [shape.text(said)] if said else []
    if isinstance(refused := message.get("refusal"), str) and refused:
        parts.append(shape.refusal(refused))
    if not parts and not calls and not thoughts:
        parts.append(shape.text(""))
    if parts:
        yield shape.message(names.item("msg", place), parts, status)
        place += 1
    for call, function in calls:
        name, arguments = function.get("name"), function.get("arguments")
        yield shape.call(
            names.item("fc", place),
            names.call(call.get("id"), place),
            name if isinstance(name, str) else "",
            arguments if isinstance(arguments, str) else "",
            status,
        )
        place += 1


def thought(message: Mapping[str, Any]) -> str:
    """What was thought, under either of the names that vendors have for it."""
    return words(message.get("reasoning_content")) or words(message.get("reasoning"))


def words(content: object) -> str:
    """Text, or what is text in a list of parts."""
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
    return "".join(part for part in parts if isinstance(part, str))


def called(message: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Calls of functions, in a message or in a piece of one, each with its `function`."""
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            yield call, function

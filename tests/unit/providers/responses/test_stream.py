"""A chat's stream as a stream of the Responses API: order, names, numbers, the end."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from proxy.demo import chat
from proxy.demo.answers import Speaker
from proxy.providers import sse
from proxy.providers.anthropic.messages import Messages
from proxy.providers.responses import answer, stream
from proxy.terms import Sign, StreamEvent, StreamReader, Usage
from tests.unit.providers.anthropic.transcripts import NAMES, transcript
from tests.unit.providers.responses.asked import WEATHER, events, reader, sound

_USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
_DONE = b"data: [DONE]\n\n"


def _chunk(finish: str | None = None, usage: object = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    whole = {"id": "chatcmpl-Ab1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "m"}
    return b"data: " + orjson.dumps({**whole, "choices": [choice], "usage": usage}) + b"\n\n"


def _call(arguments: str = "", **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return {"function": function, "type": "function", **more}


def _read(*chunks: bytes, **asked: Any) -> tuple[list[StreamEvent], StreamReader]:
    read = reader(**asked)
    return [*read.feed(b"".join(chunks)), *read.finish()], read


def _whole(*chunks: bytes, **asked: Any) -> tuple[list[ResponseStreamEvent], Response]:
    told, read = _read(*chunks, _DONE, **asked)
    assert read.whole
    assert [event.sign for event in told].count(Sign.DONE) == 1
    found = events(told)
    return found, sound(found)


_ROLE = _chunk(role="assistant", content="")


def test_a_text() -> None:
    """Every event, in its order."""
    end = b'data: {"id":"chatcmpl-Ab1","choices":[],"usage":%b}\n\n' % orjson.dumps(_USAGE)
    told, read = _read(_ROLE, _chunk(content="Ri"), b": ping\n\n", _chunk(content="ga."), _chunk("stop"), end, _DONE)
    assert [event.sign for event in told] == [
        Sign.LIFE,
        Sign.CONTENT,
        Sign.LIFE,
        Sign.CONTENT,
        Sign.LIFE,
        Sign.LIFE,
        Sign.DONE,
    ]
    assert told[2].raw == b": ping\n\n"
    found = events(told)
    assert [event.type.removeprefix("response.") for event in found] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    whole = sound(found)
    assert (whole.output_text, whole.id, whole.model) == ("Riga.", "resp_Ab1", "m")
    assert whole.usage is not None
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (5, 3)
    assert (read.usage, read.model) == (Usage(5, 3), "m")


def test_calls_side_by_side() -> None:
    """Each has its place, and all of its arguments, also where the source sends them in turn."""
    _, whole = _whole(
        _ROLE,
        _chunk(content="Well."),
        _chunk(tool_calls=[_call(index=0, id="call_a", name="weather")]),
        _chunk(tool_calls=[_call('{"ci', index=0)]),
        _chunk(tool_calls=[_call(index=1, id="call_b", name="now")]),
        _chunk(tool_calls=[_call("{}", index=1), _call('ty":1}', index=0)]),
        _chunk("tool_calls"),
        tools=[WEATHER],
    )
    text, *calls = (item.to_dict() for item in whole.output)
    assert text["type"] == "message"
    assert [(call["call_id"], call["name"], call["arguments"]) for call in calls] == [
        ("call_a", "weather", '{"city":1}'),
        ("call_b", "now", "{}"),
    ]
    assert whole.status == "completed"


@pytest.mark.parametrize("index", [{}, {"index": 0}])
def test_calls_that_are_not_counted(index: dict[str, int]) -> None:
    """Some servers leave the count out, others count every call as the first: the id tells them apart."""
    chunks = [
        _chunk(tool_calls=[_call("{}", id="a", name="f", **index), _call('{"x', id="b", name="g", **index)]),
        _chunk(tool_calls=[_call('":1}', **index)]),
        _chunk("tool_calls"),
    ]
    _, whole = _whole(*chunks)
    calls = [item.to_dict() for item in whole.output]
    assert [(call["call_id"], call["name"], call["arguments"]) for call in calls] == [
        ("a", "f", "{}"),
        ("b", "g", '{"x":1}'),
    ]


def test_a_call_begins_when_it_has_a_name() -> None:
    """What comes before is kept; without an id, it is given one."""
    found, whole = _whole(
        _chunk(tool_calls=[_call('{"a"', index=0)]), _chunk(tool_calls=[_call(":1}", index=0, name="f")])
    )
    assert [event.type for event in found].count("response.function_call_arguments.delta") == 2
    (call,) = whole.output
    assert call.type == "function_call"
    assert (call.name, call.arguments, call.call_id) == ("f", '{"a":1}', "call_Ab100")


def test_thoughts_end_when_words_begin() -> None:
    """A caller who shows them knows when they are over."""
    found, whole = _whole(
        _ROLE, _chunk(reasoning_content="Hm"), _chunk(reasoning_content="m."), _chunk(content="Riga.")
    )
    kinds = [event.type.removeprefix("response.") for event in found]
    assert kinds[2:10] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
    ]
    thought, text = whole.output
    assert thought.type == "reasoning"
    assert thought.summary[0].text == "Hmm."
    assert text.type == "message"


def test_words_again_after_a_call() -> None:
    """They are another message, as they came."""
    call = _chunk(tool_calls=[_call("{}", index=0, id="a", name="f")])
    _, whole = _whole(_chunk(content="One. "), call, _chunk(content="Two."), _chunk("tool_calls"))
    assert [item.type for item in whole.output] == ["message", "function_call", "message"]
    assert whole.output_text == "One. Two."


def test_a_refusal_after_words() -> None:
    """A part of the same message."""
    _, whole = _whole(_chunk(content="Well. "), _chunk(refusal="No."), _chunk("content_filter"))
    (item,) = whole.output
    assert item.type == "message"
    assert [part.type for part in item.content] == ["output_text", "refusal"]
    assert whole.incomplete_details is not None
    assert (whole.incomplete_details.reason, item.status) == ("content_filter", "incomplete")


def test_a_limit() -> None:
    """What was cut says so; a thought that was over was whole."""
    found, whole = _whole(_chunk(reasoning_content="Hm."), _chunk(content="Ri"), _chunk("length"))
    assert found[-1].type == "response.incomplete"
    assert whole.incomplete_details is not None
    assert whole.incomplete_details.reason == "max_output_tokens"
    assert whole.output[1].to_dict()["status"] == "incomplete"


def test_an_empty_answer_has_a_message() -> None:
    """As in JSON."""
    _, whole = _whole(_ROLE, _chunk("stop"))
    assert (whole.output_text, [item.type for item in whole.output]) == ("", ["message"])


def test_the_end_without_a_last_word() -> None:
    """A clean end after a finish reason is whole, as for a chat; before it, it is not."""
    told, read = _read(_chunk(content="Riga."), _chunk("stop"))
    assert read.whole
    assert sound(events(told)).output_text == "Riga."
    told, read = _read(_chunk(content="Riga."))
    assert not read.whole
    assert events(told)[-1].type == "response.output_text.delta"


def test_the_last_word_alone_is_no_answer() -> None:
    """Nothing was said, so nothing is whole."""
    told, read = _read(_ROLE, _DONE)
    assert ([event.sign for event in told], read.whole) == ([Sign.LIFE, Sign.DONE], False)
    assert told[-1].raw == b""


def test_azures_first_chunk_is_about_the_prompt() -> None:
    """It has no name, and what it says is not the answer's."""
    first = b'data: {"id":"","model":"","choices":[],"prompt_filter_results":[]}\n\n'
    _, whole = _whole(first, _chunk(content="x"), _chunk("stop"))
    assert (whole.id, whole.model) == ("resp_Ab1", "m")


def test_an_error_in_the_stream() -> None:
    """It carries its error for the table of faults, and nothing for the caller."""
    told, read = _read(_chunk(content="x"), b'data: {"error":{"message":"m","code":"c"}}\n\n')
    assert (told[-1].sign, told[-1].raw, told[-1].error) == (Sign.ERROR, b"", {"message": "m", "code": "c"})
    assert not read.whole


def test_garbage_in_the_stream() -> None:
    """Nothing of it is told."""
    told, read = _read(_chunk(content="x"), b"data: {\n\n")
    assert (told[-1].sign, told[-1].raw, read.whole) == (Sign.GARBAGE, b"", False)


def test_what_the_last_event_repeats_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for one answer is."""
    monkeypatch.setattr(stream, "MOST", 4)
    told, read = _read(_chunk(content="Riga"), _chunk(content="."), _chunk("stop"), _DONE)
    assert [event.sign for event in told][:2] == [Sign.CONTENT, Sign.GARBAGE]
    assert not read.whole


def _simulated(**asked: Any) -> bytes:
    document = {"model": "m", "messages": [{"role": "user", "content": "Where?"}], "stream": True, **asked}
    return b"".join(piece.data for piece in chat.chat(document, Speaker("s")).pieces)


_ASKED: dict[str, dict[str, Any]] = {
    "text": {"stream_options": {"include_usage": True}},
    "thoughts": {"model": "thinking-m"},
    "tools": {
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER["parameters"]}}],
        "tool_choice": "required",
    },
    "length": {"max_completion_tokens": 2},
}


@pytest.mark.parametrize("name", _ASKED)
def test_cut_at_every_byte(name: str) -> None:
    """However the bytes come, the events are the same; and whole is only what came to its own end."""
    data = _simulated(**_ASKED[name])
    expected, _ = _read(data)
    sound(events(expected))
    finish = data.index(b'"finish_reason":"')
    for cut in range(len(data) + 1):
        read = reader()
        first = read.feed(data[:cut])
        assert [*first, *read.feed(data[cut:]), *read.finish()] == expected
        ended = reader()
        told = [*ended.feed(data[:cut]), *ended.finish()]
        said = b"".join(event.raw for event in told)
        assert ended.whole is (b"event: response.completed" in said or b"event: response.incomplete" in said)
        assert ended.whole or cut <= data.index(b"\n\n", finish)


@pytest.mark.parametrize("name", NAMES)
def test_claudes_streams(name: str) -> None:
    """By two translations, cut anywhere."""
    data = transcript(name)
    read = reader(Messages())
    told = [*read.feed(data), *read.finish()]
    if name == "overloaded":
        assert (told[-1].sign, read.whole) == (Sign.ERROR, False)
        events(told)
    else:
        whole = sound(events(told))
        assert (read.whole, whole.model) == (True, read.model)
        assert whole.usage is not None
        assert read.usage is not None
        assert whole.usage.output_tokens == read.usage.output
    for cut in range(0, len(data), 7):
        again = reader(Messages())
        assert [*again.feed(data[:cut]), *again.feed(data[cut:]), *again.finish()] == told


def test_names_are_those_of_the_json_answer() -> None:
    """One answer, told in two ways."""
    _, whole = _whole(_chunk(reasoning_content="Hm."), _chunk(content="Riga."), _chunk("stop"))
    message = {"role": "assistant", "content": "Riga.", "reasoning_content": "Hm."}
    completion = {"id": "chatcmpl-Ab1", "choices": [{"message": message, "finish_reason": "stop"}]}
    told = answer.response({}, completion, 0.0)
    assert told is not None
    assert [item["id"] for item in told["output"]] == [item.id for item in whole.output]


def test_an_event_that_never_ends() -> None:
    """It is garbage, as everywhere."""
    assert reader().feed(b"data: " + b"x" * sse.MAX_EVENT)[0].sign is Sign.GARBAGE

"""A stream of the Messages API as chunks of a chat completion: a transcript for each behaviour."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import orjson
import pytest

from proxy.providers import sse
from proxy.providers.anthropic.messages import Messages
from proxy.terms import Binding, Params, Sign, StreamEvent, Usage
from tests.unit.providers.anthropic.asked import question
from tests.unit.providers.anthropic.transcripts import CREATED, NAMES, chunks, reader, transcript


def _read(name: str, *, with_usage: bool = False) -> tuple[list[StreamEvent], Any]:
    read = reader(with_usage=with_usage)
    return read.feed(transcript(name)) + read.finish(), read


def _deltas(name: str) -> list[dict[str, Any]]:
    events, _ = _read(name)
    return [c.delta.model_dump(exclude_unset=True) for chunk in chunks(events) for c in chunk.choices]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("with_usage", [False, True])
def test_every_chunk_is_one_of_openais(name: str, *, with_usage: bool) -> None:
    """By its own SDK, strictly; id, time and model are the same in all; usage is null where it was asked for."""
    events, read = _read(name, with_usage=with_usage)
    found = chunks(events)
    assert {(chunk.id, chunk.created, chunk.model) for chunk in found} == {("msg_01Hx", CREATED, read.model)}
    assert all(("usage" in chunk.model_fields_set) is with_usage for chunk in found)


def test_text() -> None:
    """A role, the words as they come, a finish, and the end."""
    events, read = _read("text")
    assert [event.sign for event in events] == [Sign.LIFE, Sign.LIFE, *[Sign.CONTENT] * 4, Sign.DONE]
    assert _deltas("text") == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Rīga is "},
        {"content": 'the "capital"\n'},
        {"content": "of Latvia. 🇱🇻"},
        {},
    ]
    assert [c.finish_reason for chunk in chunks(events) for c in chunk.choices] == [None] * 4 + ["stop"]
    assert (read.whole, read.model, read.usage) == (True, "claude-sonnet-4-6", Usage(12, 9))
    assert events[1].raw == b": ping\n\n"
    assert events[-1].raw == b"data: [DONE]\n\n"


def test_calls_of_tools() -> None:
    """Counted by themselves, after a text too; arguments are whole JSON, also where the model gave none."""
    calls: dict[int, dict[str, str]] = defaultdict(lambda: defaultdict(str))
    for delta in _deltas("tools"):
        for call in delta.get("tool_calls", ()):
            calls[call["index"]]["id"] += call.get("id", "")
            calls[call["index"]]["name"] += call["function"].get("name", "")
            calls[call["index"]]["arguments"] += call["function"]["arguments"]
    assert list(calls) == [0, 1]
    assert (calls[0]["id"], calls[0]["name"]) == ("toolu_01A", "weather")
    assert orjson.loads(calls[0]["arguments"]) == {"city": "Rīga", "days": 2}
    assert dict(calls[1]) == {"id": "toolu_01B", "name": "now", "arguments": "{}"}
    events, _ = _read("tools")
    assert chunks(events)[-1].choices[0].finish_reason == "tool_calls"


def test_thoughts() -> None:
    """They are `reasoning_content`; signatures, and thoughts that nobody may read, say nothing."""
    assert _deltas("thinking")[1:-1] == [
        {"reasoning_content": "Riga, "},
        {"reasoning_content": "I think."},
        {"content": "Riga."},
    ]


def test_usage_is_the_last_thing_said() -> None:
    """Counts are sums, later ones hold; what the cache gave and took is input; and reasoning is output."""
    events, read = _read("thinking", with_usage=True)
    last = chunks(events)[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 12 + 2048 + 100,
        "completion_tokens": 40,
        "total_tokens": 2200,
        "prompt_tokens_details": {"cached_tokens": 2048, "cache_write_tokens": 100, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 31, "audio_tokens": 0},
    }
    assert read.usage == Usage(2160, 40, 2048, 31)
    assert events[-1].raw.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("asked", "params", "told"),
    [
        ({"include_usage": True}, Params(), True),
        ({"include_usage": True}, Params(drop=("stream_options",)), False),
        (None, Params(set={"stream_options": {"include_usage": True}}), True),
        (["odd"], Params(), False),
    ],
)
def test_who_asks_for_the_usage(asked: object, params: Params, told: bool) -> None:
    """The caller, or the tier's own `params`, as at any source."""
    binding = Binding("claude", "anthropic", "claude", params)
    read = Messages().reader(question(stream=True, stream_options=asked), binding, str, CREATED)
    assert (chunks(read.feed(transcript("text")))[-1].usage is not None) is told


def test_a_refusal() -> None:
    """Served, and ended by a filter; why is told where OpenAI tells it."""
    events, read = _read("refusal")
    last = chunks(events)[-1].choices[0]
    assert (last.finish_reason, last.delta.refusal, read.whole) == ("content_filter", "This could do harm.", True)


def test_a_limit() -> None:
    """A text that was cut by its limit says so."""
    assert chunks(_read("length")[0])[-1].choices[0].finish_reason == "length"


def test_an_error_in_the_stream() -> None:
    """It carries its error for the table of faults, and nothing for the caller."""
    events, read = _read("overloaded")
    assert (events[-1].sign, events[-1].raw) == (Sign.ERROR, b"")
    assert events[-1].error == {"type": "overloaded_error", "message": "Overloaded"}
    assert not read.whole


@pytest.mark.parametrize("name", NAMES)
def test_cut_at_every_byte(name: str) -> None:
    """However the bytes come, the events are the same; and whole is only what came to its own end."""
    data = transcript(name)
    expected, _ = _read(name, with_usage=True)
    for cut in range(len(data) + 1):
        read = reader(with_usage=True)
        first = read.feed(data[:cut])
        was_whole = read.whole
        assert [*first, *read.feed(data[cut:]), *read.finish()] == expected
        assert was_whole is (name != "overloaded" and cut == len(data))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "overloaded"])
def test_ended_at_every_byte(name: str) -> None:
    """A stream that ends early is not whole, and never says `[DONE]`."""
    data = transcript(name)
    # Only the closing blank line may be missing.
    for end in range(data.rindex(b"}") + 1):
        read = reader()
        events = [*read.feed(data[:end]), *read.finish()]
        assert not read.whole
        assert b"[DONE]" not in b"".join(event.raw for event in events)
    read = reader()
    assert [*read.feed(data[: data.rindex(b"}") + 1]), *read.finish()] == _read(name)[0]
    assert read.whole


def _say(*documents: object) -> list[StreamEvent]:
    read = reader()
    return [event for each in documents for event in read.feed(b"data: " + orjson.dumps(each) + b"\n\n")]


_START = {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 1}}}
_STOP = {"type": "message_stop"}


def _delta(**delta: object) -> dict[str, object]:
    return {"type": "content_block_delta", "index": 0, "delta": delta}


def test_nothing_said_is_no_answer() -> None:
    """A stream that stops without a stop reason is not whole, whatever its last event says."""
    read = reader()
    events = read.feed(b"".join(b"data: " + orjson.dumps(each) + b"\n\n" for each in (_START, _STOP)))
    assert [event.sign for event in events] == [Sign.LIFE, Sign.DONE]
    assert not read.whole


@pytest.mark.parametrize(
    "silent",
    [
        _delta(type="text_delta", text=""),
        _delta(type="signature_delta", signature="x"),
        _delta(type="citations_delta", citation={}),
        _delta(type="of_tomorrow_delta", more="x"),
        _delta(type="input_json_delta", partial_json='{"query":'),
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "server_tool_use", "id": "x", "input": {}},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "of_tomorrow"},
        {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 1}},
        {"type": ["odd"]},
    ],
)
def test_what_has_no_counterpart_is_silent(silent: dict[str, object]) -> None:
    """It is neither content nor garbage, and sends nothing."""
    assert len(_say(_START, silent)) == 1


def test_text_in_a_blocks_beginning_is_said() -> None:
    """Mostly it is empty there; where it is not, it counts. Likewise the input of a call that has no deltas."""
    text = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    events = _say(
        _START,
        text,
        {"type": "content_block_start", "index": 1, "content_block": call},
        {"type": "content_block_stop", "index": 1},
    )
    assert chunks(events)[1].choices[0].delta.content == "Hi"
    calls = chunks(events)[3].choices[0].delta.tool_calls
    assert calls is not None
    assert calls[0].function is not None
    assert calls[0].function.arguments == '{"a":1}'


@pytest.mark.parametrize(
    "wrong",
    [
        [_delta(type="text_delta", text="x")],
        [_START, _START],
        [{"type": "message_start"}],
        [_START, {"type": "content_block_delta", "index": 0}],
        [_START, _delta(type="text_delta", text=5)],
        [_START, {"type": "content_block_start", "index": "0", "content_block": {}}],
        [_START, {"type": "message_delta"}],
        [[]],
    ],
)
def test_what_cannot_be_read_is_garbage(wrong: list[object]) -> None:
    """Out of order, or of another shape: the stream is broken, and says so."""
    assert _say(*wrong)[-1].sign is Sign.GARBAGE


def test_text_that_is_no_json() -> None:
    """Half a document, and an event that never ends."""
    assert reader().feed(b"data: {\n\n")[0].sign is Sign.GARBAGE
    assert reader().feed(b"data: " + b"x" * sse.MAX_EVENT)[0].sign is Sign.GARBAGE


def test_halves_of_letters_are_passed_on() -> None:
    """JSON can escape half a surrogate pair, and so can we."""
    said = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\ud83c"}}\n\n'
    read = reader()
    read.feed(b"data: " + orjson.dumps(_START) + b"\n\n")
    assert b'{"content":"\\ud83c"}' in read.feed(said)[0].raw

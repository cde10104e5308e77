"""What each event of a stream says: readable transcripts, one per behaviour."""

from __future__ import annotations

import pytest

from proxy.providers import sse
from proxy.providers.openai import needs, stored_state, stream_reader
from proxy.terms import CHAT, COMPLETIONS, RESPONSES, Endpoint, Sign


def _signs(endpoint: Endpoint, *data: str) -> tuple[list[Sign], bool]:
    reader = stream_reader(endpoint)
    signs = [event.sign for line in data for event in reader.feed(f"data: {line}\n\n".encode())]
    return signs, reader.whole


@pytest.mark.parametrize(
    "delta",
    [
        '{"content":"x"}',
        '{"refusal":"no"}',
        '{"tool_calls":[{"index":0}]}',
        '{"function_call":{"name":"f"}}',
        '{"reasoning_content":"hm"}',
        '{"reasoning":"hm"}',
        '{"audio":{"id":"a"}}',
    ],
)
def test_what_a_caller_could_show_is_content(delta: str) -> None:
    """Text, refusal, tool call, reasoning or audio commits a stream."""
    assert _signs(CHAT, f'{{"choices":[{{"index":0,"delta":{delta}}}]}}') == ([Sign.CONTENT], False)


@pytest.mark.parametrize(
    "chunk",
    [
        '{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}',
        '{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}',
        '{"choices":[]}',
        '{"choices":[],"prompt_filter_results":[{}]}',
    ],
)
def test_signs_of_life_are_not_content(chunk: str) -> None:
    """A role, an empty text or a filter's note commits nothing."""
    assert _signs(CHAT, chunk) == ([Sign.LIFE], False)


def test_a_finish_reason_is_content() -> None:
    """An answer of no words is an answer, and whole on a clean end."""
    assert _signs(CHAT, '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}') == ([Sign.CONTENT], True)


def test_every_choice_must_finish() -> None:
    """Two choices and one finish reason are half an answer."""
    two = '{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]}'
    one = '{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}'
    assert _signs(CHAT, two, one)[1] is False
    assert _signs(CHAT, two, one, '{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}')[1] is True


def test_an_end_marker_alone_is_no_answer() -> None:
    """`[DONE]` with nothing before it is not whole."""
    assert _signs(CHAT, "[DONE]") == ([Sign.DONE], False)


def test_completions_say_text() -> None:
    """The older API carries its text in the choice itself."""
    assert _signs(COMPLETIONS, '{"choices":[{"index":0,"text":"a"}]}') == ([Sign.CONTENT], False)


def test_errors_inside_a_stream_are_seen() -> None:
    """An error object, by key or by the event's name, is an error and not content."""
    assert _signs(CHAT, '{"error":{"code":502}}')[0] == [Sign.ERROR]
    reader = stream_reader(CHAT)
    (event,) = reader.feed(b'event: error\ndata: {"message":"boom"}\n\n')
    assert (event.sign, event.error) == (Sign.ERROR, {"message": "boom"})


def test_unreadable_data_is_garbage() -> None:
    """Half a JSON document is neither life nor content."""
    assert _signs(CHAT, '{"choices":[')[0] == [Sign.GARBAGE]


def test_a_responses_stream() -> None:
    """Lifecycle events are life, text is content, and its own terminal event makes it whole."""
    signs, whole = _signs(
        RESPONSES,
        '{"type":"response.created","response":{"model":"m"}}',
        '{"type":"response.in_progress","response":{}}',
        '{"type":"response.output_item.added","item":{"type":"message"}}',
        '{"type":"response.content_part.added"}',
        '{"type":"response.output_text.delta","delta":""}',
        '{"type":"response.output_text.delta","delta":"Hi"}',
    )
    assert signs == [Sign.LIFE] * 5 + [Sign.CONTENT]
    assert whole is False
    assert _signs(RESPONSES, '{"type":"response.completed","response":{}}') == ([Sign.DONE], True)
    assert _signs(RESPONSES, '{"type":"response.failed","response":{"error":{"code":"x"}}}') == ([Sign.FAILED], True)
    assert _signs(RESPONSES, "[DONE]") == ([Sign.DONE], False)


def test_a_tool_call_opens_a_responses_stream() -> None:
    """A function call item is already content: the caller could act on it."""
    opening = '{"type":"response.output_item.added","item":{"type":"function_call"}}'
    assert _signs(RESPONSES, opening)[0] == [Sign.CONTENT]


def test_an_event_without_end_is_bounded() -> None:
    """A line that never ends is garbage once it outgrows the bound, and does not fill the memory."""
    reader = stream_reader(CHAT)
    assert reader.feed(b"data: " + b"x" * sse.MAX_EVENT)[0].sign is Sign.GARBAGE


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs"]}]}, "tools[0].vector_store_ids"),
        ({"tools": [{"type": "code_interpreter", "container": "c"}]}, "tools[0].container"),
        ({"input": [{"type": "item_reference", "id": "i"}]}, "input[0]"),
        ({"input": [{"type": "reasoning", "encrypted_content": "e"}]}, "input[0].encrypted_content"),
        ({"input": [{"role": "user", "content": [{"file_id": "f"}]}]}, "input[0].content.file_id"),
        ({"input": "hello", "store": True, "background": False}, None),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, None),
    ],
)
def test_what_is_kept_elsewhere_is_named(document: dict[str, object], field: str | None) -> None:
    """A request that refers to one source's memory is recognised by the field that does so."""
    assert stored_state(document) == field


def test_needs_are_read_from_the_request() -> None:
    """Tools, images and a JSON schema are what a tier can be unable to serve."""
    assert needs({"messages": [{"role": "user", "content": "hi"}]}) == frozenset()
    assert needs(
        {
            "tools": [{}],
            "response_format": {"type": "json_schema"},
            "messages": [{"content": [{"type": "image_url"}]}],
        }
    ) == {"tools", "json_schema", "images"}

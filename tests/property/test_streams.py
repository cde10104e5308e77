"""Streams are read the same however the network cuts them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.providers import sse
from proxy.providers.openai import stream_reader
from proxy.terms import CHAT, RESPONSES, Sign

CHAT_STREAM = (
    b": ping\n\n"
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"model":"m"}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi \xc3\xa9"}}]}\r\n\r\n'
    b'event: x\rdata: {"choices":[{"index":1,"delta":{"tool_calls":[{"index":0}]}}]}\r\r'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],\ndata: "usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)
CHAT_SIGNS = [Sign.LIFE, Sign.LIFE, Sign.CONTENT, Sign.CONTENT, Sign.CONTENT, Sign.LIFE, Sign.DONE]
_CUTS = st.lists(st.integers(0, len(CHAT_STREAM)), max_size=12).map(sorted)


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *cuts, len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(_CUTS)
def test_cuts_change_nothing(cuts: list[int]) -> None:
    """Cut anywhere, a stream gives the same bytes, the same signs, the same usage."""
    reader = stream_reader(CHAT)
    events = [event for piece in _pieces(CHAT_STREAM, cuts) for event in reader.feed(piece)] + reader.finish()
    assert b"".join(event.raw for event in events) == CHAT_STREAM
    assert [event.sign for event in events if sse.parse(event.raw) != ("", None) or event.raw[:1] == b":"] == CHAT_SIGNS
    assert reader.whole
    assert reader.model == "m"
    assert reader.usage is not None
    assert (reader.usage.input, reader.usage.output) == (3, 2)


def test_cut_at_every_byte() -> None:
    """Wherever the upstream stops, what came is never more than what was sent, and only the whole stream is whole."""
    whole = []
    for length in range(len(CHAT_STREAM) + 1):
        reader = stream_reader(CHAT)
        raw = b"".join(event.raw for event in reader.feed(CHAT_STREAM[:length]) + reader.finish())
        assert CHAT_STREAM.startswith(raw)
        if reader.whole:
            whole.append(length)
    # Choice 1 never says that it is finished, so only the end marker makes the answer whole.
    assert whole[0] == CHAT_STREAM.index(b"[DONE]") + len("[DONE]")


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_garbage_never_raises(pieces: list[bytes]) -> None:
    """Bytes that are no stream are told apart, not stumbled over."""
    for endpoint in (CHAT, RESPONSES):
        reader = stream_reader(endpoint)
        for piece in pieces:
            reader.feed(piece)
            reader.feed(b"data: " + piece + b"\n\n")
        reader.finish()


_LINES = st.sampled_from(
    [b"data: x", b"data:x", b"data: ", b"event: e", b"event:e", b"id: 1", b": note", b"event", b"odd"]
)


@given(st.lists(_LINES, min_size=1, max_size=4))
def test_the_usual_way_of_writing_is_read_like_any_other(lines: list[bytes]) -> None:
    """Events that are written as most are take a short cut, which leads to the same place."""
    usual = b"\n".join(lines) + b"\n\n"
    assert sse.parse(usual) == sse.parse(usual.replace(b"\n", b"\r\n"))

"""What a chunk's shape says of it is what a parse would have said."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.providers import lenient, sse
from proxy.providers.anthropic.stream import MessagesReader
from proxy.providers.mould import Mould, cast
from proxy.providers.openai import stream_reader
from proxy.terms import CHAT, Sign, StreamReader

_SHAPES = [
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}],"usage":null,"obfuscation":"%b"}\n\n',
    b'data: {"choices":[{"index":1,"delta":{"content": "%b"}}], "obfuscation": "%b", "model":"n"}\r\n\r\n',
    b'id: 7\nevent: x\ndata: {"choices":[{"delta":{"role":"assistant","content":"%b"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"%b"}},{"index":1,"delta":{"content":"b"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":null,"content":"%b"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"cont\\u0065nt":"x","reasoning":"%b"}}],"content":"y"}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"error":"%b"}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"x\\"content":"%b"}}],"note":"%b"}\n\n',
    b'event: error\ndata: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}],"weight":1e999}\n\n',
    b"data: %b\n\n",
]
_TEXTS = [
    b" word",
    b"",
    b"\\n\\n",
    b"Hi \xc3\xa9",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\\u00e9",
    b"\\ud800",
    b"\\",
    b"\\q",
    b'\\"',
    b'"',
    b'a","role":"b',
    b'"},"finish_reason":"stop","x":{"y":"',
    b'a"}}],"usage":null,"obfuscation":"b',
    b'a"}}],"error":"b',
    b"\t",
    b"\n",
    b"\ndata: ",
    b"\r",
    b"[DONE]",
    b"[1]",
]
_NO_CHUNK = (b"", 0)
_Chunk = tuple[int, bytes, bytes]
_CHUNKS = st.tuples(
    st.integers(0, len(_SHAPES) - 1), st.sampled_from(_TEXTS) | st.binary(max_size=4), st.sampled_from(_TEXTS)
)
# Most chunks of a stream look alike, or no mould would ever be tried.
_STREAMS = st.lists(_CHUNKS, min_size=1, max_size=3).flatmap(
    lambda few: st.lists(
        st.tuples(st.sampled_from([shape for shape, _, _ in few]), st.sampled_from(_TEXTS), st.sampled_from(_TEXTS))
        | st.sampled_from(few),
        min_size=2,
        max_size=12,
    )
)


def _event(chunk: _Chunk) -> bytes:
    shape, text, padding = chunk
    written = _SHAPES[shape]
    return written % ((text, padding) if written.count(b"%b") == 2 else text)


def _cast(event: bytes) -> Mould | None:
    return cast(event, lenient.loads(sse.parse(event)[1] or b""))


def _glance(reader: StreamReader, data: bytes) -> int:
    """How far it reaches; what is told of it are those very bytes."""
    if reader.plain is None:
        return 0
    told, reached = reader.plain.glance(data)
    assert told == data[:reached]
    return reached


@given(_STREAMS, st.lists(st.integers(1, 4)), st.lists(st.integers(0, 400)))
@example([(0, b"a", b""), (0, b"b", b""), (0, b"c", b""), (0, b'\\"', b"")], [1, 3], [])
@example([(2, b"a", b"x"), (2, b"b", b""), (2, b"c", b"y"), (2, b'b","obfuscation":"c', b"")], [1, 2, 1], [])
@example([(0, b"a", b""), (0, b"b", b""), (0, b"c", b"")], [1, 2], [140])
def test_a_glance_tells_what_reading_would_tell(chunks: list[_Chunk], together: list[int], cuts: list[int]) -> None:
    """However many events come at once, and wherever they are cut: the same bytes, all of them content."""
    quick, parsed = stream_reader(CHAT), stream_reader(CHAT)
    whole = [_event(chunk) for chunk in chunks]
    pieces = []
    for count in (*together, len(whole)):
        pieces.append(b"".join(whole[:count]))
        del whole[:count]
    for number, cut in enumerate(cuts[: len(pieces) - 1]):
        # Some bytes come a piece later.
        piece, pieces[number] = pieces[number], pieces[number][:cut]
        pieces[number + 1] = piece[cut:] + pieces[number + 1]
    for piece in pieces:
        plain = _glance(quick, piece)
        fed = quick.feed(piece[plain:])
        read = parsed.feed(piece)
        seen = read[: len(read) - len(fed)]
        assert piece[:plain] == b"".join(event.raw for event in seen)
        assert all(event.sign is Sign.CONTENT for event in seen)
        assert fed == read[len(seen) :]
        assert (quick.usage, quick.model, quick.whole) == (parsed.usage, parsed.model, parsed.whole)
    assert quick.finish() == parsed.finish()


_CLAUDES = [
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"%b"}%b}\n\n',
    b'data: {"type":"content_block_delta","index":1,"delta":{"type":"thinking_delta","thinking":"%b"}%b}\n\n',
    b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"%b"}%b,"index":1}\n\n',
    b'data: {"type":"content_block_delta","delta":{"text":"%b","type":"text_delta"}%b}\n\n',
    b'data: {"type":"content_block_delta","delta":{"text":"a","type":"text_delta","text":"%b"}%b}\n\n',
    b'data: {"type":"content_block_delta","delta":{"type":"text_delta","t\\u0065xt":"","text":"%b"}%b}\n\n',
    b'data: {"type":"content_block_delta","delta":{"type":"signature_delta","text":"%b"}%b}\n\n',
    b'data: {"type":"error","error":{"type":"x","message":"%b"}%b}\n\n',
]
_BLANKS = st.sampled_from([b"", b"", b"   ", b" ", b"  }", b',"x":{}'])


@given(
    st.integers(0, 3).flatmap(
        lambda usual: st.lists(
            st.tuples(
                st.just(usual) | st.integers(0, len(_CLAUDES) - 1), st.sampled_from(_TEXTS) | st.binary(max_size=4)
            )
        )
    ),
    st.lists(_BLANKS, min_size=1, max_size=3),
    st.lists(st.integers(1, 4)),
    st.booleans(),
)
@example([(0, b"a"), (0, b"b"), (0, b"c"), (0, b'"')], [b"", b"  "], [1], False)
@example([(0, b"a"), (0, b"b\\/"), (0, b"\\u00e9"), (0, b"\\n")], [b""], [1, 3], True)
@example([(0, b"a"), (0, b'b"}'), (0, b'b\\"}'), (0, b'"},{"')], [b""], [1, 1, 1, 1], True)
def test_what_is_written_anew_at_a_glance_is_what_reading_would_write(
    said: list[tuple[int, bytes]], blanks: list[bytes], together: list[int], with_usage: bool
) -> None:
    """However many of Claude's events come at once: the same bytes for the caller, and the same signs."""
    opening = b'data: {"type":"message_start","message":{"id":"m","model":"c"}}\n\n'
    quick, parsed = MessagesReader(str, 1, with_usage=with_usage), MessagesReader(str, 1, with_usage=with_usage)
    assert quick.feed(opening) == parsed.feed(opening)
    whole = [_CLAUDES[shape] % (text, blanks[at % len(blanks)]) for at, (shape, text) in enumerate(said)]
    number = 0
    for count in (*together, len(whole)):
        piece, whole = whole[:count], whole[count:]
        data = b"".join(piece)
        told, seen = quick.plain.glance(data) if quick.plain else (b"", 0)
        fed = quick.feed(data[seen:])
        read = []
        for event in piece:
            # A comment before it that no other event has: it fits no mould.
            number += 1
            read += parsed.feed(b": %d\n%b" % (number, event))
        rest = len(read) - len(fed)
        assert told == b"".join(event.raw for event in read[:rest])
        assert all(event.sign is Sign.CONTENT for event in read[:rest])
        assert fed == read[rest:]


@pytest.mark.parametrize("padding", [b"", b"     "])
def test_nearly_all_that_claude_says_is_seen_at_a_glance(padding: bytes) -> None:
    """Thoughts, then text; and blanks, which it puts there so that lengths say nothing."""
    reader = MessagesReader(str, 1, with_usage=False)
    reader.feed(b'data: {"type":"message_start","message":{"id":"m","model":"c"}}\n\n')
    for shape in (1, 0):
        (first,) = reader.feed(_CLAUDES[shape] % (b"Hello", padding))
        assert reader.plain is not None
        again = _CLAUDES[shape] % (b"Hello", padding + b"  ")
        assert reader.plain.glance(again * 3 + b"event") == (first.raw * 3, len(again) * 3)
        assert reader.plain.chunk(_framed(again)) == (_framed(first.raw), len(first.raw))


def _framed(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


@pytest.mark.parametrize("shape", range(4))
def test_a_whole_chunk_is_known_by_its_frame(shape: int) -> None:
    """Of whatever length its text is, if that is not too long; and by nothing that is framed in any other way."""
    mould = _cast(_event((shape, b"Hello", b"aa")))
    assert mould is not None
    for length in (*range(1, 300), 3000, 5000):
        event = _event((shape, b"x" * length, b"bbbb"))
        chunk, size = _framed(event), b"%x" % len(event)
        assert mould.chunk(chunk) == ((chunk, len(event)) if length < 4000 else _NO_CHUNK)
        for frame in (b"0" + size, size + b" ", size + b";a", b"%x" % (len(event) + 1), b"%x" % (len(event) - 1), b""):
            assert mould.chunk(frame + b"\r\n" + event + b"\r\n") == _NO_CHUNK
        for other in (chunk[:-1], chunk[1:], chunk + b"\n", chunk + chunk, event, chunk[:-2], b"\n" + chunk[1:]):
            assert mould.chunk(other) == _NO_CHUNK
    for text in (b"", b'"', b"\\", b"\n", b'a"}}]}\n\ndata: {"x":"'):
        assert mould.chunk(_framed(_event((shape, text, b"bbbb")))) == _NO_CHUNK


def test_most_of_a_stream_is_seen_at_a_glance() -> None:
    """Once one was read: alone or several together, up to where something is cut or special."""
    for shape in (0, 1, 2, 3):
        reader = stream_reader(CHAT)
        event = _event((shape, b" word", b"aa"))
        reader.feed(event)
        for piece in (event, event * 3, _event((shape, b'a \\"b\\"', b"")), event * 2):
            for rest in (
                b"",
                b"d",
                event[:-1],
                _event(((shape + 1) % 4, b"x", b"aa")),
                _event((shape, b"", b"")),
                b"\n",
            ):
                assert _glance(reader, piece + rest) == len(piece)
                assert _glance(reader, rest + piece) == (0 if rest else len(piece))
        reader.feed(event[:1])
        assert _glance(reader, event) == 0
        assert [each.raw for each in reader.feed(event[1:])] == [event]
        assert _glance(reader, event) == len(event)


@given(_STREAMS)
@example([(0, b"a", b""), (0, b"b", b""), (4, b"c", b""), (0, b"d", b"")])
@example([(1, b"a", b"x"), (1, b"", b"y"), (1, b"b", b""), (1, b'a","role":"b', b"z")])
def test_a_chunk_that_needs_no_parse_is_read_as_if_it_were_parsed(chunks: list[_Chunk]) -> None:
    """Signs, usage, model and wholeness are the same after every event."""
    quick, parsed = stream_reader(CHAT), stream_reader(CHAT)
    for number, chunk in enumerate(chunks):
        event = _event(chunk)
        # A comment before it that no other event has: it fits no mould.
        slow = b": %d\n%b" % (number, event)
        assert [each.sign for each in quick.feed(event)] == [each.sign for each in parsed.feed(slow)]
        assert (quick.usage, quick.model, quick.whole) == (parsed.usage, parsed.model, parsed.whole)


def test_what_fits() -> None:
    """Another text, and other padding; not another shape, and nothing that is no string."""
    for shape in (0, 1, 2, 3):
        mould = _cast(_event((shape, b"Hello", b"aa")))
        assert mould is not None
        for text in (b"x", b" word", b"\\n", b'\\"', b"\xc3\xa9", b"Hello"):
            event = _event((shape, text, b"bbbb"))
            assert mould.glance(event) == (event, len(event))
        for text in (b"", b'"', b"\\", b"\xc3", b"\n", b"\t", b'a","role":"b', b"\\ud800"):
            assert mould.glance(_event((shape, text, b"bbbb"))) == (b"", 0)
        assert mould.glance(_event(((shape + 1) % 4, b"x", b"bb"))) == (b"", 0)


def test_what_says_more_than_one_text_makes_no_mould() -> None:
    """Usage, a second choice, a key that is there twice or spelled otherwise, and what is none of these events."""
    for shape in (5, 6, 7, 8, 10):
        assert _cast(_event((shape, b"Hello", b"aa"))) is None

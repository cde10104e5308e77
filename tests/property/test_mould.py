"""What a chunk's shape says of it is what a parse would have said."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.providers.mould import cast
from proxy.providers.openai import stream_reader
from proxy.terms import CHAT, Sign

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
        plain = quick.glance(piece)
        fed = quick.feed(piece[plain:])
        read = parsed.feed(piece)
        seen = read[: len(read) - len(fed)]
        assert piece[:plain] == b"".join(event.raw for event in seen)
        assert all(event.sign is Sign.CONTENT for event in seen)
        assert fed == read[len(seen) :]
        assert (quick.usage, quick.model, quick.whole) == (parsed.usage, parsed.model, parsed.whole)
    assert quick.finish() == parsed.finish()


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
                assert reader.glance(piece + rest) == len(piece)
                assert reader.glance(rest + piece) == (0 if rest else len(piece))
        reader.feed(event[:1])
        assert reader.glance(event) == 0
        assert [each.raw for each in reader.feed(event[1:])] == [event]
        assert reader.glance(event) == len(event)


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
        mould = cast(_event((shape, b"Hello", b"aa")))
        assert mould is not None
        for text in (b"x", b" word", b"\\n", b'\\"', b"\xc3\xa9", b"Hello"):
            assert mould.reach(event := _event((shape, text, b"bbbb"))) == len(event)
        for text in (b"", b'"', b"\\", b"\xc3", b"\n", b"\t", b'a","role":"b', b"\\ud800"):
            assert mould.reach(_event((shape, text, b"bbbb"))) == 0
        assert mould.reach(_event(((shape + 1) % 4, b"x", b"bb"))) == 0


def test_what_says_more_than_one_text_makes_no_mould() -> None:
    """Usage, a second choice, a key that is there twice or spelled otherwise, a number that only one parser reads."""
    for shape in (5, 6, 7, 8, 10, 12, 13):
        assert cast(_event((shape, b"Hello", b"aa"))) is None

"""The door's conformance: whatever an upstream answers, byte by byte, it is read as HTTP means it, or diagnosed."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from proxy.terms import Cause, Diagnosis
from proxy.upstream.client import Answer
from tests.integration.asking import BODY, OK, ask, door, opened, rest
from tests.integration.scripted import Line, Script, answered, scripted

_BAD = Diagnosis(Cause.SERVER, "bad_http")
_CLOSED = Diagnosis(Cause.NETWORK, "closed")
_RESET = Diagnosis(Cause.NETWORK, "reset")
_TRUNCATED = Diagnosis(Cause.STREAM_BROKEN, "truncated")
_WORDS = b"All is well. " * 50
_H = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _H + b"Transfer-Encoding: chunked\r\n\r\n"


def _sized(body: bytes, fields: bytes = b"") -> bytes:
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (_H, fields, len(body), body)


def _bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


_GZIP, _DEFLATE = b"Content-Encoding: gzip\r\n", b"Content-Encoding: deflate\r\n"
_WHOLE = {
    "length": (_sized(_WORDS), _WORDS),
    "no-body": (_sized(b""), b""),
    "chunks": (_CHUNKED + b"5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n", b"hello world"),
    "no-chunks": (_CHUNKED + b"0\r\n\r\n", b""),
    "extensions": (_CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0;last\r\n\r\n', b"hello"),
    "trailers": (_CHUNKED + b"5\r\nhello\r\n0\r\nX-Late: yes\r\nX-Later: too\r\n\r\n", b"hello"),
    "terminator-inside": (_CHUNKED + b"10\r\nhe\r\n0\r\n\r\nllo..\r\n\r\n0\r\n\r\n", b"he\r\n0\r\n\r\nllo..\r\n"),
    "capitals": (_H + b"transfer-ENCODING: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    "spaced-size": (_CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n", b"hello"),
    "until-close": (_H + b"Content-Type: text/plain\r\n\r\n" + _WORDS, _WORDS),
    "http10": (b"HTTP/1.0 200 OK\r\n\r\n" + _WORDS, _WORDS),
    "http10-length": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "no-reason": (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "bare-lf": (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", b"hello"),
    "leading-break": (b"\r\n" + _sized(b"hello"), b"hello"),
    "gzip": (_sized(gzip.compress(_WORDS), _GZIP), _WORDS),
    "gzip-members": (_sized(gzip.compress(_WORDS) + gzip.compress(b"more"), _GZIP), _WORDS + b"more"),
    "gzip-capitals": (_sized(gzip.compress(_WORDS), b"Content-Encoding: GZip\r\n"), _WORDS),
    "gzip-padded": (_sized(gzip.compress(_WORDS) + bytes(9), _GZIP), _WORDS),
    "gzip-nothing": (_sized(b"", _GZIP), b""),
    "gzip-until-close": (_H + _GZIP + b"\r\n" + gzip.compress(_WORDS), _WORDS),
    "deflate": (_sized(zlib.compress(_WORDS), _DEFLATE), _WORDS),
    "deflate-bare": (_sized(_bare(_WORDS), _DEFLATE), _WORDS),
    "no-coding": (_sized(_WORDS, b"Content-Encoding: utf-8\r\n"), _WORDS),
    "interim": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + _sized(_WORDS), _WORDS),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + _sized(_WORDS), _WORDS),
}


def _by_pieces(data: bytes, size: int) -> Script:
    async def script(line: Line) -> None:
        await line.request()
        for at in range(0, len(data), size):
            line.say(data[at : at + size])
            await line.writer.drain()
            # Each piece is a read of its own on the other side.
            await asyncio.sleep(0.001 if size == 1 else 0)

    return script


@pytest.mark.parametrize("name", _WHOLE)
async def test_a_whole_answer_is_read_whole(name: str) -> None:
    """Whatever marks its end, and whatever coding it is in; nothing of the framing or of trailers is in the body."""
    sent, expected = _WHOLE[name]
    async with scripted(answered(sent)) as upstream, door() as to:
        got = await ask(to, upstream.url)
    assert (got.status, got.body, got.end) == (200, expected, None)
    assert not any("late" in field.lower() or field == "Link" for field, _ in got.headers)
    assert got.progress.status == 200
    assert got.progress.first_byte is not None
    assert not got.progress.retried


@pytest.mark.parametrize("name", ["length", "trailers", "extensions", "gzip", "deflate", "interim", "until-close"])
async def test_where_the_bytes_are_cut_means_nothing(name: str) -> None:
    """An answer that comes byte by byte is the same answer."""
    sent, expected = _WHOLE[name]
    async with scripted(_by_pieces(sent, 1)) as upstream, door() as to:
        got = await ask(to, upstream.url)
    assert (got.status, got.body, got.end) == (200, expected, None)


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_ends_with_its_head(status: int) -> None:
    """Whatever length it gives, and its connection serves on."""
    sent = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    if status == 304:
        sent = b"HTTP/1.1 304 X\r\nContent-Length: 700\r\n\r\n"
    async with scripted(answered(sent, OK)) as upstream, door() as to:
        got = await ask(to, upstream.url)
        assert (got.status, got.body, got.end) == (status, b"", None)
        assert (await ask(to, upstream.url)).progress.reused


async def test_an_upgrade_that_nobody_asked_for_is_an_answer_without_a_body() -> None:
    """What follows it is no HTTP; the connection is not used again."""
    upgraded = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nnot http"

    async def script(line: Line) -> None:
        await line.request()
        line.say(upgraded)
        await line.left()
        left.set()

    left = asyncio.Event()
    async with scripted(script) as upstream, door() as to:
        got = await ask(to, upstream.url)
        assert (got.status, got.body) == (101, b"")
        await left.wait()
        assert to.connections().idle == 0


_NO_HEAD = {
    "garbage": (b"\x16\x03\x01 this is not HTTP\r\n\r\n", _BAD),
    "other-protocol": (b"SSH-2.0-OpenSSH_9.2\r\n", _BAD),
    "bad-status": (b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n", _BAD),
    "bad-field": (_H + b"Bad Field: 1\r\nContent-Length: 0\r\n\r\n", _BAD),
    "bad-length": (_H + b"Content-Length: five\r\n\r\nhello", _BAD),
    "two-lengths": (_H + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello", _BAD),
    "both-framings": (_H + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", _BAD),
    "nul": (_H + b"X-Zero: a\0b\r\nContent-Length: 0\r\n\r\n", _BAD),
    "brotli": (_sized(b"whatever", b"Content-Encoding: br\r\n"), _BAD),
    "one-large-field": (_H + b"X-Large: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n", _BAD),
    "large-in-all": (_H + b"X-Large: aaaaaaaaaa\r\n" * 6000 + b"Content-Length: 0\r\n\r\n", _BAD),
    "endless-interim": (b"HTTP/1.1 102 Processing\r\n\r\n" * 4000, _BAD),
    "endless-field": (_H + b"X-Large: " + b"a" * 600_000, _BAD),
    "nothing": (b"", _CLOSED),
    "half-a-head": (_H + b"Content-Ty", _CLOSED),
    "interim-only": (b"HTTP/1.1 100 Continue\r\n\r\n", _CLOSED),
}


@pytest.mark.parametrize("name", _NO_HEAD)
async def test_what_is_no_answer_is_diagnosed(name: str) -> None:
    """No head that can be read: it says why, and the connection is gone."""
    sent, diagnosis = _NO_HEAD[name]
    async with scripted(answered(sent)) as upstream, door() as to:
        got = await ask(to, upstream.url)
        assert got.end == diagnosis
        assert (got.progress.sent, got.progress.status, got.progress.retried) == (True, None, False)
        assert len(upstream.lines) == 1
        assert to.connections().in_use == to.connections().idle == 0


async def test_a_large_head_is_read() -> None:
    """Up to 64 KiB, in one field or in many."""
    one = b"X-Large: " + b"a" * 50_000 + b"\r\n"
    many = b"".join(b"X-%d: some words in a field\r\n" % number for number in range(1000))
    for fields in (one, many):
        async with scripted(answered(_sized(b"hello", fields))) as upstream, door() as to:
            got = await ask(to, upstream.url)
            assert (got.body, got.end) == (b"hello", None)
            assert sum(len(name) + len(value) + 4 for name, value in got.headers) > len(fields)


_CUT = {
    "length": _sized(_WORDS)[:-1],
    "chunks": _CHUNKED + b"5\r\nhello\r\n",
    "half-a-chunk": _CHUNKED + b"5\r\nhel",
    "no-last-break": _CHUNKED + b"5\r\nhello\r\n0\r\n",
    "bad-size": _CHUNKED + b"5\r\nhello\r\nfive\r\nworld\r\n0\r\n\r\n",
    "long-chunk": _CHUNKED + b"5\r\nhello there\r\n0\r\n\r\n",
    "gzip": _sized(gzip.compress(_WORDS)[:-12], _GZIP),
    "gzip-garbage": _sized(b"this is not gzip", _GZIP),
    "deflate": _sized(zlib.compress(_WORDS)[:-12], _DEFLATE),
    "deflate-garbage": _sized(b"\x08this is not deflate", _DEFLATE),
    "endless-trailer": _CHUNKED + b"5\r\nhello\r\n0\r\nX-Late: " + b"a" * 600_000,
    "endless-extension": _CHUNKED + b"5\r\nhello\r\n5;" + b"a" * 600_000,
}


@pytest.mark.parametrize("name", _CUT)
async def test_half_an_answer_never_looks_whole(name: str) -> None:
    """It ends with a diagnosis, behind the bytes that did come."""
    async with scripted(answered(_CUT[name])) as upstream, door() as to:
        got = await ask(to, upstream.url)
        assert (got.status, got.end) == (200, _TRUNCATED)
        assert _WORDS.startswith(got.body) or got.body == b"hello" or got.body == b"hel"
        assert to.connections().in_use == 0


@pytest.mark.parametrize(
    ("sent", "diagnosis"),
    [
        (b"", _RESET),
        (_H, _RESET),
        (_sized(_WORDS)[:-1], _TRUNCATED),
        (_CHUNKED + b"5\r\nhello\r\n", _TRUNCATED),
        (_H + b"\r\nhello", Diagnosis(Cause.STREAM_BROKEN, "reset")),
    ],
    ids=["nothing", "half-a-head", "length", "chunks", "until-close"],
)
async def test_a_reset_is_no_end(sent: bytes, diagnosis: Diagnosis) -> None:
    """Not even where the connection's end would be the answer's."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(sent)
        await read.wait()
        line.reset()

    read = asyncio.Event()
    async with scripted(script) as upstream, door() as to:
        if b"\r\n\r\n" not in sent:
            read.set()
            assert (await ask(to, upstream.url)).end == diagnosis
            return
        answer, _ = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        assert await answer.chunk()
        read.set()
        assert await rest(answer) == (b"", diagnosis)
        assert await rest(answer) == (b"", diagnosis)


async def test_fields_come_as_they_were_sent() -> None:
    """In their order, doubled ones twice, without the white space around values; no letters of UTF-8 are replaced."""
    fields = (
        b"X-Twice: one\r\nx-twice:two\r\nX-Space: \t some words \t \r\nX-Empty:\r\n"
        b"X-Umlaut: gr\xc3\xbcn\r\nX-Latin: gr\xfcn\r\nX-Tab: a\tb\r\n"
    )
    async with scripted(answered(_sized(b"{}", fields))) as upstream, door() as to:
        got = await ask(to, upstream.url)
    assert got.headers == (
        ("X-Twice", "one"),
        ("x-twice", "two"),
        ("X-Space", "some words"),
        ("X-Empty", ""),
        ("X-Umlaut", "grün"),
        ("X-Latin", "gr�n"),
        ("X-Tab", "a\tb"),
        ("Content-Length", "2"),
    )


async def test_the_request_on_the_wire() -> None:
    """The request line, Host, the given fields in their order, a length; nothing is added to them."""
    async with scripted(answered(OK)) as upstream, door() as to:
        headers = (("X-B", "2"), ("x-a", "grün"), ("X-Raw", b"gr\xfcn".decode("utf-8", "surrogateescape")))
        got = await ask(to, f"{upstream.url}?a=b%20c&d", headers=headers)
        assert got.status == 200
        sent = upstream.lines[0].requests[0]
    assert sent == (
        b"POST /v1/chat/completions?a=b%%20c&d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-B: 2\r\nx-a: gr\xc3\xbcn\r\n"
        b"X-Raw: gr\xfcn\r\nContent-Length: %d\r\n\r\n%b" % (upstream.port, len(BODY), BODY)
    )


@pytest.mark.parametrize(
    "headers",
    [(("X-A", "b\r\nX-Evil: 1"),), (("X-A", "b\nc"),), (("X-A", "b\rc"),), (("X-A", "b\0c"),), (("X-A: b\r\nX", "c"),)],
)
async def test_no_header_ends_its_line_early(headers: tuple[tuple[str, str], ...]) -> None:
    """What would be two lines is refused, and nothing is sent: not even a connection is made."""
    async with scripted(answered(OK)) as upstream, door() as to:
        got = await ask(to, upstream.url, headers=headers)
        assert (got.end, got.progress.sent) == (_BAD, False)
        for url in (upstream.url + "/a b", upstream.url + "?a=\r\nX: 1", "ftp://127.0.0.1/", "http:///v1"):
            assert (await ask(to, url)).end == _BAD
        assert not upstream.lines
        assert to.connections().in_use == 0

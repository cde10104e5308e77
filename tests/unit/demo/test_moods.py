"""Each mood does on the wire what its name says."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from dataclasses import replace

import orjson
import pytest

from proxy.demo import moods
from proxy.demo.answers import Fault
from proxy.demo.moods import Mood, Then
from proxy.demo.simulator import Simulator
from tests.unit.demo.raw import LIMIT, Raw, connect, events, texts, unchunk


async def _until_the_end(
    north: Simulator, mood: Mood, *, path: str = "/v1/chat/completions", **more: object
) -> tuple[bytes, str]:
    """All bytes of one answer, and how its connection ended."""
    north.mood = mood
    async with connect(await north.start()) as raw:
        raw.ask(path, fields="Connection: close\r\n", **more)
        return await raw.rest()


async def _streamed(north: Simulator, mood: Mood, *, max_tokens: int = 100) -> tuple[bytes, bool, str]:
    """A stream's body, whether HTTP ended it, and how its connection ended."""
    got, end = await _until_the_end(north, mood, stream=True, max_tokens=max_tokens)
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    return *unchunk(body), end


async def test_reset_is_a_reset(north: Simulator) -> None:
    """A reset comes after the request was read, without a byte of answer."""
    assert await _until_the_end(north, moods.reset()) == (b"", "reset")
    assert len(north.requests) == 1


async def test_close_is_an_orderly_close(north: Simulator) -> None:
    """Zero bytes, then the end, and not a reset."""
    assert await _until_the_end(north, moods.close()) == (b"", "closed")


async def test_stale_closes_only_a_reused_connection(north: Simulator) -> None:
    """The first request of a connection is served, the second meets its end."""
    north.mood = moods.stale()
    async with connect(await north.start()) as raw:
        raw.ask()
        status, _, _ = await raw.answer()
        raw.ask()
        assert (status, await raw.rest()) == (200, (b"", "closed"))


@pytest.mark.parametrize("stream", [False, True])
async def test_hang_says_nothing(north: Simulator, stream: bool) -> None:
    """Not a byte and not an end."""
    north.mood = moods.hang()
    async with connect(await north.start()) as raw:
        raw.ask(stream=stream)
        await asyncio.wait_for(north.until(lambda: len(north.requests) == 1), LIMIT)
        assert await raw.silent(0.1)


async def test_hang_after_headers(north: Simulator) -> None:
    """The whole head and nothing of the body."""
    north.mood = moods.hang_after_headers()
    async with connect(await north.start()) as raw:
        raw.ask(stream=True)
        status, headers = await raw.head()
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert await raw.silent(0.1)


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_hang_mid_stream(north: Simulator, after: int) -> None:
    """A role, exactly so many pieces of content, and silence."""
    north.mood = moods.hang_mid_stream(after)
    async with connect(await north.start()) as raw:
        raw.ask(stream=True)
        await raw.head()
        got = b"".join([await raw.until(b"\n\n\r\n") for _ in range(1 + after)])
        assert await raw.silent(0.1)
    body, ended = unchunk(got)
    assert (b'"role":"assistant"' in body, len(texts(body)), ended) == (True, after, False)


async def test_delay_comes_before_the_first_byte(north: Simulator) -> None:
    """Nothing for so many seconds, then a good answer."""
    began = time.monotonic()
    got, _ = await _until_the_end(north, moods.delay(0.1))
    assert time.monotonic() - began >= 0.1
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_pause_comes_before_each_piece(north: Simulator) -> None:
    """A stream of k pieces takes k pauses, and is whole."""
    began = time.monotonic()
    body, ended, _ = await _streamed(north, moods.pause(0.01), max_tokens=5)
    assert time.monotonic() - began >= 0.05
    assert (len(texts(body)), events(body)[-1], ended) == (5, b"[DONE]", True)


async def test_drip_sends_single_bytes(north: Simulator) -> None:
    """The head at once, then the body one byte at a time."""
    north.mood = moods.drip(0.05)
    async with connect(await north.start()) as raw:
        raw.ask()
        _, headers = await raw.head()
        began = time.monotonic()
        assert await raw.exactly(4) == b'{"id'
        assert time.monotonic() - began >= 0.1
        assert int(headers["content-length"]) > 100


async def test_slow_headers_drip_the_head(north: Simulator) -> None:
    """The status line comes one byte at a time."""
    north.mood = moods.slow_headers(0.05)
    async with connect(await north.start()) as raw:
        raw.ask()
        began = time.monotonic()
        assert await raw.exactly(4) == b"HTTP"
        assert time.monotonic() - began >= 0.15


async def test_truncated_json_owes_bytes(north: Simulator) -> None:
    """The announced length is the whole document's; half of it comes, then a close."""
    got, end = await _until_the_end(north, moods.truncate())
    head, _, body = got.partition(b"\r\n\r\n")
    announced = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
    assert (end, len(body)) == ("closed", announced // 2)
    assert body.startswith(b'{"id":"chatcmpl-')


async def test_truncated_stream_has_no_final_chunk(north: Simulator) -> None:
    """Signs of life, then the connection is closed in the midst of the chunked body."""
    body, ended, end = await _streamed(north, moods.truncate())
    assert (texts(body), len(events(body)), ended, end) == ([], 1, False, "closed")


@pytest.mark.parametrize(
    ("then", "ended", "end"), [(Then.END, True, "closed"), (Then.CLOSE, False, "closed"), (Then.RESET, False, "reset")]
)
async def test_cut_stream(north: Simulator, then: Then, ended: bool, end: str) -> None:
    """So many pieces, no finish reason, no [DONE]; HTTP ends properly, or the connection is closed, or reset."""
    body, whole, how = await _streamed(north, moods.cut_stream(after=3, then=then))
    assert (len(texts(body)), whole, how) == (3, ended, end)
    assert b"[DONE]" not in body
    assert b'"finish_reason":"stop"' not in body


async def test_a_cut_comes_before_the_finish_at_the_latest(north: Simulator) -> None:
    """A stream that is too short for the cut still has no finish reason."""
    body, _, _ = await _streamed(north, moods.cut_stream(after=500))
    assert len(texts(body)) > 5
    assert b'"finish_reason":"stop"' not in body


@pytest.mark.parametrize("done", [True, False])
async def test_empty_stream(north: Simulator, done: bool) -> None:
    """A role, and the end."""
    body, ended, _ = await _streamed(north, moods.empty_stream(done=done))
    assert (texts(body), events(body)[1:], ended) == ([], [b"[DONE]"] if done else [], True)


async def test_garbage_event(north: Simulator) -> None:
    """Data that is no JSON, between events that are."""
    body, ended, _ = await _streamed(north, moods.garbage_event(after=2))
    place = events(body).index(b"{this is not JSON")
    assert (place, events(body)[-1], ended) == (3, b"[DONE]", True)


async def test_error_event_in_chat(north: Simulator) -> None:
    """The last event is OpenAI's error object."""
    body, ended, _ = await _streamed(north, moods.error_event(2, Fault("Out of luck", "server_error", "luck")))
    error = {"message": "Out of luck", "type": "server_error", "param": None, "code": "luck"}
    assert (len(texts(body)), orjson.loads(events(body)[-1]), ended) == (2, {"error": error}, True)


async def test_error_event_in_responses(north: Simulator) -> None:
    """A typed stream's error is a typed event that carries on its numbers."""
    got, _ = await _until_the_end(
        north, moods.error_event(2, Fault("Out of luck", "server_error", "luck")), path="/v1/responses", stream=True
    )
    body, _ = unchunk(got.partition(b"\r\n\r\n")[2])
    before, last = (orjson.loads(data) for data in events(body)[-2:])
    assert b"event: error\n" in body
    assert last == {
        "type": "error",
        "code": "luck",
        "message": "Out of luck",
        "param": None,
        "sequence_number": before["sequence_number"] + 1,
    }


@pytest.mark.parametrize(
    ("mood", "code", "error_type", "error_code"),
    [
        (moods.status(400), 400, "invalid_request_error", "invalid_value"),
        (moods.status(401), 401, "invalid_request_error", "invalid_api_key"),
        (moods.status(403), 403, "request_forbidden", "unsupported_country_region_territory"),
        (moods.status(429), 429, "requests", "rate_limit_exceeded"),
        (moods.status(500), 500, "server_error", None),
        (moods.status(503), 503, "server_error", "server_is_overloaded"),
        (moods.status(529), 529, "simulated_error", None),
        (moods.insufficient_quota(), 429, "insufficient_quota", "insufficient_quota"),
        (moods.context_length(), 400, "invalid_request_error", "context_length_exceeded"),
        (moods.model_missing(), 404, "invalid_request_error", "model_not_found"),
        (moods.error_in_200(502), 200, "provider_error", 502),
    ],
)
async def test_statuses(north: Simulator, mood: Mood, code: int, error_type: str, error_code: str | int | None) -> None:
    """An error answer has its status, OpenAI's four keys, and a request id; also where a stream was asked for."""
    north.mood = mood
    async with connect(await north.start()) as raw:
        for stream in (False, True):
            raw.ask(stream=stream)
            status, headers, body = await raw.answer()
            error = orjson.loads(body)["error"]
            assert (status, error["type"], error["code"]) == (code, error_type, error_code)
            assert set(error) == {"message", "type", "param", "code"}
            assert headers["x-request-id"].startswith("req_")


async def test_a_missing_model_is_named(north: Simulator) -> None:
    """The 404 says which model is unknown."""
    got, _ = await _until_the_end(north, moods.model_missing())
    assert b"The model `m-1` does not exist" in got


async def test_status_carries_headers(north: Simulator) -> None:
    """`retry-after` and any other field go out with an error."""
    mood = moods.status(429, retry_after=2, headers=(("x-ratelimit-reset-requests", "2s"),))
    got, _ = await _until_the_end(north, mood)
    assert b"retry-after: 2\r\n" in got
    assert b"x-ratelimit-reset-requests: 2s\r\n" in got


@pytest.mark.parametrize(
    ("mood", "status", "kind", "start"),
    [
        (moods.html(200), 200, "text/html", b"<!DOCTYPE html>"),
        (moods.html(502), 502, "text/html", b"<!DOCTYPE html>"),
        (moods.not_json(), 200, "application/json", b"upstream"),
        (moods.empty(), 200, "application/json", b""),
        (moods.redirect(), 307, "application/json", b""),
    ],
)
async def test_answers_that_are_not_answers(north: Simulator, mood: Mood, status: int, kind: str, start: bytes) -> None:
    """Pages, texts and nothing at all, properly framed."""
    north.mood = mood
    async with connect(await north.start()) as raw:
        raw.ask()
        code, headers, body = await raw.answer()
        assert (code, headers["content-type"], body[: len(start) or 1]) == (status, kind, start)
        assert headers.get("location") == ("/v1/elsewhere" if status == 307 else None)


async def test_garbage_is_no_http(north: Simulator) -> None:
    """Bytes as given, then a close."""
    assert await _until_the_end(north, moods.garbage(b"SSH-2.0-x\r\n")) == (b"SSH-2.0-x\r\n", "closed")


async def test_wrong_length_leaves_bytes_behind(north: Simulator) -> None:
    """The announced body is a whole document, and more follows it."""
    north.mood = moods.wrong_length(b"surplus")
    async with connect(await north.start()) as raw:
        raw.ask()
        _, _, body = await raw.answer()
        assert orjson.loads(body)["object"] == "chat.completion"
        assert await raw.exactly(7) == b"surplus"


async def test_compressed(north: Simulator) -> None:
    """gzip without being asked: of a document, and of a stream event by event."""
    north.mood = moods.compressed()
    async with connect(await north.start()) as raw:
        raw.ask(fields="Accept-Encoding: identity\r\n")
        _, headers, body = await raw.answer()
        assert headers["content-encoding"] == "gzip"
        assert orjson.loads(gzip.decompress(body))["object"] == "chat.completion"
    north.mood = replace(moods.compressed(), at=1, then=Then.HANG)
    async with connect(await north.start()) as raw:
        raw.ask(stream=True)
        await raw.head()
        size = int(await raw.until(b"\r\n"), 16)
        assert b'"role":"assistant"' in zlib.decompressobj(wbits=31).decompress(await raw.exactly(size))


async def test_large(north: Simulator) -> None:
    """A document of two MiB comes whole."""
    north.mood = moods.large(2)
    async with connect(await north.start()) as raw:
        raw.ask()
        _, _, body = await raw.answer()
        assert len(orjson.loads(body)["choices"][0]["message"]["content"]) > 2 * 1024 * 1024 - 5


async def test_large_header(north: Simulator) -> None:
    """One header field of the size asked for."""
    north.mood = moods.large_header(100_000)
    async with connect(await north.start()) as raw:
        raw.ask()
        _, headers, _ = await raw.answer()
        assert len(headers["x-padding"]) == 100_000


async def test_early_hints(north: Simulator) -> None:
    """A 103 with a head of its own comes before the answer."""
    north.mood = moods.early_hints()
    async with connect(await north.start()) as raw:
        raw.ask()
        hints, _ = await raw.head()
        status, _, body = await raw.answer()
        assert (hints, status, body[:1]) == (103, 200, b"{")


@pytest.mark.parametrize("stream", [False, True])
async def test_http10(north: Simulator, stream: bool) -> None:
    """Neither length nor chunks: the close is the end."""
    north.mood = moods.http10()
    async with connect(await north.start()) as raw:
        raw.ask(stream=stream)
        got, end = await raw.rest()
    head, _, body = got.partition(b"\r\n\r\n")
    assert (head[:15], end) == (b"HTTP/1.0 200 OK", "closed")
    assert b"content-length" not in head.lower()
    assert b"chunked" not in head.lower()
    assert body.endswith(b"data: [DONE]\n\n") if stream else orjson.loads(body)["object"] == "chat.completion"


async def test_moods_combine(north: Simulator) -> None:
    """A mood with one more trait has both."""
    began = time.monotonic()
    got, _ = await _until_the_end(north, replace(moods.status(503), delay=0.1))
    assert got.startswith(b"HTTP/1.1 503 ")
    assert time.monotonic() - began >= 0.1


async def test_queue_comes_before_mood(north: Simulator) -> None:
    """Queued moods meet one request each, in order; then the standing mood is back."""
    north.mood = moods.status(500)
    north.queue.extend((moods.status(429), moods.WELL))
    async with connect(await north.start()) as raw:
        assert [await _status(raw) for _ in range(4)] == [429, 200, 500, 500]


async def _status(raw: Raw) -> int:
    raw.ask()
    status, _, _ = await raw.answer()
    return status

"""The ways in which a simulated upstream can be unwell: each a value, made by the function that names it.

1. A mood says what is answered, how far the answer gets, and what happens there; it does nothing itself.
2. Moods combine: `replace(status(503), delay=1.0)` is slow to say that it is overloaded.
3. Where an answer stops is counted in pieces of content, so that signs of life before them do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from proxy.demo.answers import Fault, event, refusal, whole
from proxy.demo.wire import Answer, head
from proxy.terms import Headers


class Then(StrEnum):
    """What happens where an answer stops."""

    GO_ON = "go_on"
    """It does not: something was put in between, and the rest follows."""
    HANG = "hang"
    """Silence, until the client leaves."""
    CLOSE = "close"
    """The connection is closed; what was promised stays owed."""
    RESET = "reset"
    """The connection is reset."""
    END = "end"
    """HTTP ends as it should, so that only the content is short."""


Place = Literal["request", "headers"] | int
"""Once the request was read, once the head was sent, or after so many pieces of content: 0 is before the first.
A stream that has fewer stops after its last content, so always before its finish; a JSON answer stops halfway."""


@dataclass(frozen=True, slots=True)
class Mood:
    """How an upstream treats one request; without arguments, well."""

    name: str = "well"
    at: Place | None = None
    """Where the answer stops; None: nowhere."""
    then: Then = Then.GO_ON
    insert: bytes | Fault | None = None
    """Sent at that place in a stream; a Fault as an error event of the stream's own dialect."""
    reused_only: bool = False
    """A connection's first request is treated well."""
    instead: Answer | bytes | None = None
    """The answer, whatever was asked; bytes are sent as they are and the connection is closed."""
    no_model: bool = False
    """Whatever model is asked for is unknown."""
    text: str | None = None
    """What the model says."""
    delay: float = 0.0
    """Seconds before the first byte."""
    pause: float = 0.0
    """Seconds before each piece of content of a stream."""
    thinks: float | None = None
    """Seconds that a `thinking…` model is silent; None: as the simulator was made."""
    drip_head: float = 0.0
    """Seconds between single bytes of the head; 0 sends it at once."""
    drip_body: float = 0.0
    interim: bytes = b""
    """Sent before the answer's head."""
    headers: Headers = ()
    """More fields for the answer's head."""
    gzip: bool = False
    """The body is compressed, whatever the client accepts."""
    until_close: bool = False
    """HTTP/1.0: neither a length nor chunks; the body ends with the connection."""
    surplus: bytes = b""
    """Sent after the body that the head announced."""


WELL = Mood()


# No usable answer at all.


def reset() -> Mood:
    """The connection is reset once the request was read."""
    return Mood("reset", at="request", then=Then.RESET)


def close() -> Mood:
    """The connection is closed without a byte."""
    return Mood("close", at="request", then=Then.CLOSE)


def stale() -> Mood:
    """A kept connection is closed just as its next request arrives; a fresh one is served."""
    return Mood("stale", at="request", then=Then.CLOSE, reused_only=True)


def garbage(data: bytes = b"\x16\x03\x01 this is not HTTP\r\n\r\n") -> Mood:
    """Something that is no HTTP."""
    return Mood("garbage", instead=data)


# Silence and slowness.


def hang() -> Mood:
    """Not a byte."""
    return Mood("hang", at="request", then=Then.HANG)


def hang_after_headers() -> Mood:
    """The head, and nothing after it."""
    return Mood("hang-after-headers", at="headers", then=Then.HANG)


def hang_mid_stream(after: int = 3) -> Mood:
    """Silence after so many pieces of content; after 0, signs of life and then silence."""
    return Mood("hang-mid-stream", at=after, then=Then.HANG)


def delay(seconds: float) -> Mood:
    """Well, but the whole answer starts late."""
    return Mood("delay", delay=seconds)


def pause(seconds: float) -> Mood:
    """Well, but slow to speak: each piece of content of a stream comes late."""
    return Mood("pause", pause=seconds)


def drip(seconds: float) -> Mood:
    """The body comes byte by byte."""
    return Mood("drip", drip_body=seconds)


def slow_headers(seconds: float) -> Mood:
    """The head comes byte by byte."""
    return Mood("slow-headers", drip_head=seconds)


# Answers that break off, or carry what they should not.


def truncate() -> Mood:
    """The connection is closed before any content: half a JSON document, or a stream without its final chunk."""
    return Mood("truncate", at=0, then=Then.CLOSE)


def cut_stream(after: int = 3, *, then: Then = Then.END) -> Mood:
    """A stream ends after so many pieces of content, without finish or `[DONE]`; by Then.CLOSE or RESET, abruptly."""
    return Mood("cut-stream", at=after, then=then)


def empty_stream(*, done: bool = True) -> Mood:
    """A stream that says nothing and ends, with `[DONE]` or without."""
    return Mood("empty-stream", at=0, then=Then.END, insert=event(b"[DONE]") if done else None)


def garbage_event(after: int = 0) -> Mood:
    """An event whose data is no JSON, in the midst of a stream that goes on."""
    return Mood("garbage-event", at=after, insert=event(b"{this is not JSON"))


def error_event(after: int = 0, fault: Fault | None = None) -> Mood:
    """An error event ends the stream."""
    said = fault or Fault("The server had an error while processing your request. Sorry about that!", "server_error")
    return Mood("error-event", at=after, then=Then.END, insert=said)


# Whole answers, but not the one that was asked for.


def status(code: int, fault: Fault | None = None, *, retry_after: float | None = None, headers: Headers = ()) -> Mood:
    """An error answer; what OpenAI says with this status, unless `fault` says something else."""
    waits = (("retry-after", f"{retry_after:g}"),) if retry_after is not None else ()
    said = fault or _USUAL.get(code, Fault(f"This is a simulated {code}.", "simulated_error"))
    return Mood(str(code), instead=refusal(code, said, (*waits, *headers)))


_USUAL = {
    400: Fault("Invalid value for 'temperature': expected a number between 0 and 2.", code="invalid_value"),
    401: Fault("Incorrect API key provided: simulated.", code="invalid_api_key"),
    403: Fault(
        "Country, region, or territory not supported", "request_forbidden", "unsupported_country_region_territory"
    ),
    429: Fault(
        "Rate limit reached for requests per minute. Please try again later.", "requests", "rate_limit_exceeded"
    ),
    500: Fault("The server had an error while processing your request. Sorry about that!", "server_error"),
    503: Fault("Our servers are currently overloaded. Please try again later.", "server_error", "server_is_overloaded"),
}


def insufficient_quota() -> Mood:
    """429 of the kind that waiting does not cure."""
    text = "You exceeded your current quota, please check your plan and billing details."
    return status(429, Fault(text, "insufficient_quota", "insufficient_quota"))


def context_length() -> Mood:
    """400: the request is longer than the model can read."""
    text = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
    return status(400, Fault(text, code="context_length_exceeded", param="messages"))


def model_missing() -> Mood:
    """404 that names the model which was asked for."""
    return Mood("404", no_model=True)


def error_in_200(code: int = 502) -> Mood:
    """A 200 whose JSON body is an error, as some gateways answer; `code` is the status it means."""
    fault = Fault("Provider returned error", "provider_error", code)
    return Mood("error-in-200", instead=whole(200, fault.body()))


def html(code: int = 502) -> Mood:
    """A web page, as a gateway or a captive portal answers."""
    page = f"<!DOCTYPE html>\n<html><head><title>{code}</title></head><body><h1>Simulated gateway</h1></body></html>\n"
    return Mood(f"html-{code}", instead=whole(code, page.encode(), kind="text/html"))


def not_json() -> Mood:
    """A 200 that calls its text JSON."""
    return Mood("not-json", instead=whole(200, b"upstream connect error, try again"))


def empty() -> Mood:
    """A 200 without a body."""
    return Mood("empty", instead=whole(200, b""))


def redirect(location: str = "/v1/elsewhere") -> Mood:
    """307; whoever follows it shows up in the simulator's `by_path`."""
    return Mood("redirect", instead=whole(307, b"", headers=(("Location", location),)))


# Well, in ways that few clients are ready for.


def wrong_length(surplus: bytes = b" and some more") -> Mood:
    """More bytes follow the body than its head announced."""
    return Mood("wrong-length", surplus=surplus)


def compressed() -> Mood:
    """gzip, although nobody asked for it."""
    return Mood("gzip", gzip=True)


def large(mebibytes: float) -> Mood:
    """A long answer: this much text in a chat, completions or responses answer."""
    return Mood("large", text="word " * int(mebibytes * 1024 * 1024 / 5))


def large_header(size: int) -> Mood:
    """A header field of `size` bytes."""
    return Mood("large-header", headers=(("x-padding", "x" * size),))


def early_hints() -> Mood:
    """An informational 103 comes before the answer."""
    return Mood("early-hints", interim=head(103, (("Link", "</style.css>; rel=preload"),)))


def http10() -> Mood:
    """An HTTP/1.0 server: the answer ends with its connection."""
    return Mood("http-1.0", until_close=True)

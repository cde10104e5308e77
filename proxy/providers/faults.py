"""What an upstream's error answer means: status, error object and headers in, a Diagnosis out, by fault_table.py.

1. Evidence in this order: HTTP status; the error's codes and types, however nested; its details; anchored phrases on
   the first PHRASE_CHARS of its message. A free body is never searched: providers echo prompts.
2. Nothing that an upstream sends raises here.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from proxy.providers.fault_table import ROWS, Evidence, Row
from proxy.terms import Cause, Diagnosis, Headers

PHRASE_CHARS = 4096
"""Of an error's message, what phrases may see; also the bytes that a gzipped body may grow to."""
_TOKEN = re.compile(r"[a-z0-9_.-]{1,48}")
_GZIP = b"\x1f\x8b"
_DEPTH = 4
"""Levels of wrapping to look through for the error object."""
_MANY = 16
"""Entries of an error's `details` that are read."""
_FAR = 1e15
"""A number beyond this is no time."""
_NO_MESSAGE = "The upstream gave no message."

_UNKNOWN = Row("unclassified", Cause.SERVER, detail="unclassified")
"""No status of an error at all."""


def override_row(status: int | None, code: str | None, type: str | None, phrase: str | None, cause: Cause | str) -> Row:
    """A rule from config's `sources.X.faults`, to be tried before ROWS. Raises ValueError for an unknown cause.

    `status` 200 means an error inside a 200. `phrase` is literal, found anywhere in the error's message, without case.
    """
    return Row(
        "override",
        Cause(cause),
        statuses=None if status is None else {status},
        codes=(code.strip().lower(),) if code else (),
        types=(type.strip().lower(),) if type else (),
        phrase=re.compile(re.escape(phrase), re.IGNORECASE) if phrase else None,
    )


def diagnose(
    kind: str,
    status: int,
    headers: Headers,
    body: bytes,
    *,
    bound_model: str | None,
    now_unix: float,
    overrides: tuple[Row, ...] = (),
    rows: tuple[Row, ...] = ROWS,
) -> Diagnosis:
    """What an answer with an error status means. `bound_model` is None for a tier with model `*`."""
    error = error_object(body)
    page = error is None and _is_page(headers, body)
    exhausted = status == 429 and _none_left(headers)
    retry_after = _retry_after(headers, now_unix, exhausted)
    if retry_after is None and error is not None:
        retry_after = _retry_delay(error, now_unix)
    evidence = _evidence(kind, status, status, error, bound_model, retry_after, page)
    return _conclude(evidence, (*overrides, *rows), exhausted)


def diagnose_error(
    kind: str,
    error: Mapping[str, Any],
    *,
    bound_model: str | None,
    now_unix: float,
    overrides: tuple[Row, ...] = (),
    rows: tuple[Row, ...] = ROWS,
) -> Diagnosis:
    """What an error object means that came inside a 200, as a JSON answer or as an event of a stream.

    The 200's headers say nothing about it.
    """
    said = _error_in(error, nested=True)
    retry_after = None if said is None else _retry_delay(said, now_unix)
    evidence = _evidence(kind, status_of(error), 200, said, bound_model, retry_after, page=False)
    return _conclude(evidence, (*overrides, *rows), exhausted=False)


def _conclude(evidence: Evidence, rows: tuple[Row, ...], exhausted: bool) -> Diagnosis:
    row = next((row for row in rows if row.fits(evidence)), _UNKNOWN)
    return Diagnosis(row.cause, _detail(row, evidence), evidence.retry_after, exhausted)


def _detail(row: Row, evidence: Evidence) -> str:
    if row.detail is not None:
        return row.detail
    named = (
        *(code for code in row.codes if code in evidence.words),
        *(type_ for type_ in row.types if type_ in evidence.types),
    )
    # An override's code is config's own word, but need not be a token.
    plain = next((word for word in named if _TOKEN.fullmatch(word)), None)
    return plain or (f"http_{evidence.status}" if 100 <= evidence.status <= 999 else "http_unknown")


def _evidence(
    kind: str,
    status: int,
    wire: int,
    error: Mapping[str, Any] | None,
    bound_model: str | None,
    retry_after: float | None,
    page: bool,
) -> Evidence:
    said = error or {}
    return Evidence(
        kind=kind,
        status=status,
        wire=wire,
        spoke=error is not None,
        words=tuple(_words(said)),
        types=tuple(_plain(said, "type", "error_type")),
        message=said.get("message", "")[:PHRASE_CHARS],
        param=next(_plain(said, "param"), ""),
        bound_model=bound_model,
        retry_after=retry_after,
        html=page,
    )


# -- the error object


def error_object(body: bytes) -> dict[str, Any] | None:
    """The error object in a body, however it is wrapped; None when there is none.

    Its own keys are kept, and `message` is always a string.
    """
    try:
        return _error_in(orjson.loads(_unzip(body)), nested=False)
    except (orjson.JSONDecodeError, zlib.error):
        return None


def _unzip(body: bytes) -> bytes:
    """Content codings are undone at the door, but a server may gzip and not say so."""
    if not body.startswith(_GZIP):
        return body
    return zlib.decompressobj(wbits=31).decompress(body, PHRASE_CHARS)


def _error_in(document: object, *, nested: bool, depth: int = _DEPTH) -> dict[str, Any] | None:
    if isinstance(document, list):
        document = next((item for item in document if isinstance(item, Mapping)), None)
    if not document or not isinstance(document, Mapping):
        return None
    # An error that says something is the one meant: what it wraps in turn is where it came from.
    if depth and not (nested and isinstance(document.get("message"), str)):
        for key in ("error", "errors", "detail", "message"):
            if found := _error_in(document.get(key), nested=key == "error", depth=depth - 1):
                return found
    texts = (document.get(key) for key in ("message", "error", "detail", "msg", "error_description"))
    message = next((text for text in texts if isinstance(text, str) and text), None)
    if message is None and not nested and document.get("object") != "error":
        return None
    return {**document, "message": message or _NO_MESSAGE}


def _plain(document: Mapping[str, Any], *keys: str) -> Iterator[str]:
    for key in keys:
        value = document.get(key)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            yield str(value)[:128].strip().lower()


def _words(error: Mapping[str, Any]) -> Iterator[str]:
    """What an error says of itself in words made for machines, the most telling first."""
    yield from _plain(error, "code", "error_code")
    inner, depth = error.get("innererror"), _DEPTH
    while isinstance(inner, Mapping) and depth:
        yield from _plain(inner, "code")
        inner, depth = inner.get("innererror"), depth - 1
    for detail in _details(error):
        yield from _plain(detail, "error_code", "code", "reason", "quotaId")
    if isinstance(metadata := error.get("metadata"), Mapping):
        yield from _plain(metadata, "limit_source", "reason", "error_type")
        # What was flagged is the caller's text; that something was is a word.
        yield from (key for key in ("flagged_input", "reasons") if metadata.get(key))
    yield from _plain(error, "status", "type", "error_type")


def _details(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    for detail in details[:_MANY] if isinstance(details, list) else [details]:
        if isinstance(detail, Mapping):
            yield detail
            violations = detail.get("violations")
            for violation in violations[:_MANY] if isinstance(violations, list) else []:
                if isinstance(violation, Mapping):
                    yield violation


_STATUS_OF: tuple[tuple[int, re.Pattern[str]], ...] = (
    (401, re.compile(r"invalid_api_key|account_deactivated|authentication_error|unauthenticated")),
    (402, re.compile(r"billing_error|payment_required")),
    (403, re.compile(r"permission_error|permission_denied|flagged_input")),
    (404, re.compile(r"model_not_found|not_found_error|not_found|notfounderror")),
    (413, re.compile(r"request_too_large")),
    (
        429,
        re.compile(
            r"rate_limit.*|insufficient_quota|quota_exceeded|resource_exhausted|slow_down|.*_limit_exceeded"
            r"|usage_limit_reached|usage_not_included"
        ),
    ),
    (500, re.compile(r"server_error|api_error|internal(?:_error|servererror)?")),
    (503, re.compile(r"server_is_overloaded|unavailable(?:_error)?")),
    (504, re.compile(r"timeout_error|deadline_exceeded|vector_store_timeout")),
    (529, re.compile(r"overloaded_error")),
    (
        400,
        re.compile(
            r"context_length_exceeded|exceed_context_size_error|content_filter|previous_response_not_found"
            r"|invalid_.*|.*_policy(?:_.*)?|.*image.*|bad_?request(?:_?error)?|failed_precondition"
        ),
    ),
)


def status_of(document: Mapping[str, Any]) -> int:
    """The HTTP status toward the caller of an error that came inside a 200.

    Its own, as a number from 400 to 599; else by its code or type; else 502.
    """
    error = _error_in(document, nested=True) or {}
    for word in _plain(error, "code", "status", "status_code"):
        if re.fullmatch(r"[45][0-9]{2}", word):
            return int(word)
    for word in _words(error):
        for status, pattern in _STATUS_OF:
            if pattern.fullmatch(word):
                return status
    return 502


# -- headers


def _header(headers: Headers, name: str) -> str:
    return next((value.strip() for key, value in headers if key.lower() == name), "")


def _is_page(headers: Headers, body: bytes) -> bool:
    return "html" in _header(headers, "content-type").lower() or body[:512].lstrip().startswith(b"<")


def _none_left(headers: Headers) -> bool:
    return any(_seconds(_header(headers, name)) == 0 for name in _REMAINING)


_REMAINING = ("x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining")


_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|[dhms])){1,5}")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _retry_after(headers: Headers, now_unix: float, exhausted: bool) -> float | None:
    """Seconds to wait, as the headers say it; a rate window's reset counts only when the window is used up."""
    milliseconds = _seconds(_header(headers, "retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = _header(headers, "retry-after")
    seconds = _seconds(value)
    if seconds is None and value:
        seconds = _until(value, now_unix)
    if seconds is None and exhausted:
        seconds = _duration(_header(headers, "x-ratelimit-reset-requests"))
        if seconds is None:
            seconds = _until_moment(_header(headers, "anthropic-ratelimit-requests-reset"), now_unix)
    return seconds


def _retry_delay(error: Mapping[str, Any], now_unix: float) -> float | None:
    """Seconds to wait, of who says so in the error: Gemini's RetryInfo, the reset of a ChatGPT plan's window."""
    values = (_duration(value) for detail in _details(error) for value in _plain(detail, "retryDelay"))
    delay = next((value for value in values if value is not None), None)
    if delay is not None:
        return delay
    window, moment = (_number(error.get(name)) for name in ("resets_in_seconds", "resets_at"))
    if window is None and moment is not None and moment >= now_unix:
        window = moment - now_unix
    return window


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value < _FAR else None


def _seconds(value: str) -> float | None:
    return float(value) if value and _NUMBER.fullmatch(value) else None


def _duration(value: str) -> float | None:
    """`1s`, `6m0s`, `20ms`, in seconds."""
    if not _DURATION.fullmatch(value):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|[dhms])", value))


def _until_moment(moment: str, now_unix: float) -> float | None:
    """Seconds to an RFC 3339 moment; None when it cannot be read or has passed."""
    try:
        seconds = datetime.fromisoformat(moment).timestamp() - now_unix
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None


def _until(date: str, now_unix: float) -> float | None:
    """Seconds to an HTTP date; None when it cannot be read or has passed."""
    try:
        moment = parsedate_to_datetime(date)
        # A date without a zone is in GMT, as HTTP dates are.
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now_unix
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None

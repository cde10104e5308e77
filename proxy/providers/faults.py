"""What an upstream's error answer means: status, error object and headers in, a Diagnosis out, by fault_table.py.

1. Evidence in this order: HTTP status; the error's codes and types, however nested; its details; anchored phrases on
   the first PHRASE_CHARS of its message. A free body is never searched: providers echo prompts.
2. Nothing that an upstream sends raises here.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from proxy.providers.fault_table import ROWS, Evidence, Row
from proxy.providers.hops import Names
from proxy.terms import Cause, Diagnosis, Headers

PHRASE_CHARS = 4096
"""Of an error's message, what phrases may see; also the bytes that a gzipped body may grow to."""
_TOKEN = re.compile(r"[a-z0-9_.-]{1,48}")
_GZIP = b"\x1f\x8b"
_DEPTH = 4
"""Levels of wrapping to look through for the error object."""
_MANY = 16
"""Entries of an error's `details` that are read."""
_MOST = 1000
"""Kinds and statuses that a table knows its rows of."""
_FAR = 1e15
"""A number beyond this is no time."""
_NO_MESSAGE = "The upstream gave no message."

_UNKNOWN = Row("unclassified", Cause.SERVER, detail="unclassified")
"""No status of an error at all."""


class Table:
    """Rows in their order. Which of them an answer may meet is found once for its kind and statuses."""

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self._rows = rows
        self._met: dict[tuple[str, int, int], tuple[Row, ...]] = {}

    def met(self, kind: str, status: int, wire: int) -> tuple[Row, ...]:
        """See Row.met."""
        asked = kind, status, wire
        found = self._met.get(asked)
        if found is None:
            found = tuple([row for row in self._rows if row.met(kind, status, wire)])
            # Others than we make statuses up.
            if len(self._met) < _MOST:
                self._met[asked] = found
        return found


_TABLE = Table(ROWS)


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
        phrase=re.compile(f".*?{re.escape(phrase)}", re.IGNORECASE | re.DOTALL) if phrase else None,
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
    table: Table = _TABLE,
) -> Diagnosis:
    """What an answer with an error status means. `bound_model` is None for a tier with model `*`."""
    error = error_object(body)
    said = _said(headers)
    page = error is None and _is_page(said, body)
    exhausted = status == 429 and _none_left(said)
    retry_after = _retry_after(said, now_unix, exhausted)
    if retry_after is None and error is not None:
        retry_after = _retry_delay(error, now_unix)
    evidence = _evidence(kind, status, status, error, bound_model, retry_after, page)
    return _conclude(evidence, overrides, table, exhausted)


def diagnose_error(
    kind: str,
    error: Mapping[str, Any],
    *,
    bound_model: str | None,
    now_unix: float,
    overrides: tuple[Row, ...] = (),
    table: Table = _TABLE,
) -> Diagnosis:
    """What an error object means that came inside a 200, as a JSON answer or as an event of a stream.

    The 200's headers say nothing about it.
    """
    said = _error_in(error, nested=True)
    retry_after = None if said is None else _retry_delay(said, now_unix)
    evidence = _evidence(kind, status_of(error), 200, said, bound_model, retry_after, page=False)
    return _conclude(evidence, overrides, table, exhausted=False)


def _conclude(evidence: Evidence, overrides: tuple[Row, ...], table: Table, exhausted: bool) -> Diagnosis:
    row = _row(evidence, overrides, table)
    return Diagnosis(row.cause, _detail(row, evidence), evidence.retry_after, exhausted)


def _row(evidence: Evidence, overrides: tuple[Row, ...], table: Table) -> Row:
    for row in overrides:
        if row.fits(evidence):
            return row
    for row in table.met(evidence.kind, evidence.status, evidence.wire):
        if row.agrees(evidence):
            return row
    return _UNKNOWN


def _detail(row: Row, evidence: Evidence) -> str:
    if row.detail is not None:
        return row.detail
    for asked, named in ((row.codes, evidence.words), (row.types, evidence.types)):
        for word in asked:
            # An override's code is config's own word, but need not be a token.
            if word in named and _TOKEN.fullmatch(word):
                return word
    return f"http_{evidence.status}" if 100 <= evidence.status <= 999 else "http_unknown"


def _evidence(
    kind: str,
    status: int,
    wire: int,
    error: dict[str, Any] | None,
    bound_model: str | None,
    retry_after: float | None,
    page: bool,
) -> Evidence:
    said: dict[str, Any] = error or {}
    param = _plain(said, "param")
    return Evidence(
        kind,
        status,
        wire,
        error is not None,
        frozenset(_words(said)),
        frozenset(_plain(said, "type", "error_type")),
        said.get("message", "")[:PHRASE_CHARS],
        param[0] if param else "",
        bound_model,
        retry_after,
        page,
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
        document = next((item for item in document if isinstance(item, dict)), None)
    if not document or not isinstance(document, dict):
        return None
    # An error that says something is the one meant: what it wraps in turn is where it came from.
    if depth and not (nested and isinstance(document.get("message"), str)):
        for key in ("error", "errors", "detail", "message"):
            if found := _error_in(document.get(key), nested=key == "error", depth=depth - 1):
                return found
    for key in ("message", "error", "detail", "msg", "error_description"):
        message = document.get(key)
        if message and isinstance(message, str):
            return {**document, "message": message}
    if not nested and document.get("object") != "error":
        return None
    return {**document, "message": _NO_MESSAGE}


def _plain(document: Mapping[str, Any], *keys: str) -> list[str]:
    found = []
    for key in keys:
        value = document.get(key)
        if value is not None and (isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))):
            found.append(str(value)[:128].strip().lower())
    return found


def _words(error: Mapping[str, Any]) -> list[str]:
    """What an error says of itself in words made for machines, the most telling first."""
    words = _plain(error, "code", "error_code")
    inner, depth = error.get("innererror"), _DEPTH
    while isinstance(inner, dict) and depth:
        words += _plain(inner, "code")
        inner, depth = inner.get("innererror"), depth - 1
    for detail in _details(error):
        words += _plain(detail, "error_code", "code", "reason", "quotaId")
    if isinstance(metadata := error.get("metadata"), dict):
        words += _plain(metadata, "limit_source", "reason", "error_type")
        # What was flagged is the caller's text; that something was is a word.
        words += [key for key in ("flagged_input", "reasons") if metadata.get(key)]
    return words + _plain(error, "status", "type", "error_type")


def _details(error: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    details = error.get("details")
    if details is None:
        return found
    for detail in details[:_MANY] if isinstance(details, list) else [details]:
        if isinstance(detail, dict):
            found.append(detail)
            violations = detail.get("violations")
            if isinstance(violations, list):
                found += [violation for violation in violations[:_MANY] if isinstance(violation, dict)]
    return found


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


_REMAINING = ("x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining")
_READ = {
    "content-type",
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-reset-requests",
    "anthropic-ratelimit-requests-reset",
    *_REMAINING,
}
_NAMES: Names[str, str | None] = Names(lambda name: low if (low := name.lower()) in _READ else None)


def _said(headers: Headers) -> dict[str, str]:
    """Of the fields that are read here, by their names in lower case: the first of each counts."""
    said: dict[str, str] = {}
    for name, value in headers:
        read = _NAMES[name]
        if read is not None and read not in said:
            said[read] = value.strip()
    return said


def _is_page(said: Mapping[str, str], body: bytes) -> bool:
    return "html" in said.get("content-type", "").lower() or body[:512].lstrip().startswith(b"<")


def _none_left(said: Mapping[str, str]) -> bool:
    return any(_seconds(said.get(name, "")) == 0 for name in _REMAINING)


_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|[dhms])){1,5}")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _retry_after(said: Mapping[str, str], now_unix: float, exhausted: bool) -> float | None:
    """Seconds to wait, as the headers say it; a rate window's reset counts only when the window is used up."""
    milliseconds = _seconds(said.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = said.get("retry-after", "")
    seconds = _seconds(value)
    if seconds is None and value:
        seconds = _until(value, now_unix)
    if seconds is None and exhausted:
        seconds = _duration(said.get("x-ratelimit-reset-requests", ""))
        if seconds is None:
            seconds = _until_moment(said.get("anthropic-ratelimit-requests-reset", ""), now_unix)
    return seconds


def _retry_delay(error: Mapping[str, Any], now_unix: float) -> float | None:
    """Seconds to wait, of who says so in the error: Gemini's RetryInfo, the reset of a ChatGPT plan's window."""
    for detail in _details(error):
        for value in _plain(detail, "retryDelay"):
            if (delay := _duration(value)) is not None:
                return delay
    window = _number(error.get("resets_in_seconds"))
    if window is None and (moment := _number(error.get("resets_at"))) is not None and moment >= now_unix:
        window = moment - now_unix
    return window


def _number(value: object) -> float | None:
    if value is None or not isinstance(value, int | float) or isinstance(value, bool):
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

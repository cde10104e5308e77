"""What a request asks, read from its head and its body: the document, the query, the time it may take.

1. A body is parsed once; what cannot be read is refused with its place.
2. A key in the query stays here: it is a credential, and the source has its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import orjson

from proxy.edge import refusals
from proxy.edge.refusals import Refusal
from proxy.providers import lenient
from proxy.routing.bindings import Route
from proxy.routing.walk import Deadline
from proxy.terms import Cause, Diagnosis

_PATIENCE = ("x-stainless-read-timeout", "x-stainless-timeout")
"""What the official SDKs say that they will wait, in seconds."""
_SECRET_QUERY = frozenset({"key", "api_key", "api-key", "access_token"})


def document(body: bytes) -> dict[str, Any] | Refusal:
    """The JSON object that a body is."""
    try:
        read = lenient.loads(body)
    except orjson.JSONDecodeError as error:
        return refusals.body_invalid(
            f"is not JSON (at line {error.lineno}, column {error.colno})" if body else "is empty"
        )
    return read if isinstance(read, dict) else refusals.body_invalid("is JSON, but no object")


def query(raw: str) -> str:
    """The query to pass on, with its question mark."""
    kept = [
        pair for pair in raw.split("&") if pair and unquote_plus(pair.partition("=")[0]).lower() not in _SECRET_QUERY
    ]
    return "?" + "&".join(kept) if kept else ""


def deadline(headers: Mapping[str, str], started: float, route: Route) -> Deadline:
    """How long a request that came at `started` may take: as configured, or as its caller will wait."""
    times = route.timeouts
    total, overrun = times.total, Diagnosis(Cause.TIMEOUT_TOTAL, "total")
    patience = _patience(headers)
    # A little before the caller gives up: an answer that says why is worth more than its own timeout.
    if patience is not None and (patience := patience - min(1.0, patience / 20)) < total:
        total, overrun = patience, Diagnosis(Cause.PATIENCE, "patience")
    return Deadline(
        until=started + total,
        total=total,
        overrun=overrun,
        connect=times.connect,
        first_byte=times.first_byte,
        first_token=times.first_token,
        idle=times.idle,
        attempt=times.attempt,
    )


def _patience(headers: Mapping[str, str]) -> float | None:
    given = []
    for name in _PATIENCE:
        said = headers.get(name)
        if said is None:
            continue
        try:
            given.append(float(said))
        except ValueError:
            continue
    return min((value for value in given if math.isfinite(value) and value > 0), default=None)

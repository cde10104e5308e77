"""What a request asks, read from its head and its body: who calls, the document, the time it may take.

1. A body is parsed once; what cannot be read is refused with its place.
2. A key in the query stays here: it is a credential, and the source has its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

import orjson

from proxy.config.schema import Timeouts
from proxy.edge import refusals
from proxy.edge.caller import Head
from proxy.edge.identity import Client, Identity, Named
from proxy.edge.refusals import Refusal
from proxy.providers import lenient
from proxy.routing.walk import Deadline
from proxy.terms import ENDPOINTS, Cause, Diagnosis, Endpoint, Headers

_PATHS = {"/v1" + endpoint.path: endpoint for endpoint in ENDPOINTS}
_PATIENCE = ("x-stainless-read-timeout", "x-stainless-timeout")
"""What the official SDKs say that they will wait, in seconds."""
_SECRET_QUERY = frozenset({"key", "api_key", "api-key", "access_token"})
_TOTAL, _IMPATIENT = Diagnosis(Cause.TIMEOUT_TOTAL, "total"), Diagnosis(Cause.PATIENCE, "patience")


@dataclass(frozen=True, slots=True)
class Known:
    """What a request's head says under one configuration."""

    endpoint: Endpoint | None
    client: Client | Refusal
    named: Named | Refusal | None
    """The assistant that it is for; None where the head does not say."""
    patience: float | None
    """Seconds in which an answer still reaches the caller, if it says so."""
    headers: Headers = field(repr=False)
    """What may be passed on of them."""
    query: str = field(repr=False)
    """Likewise, with its question mark."""
    called: str | None
    """What the caller calls its request, as it can stand anywhere."""


def known(head: Head, identity: Identity) -> Known:
    """Read it."""
    headers = head.headers
    client, called = identity.client(headers), headers.get("x-request-id")
    return Known(
        endpoint=_PATHS.get(head.path),
        client=client,
        named=None if isinstance(client, Refusal) else identity.named(headers, client),
        patience=_patience(headers),
        headers=identity.passing(tuple(headers.items())),
        query=query(head.query),
        called=printable(called) if called else None,
    )


def printable(given: str) -> str:
    """What a caller calls something, as it can stand anywhere: a header may hold bytes of no letters."""
    given = given[:128]
    if given.isascii() and given.isprintable():
        return given
    return "".join(letter if " " <= letter <= "~" else "?" for letter in given)


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


def deadline(patience: float | None, started: float, times: Timeouts) -> Deadline:
    """How long a request that came at `started` may take: as configured, or as its caller will wait."""
    total = times.total
    if patience is not None and patience < total:
        return Deadline(started + patience, patience, _IMPATIENT, times)
    return Deadline(started + total, total, _TOTAL, times)


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
    least = min((value for value in given if math.isfinite(value) and value > 0), default=None)
    # A little before the caller gives up: an answer that says why is worth more than its own timeout.
    return None if least is None else least - min(1.0, least / 20)

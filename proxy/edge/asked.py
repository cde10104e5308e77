"""What a request asks, read from its head and its body: who calls, where it goes and for how long, the document.

1. A body is parsed once; what cannot be read is refused with its place.
2. A key in the query stays here: it is a credential, and the source has its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote_plus

import orjson

from proxy.edge import refusals
from proxy.edge.caller import Head
from proxy.edge.heads import special
from proxy.edge.identity import CLIENT_FIELDS, Client, Identity, Named
from proxy.edge.refusals import Refusal
from proxy.providers import lenient
from proxy.routing.bindings import Bindings, Chain, Route
from proxy.terms import ENDPOINTS, Cause, Diagnosis, Endpoint, Headers, Times

_PATHS = {"/v1" + endpoint.path: endpoint for endpoint in ENDPOINTS}
MODELS = "/v1/models"
_PATIENCE = ("x-stainless-read-timeout", "x-stainless-timeout")
"""What the official SDKs say that they will wait, in seconds."""
_READ = CLIENT_FIELDS | {"x-request-id", *_PATIENCE}
"""Fields that a Known is made of."""
_SECRET_QUERY = frozenset({"key", "api_key", "api-key", "access_token"})
_NOBODY = Client(None, frozenset())
_TOTAL, _IMPATIENT = Diagnosis(Cause.TIMEOUT_TOTAL, "total"), Diagnosis(Cause.PATIENCE, "patience")


@dataclass(slots=True, unsafe_hash=True, init=False)
class Way:
    """Where a request of an assistant goes, and how long it may take."""

    named: Final[Named]
    chain: Final[Chain | Refusal]
    times: Final[Times]
    total: Final[float]
    """Seconds from its arrival: as configured, or as its caller will wait."""
    overrun: Final[Diagnosis]
    """Which of them it is."""

    def __init__(self, named: Named, chain: Chain | Refusal, times: Times, total: float, overrun: Diagnosis) -> None:
        self.named, self.chain, self.times, self.total, self.overrun = named, chain, times, total, overrun


@dataclass(frozen=True, slots=True)
class Known:
    """What a request's head says under one configuration."""

    client: Client
    endpoint: Endpoint | None
    """None as well where the client may not call at all."""
    refusal: Refusal | None
    """Why its body need not be read."""
    way: Way | Refusal | None
    """That of the assistant that it is for; None where the head does not say, or keeps its name apart."""
    beside: bool
    """It does: whoever has thousands of assistants would find none of their ways here that was asked for before."""
    patience: float | None
    """Seconds in which an answer still reaches the caller, if it says so."""
    headers: Headers = field(repr=False)
    """What may be passed on of them."""
    query: str = field(repr=False)
    """Likewise, with its question mark."""
    called: str | None
    """What the caller calls its request, as it can stand anywhere."""


def known(head: Head, identity: Identity, bindings: Bindings) -> Known:
    """Read it."""
    headers = head.headers
    client, called, patience = identity.client(headers), headers.get("x-request-id"), _patience(headers)
    endpoint: Endpoint | None = None
    refusal: Refusal | None = None
    beside = bool(head.apart) and head.apart == identity.header
    found: Way | Refusal | None = None
    if isinstance(client, Refusal):
        refusal, client = client, _NOBODY
    else:
        endpoint = _PATHS.get(head.path)
        refusal = _refusal(head, endpoint)
        named = identity.named(headers, client) if not beside else None
        if named is not None and endpoint is not None:
            found = way(named, endpoint, patience, bindings)
    return Known(
        client=client,
        endpoint=endpoint,
        refusal=refusal,
        way=found,
        beside=beside,
        patience=patience,
        headers=identity.passing(tuple(headers.items())),
        query=query(head.query),
        called=printable(called) if called else None,
    )


def apart(header: str) -> str:
    """The name of the field that says the assistant, in lower case, if nothing else is read from it."""
    low = header.lower()
    return "" if low in _READ or special(low) else low


def _refusal(head: Head, endpoint: Endpoint | None) -> Refusal | None:
    if head.path == MODELS or head.path.startswith(MODELS + "/"):
        return None if head.method in ("GET", "HEAD") else refusals.method_not_allowed(head.method, "GET")
    if endpoint is None:
        return refusals.path_unknown(head.path)
    return None if head.method == "POST" else refusals.method_not_allowed(head.method, "POST")


def way(named: Named | Refusal, endpoint: Endpoint, patience: float | None, bindings: Bindings) -> Way | Refusal:
    """That of an assistant's requests to an endpoint."""
    return named if isinstance(named, Refusal) else _led(named, bindings.routes[named.assistant], endpoint, patience)


def _led(named: Named, route: Route, endpoint: Endpoint, patience: float | None) -> Way | Refusal:
    """By that route."""
    chain: Chain | Refusal
    if (configured := route.chain(endpoint)) is None:
        chain = refusals.chain_missing(named.assistant, endpoint.chain or "")
    else:
        chain = configured if configured.tiers else refusals.assistant_unbound(named.assistant)
    total, overrun = route.timeouts.total, _TOTAL
    if patience is not None and patience < total:
        total, overrun = patience, _IMPATIENT
    return Way(named, chain, route.timeouts, total, overrun)


def way_beside(
    known: Known, endpoint: Endpoint, named: str, model: str | None, identity: Identity, bindings: Bindings
) -> Way | Refusal:
    """That of a request whose head has none: by the name that it keeps apart, or else by the model asked for."""
    if not known.beside:
        return way(identity.unnamed(known.client, model), endpoint, known.patience, bindings)
    # The one look into a table of all of them, which is in no cache: all else that is told of it is of what is found.
    route = bindings.routes.get(named)
    if route is None:
        return refusals.assistant_not_found(named)
    allowed = identity.allowed(route.assistant, "header", known.client)
    return allowed if isinstance(allowed, Refusal) else _led(allowed, route, endpoint, known.patience)


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

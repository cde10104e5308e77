"""Every answer that is Homeport's own and not an upstream's: one table of refusals, in the shape that OpenAI SDKs read.

1. `type` and `code` are the same stable word; the message says what is wrong and what to do about it. One has the
   `type` that OpenAI gives to such a fault of a request.
2. A retry is invited only if it can help: `retry-after` up to RETRY_HORIZON, otherwise `x-should-retry: false`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from proxy.breaker.state import View, Word
from proxy.providers.dialect import Uncarried
from proxy.providers.lenient import dumps
from proxy.routing.decision import Attempted, Skipped, Step
from proxy.terms import RESPONSES, Endpoint, Headers

RETRY_HORIZON = 60.0
"""Seconds: no caller is asked to wait longer than this."""

_NO_RETRY: Headers = (("x-should-retry", "false"),)
_SOON: Headers = (("retry-after", "1"), ("x-should-retry", "true"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer of Homeport's own."""

    status: int
    code: str
    message: str
    param: str | None = None
    headers: Headers = ()
    last: bool = False
    """The connection ends with it."""
    type: str | None = None
    """Where it is another word than the code."""

    def error(self, **more: object) -> dict[str, Any]:
        """The error object, with `more` fields of ours after OpenAI's four."""
        kind = self.type or self.code
        return {"message": self.message, "type": kind, "param": self.param, "code": self.code, **more}

    def body(self) -> bytes:
        return dumps({"error": self.error()})


def key_missing() -> Refusal:
    return Refusal(
        401,
        "invalid_api_key",
        "This proxy wants a client key: send `Authorization: Bearer <key>` with a key whose SHA-256 stands under "
        "`clients`.",
        headers=(("www-authenticate", "Bearer"),),
    )


def origin_forbidden() -> Refusal:
    return Refusal(
        403,
        "origin_forbidden",
        "A web page of another origin may not use this loopback listener: call it from a program, or from a page that "
        "this machine serves.",
    )


def assistant_required(header: str) -> Refusal:
    return Refusal(
        400,
        "assistant_required",
        f"No assistant named itself: send the header `{header}`, use an assistant's id as `model`, "
        "or set `identity.default`. GET /v1/models lists the assistants.",
    )


def assistant_not_found(name: str) -> Refusal:
    return Refusal(
        404, "assistant_not_found", f"No assistant is called {name[:80]!r}. GET /v1/models lists those there are."
    )


def assistant_forbidden(name: str, client: str) -> Refusal:
    return Refusal(
        403,
        "assistant_forbidden",
        f"The key of client {client!r} may not use the assistant {name!r}: add it to that client's `assistants`.",
    )


def assistant_unbound(name: str) -> Refusal:
    return Refusal(
        503,
        "assistant_unbound",
        f"The assistant {name!r} has neither a primary nor fallbacks: give it a primary (`assistants.{name}.primary`).",
        headers=_NO_RETRY,
    )


def chain_missing(name: str, key: str) -> Refusal:
    return Refusal(
        404,
        "endpoint_not_enabled",
        f"The assistant {name!r} has no chain for {key}. Config that enables it, under `assistants.{name}`: "
        f"`chains: {{{key}: {{primary: {{source: <source>, model: <model>}}}}}}`.",
    )


def path_unknown(path: str) -> Refusal:
    if not path.startswith("/v1/"):
        return Refusal(
            404,
            "endpoint_not_enabled",
            f"Nothing is served at {path[:120]!r}. The API is below /v1: does the SDK's base URL end in /v1?",
        )
    return Refusal(
        404,
        "endpoint_not_enabled",
        f"{path[:120]!r} is not served: no config line enables it in this version. Served are /v1/chat/completions, "
        "/v1/completions, /v1/responses, /v1/models, and /v1/embeddings where `chains.embeddings` is configured.",
    )


def method_not_allowed(method: str, allowed: str) -> Refusal:
    return Refusal(
        405, "method_not_allowed", f"{method} is not served here; use {allowed}.", headers=(("allow", allowed),)
    )


def body_invalid(problem: str) -> Refusal:
    return Refusal(400, "invalid_json", f"The request's body {problem}. Send one JSON object.")


def malformed(too_large: bool) -> Refusal:
    if too_large:
        return Refusal(
            431, "request_headers_too_large", "The request's head is too large.", headers=_NO_RETRY, last=True
        )
    return Refusal(400, "malformed_request", "This is not HTTP as it should be: its bounds are not certain.", last=True)


def body_unreadable() -> Refusal:
    return Refusal(
        400,
        "malformed_request",
        "The request's body could not be read: its chunks or its Content-Encoding are not as announced.",
        last=True,
    )


def body_too_large(limit: int) -> Refusal:
    return Refusal(
        413,
        "request_too_large",
        f"The request's body is over {limit:,} bytes (`limits.body`): send less, or raise that limit.",
        headers=_NO_RETRY,
    )


def body_timeout(seconds: float) -> Refusal:
    return Refusal(408, "request_timeout", f"No byte of the request's body came for {seconds:.0f} s.")


def too_busy(what: str, limit: int) -> Refusal:
    return Refusal(
        503,
        "overloaded",
        f"This replica is at its limit of {limit:,} (`limits.{what}`): try again, or raise that limit.",
        headers=_SOON,
    )


def draining() -> Refusal:
    return Refusal(
        503,
        "draining",
        "This replica is shutting down and takes no new requests: another one will.",
        headers=_SOON,
        last=True,
    )


def state_elsewhere(field: str) -> Refusal:
    return Refusal(
        400,
        "stateful_request",
        f"`{field}` refers to something kept at one source, which a fallback could not serve. "
        "Send the whole input instead (stateless /v1/responses).",
        param=field,
    )


def unsupported(cannot: Uncarried) -> Refusal:
    """No tier of the chain can be asked this, and none was."""
    return Refusal(400, "unsupported", cannot.why, cannot.param, type="invalid_request_error")


def internal_error() -> Refusal:
    return Refusal(
        500, "internal_error", "Homeport itself failed; its log has the fault under this request id.", headers=_NO_RETRY
    )


def soonest(steps: Sequence[Step], views: Mapping[str, View], now: float) -> float | None:
    """When one of the tiers, by name, can be tried, on the clock of `now`; None when only an operator can help, or the
    caller: a tier that cannot be asked this is never due.
    """
    unfit = {step.tier for step in steps if isinstance(step, Skipped) and step.reason == "unsupported"}
    asked = {step.tier: step.retry_after or 0.0 for step in steps if isinstance(step, Attempted)}
    moments = [
        now + asked.get(tier, 0.0) if view.word is Word.CLOSED else view.until
        for tier, view in views.items()
        if tier not in unfit
    ]
    return min((moment for moment in moments if moment is not None), default=None)


def all_tiers_failed(steps: Sequence[Step], now: float, unix: float, soonest: float | None) -> Refusal:
    """Nobody served. `soonest`: when a tier can be tried, on the clock of `now`; None: only an operator can help."""
    limited = bool(steps) and all(_rate_limited(step) for step in steps)
    lines = "\n".join(_line(step, now) for step in steps)
    return Refusal(
        429 if limited else 503,
        "all_tiers_failed",
        f"No tier of the chain could serve this request.\n{lines}",
        headers=_retry_headers(soonest, now, unix),
    )


def _retry_headers(soonest: float | None, now: float, unix: float) -> Headers:
    if soonest is None:
        return _NO_RETRY
    wait = max(1.0, soonest - now)
    if wait <= RETRY_HORIZON:
        return (("retry-after", str(int(wait + 0.999))),)
    at = datetime.fromtimestamp(unix + wait, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (*_NO_RETRY, ("x-homeport-retry-at", at))


def _rate_limited(step: Step) -> bool:
    if isinstance(step, Attempted):
        return step.outcome == "rate_limited"
    return step.reason == "parked" and step.breaker is not None and step.breaker.fault == "rate_limited"


def _line(step: Step, now: float) -> str:
    where = f"{step.tier} ({step.source}/{step.model})"
    if isinstance(step, Attempted):
        status = f", HTTP {step.status}" if step.status else ""
        return f"{where}: tried, {step.outcome} ({step.detail}{status})"
    return f"{where}: not tried, {_skip(step, now)}"


def _skip(step: Skipped, now: float) -> str:
    seen = step.breaker if step.denied else None
    notes = [*step.missing, *filter(None, (step.uncarried, seen.reason if seen else ""))]
    why = f" ({', '.join(notes)})" if notes else ""
    when = f", free in {max(0.0, seen.until - now):.0f} s" if seen and seen.until is not None else ""
    return f"{step.reason}{why}{when}"


def error_event(endpoint: Endpoint, error: dict[str, Any]) -> bytes:
    """A stream's last event, in the dialect of its endpoint; both are read as an error by the SDKs."""
    if endpoint == RESPONSES:
        flat = {key: error.get(key) for key in ("code", "message", "param")}
        data = dumps({"type": "error", **flat, "sequence_number": 0, "error": error})
    else:
        data = dumps({"error": error})
    return b"event: error\ndata: " + data + b"\n\n"

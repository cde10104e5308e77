"""An error of another vendor's, or of another form, as OpenAI's API would have said it."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.providers import faults
from proxy.providers.lenient import dumps
from proxy.terms import Cause, Diagnosis

_CODES: Mapping[Cause, str] = {
    Cause.CONTEXT_LENGTH: "context_length_exceeded",
    Cause.CONTENT_POLICY: "content_policy_violation",
    Cause.KEY_INVALID: "invalid_api_key",
    Cause.ACCESS_DENIED: "access_denied",
    Cause.MODEL_MISSING: "model_not_found",
    Cause.RATE_LIMITED: "rate_limit_exceeded",
    Cause.RATE_LIMITED_SIZE: "rate_limit_exceeded",
    Cause.QUOTA: "insufficient_quota",
}
"""OpenAI's words for what callers look at an error's code for."""


def error(body: bytes, diagnosis: Diagnosis) -> bytes:
    """The body, with the upstream's own message and type where it has them."""
    said = faults.error_object(body) or {}
    kind = said.get("type")
    told = {
        "message": said.get("message", "The upstream gave no message."),
        "type": kind if isinstance(kind, str) else "upstream_error",
        "param": None,
        "code": _CODES.get(diagnosis.cause),
    }
    return dumps({"error": told})

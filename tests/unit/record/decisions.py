"""A decision to start from: chat of `bot`, whose open primary was skipped and whose fallback served."""

from __future__ import annotations

from typing import Any

from proxy.breaker.state import View, Word
from proxy.routing.decision import Attempted, Decision, Skipped

AT = 1_790_000_000.0
"""2026-09-21 14:13:20 UTC; the walk's clock said 10.0 then."""
OPEN = Skipped("primary", "first", "big", "open", 10.001, View(Word.OPEN, "connect_error", 1.0, 22.0, ("req_0",)))
SERVED = Attempted(
    "fallback-1",
    "second",
    "small",
    "served",
    "",
    "good",
    10.002,
    10.5,
    "yes",
    status=200,
    connected=10.012,
    first_byte=10.4,
    upstream_id="up_7",
)


def decision(**facts: Any) -> Decision:
    """That decision, with other facts."""
    known: dict[str, Any] = {
        "request_id": "req_1",
        "caller_request_id": None,
        "at": AT,
        "started": 10.0,
        "replica": "abc",
        "revision": "1",
        "client": None,
        "assistant": "bot",
        "identified_by": "header",
        "endpoint": "chat_completions",
        "stream": False,
        "steps": (OPEN, SERVED),
        "served": SERVED,
        "served_model": "small-2026",
        "outcome": "fallback_success",
        "code": 200,
        "refusal": None,
        "duration": 0.512,
        "first_byte": 0.51,
        "waited": 0.5,
        "body_in": 10,
        "body_out": 20,
        "usage": None,
    }
    return Decision(**{**known, **facts})

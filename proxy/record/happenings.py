"""What is kept beside decisions, as documents: breakers' transitions, the store's coming and going.

1. Only words from configuration and from closed lists. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.breaker.state import Moved
from proxy.routing.bindings import Target


def breaker(target: Target, move: Moved, unix: Callable[[float], float]) -> dict[str, Any]:
    """A breaker changed its word. `unix` turns the breakers' time into Unix time."""
    seen = move.seen
    return {
        "event": "breaker",
        "source": target.source,
        "model": target.model,
        "endpoint": target.endpoint,
        "assistants": list(target.assistants),
        "before": move.before.value,
        "after": move.after.value,
        "cause": move.cause,
        "reason": seen.reason or None,
        "until": None if seen.until is None else unix(seen.until),
        "tripped_by": list(seen.tripped_by),
    }


def store(*, up: bool, why: str) -> dict[str, Any]:
    """The shared store came or went, as one replica sees it."""
    return {"event": "store", "up": up, "why": why or None}

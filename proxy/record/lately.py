"""When each tier was last asked, last served and last failed, as this replica saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.terms import EMBEDDINGS

_NO_FAILURE = frozenset({"served", "cancelled", "unsupported", "client_fault", "context_length", "content_policy"})


@dataclass(slots=True)
class Times:
    """Unix times; 0 for never."""

    used: float = 0.0
    succeeded: float = 0.0
    failed: float = 0.0

    def tried(self, outcome: str, at: float) -> None:
        """An attempt of it has ended."""
        self.used = at
        if outcome == "served":
            self.succeeded = at
        elif outcome not in _NO_FAILURE:
            self.failed = at


def prefix(endpoint: str) -> str:
    """Tiers of a chain of its own are told apart from those of the assistant's."""
    return f"{EMBEDDINGS.chain}/" if endpoint == EMBEDDINGS.name else ""


class Lately:
    """Of every tier that was tried."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], Times] = {}

    def kept(self, assistant: str, tier: str) -> Times:
        """Of a tier that was tried, to be told of it."""
        return self._times.setdefault((assistant, tier), Times())

    def of(self, assistant: str, tier: str) -> Times:
        """`tier` as metrics call it: with the chain's name before it where that is not the assistant's own."""
        return self._times.get((assistant, tier)) or Times()

    def last_tier(self, assistant: str) -> str | None:
        """The tier that served last."""
        served: Mapping[str, float] = {
            tier: times.succeeded for (name, tier), times in list(self._times.items()) if name == assistant
        }
        best = max(served, key=lambda tier: served[tier], default=None)
        return best if best is not None and served[best] else None

"""`POST /api/breakers`: an operator's hand on the breakers of one binding.

1. A reset also clears the credential's row, so that a mended key counts at once for all that use it.
2. What cannot be done is refused with the remedy; while a shared store is away nothing is done, so that the replicas
   agree.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from aiohttp import web
from pydantic import BeforeValidator, Field, StrictStr, WithJsonSchema, model_validator

from proxy.admin.api.answering import answer
from proxy.admin.api.calls import Asked, Refused
from proxy.breaker.permit import Guard
from proxy.breaker.state import Act, Operate, Policy
from proxy.config.fault import Wrong
from proxy.config.quantities import DURATION, duration
from proxy.routing.bindings import Bindings

_DAYS = 30 * 86400.0


def _act(value: Any) -> Any:
    if value not in list(Act):
        raise ValueError(f"`action` is one of {', '.join(Act)}.")
    return value


def _span(value: Any) -> float | None:
    try:
        seconds = None if value is None else duration(value)
    except Wrong:
        seconds = -1.0
    if seconds is not None and not 0 < seconds <= _DAYS:
        raise ValueError("`for` is how long, like 10m or 1h, at most 30 days.")
    return seconds


_SPAN = {"anyOf": [{"type": "string", "pattern": f"^{DURATION}$"}, {"type": "number", "exclusiveMinimum": 0}]}


class BreakerOrder(Asked):
    """What is to be done, and to which binding."""

    source: StrictStr
    model: StrictStr
    action: Annotated[Act, BeforeValidator(_act)]
    assistant: StrictStr | None = None
    """Leaves the chains of others out."""
    seconds: Annotated[float | None, BeforeValidator(_span), WithJsonSchema(_SPAN)] = Field(None, alias="for")
    """How long to isolate, like 10m; left out: until it is released."""

    @model_validator(mode="after")
    def _for_what(self) -> BreakerOrder:
        if self.seconds is not None and self.action is not Act.ISOLATE:
            raise ValueError("`for` goes with isolate alone.")
        return self


@dataclass(frozen=True, slots=True)
class Hand:
    """What an operator may lay a hand on."""

    bindings: Callable[[], Bindings]
    operate: Callable[[str, Policy, Operate], Awaitable[bool]]
    clock: Callable[[], float]
    """The breakers'."""

    async def act(self, _: web.BaseRequest, asked: BreakerOrder) -> web.StreamResponse:
        """Answer the call."""
        guards = list(self._guards(asked.source, asked.model, asked.assistant))
        if not guards:
            what = f"{asked.source}/{asked.model}" + (f" of {asked.assistant}" if asked.assistant else "")
            text = f"No tier is bound to {what[:200]}: name a source and a model as they are configured."
            raise Refused("binding_not_found", text)
        until = math.inf if asked.seconds is None else self.clock() + asked.seconds
        rows = {guard.target: guard.policy for guard in guards}
        if asked.action is Act.RESET:
            rows |= {guard.credential: guard.policy for guard in guards if guard.credential}
        done = [await self.operate(row, policy, Operate(asked.action, until)) for row, policy in rows.items()]
        if not all(done):
            raise Refused(
                "store_away",
                "The shared store did not take it, so the replicas would not agree: try again once /api/status says "
                "that it is up.",
            )
        return answer(
            {"action": asked.action.value, "source": asked.source, "model": asked.model, "breakers": len(rows)}
        )

    def _guards(self, source: str, model: str, assistant: str | None) -> list[Guard]:
        return [
            guard
            for name, _, tier in self.bindings().tiers()
            if assistant in (None, name) and (tier.binding.source, tier.binding.model) == (source, model)
            for guard in tier.guards.values()
        ]

"""`POST /api/breakers`: an operator's hand on the breakers of one binding.

1. A reset also clears the credential's row, so that a mended key counts at once for all that use it.
2. What cannot be done is refused with the remedy; while a shared store is away nothing is done, so that the replicas
   agree.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from proxy.admin.calls import refused
from proxy.breaker.permit import Guard
from proxy.breaker.state import Act, Operate, Policy
from proxy.config.fault import Wrong
from proxy.config.quantities import duration
from proxy.routing.bindings import Bindings

_DAYS = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Hand:
    """What an operator may lay a hand on."""

    bindings: Callable[[], Bindings]
    operate: Callable[[str, Policy, Operate], Awaitable[bool]]
    clock: Callable[[], float]
    """The breakers'."""

    async def act(self, request: web.Request) -> web.StreamResponse:
        """Answer the call."""
        try:
            act, seconds, source, model, assistant = _order(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return refused(413, "request_too_large", "A call of this API is a few lines.")
        except ValueError as error:
            return refused(400, "invalid_request", str(error))
        guards = list(self._guards(source, model, assistant))
        if not guards:
            what = f"{source}/{model}" + (f" of {assistant}" if assistant else "")
            text = f"No tier is bound to {what[:200]}: name a source and a model as they are configured."
            return refused(404, "binding_not_found", text)
        until = math.inf if seconds is None else self.clock() + seconds
        rows = {guard.target: guard.policy for guard in guards}
        if act is Act.RESET:
            rows |= {guard.credential: guard.policy for guard in guards if guard.credential}
        done = [await self.operate(row, policy, Operate(act, until)) for row, policy in rows.items()]
        if not all(done):
            return refused(
                503,
                "store_away",
                "The shared store did not take it, so the replicas would not agree: try again once /api/status says "
                "that it is up.",
            )
        body = {"action": act.value, "source": source, "model": model, "breakers": len(rows)}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    def _guards(self, source: str, model: str, assistant: str | None) -> list[Guard]:
        return [
            guard
            for name, route in self.bindings().routes.items()
            if assistant in (None, name)
            for chain in (route.own, *route.chains.values())
            for tier in chain.tiers
            if (tier.binding.source, tier.binding.model) == (source, model)
            for guard in tier.guards.values()
        ]


def _order(body: bytes) -> tuple[Act, float | None, str, str, str | None]:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise ValueError('Send a JSON object like {"source": "openai", "model": "gpt-5.4", "action": "reset"}.')
    if strange := document.keys() - {"source", "model", "assistant", "action", "for"}:
        name = min(strange)[:80]
        raise ValueError(f"Unknown field {name!r}: it takes source, model, assistant, action and for.")
    source, model, assistant = (document.get(key) for key in ("source", "model", "assistant"))
    if not isinstance(source, str) or not isinstance(model, str) or not isinstance(assistant, str | None):
        raise ValueError("`source` and `model` are needed, as text; `assistant` is text or left out.")
    try:
        act = Act(str(document.get("action")))
    except ValueError:
        raise ValueError(f"`action` is one of {', '.join(Act)}.") from None
    seconds = document.get("for")
    if seconds is not None:
        if act is not Act.ISOLATE:
            raise ValueError("`for` goes with isolate alone.")
        try:
            seconds = duration(seconds)
        except Wrong:
            seconds = -1.0
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= _DAYS:
            raise ValueError("`for` is how long, like 10m or 1h, at most 30 days.")
    return act, seconds, source, model, assistant

"""One request on the caller's side, from its arrival to its decision: what is known of it, and the headers that say so.

1. Every answer carries the same headers; what is not known reads `none`, what is not known yet `pending`.
2. The decision is made once, at the end, from facts noted on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from proxy.edge.asked import Known, known, printable
from proxy.edge.caller import Caller, Head
from proxy.edge.heads import KEPT
from proxy.edge.identity import Identity
from proxy.edge.refusals import Refusal, error_event
from proxy.edge.relay import Pulse
from proxy.providers.hops import Passing
from proxy.providers.lines import Fields, fields
from proxy.routing.bindings import Bindings
from proxy.routing.decision import Attempted, Decision, reason
from proxy.routing.walk import Ports, Trail
from proxy.terms import Endpoint, Headers, Usage

# The framing is our own connection's, cookies are the source's business with us, the request id is ours to give.
_NEVER_DOWN = ("x-homeport-", "x-codex-")
"""Beginnings: ours to say; and what a ChatGPT account's plan has left, which is its owner's to know."""
_NOT_DOWN = frozenset({"content-encoding", "content-length", "set-cookie", "x-request-id"})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one replica takes on at once."""

    body: int
    """Bytes of one request."""
    in_flight: int
    buffered: int
    """Bytes of all requests' bodies."""


@dataclass(frozen=True, slots=True)
class Serving:
    """One configuration as it is served. Swapped whole: a request goes by one of them from its start to its end."""

    replica: str
    """Names this process."""
    identity: Identity
    bindings: Bindings
    ports: Ports
    bounds: Bounds
    _known: dict[Head, Known] = field(init=False, repr=False, compare=False, default_factory=dict)
    """What heads say by this configuration; it ends with it."""
    said: dict[tuple[str, str, str, int], Fields] = field(init=False, repr=False, compare=False, default_factory=dict)
    """What answers say of whom they are from: no more than there are models in places of chains, and ways to them. Of
    what differs between thousands of assistants nothing is kept: that would be in no cache when it is asked for again.
    """

    def known(self, head: Head) -> Known:
        """What a request's head says: found once for one that is met again."""
        found = self._known.get(head)
        if found is None:
            found = known(head, self.identity, self.bindings)
            if head.kept:
                if len(self._known) >= KEPT:
                    self._known.clear()
                self._known[head] = found
        return found


class Exchange:
    """What is known of one request. Mutable while it is served; `close()` freezes it."""

    __slots__ = (
        "asked_model",
        "asking",
        "assistant",
        "at",
        "body_in",
        "caller",
        "client",
        "ending",
        "endpoint",
        "identified_by",
        "known",
        "outcome",
        "pending",
        "ports",
        "pulse",
        "quoted",
        "refusal",
        "served",
        "served_model",
        "serving",
        "started",
        "stream",
        "trail",
        "usage",
        "waited_for_caller",
    )

    def __init__(self, caller: Caller, request_id: str, at: float, serving: Serving) -> None:
        self.caller, self.at, self.serving = caller, at, serving
        self.ports = ports = serving.ports
        self.started = ports.clock()
        self.trail = Trail(request_id)
        self.known: Known | None = None
        """By its head."""
        self.pulse: Pulse | None = None
        """Of a stream."""
        self.ending = False
        """The replica stops, and this exchange with it."""
        self.endpoint: Endpoint | None = None
        self.stream = False
        self.client: str | None = None
        self.assistant: str | None = None
        self.identified_by: str | None = None
        self.asking = False
        """The assistant's chain is being walked."""
        self.asked_model: str | None = None
        """The model that the caller named; shown where a binding passes it through."""
        self.pending = False
        """The answer was opened before it was known which tier gives it."""
        self.served: Attempted | None = None
        self.quoted: Attempted | None = None
        """Nothing was served, and the caller reads what this attempt's upstream said."""
        self.refusal: Refusal | None = None
        self.outcome = "cancelled"
        """Until something better is known."""
        self.served_model: str | None = None
        self.usage: Usage | None = None
        self.body_in = 0
        self.waited_for_caller = 0.0

    def fields(self) -> Fields:
        """Who answers and why, as far as it is known; see product.md for the names."""
        served, steps = self.served, self.trail.steps
        # Where the one tier that was tried has served there is nothing to count and to explain.
        plain = served is not None and len(steps) == 1
        attempts = 1 if plain else len([step for step in steps if isinstance(step, Attempted)])
        spoke = self.quoted if served is None else served
        if spoke is None:
            unknown = "pending" if self.pending else "none"
            by_whom = _by_whom(unknown, unknown, unknown, attempts)
        elif spoke.model == "*":
            by_whom = _by_whom(spoke.tier, spoke.source, self.asked_model or "none", attempts)
        else:
            configured, said = (spoke.tier, spoke.source, spoke.model, attempts), self.serving.said
            by_whom = said.get(configured, _UNSAID)
            if not by_whom:
                by_whom = said[configured] = _by_whom(*configured)
        told = [f"x-request-id: {self.trail.request_id}", f"x-homeport-assistant: {self.assistant or 'none'}", *by_whom]
        if not plain and (served is None or served.tier != "primary") and (why := reason(steps)):
            told.append(f"x-homeport-reason: {why}")
        if served is not None and served.dropped:
            told.append(f"x-homeport-dropped: {', '.join(served.dropped)}")
        if spoke is not None and spoke.upstream_id:
            told.append(f"x-homeport-upstream-request-id: {spoke.upstream_id}")
        return told

    def end(self) -> None:
        """Let the exchange end now: a committed stream with an error event, what waits with a refusal."""
        self.ending = True
        if self.pulse is not None and self.pulse.watching:
            self.pulse.end()
        else:
            task = self.caller.task
            assert task is not None  # noqa: S101  # an exchange is made in the task that serves its caller
            task.cancel()

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal: as a response, or in-band where a held stream was opened already."""
        self.refusal = refusal
        headers = (("content-type", "application/json"), *refusal.headers)
        await self.send_error(refusal.status, headers, refusal.body(), refusal.error(), close=refusal.last)

    async def send_error(
        self, status: int, headers: Headers, body: bytes, error: dict[str, object], *, close: bool = False
    ) -> None:
        """An error answer; `error` stands for `body` where only an event can still be sent."""
        if not self.caller.opened:
            # The rest of a body that nobody will read would be taken for the next request.
            close = close or self.caller.unread
            await self.caller.send(status, [*fields(headers), *self.fields()], body, close=close)
            return
        retry = {name.replace("-", "_"): value for name, value in headers if name in _RETRY_WORDS}
        assert self.endpoint is not None  # noqa: S101  # only a stream of an endpoint is ever held
        event = error_event(self.endpoint, {**error, "status": status, "request_id": self.trail.request_id, **retry})
        await self.caller.write(event)
        await self.caller.finish(close=True)

    def close(self) -> Decision:
        """The story, now that it has ended."""
        now, caller = self.ports.clock(), self.caller
        # In the order of its fields: by their names it would take twice as long.
        return Decision(
            self.trail.request_id,
            self.known.called if self.known else None,
            self.at,
            self.started,
            self.serving.replica,
            self.serving.bindings.revision,
            self.client,
            self.assistant,
            self.identified_by,
            self.endpoint.name if self.endpoint else "other",
            self.stream,
            tuple(self.trail.steps),
            self.served,
            self.served_model,
            self.outcome,
            caller.status or 499,
            self.refusal.code if self.refusal else None,
            now - self.started,
            None if caller.first_byte is None else caller.first_byte - self.started,
            self.trail.waited + self.waited_for_caller,
            self.body_in,
            caller.body_out,
            self.usage,
        )


def _by_whom(tier: str, source: str, model: str, attempts: int) -> Fields:
    return [
        f"x-homeport-tier: {tier}",
        f"x-homeport-source: {source}",
        f"x-homeport-model: {printable(model).replace(' ', '?') or 'none'}",
        f"x-homeport-attempts: {attempts}",
    ]


_UNSAID: Final[Fields] = []
_RETRY_WORDS = frozenset({"retry-after", "x-should-retry", "x-homeport-retry-at"})


headers_down = Passing(lambda low: low not in _NOT_DOWN and not low.startswith(_NEVER_DOWN))
"""An upstream's headers as the caller may see them."""

"""Prometheus metrics: what is counted from decisions, and the registry of all that is exported.

1. Label values come from the configuration and from closed lists, never from a caller: no assistant is `_unknown`.
2. A decision is counted once, when it is finished; what is true now is not mirrored here but read at scrape, by
   live_metrics.py. Which series a request counts in is found once for all that are alike (kinds.py), and what these
   add up to goes there before a scrape.
3. Breaker state, last use and requests by outcome exist from the start; the rest appears when first seen.
"""

from __future__ import annotations

import asyncio
import platform
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, Protocol, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector

import proxy
from proxy.beside import giving_way
from proxy.breaker.state import Moved, Word
from proxy.record.counts import LONG, Counts, Tried
from proxy.record.families import Spreads, Values
from proxy.record.lately import Times, prefix
from proxy.record.lines import Look
from proxy.record.live_metrics import Kept, Live, Now, Shared
from proxy.record.series import Value
from proxy.routing.bindings import Bindings, Target
from proxy.routing.decision import Attempted, Decision, Skipped, Step, word
from proxy.terms import CHAT
from proxy.upstream.oauth.account import RESULTS

_SHORT: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_WHOLE = ("success", "fallback_success")
_FROM_BOOT = (("success", "200"), ("fallback_success", "200"), ("exhausted", "503"))
_RELOADS = ("ok", "invalid", "unchanged")

_UNKNOWN = "_unknown"
_NOT_LET_IN = ("invalid_api_key", "assistant_forbidden", "origin_forbidden")
_OVER_OUR_LIMITS = "overloaded"
_TURN: Final = 200
"""Counts that are settled before others get their turn: under a millisecond."""


class Shown(Protocol):
    """What has lines in an exposition."""

    def lines(self) -> Iterator[str]:
        """Of the text format, each with its end."""
        ...


Each = TypeVar("Each", bound=Shown)


class Metrics:
    """One replica's metrics, and what shows them."""

    def __init__(self, now: Now) -> None:
        self._now, self.lately = now, now.lately
        self._shown: list[Shown] = []
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

        def counter(name: str, text: str, *labels: str) -> Values:
            return self._show(Values("counter", name, text, labels))

        def gauge(name: str, text: str, *labels: str) -> Values:
            return self._show(Values("gauge", name, text, labels))

        def histogram(name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Spreads:
            return self._show(Spreads(name, text, bounds, labels))

        a, t, s, m = "assistant", "tier", "source", "model"
        self._build = gauge("homeport_build_info", "Always 1", "version", "commit", "python")
        self._requests = counter(
            "homeport_requests_total", "Requests finished", a, "endpoint", "stream", "outcome", "code"
        )
        self._duration = histogram(
            "homeport_request_duration_seconds", "From arrival to the last byte", LONG, a, "stream"
        )
        self._first_byte = histogram(
            "homeport_request_time_to_first_byte_seconds",
            "Until the first body byte, all tiers included",
            LONG,
            a,
            "stream",
        )
        self._body_in = counter("homeport_request_body_bytes_total", "Body bytes from callers", a)
        self._body_out = counter("homeport_response_body_bytes_total", "Body bytes to callers", a)
        self._overhead = histogram(
            "homeport_overhead_seconds", "Time in the proxy, waiting for upstreams left out", _SHORT
        )
        self._attempts = counter("homeport_attempts_total", "Upstream attempts", a, t, "outcome")
        self._status = counter(
            "homeport_upstream_status_total", "Upstream HTTP status, `none` without an answer", s, "code"
        )
        self._upstream = histogram(
            "homeport_upstream_duration_seconds", "Attempt start to last upstream byte", LONG, s, m
        )
        self._first_token = histogram(
            "homeport_upstream_time_to_first_token_seconds", "Attempt start to first content of a stream", LONG, s, m
        )
        self._connect = histogram("homeport_upstream_connect_seconds", "TCP and TLS of new connections", _SHORT, s)
        self._stalls = counter("homeport_stream_stalls_total", "Silence over its limit", a, t, "phase")
        self._truncated = counter("homeport_stream_truncated_total", "Answers that broke off, committed or not", a, t)
        self._fallbacks = counter(
            "homeport_fallbacks_total", "Moves to the next tier", a, "from_tier", "to_tier", "reason"
        )
        self._skipped = counter("homeport_tier_skipped_total", "Tiers not tried", a, t, "reason")
        self._exhausted = counter("homeport_chain_exhausted_total", "Requests that no tier served", a, "reason")
        self._moves = counter(
            "homeport_breaker_transitions_total", "Breaker transitions", s, m, "from_state", "to_state", "cause"
        )
        self._probes = counter(
            "homeport_probes_total", "Requests that asked whether a tier is back", s, m, "kind", "result"
        )
        self._tokens = counter("homeport_tokens_total", "Tokens as the upstream billed them", a, t, "kind")
        self._no_usage = counter("homeport_usage_missing_total", "Tiers' whole answers that said no usage", a, t)
        self._limited = counter("homeport_rate_limited_total", "Requests over this replica's own limits", "scope", a)
        self._not_let_in = counter("homeport_auth_failures_total", "Callers that were not let in", "reason")
        self._refreshes = counter(
            "homeport_credential_refreshes_total", "Refreshes of accounts' tokens", "credential", "result"
        )
        self._lag = histogram("homeport_event_loop_lag_seconds", "How late the event loop is", _SHORT)
        self._build(proxy.__version__, "", platform.python_version()).set(1)
        self._lag()
        self._limited("global", _UNKNOWN)
        for reason in _NOT_LET_IN:
            self._not_let_in(reason)
        self._reloads = counter("homeport_config_reloads_total", "Times the file was read again", "result")
        self._reloaded_at = gauge("homeport_config_last_reload_timestamp_seconds", "Unix time, 0 = never")
        self._reloaded_well = gauge("homeport_config_last_reload_success", "1 if the file, as last read, is in force")
        for result in _RELOADS:
            self._reloads(result)
        self._reloaded_at()
        self._reloaded_well().set(1)
        self._new: list[Counts] = []
        self._tried: dict[tuple[Tried, ...], tuple[Tried, ...]] = {}
        """Those of all Counts, each once."""
        self._targets: dict[str, Target] = {}
        self._followed: set[str] = set()
        self.follow(now.bindings())
        self._show(Live(now))
        self._show(Kept(now))
        self.delays: deque[float] = deque(maxlen=1000)
        """How long the latest pushes took, in seconds."""
        if now.link is not None:
            self._operations = histogram("homeport_redis_operation_seconds", "Time of store operations", _SHORT, "op")
            self._errors = counter("homeport_redis_errors_total", "Store operations that failed", "op", "error")
            self._delay = histogram(
                "homeport_state_propagation_seconds",
                "From a change until it was known here",
                (*_SHORT, 5, 30),
            )
            self._show(Shared(now.link, now.to_unix))

    def follow(self, bindings: Bindings) -> None:
        """These are in force from now on: what is known of them from the start is there from the start."""
        self._targets |= bindings.targets
        new = [name for name in bindings.routes if name not in self._followed]
        self._followed.update(new)
        for name in new:
            for outcome, code in _FROM_BOOT:
                for stream in ("false", "true"):
                    self._requests(name, CHAT.name, stream, outcome, code)

    def reloaded(self, result: str, at: float) -> None:
        """The file was read again, at a Unix time: ok, invalid or unchanged."""
        self._reloads(result).inc()
        self._reloaded_at().set(at)
        self._reloaded_well().set(float(result != "invalid"))

    async def exposed(self) -> bytes:
        """The text that Prometheus scrapes, of what there is when it is asked for."""
        # Not until there is none: under load there always is.
        for _ in range(0, len(self._new), _TURN):
            self.settle(_TURN)
            await asyncio.sleep(0)
        # In a thread: with many assistants it takes longer than a request may wait.
        return await asyncio.to_thread(self.exposition)

    def settle(self, most: int | None = None) -> None:
        """Put what was counted into the series: of so many, or of all. In the event loop's thread alone."""
        some = self._new[:most]
        del self._new[:most]
        for each in some:
            each.settle()

    def exposition(self) -> bytes:
        """The same text, of what was settled."""
        with giving_way():
            text = "".join(line for each in self._shown for line in each.lines())
        return text.encode() + generate_latest(self._process)

    def _show(self, shown: Each) -> Each:
        self._shown.append(shown)
        return shown

    def store_operation(self, operation: str, seconds: float, error: str | None) -> None:
        """The shared store was asked."""
        self._operations(operation).observe(seconds)
        if error is not None:
            self._errors(operation, error).inc()

    def accounts(self, credentials: Iterable[str]) -> None:
        """These sources have accounts, of which every result is counted from the start."""
        for credential in credentials:
            for result in RESULTS:
                self._refreshes(credential, result)

    def refreshed(self, credential: str, result: str) -> None:
        """A source's account got a token, or not."""
        self._refreshes(credential, result).inc()

    def lagged(self, seconds: float) -> None:
        """The event loop came to something so much later than it was due."""
        self._lag().observe(seconds)

    def propagated(self, seconds: float) -> None:
        """A change that another replica made is known here, so long after it."""
        self.delays.append(seconds)
        self._delay().observe(seconds)

    def moved(self, target: str, move: Moved) -> None:
        """A breaker changed its word."""
        known = self._targets[target]
        self._moves(known.source, known.model, move.before.value, move.after.value, move.cause).inc()

    def counts(self, decision: Decision, look: Look) -> Counts:
        """What it is counted in, and all that are like it and look so in the log."""
        a, stream, before = decision.assistant or _UNKNOWN, str(decision.stream).lower(), prefix(decision.endpoint)
        steps, served, whole = decision.steps, decision.served, decision.outcome in _WHOLE
        ones = [self._requests(a, decision.endpoint, stream, decision.outcome, str(decision.code))]
        ones += self._refused(decision.refusal, a)
        body_in, body_out = self._body_in(a) if decision.body_in > 0 else None, self._body_out(a)
        if not steps:
            return Counts(
                self._new, tuple(ones), body_in, body_out, None, None, None, self._tokens.of, None, (), (), look
            )
        first_byte = None if decision.first_byte is None else self._first_byte(a, stream)
        tried: list[Tried] = []
        lately: list[Times] = []
        for place, step in enumerate(steps):
            if isinstance(step, Attempted):
                ones += self._attempt(a, before + step.tier, step)
                tried.append(self._measured(place, step))
                lately.append(self.lately.kept(decision.assistant or "", before + step.tier))
            else:
                ones += self._skip(a, before + step.tier, step)
        ones += self._moved_on(a, before, steps)
        if decision.outcome == "exhausted":
            ones.append(self._exhausted(a, word(steps[-1])))
        if served is not None and decision.usage is None and whole:
            ones.append(self._no_usage(a, before + served.tier))
        billed = None if served is None else (a, before + served.tier)
        measured = tuple(tried)
        return Counts(
            self._new,
            tuple(ones),
            body_in,
            body_out,
            self._duration(a, stream),
            first_byte,
            billed,
            self._tokens.of,
            self._overhead(),
            self._tried.setdefault(measured, measured),
            tuple(lately),
            look,
        )

    def _refused(self, why: str | None, a: str) -> Iterator[Value]:
        if why in _NOT_LET_IN:
            yield self._not_let_in(why)
        elif why == _OVER_OUR_LIMITS:
            yield self._limited("global", a)

    def _skip(self, a: str, t: str, step: Skipped) -> Iterator[Value]:
        yield self._skipped(a, t, step.reason)
        if step.reason == Word.HALF_OPEN:
            yield self._probes(step.source, step.model, "half_open", "lost_race")

    def _attempt(self, a: str, t: str, step: Attempted) -> Iterator[Value]:
        yield self._attempts(a, t, step.outcome)
        yield self._status(step.source, str(step.status or "none"))
        if step.probe in ("half_open", "early"):
            heard = step.heard if step.heard in ("good", "bad") else "neutral"
            yield self._probes(step.source, step.model, step.probe, heard)
        if step.detail in ("first_byte", "idle"):
            yield self._stalls(a, t, "first_byte" if step.detail == "first_byte" else "mid_stream")
        if step.outcome == "stream_broken":
            yield self._truncated(a, t)

    def _measured(self, place: int, step: Attempted) -> Tried:
        return (
            place,
            self._upstream(step.source, step.model),
            None if step.first_token is None else self._first_token(step.source, step.model),
            None if step.reused or step.connected is None else self._connect(step.source),
        )

    def _moved_on(self, a: str, before: str, steps: Sequence[Step]) -> Iterator[Value]:
        passed = set()
        for left, next_ in pairwise(steps):
            passed.add(left.tier)
            # A tier that is asked once more, since no other may be, is no next one.
            if next_.tier not in passed:
                yield self._fallbacks(a, before + left.tier, before + next_.tier, word(left))

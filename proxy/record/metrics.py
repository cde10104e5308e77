"""Prometheus metrics: what is counted from decisions, and the registry of all that is exported.

1. Label values come from the configuration and from closed lists, never from a caller: no assistant is `_unknown`.
2. A decision is counted once, when it is finished; what is true now is not mirrored here but read at scrape, by
   live_metrics.py.
3. Breaker state, last use and requests by outcome exist from the start; the rest appears when first seen.
"""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector

import proxy
from proxy.beside import giving_way
from proxy.breaker.state import Moved, Word
from proxy.record.lately import prefix
from proxy.record.live_metrics import Kept, Live, Now, Shared
from proxy.record.series import Spreads, Values
from proxy.routing.bindings import Bindings, Target
from proxy.routing.decision import Decision, Skipped, Step, word
from proxy.terms import CHAT
from proxy.upstream.oauth.account import RESULTS

_LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_WHOLE = ("success", "fallback_success")
_FROM_BOOT = (("success", "200"), ("fallback_success", "200"), ("exhausted", "503"))
_RELOADS = ("ok", "invalid", "unchanged")

_UNKNOWN = "_unknown"
_NOT_LET_IN = ("invalid_api_key", "assistant_forbidden", "origin_forbidden")
_OVER_OUR_LIMITS = "overloaded"


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
            "homeport_request_duration_seconds", "From arrival to the last byte", _LONG, a, "stream"
        )
        self._first_byte = histogram(
            "homeport_request_time_to_first_byte_seconds",
            "Until the first body byte, all tiers included",
            _LONG,
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
            "homeport_upstream_duration_seconds", "Attempt start to last upstream byte", _LONG, s, m
        )
        self._first_token = histogram(
            "homeport_upstream_time_to_first_token_seconds", "Attempt start to first content of a stream", _LONG, s, m
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

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes. Takes milliseconds with many assistants; call it beside the event loop."""
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

    def ended(self, decision: Decision) -> None:
        """Count a finished request."""
        self.lately.ended(decision)
        a = decision.assistant or _UNKNOWN
        stream = "true" if decision.stream else "false"
        self._requests(a, decision.endpoint, stream, decision.outcome, str(decision.code)).inc()
        if decision.body_in:
            self._body_in(a).inc(decision.body_in)
        self._body_out(a).inc(decision.body_out)
        if decision.refusal in _NOT_LET_IN:
            self._not_let_in(decision.refusal).inc()
        elif decision.refusal == _OVER_OUR_LIMITS:
            self._limited("global", a).inc()
        if not decision.steps:
            return
        self._duration(a, stream).observe(decision.duration)
        self._overhead().observe(max(0.0, decision.duration - decision.waited))
        if decision.first_byte is not None:
            self._first_byte(a, stream).observe(decision.first_byte)
        before_tier = prefix(decision.endpoint)
        for step in decision.steps:
            self._step(a, before_tier + step.tier, step)
        passed = set()
        for before, after in pairwise(decision.steps):
            passed.add(before.tier)
            # A tier that is asked once more, since no other may be, is no next one.
            if after.tier not in passed:
                self._fallbacks(a, before_tier + before.tier, before_tier + after.tier, word(before)).inc()
        if decision.outcome == "exhausted":
            self._exhausted(a, word(decision.steps[-1])).inc()
        if decision.served is not None and decision.usage is None and decision.outcome in _WHOLE:
            self._no_usage(a, before_tier + decision.served.tier).inc()
        if decision.served is not None and decision.usage is not None:
            usage = decision.usage
            counts = {"input": usage.input, "output": usage.output, "cache_read": usage.cache_read}
            for kind, count in (counts | {"reasoning": usage.reasoning}).items():
                if count:
                    self._tokens(a, before_tier + decision.served.tier, kind).inc(count)

    def _step(self, a: str, t: str, step: Step) -> None:
        if isinstance(step, Skipped):
            self._skipped(a, t, step.reason).inc()
            if step.reason == Word.HALF_OPEN:
                self._probes(step.source, step.model, "half_open", "lost_race").inc()
            return
        s, m = step.source, step.model
        self._attempts(a, t, step.outcome).inc()
        self._status(s, str(step.status or "none")).inc()
        self._upstream(s, m).observe(step.ended - step.started)
        if step.first_token is not None:
            self._first_token(s, m).observe(step.first_token - step.started)
        if step.connected is not None and not step.reused:
            self._connect(s).observe(step.connected - step.started)
        if step.probe in ("half_open", "early"):
            self._probes(s, m, step.probe, step.heard if step.heard in ("good", "bad") else "neutral").inc()
        if step.detail in ("first_byte", "idle"):
            self._stalls(a, t, "first_byte" if step.detail == "first_byte" else "mid_stream").inc()
        if step.outcome == "stream_broken":
            self._truncated(a, t).inc()

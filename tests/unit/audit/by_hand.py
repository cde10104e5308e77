"""Evidence made by hand: requests to `bot`, whose primary is overloaded and whose first fallback is well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.long.evidence import Evidence, View
from tests.long.faults_script import BY_NAME, UNREACHED
from tests.long.records import Document, read
from tests.long.scripted_upstream import Call

AT = 1_790_000_000.0
REPLICA = "aaaaaaaaaa"
_BINDINGS = {"primary": ("north", "big"), "fallback-1": ("south", "small"), "fallback-2": ("east", "mini")}


def attempt(tier: str, row: str, *, at: float = 0.01, lasts: float = 0.1, **facts: Any) -> dict[str, Any]:
    """A step that met this row, in the words that the script has for it; `at` in seconds from the arrival."""
    words = UNREACHED[row] if row in UNREACHED else BY_NAME[row].of(tier)
    source, model = _BINDINGS.get(tier, ("", ""))
    return {
        "tier": tier,
        "source": source,
        "model": model,
        "verdict": "served" if words.outcome == "served" else "attempted",
        "outcome": words.outcome,
        "detail": words.detail,
        "heard": words.heard[0],
        "status": words.passed_on,
        "started_ms": at * 1000,
        "connected_ms": None,
        "first_byte_ms": None,
        "first_token_ms": None,
        "ended_ms": (at + lasts) * 1000,
        "reused": True,
        "retried": False,
        "billed": words.billed,
        "probe": None,
        "upstream_request_id": None,
        "retry_after_s": None if row in UNREACHED else BY_NAME[row].retry_after,
        "dropped": [],
        "breaker": breaker("closed"),
    } | facts


def skip(tier: str, reason: str, seen: Document | None = None, *, at: float = 0.001) -> dict[str, Any]:
    """A step that was not tried."""
    source, model = _BINDINGS[tier]
    where = {"tier": tier, "source": source, "model": model}
    return where | {
        "verdict": "skipped",
        "reason": reason,
        "missing": [],
        "uncarried": None,
        "at_ms": at * 1000,
        "breaker": seen,
    }


def breaker(state: str, reason: str | None = None, since: float | None = None, by: Sequence[str] = ()) -> Document:
    """What a breaker says; `since` in seconds from AT."""
    return {
        "state": state,
        "reason": reason,
        "since": None if since is None else AT + since,
        "until": None,
        "tripped_by": list(by),
        "failures": 0,
        "local": False,
    }


def record(number: int, at: float, steps: Sequence[dict[str, Any]], **facts: Any) -> dict[str, Any]:
    """The record of request `number`, which came `at` seconds after AT."""
    served = next((step for step in steps if step["verdict"] == "served"), None)
    where = {name: served[name] if served else None for name in ("tier", "source", "model")}
    return {
        "request_id": f"req_{REPLICA}{number:06x}",
        "caller_request_id": f"n-{number:05d}",
        "at": AT + at,
        "replica": REPLICA,
        "revision": "1",
        "client": None,
        "assistant": "bot",
        "identified_by": "header",
        "endpoint": "chat_completions",
        "stream": False,
        "outcome": "fallback_success",
        "code": 200,
        "refusal": None,
        **where,
        "served_model": served["model"] if served else None,
        "reason": None,
        "duration_ms": 500.0,
        "first_byte_ms": 400.0,
        "overhead_ms": 1.0,
        "body_in": 100,
        "body_out": 100,
        "usage": {"input": 9, "output": 5, "cache_read": 0, "reasoning": 0} if served else None,
        "steps": list(steps),
    } | facts


def calls(told: Document, *rows: str) -> list[Call]:
    """The upstreams' log of what a record tells, if that is true: each attempt that could arrive met these rows."""
    attempts = [step for step in told["steps"] if step["verdict"] != "skipped"]
    return [
        Call(
            marker=told["caller_request_id"],
            source=step["source"],
            model=step["model"],
            nth=1,
            row=row,
            path="/v1/chat/completions",
            stream=False,
            begun=told["at"] + step["started_ms"] / 1000 + 0.001,
            reused=True,
            upstream_id=step["upstream_request_id"],
            status=step["status"],
            usage=(9, 5) if BY_NAME[row].well else None,
            whole=BY_NAME[row].well,
        )
        for step, row in zip(attempts, rows, strict=True)
    ]


def view(told: Document, **facts: Any) -> View:
    """What the caller of a request saw, if its record is true."""
    name = f"{told['source']}/{told['model']}/{told['caller_request_id']}" if told["tier"] else None
    attempts = sum(step["verdict"] != "skipped" for step in told["steps"])
    known: Mapping[str, Any] = {
        "ended": told["at"] + told["duration_ms"] / 1000,
        "status": told["code"],
        "request_id": told["request_id"],
        "named": told["assistant"],
        "tier": told["tier"] or "none",
        "source": told["source"] or "none",
        "model": told["model"] or "none",
        "attempts": attempts,
        "reason": told["reason"],
        "said": name,
        "words": frozenset({name} if name else ()),
        "whole": told["outcome"] in ("success", "fallback_success"),
        "error": {"code": told["refusal"]} if told["refusal"] else None,
    }
    marker, assistant = told["caller_request_id"], told["assistant"]
    endpoint, stream = told["endpoint"], told["stream"]
    return View(marker, told["replica"], assistant, endpoint, stream, told["at"], **(dict(known) | facts))


def outage() -> tuple[list[dict[str, Any]], Evidence]:
    """Three requests meet an overloaded primary, which trips its breaker; the fourth passes it over."""
    told = [record(n, n, [attempt("primary", "503"), attempt("fallback-1", "well", at=0.2)]) for n in (1, 2, 3)]
    by = [each["request_id"] for each in told]
    seen = breaker("open", "server_is_overloaded", 3.2, by)
    told.append(record(4, 4, [skip("primary", "open", seen), attempt("fallback-1", "well")]))
    rows = [("503", "well")] * 3 + [("well",)]
    return told, Evidence(
        records=[read(each) for each in told],
        calls=[call for each, met in zip(told, rows, strict=True) for call in calls(each, *met)],
        outages=[],
        views=[view(each) for each in told],
        counters={REPLICA: dict(_COUNTERS)},
        lines={REPLICA: [_line(each) for each in told]},
    )


_COUNTERS = {
    'homeport_requests_total{assistant="bot",code="200",endpoint="chat_completions",outcome="fallback_success",'
    'stream="false"}': 4.0,
    'homeport_attempts_total{assistant="bot",outcome="transient",tier="primary"}': 3.0,
    'homeport_attempts_total{assistant="bot",outcome="served",tier="fallback-1"}': 4.0,
    'homeport_tier_skipped_total{assistant="bot",reason="open",tier="primary"}': 1.0,
    'homeport_fallbacks_total{assistant="bot",from_tier="primary",reason="transient",to_tier="fallback-1"}': 3.0,
    'homeport_fallbacks_total{assistant="bot",from_tier="primary",reason="open",to_tier="fallback-1"}': 1.0,
    'homeport_upstream_status_total{code="503",source="north"}': 3.0,
    'homeport_upstream_status_total{code="200",source="south"}': 4.0,
    'homeport_tier_last_used_timestamp_seconds{assistant="bot",tier="primary"}': AT,
}


def _line(told: Document) -> dict[str, Any]:
    """The log line of a record: without what is null."""
    steps = [{key: value for key, value in step.items() if value is not None} for step in told["steps"]]
    kept = {key: value for key, value in told.items() if value is not None}
    return kept | {"event": "request", "at": "2026-09-21T14:13:20.000+00:00", "steps": steps}

"""Decision records as the audit reads them: the operators' API's, or log lines, which leave out what is null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Document = Mapping[str, Any]

_RECORD = (
    "request_id caller_request_id at replica revision client assistant identified_by endpoint stream outcome code "
    "refusal reason tier source model served_model duration_ms first_byte_ms overhead_ms body_in body_out usage steps"
)
_SKIPPED = "tier source model verdict breaker reason missing uncarried"
_ATTEMPTED = (
    "tier source model verdict breaker outcome detail heard status started_ms first_byte_ms first_token_ms ended_ms "
    "reused retried billed probe upstream_request_id retry_after_s dropped"
)
_BREAKER = "state reason since until tripped_by"


@dataclass(frozen=True, slots=True)
class Breaker:
    """What a tier's breaker said."""

    state: str
    reason: str | None
    since: float | None
    """Unix seconds."""
    tripped_by: tuple[str, ...]
    local: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One tier of a record; moments are Unix seconds."""

    tier: str
    source: str
    model: str
    skipped: str | None
    """Why it was not tried; None for an attempt."""
    breaker: Breaker | None
    at: float | None
    """When it was skipped."""
    outcome: str = ""
    detail: str = ""
    heard: str = ""
    billed: str = ""
    status: int | None = None
    started: float = 0.0
    ended: float = 0.0
    retried: bool = False
    probe: str | None = None
    upstream_id: str | None = None
    retry_after: float | None = None

    @property
    def word(self) -> str:
        """What became of the tier."""
        return self.outcome if self.skipped is None else self.skipped


@dataclass(frozen=True, slots=True)
class Record:
    """One request's story."""

    request_id: str
    marker: str | None
    at: float
    ended: float
    replica: str
    assistant: str | None
    endpoint: str
    stream: bool
    outcome: str
    code: int
    refusal: str | None
    reason: str | None
    tier: str | None
    source: str | None
    model: str | None
    served_model: str | None
    usage: tuple[int, int] | None
    steps: tuple[Step, ...]
    document: Document

    @property
    def attempts(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.skipped is None)


def missing(document: Document) -> list[str]:
    """Fields that the API promises and this record lacks."""
    lacking = [f"record.{name}" for name in _RECORD.split() if name not in document]
    for step in document["steps"]:
        wanted = _SKIPPED if step.get("verdict") == "skipped" else _ATTEMPTED
        lacking += [f"step.{name}" for name in wanted.split() if name not in step]
        if step.get("breaker"):
            lacking += [f"breaker.{name}" for name in _BREAKER.split() if name not in step["breaker"]]
    return lacking


def read(document: Document) -> Record:
    """A record of the API, or a log line of event `request`."""
    at = document["at"]
    began = datetime.fromisoformat(at).timestamp() if isinstance(at, str) else float(at)
    usage = document.get("usage")
    return Record(
        request_id=document["request_id"],
        marker=document.get("caller_request_id"),
        at=began,
        ended=began + document["duration_ms"] / 1000,
        replica=document.get("replica", ""),
        assistant=document.get("assistant"),
        endpoint=document["endpoint"],
        stream=document["stream"],
        outcome=document["outcome"],
        code=document["code"],
        refusal=document.get("refusal"),
        reason=document.get("reason"),
        tier=document.get("tier"),
        source=document.get("source"),
        model=document.get("model"),
        served_model=document.get("served_model"),
        usage=None if usage is None else (usage["input"], usage["output"]),
        steps=tuple(_step(step, began) for step in document["steps"]),
        document=document,
    )


def _step(step: Document, began: float) -> Step:
    where = step["tier"], step["source"], step["model"]
    seen = None if step.get("breaker") is None else _breaker(step["breaker"])
    if step["verdict"] == "skipped":
        at = step.get("at_ms")
        return Step(*where, step["reason"], seen, None if at is None else began + at / 1000)
    return Step(
        *where,
        None,
        seen,
        None,
        outcome=step["outcome"],
        detail=step["detail"],
        heard=step["heard"],
        billed=step["billed"],
        status=step.get("status"),
        started=began + step["started_ms"] / 1000,
        ended=began + step["ended_ms"] / 1000,
        retried=step["retried"],
        probe=step.get("probe"),
        upstream_id=step.get("upstream_request_id"),
        retry_after=step.get("retry_after_s"),
    )


def _breaker(seen: Document) -> Breaker:
    return Breaker(
        seen["state"],
        seen.get("reason"),
        seen.get("since"),
        tuple(seen["tripped_by"]),
        bool(seen.get("local")),
    )

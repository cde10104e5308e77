"""Decisions again, of the bytes that a journal keeps (kept.py).

1. The names stand here in the order in which the facts are kept. A fact that is new is added behind the others: what
   this version does not know it passes over, and what is not there has its default.
2. Whatever else was kept, by whomever, is told from a decision: nothing is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from proxy.breaker.state import CLOSED, View, Word
from proxy.record.kept import OF_CLOSED
from proxy.routing.decision import Attempted, Decision, Skipped, Step
from proxy.terms import Usage


class _Seen(TypedDict, total=False):
    word: Word
    reason: str
    since: float | None
    until: float | None
    tripped_by: tuple[str, ...]
    failures: int
    fault: str
    local: bool


class _Attempted(TypedDict, total=False):
    tier: str
    source: str
    model: str
    outcome: str
    detail: str
    heard: str
    started: float
    ended: float
    billed: str
    probe: str | None
    status: int | None
    connected: float | None
    first_byte: float | None
    first_token: float | None
    reused: bool
    retried: bool
    upstream_id: str | None
    retry_after: float | None
    dropped: tuple[str, ...]


class _Skipped(TypedDict, total=False):
    tier: str
    source: str
    model: str
    reason: str
    at: float
    missing: tuple[str, ...]
    uncarried: str


class _Usage(TypedDict, total=False):
    input: int
    output: int
    cache_read: int
    reasoning: int


class _Decision(TypedDict, total=False):
    request_id: str
    caller_request_id: str | None
    at: float
    started: float
    replica: str
    revision: str
    client: str | None
    assistant: str | None
    identified_by: str | None
    endpoint: str
    stream: bool
    served_model: str | None
    outcome: str
    code: int
    refusal: str | None
    duration: float
    first_byte: float | None
    waited: float
    body_in: int
    body_out: int


class _Facts:
    """Those of one noun: named and checked."""

    def __init__(self, noun: type[Any]) -> None:
        self.names, self._checked = tuple(noun.__annotations__), TypeAdapter[Mapping[str, Any]](noun)

    def __call__(self, plain: Sequence[Any]) -> Mapping[str, Any]:
        return self._checked.validate_python(dict(zip(self.names, plain, strict=False)))


_SEEN, _ATTEMPTED, _SKIPPED = _Facts(_Seen), _Facts(_Attempted), _Facts(_Skipped)
_USAGE, _DECISION = _Facts(_Usage), _Facts(_Decision)


def read(line: bytes) -> Decision:
    """What `kept` has made. Raises ValueError for anything else."""
    try:
        steps, served, usage, *plain = orjson.loads(line)
        told = tuple([_step(each) for each in steps])
        return Decision(
            steps=told,
            served=None if served is None else _tried(told[served] if isinstance(served, int) else _step(served)),
            usage=None if usage is None else Usage(**_USAGE(usage)),
            **_DECISION(plain),
        )
    except (TypeError, LookupError) as error:
        raise ValueError("this is no decision") from error


def _step(row: Sequence[Any]) -> Step:
    tried, seen, *plain = row
    view = None if seen is None else CLOSED if seen == OF_CLOSED else View(**_SEEN(seen))
    if not tried:
        return Skipped(breaker=view, **_SKIPPED(plain))
    if view is None:
        raise TypeError
    return Attempted(breaker=view, **_ATTEMPTED(plain))


def _tried(step: Step) -> Attempted:
    if not isinstance(step, Attempted):
        raise TypeError
    return step

"""What decisions are counted in is found once for all that are alike: the sums are those of finding it each time."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.breaker.state import View, Word
from proxy.record.metrics import Metrics
from proxy.routing.bindings import Bindings
from proxy.routing.decision import Attempted, Decision, Skipped
from proxy.terms import CHAT, EMBEDDINGS, Usage
from tests.unit.record.decisions import decision
from tests.unit.record.now import now

_TIMES = st.sampled_from((10.0, 10.25, 11.5, 14.0))
_TIERS = st.sampled_from(("primary", "fallback-1"))
_SOURCES, _MODELS = st.sampled_from(("first", "second")), st.sampled_from(("big", "small"))
_SKIPS = st.builds(
    Skipped,
    _TIERS,
    _SOURCES,
    _MODELS,
    st.sampled_from(("open", "half_open", "unsupported")),
    _TIMES,
    st.none() | st.just(View(Word.OPEN, "timeout")),
)
_ATTEMPTS = st.builds(
    Attempted,
    _TIERS,
    _SOURCES,
    _MODELS,
    st.sampled_from(("served", "served", "server_error", "stream_broken", "cancelled")),
    st.sampled_from(("", "", "idle", "first_byte", "http_503")),
    st.sampled_from(("good", "bad", "rate_limit")),
    st.just(10.0),
    _TIMES,
    st.just("yes"),
    st.sampled_from((None, None, "half_open", "early", "trickle")),
    st.sampled_from((None, 200, 503)),
    st.none() | _TIMES,
    st.none() | _TIMES,
    st.none() | _TIMES,
    st.booleans(),
)


def _facts(**more: Any) -> st.SearchStrategy[Decision]:
    return st.builds(
        decision,
        assistant=st.sampled_from((None, "bot", "other")),
        endpoint=st.sampled_from((CHAT.name, EMBEDDINGS.name, "other")),
        stream=st.booleans(),
        outcome=st.sampled_from(("success", "fallback_success", "exhausted", "rejected")),
        code=st.sampled_from((200, 401, 503)),
        refusal=st.sampled_from((None, None, "invalid_api_key", "overloaded", "all_tiers_failed")),
        first_byte=st.none() | _TIMES,
        waited=st.sampled_from((0.0, 0.5, 1.0)),
        body_in=st.sampled_from((0, 7)),
        body_out=st.sampled_from((0, 9)),
        usage=st.none() | st.builds(Usage, *[st.integers(0, 1)] * 4),
        **more,
    )


_DECISIONS = st.lists(_SKIPS | _ATTEMPTS, max_size=3).flatmap(
    lambda steps: _facts(
        steps=st.just(tuple(steps)),
        served=st.sampled_from([None, *(step for step in steps if isinstance(step, Attempted))]),
    )
)


def _metrics() -> Metrics:
    return Metrics(now(Bindings({}, "1")))


def _counted(metrics: Metrics) -> list[str]:
    """All but what the process says of itself."""
    return [line for line in metrics.exposition().decode().splitlines() if "process_" not in line]


@given(st.lists(_DECISIONS, min_size=1, max_size=8))
def test_what_is_known_from_others_like_it_changes_no_count(decisions: list[Decision]) -> None:
    """Series, their order, their values and when each tier was last used."""
    knowing, finding = _metrics(), _metrics()
    for each in decisions:
        knowing.ended(each)
        finding.ended(each)
        finding._of_requests.clear()
        finding._of_attempts.clear()
    assert _counted(knowing) == _counted(finding)
    for assistant in ("", "bot", "other"):
        for tier in ("primary", "embeddings/primary", "fallback-1"):
            assert knowing.lately.of(assistant, tier) == finding.lately.of(assistant, tier)
    assert knowing._of_requests

"""Decisions of many kinds, of which some are alike."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from proxy.breaker.state import CLOSED, View, Word
from proxy.routing.decision import Attempted, Decision, Skipped
from proxy.terms import CHAT, EMBEDDINGS, Usage
from tests.unit.record.decisions import AT, decision

_TIMES = st.sampled_from((10.0, 10.25, 11.5, 14.0))
_TIERS = st.sampled_from(("primary", "fallback-1"))
_SOURCES, _MODELS = st.sampled_from(("first", "second")), st.sampled_from(("big", "small"))
_IDS = st.sampled_from((None, "a", 'b"', "c\ud800"))
_SEEN = st.just(CLOSED) | st.builds(
    View,
    st.sampled_from((Word.CLOSED, Word.OPEN)),
    st.sampled_from(("timeout", "")),
    st.none() | _TIMES,
    st.none() | _TIMES,
    st.sampled_from(((), ("req_0",))),
    st.integers(0, 1),
    st.sampled_from(("", "quota")),
    st.booleans(),
)
_SKIPS = st.builds(
    Skipped,
    _TIERS,
    _SOURCES,
    _MODELS,
    st.sampled_from(("open", "half_open", "unsupported")),
    _TIMES,
    st.none() | _SEEN,
    st.sampled_from(((), ("tools",))),
    st.sampled_from(("", "seed")),
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
    st.booleans(),
    _IDS,
    st.none() | _TIMES,
    _SEEN,
    st.sampled_from(((), ("seed",))),
)


def _facts(**more: Any) -> st.SearchStrategy[Decision]:
    return st.builds(
        decision,
        request_id=st.sampled_from(("req_1", "req_2")),
        caller_request_id=_IDS,
        served_model=_IDS,
        at=st.sampled_from((AT, AT + 0.9999)),
        duration=_TIMES,
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


DECISIONS = st.lists(_SKIPS | _ATTEMPTS, max_size=3).flatmap(
    lambda steps: _facts(
        steps=st.just(tuple(steps)),
        served=st.sampled_from([None, *(step for step in steps if isinstance(step, Attempted))]),
    )
)

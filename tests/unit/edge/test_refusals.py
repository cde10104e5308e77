"""What is left to say when nobody serves."""

from __future__ import annotations

import orjson
import pytest

from proxy.breaker.state import View, Word
from proxy.edge.refusals import Refusal, all_tiers_failed, soonest
from proxy.routing.decision import Attempted, Skipped, Step

_NOW = 1000.0
_LIMITED = Attempted("primary", "a", "m", "rate_limited", "http_429", "rate_limit", 990.0, 991.0, "no", status=429)
_DOWN = Attempted("fallback-1", "b", "m", "network", "connect_error", "bad", 991.0, 992.0, "no")
_LIMIT = View(Word.PARKED, "rate_limit_exceeded", 900.0, 1030.0, fault="rate_limited")
_EMPTY = View(Word.PARKED, "insufficient_quota", 900.0, 1030.0, fault="quota")
_PARKED = Skipped("fallback-1", "b", "m", "parked", 995.0, _LIMIT)
_SPENT = Skipped("fallback-1", "b", "m", "parked", 995.0, _EMPTY)


def _said(*steps: Step, until: float | None = 1030.0) -> Refusal:
    return all_tiers_failed(steps, _NOW, 1_790_000_000.0, until)


@pytest.mark.parametrize(
    ("steps", "status"),
    [((_LIMITED, _PARKED), 429), ((_PARKED,), 429), ((_LIMITED, _DOWN), 503), ((_LIMITED, _SPENT), 503), ((), 503)],
)
def test_only_rate_limits_make_a_429(steps: tuple[Step, ...], status: int) -> None:
    """Every tier was rate-limited now, or is parked because it was; anything else is a 503."""
    assert _said(*steps).status == status


def test_each_tier_has_its_line() -> None:
    """What it was, whether it was tried, and what it met."""
    error = orjson.loads(_said(_LIMITED, _PARKED).body())["error"]
    assert error["message"].splitlines()[1:] == [
        "primary (a/m): tried, rate_limited (http_429, HTTP 429)",
        "fallback-1 (b/m): not tried, parked (rate_limit_exceeded), free in 30 s",
    ]
    assert (error["type"], error["code"], error["param"]) == ("all_tiers_failed", "all_tiers_failed", None)


def test_a_retry_is_invited_only_if_it_can_help() -> None:
    """Within a minute: retry-after. Later: not now, and when. Never: not at all."""
    assert dict(_said(_PARKED, until=1029.2).headers) == {"retry-after": "30"}
    assert dict(_said(_PARKED, until=1500.0).headers) == {
        "x-should-retry": "false",
        "x-homeport-retry-at": "2026-09-21T14:21:40Z",
    }
    assert dict(_said(_PARKED, until=None).headers) == {"x-should-retry": "false"}


def test_the_soonest_tier_counts() -> None:
    """A closed one at once, or when its rate limit said; an open one at its time; a disabled one never."""
    views = {"primary": View(Word.OPEN, until=1040.0), "fallback-1": View(Word.DISABLED)}
    assert soonest((), views, _NOW) == 1040.0
    assert soonest((), {"fallback-1": View(Word.DISABLED)}, _NOW) is None
    assert soonest((_DOWN,), {"fallback-1": View(Word.CLOSED)}, _NOW) == _NOW

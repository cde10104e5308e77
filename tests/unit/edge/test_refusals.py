"""What is left to say when nobody serves."""

from __future__ import annotations

import json

import orjson
import pytest

from proxy.breaker.state import View, Word
from proxy.edge.refusals import Refusal, all_tiers_failed, error_event, soonest, unsupported
from proxy.providers.dialect import Uncarried
from proxy.routing.decision import Attempted, Skipped, Step
from proxy.terms import CHAT, RESPONSES

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
    needy = Skipped("fallback-2", "c", "m", "unsupported", 995.0, _LIMIT, ("images",))
    untold = Skipped("fallback-3", "d", "m", "unsupported", 995.0, _LIMIT, uncarried="logprobs")
    error = orjson.loads(_said(_LIMITED, _PARKED, needy, untold).body())["error"]
    assert error["message"].splitlines()[1:] == [
        "primary (a/m): tried, rate_limited (http_429, HTTP 429)",
        "fallback-1 (b/m): not tried, parked (rate_limit_exceeded), free in 30 s",
        "fallback-2 (c/m): not tried, unsupported (images)",
        "fallback-3 (d/m): not tried, unsupported (logprobs)",
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


def test_a_tier_that_cannot_be_asked_is_never_due() -> None:
    """However well it is: to come again helps only where another one was down."""
    unfit = Skipped("primary", "a", "m", "unsupported", 995.0, View(Word.CLOSED), uncarried="logprobs")
    well = View(Word.CLOSED)
    assert soonest((unfit, _PARKED), {"primary": well, "fallback-1": _LIMIT}, _NOW) == 1030.0
    assert soonest((unfit,), {"primary": well}, _NOW) is None


@pytest.mark.parametrize("name", ["logprobs", "m\ud800\n", 'say "please"'])
def test_what_cannot_be_carried_is_named_as_the_caller_wrote_it(name: str) -> None:
    """In OpenAI's form, also where it is no text that could be encoded; and in a stream likewise."""
    refusal = unsupported(Uncarried("unknown_field", name, "It has no counterpart."))
    error = json.loads(refusal.body())["error"]
    assert error == {
        "message": "It has no counterpart.",
        "type": "invalid_request_error",
        "param": name,
        "code": "unsupported",
    }
    for endpoint in (CHAT, RESPONSES):
        event = error_event(endpoint, refusal.error(status=refusal.status))
        assert event.startswith(b"event: error\ndata: ")
        assert event.endswith(b"\n\n")
        told = json.loads(event.partition(b"data: ")[2])
        assert told["error"] == {**error, "status": 400}

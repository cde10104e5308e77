"""States that meet again after the store was away."""

from __future__ import annotations

from proxy.breaker import machine, meeting
from proxy.breaker.state import Heard, Hears, Policy, State, Word

_POLICY = Policy(failure_threshold=3, cooldown=15.0)


def _after(state: State, *failures: tuple[str, str]) -> State:
    """After these requests failed for these reasons."""
    for request_id, reason in failures:
        heard = Heard(state.epoch, Hears.BAD, 1.0, request_id, reason=reason)
        state = machine.step(state, _POLICY, heard, 1.0).state
    return state


def test_each_is_blamed_for_what_it_met() -> None:
    """Whatever the shared view knew already, and forgot, when a replica tells it what tripped its guard."""
    guard = _after(State(), ("a", "http_500"), ("b", "truncated"), ("c", "http_503"))
    assert (guard.circuit.reason, guard.circuit.tripped_by) == ("http_503", ("a", "b", "c"))
    known = ("a", "http_500"), ("x", "closed")
    for shared in (State(), _after(State(), known[0]), _after(State(), *known)):
        state = shared
        for event in meeting.retold(guard, shared.epoch, 2.0):
            state = machine.step(state, _POLICY, event, 2.0).state
        assert state.circuit.word is Word.OPEN
        assert set(state.circuit.failed) <= {*guard.circuit.failed, *known}
        assert state.circuit.reason == dict(state.circuit.failed)[state.circuit.tripped_by[-1]]
        assert set(shared.evidence.failed) <= {*state.circuit.failed}


def test_a_clock_is_followed_no_further_than_is_proven() -> None:
    """A prompt reply tells it well; a late one changes nothing that may be right; a clock that was set is followed."""
    prompt = meeting.shifted(0.0, told=1000.0, before=10.0, after=10.002)
    assert 989.998 <= prompt <= 990.0
    late = meeting.shifted(prompt, told=1005.0, before=15.0, after=15.2)
    assert late == prompt
    later = meeting.shifted(989.0, told=1005.0, before=15.0, after=15.2)
    assert later == 989.8
    assert meeting.shifted(prompt, told=900.0, before=20.0, after=20.002) == 880.0

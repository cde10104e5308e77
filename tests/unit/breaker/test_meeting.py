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

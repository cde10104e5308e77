"""Sessions in virtual time: known while they last, bounded in number, and no longer than twelve hours."""

from __future__ import annotations

import itertools

from proxy.admin.access.sessions import LONGEST, MOST, Sessions


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _sessions() -> tuple[Sessions, _Clock]:
    clock, count = _Clock(), itertools.count()
    return Sessions(clock, lambda: f"id-{next(count)}"), clock


def test_a_session_lasts_twelve_hours_however_it_is_used() -> None:
    """Its age is counted from its beginning; use does not renew it."""
    sessions, clock = _sessions()
    made = sessions.open()
    for clock.now in (0.0, LONGEST / 2, LONGEST - 1):
        assert sessions.known(made)
    clock.now = LONGEST
    assert not sessions.known(made)


def test_what_was_closed_or_never_opened_is_not_known() -> None:
    """Signing out ends one session and leaves the others; nonsense is known to nobody."""
    sessions, _ = _sessions()
    one, other = sessions.open(), sessions.open()
    sessions.close(one)
    sessions.close("nonsense")
    assert (sessions.known(one), sessions.known(other)) == (False, True)
    assert not any(sessions.known(each) for each in ("", "id-", "\udcff", "id-2"))


def test_one_too_many_ends_the_oldest() -> None:
    """There are never more than MOST, and what has run out makes room first."""
    sessions, clock = _sessions()
    old = [sessions.open() for _ in range(MOST)]
    clock.now = 1.0
    new = sessions.open()
    assert [sessions.known(each) for each in (old[0], old[1], new)] == [False, True, True]
    clock.now = LONGEST
    sessions.open()
    assert sessions.known(new)
    assert "id-" not in str(vars(sessions)), "ids are kept as their digests alone"

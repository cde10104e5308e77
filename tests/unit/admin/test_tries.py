"""Wrong tokens in virtual time: how long each waits, and that nothing grows without bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.access.tries import SLOWEST, WAITING_ALL, WAITING_EACH, Tries


def _try(tries: Tries, remote: str, now: float) -> float:
    """One that waits to its end."""
    wait = tries.begin(remote, now)
    assert wait is not None
    tries.end(remote)
    return wait


def test_an_addresss_tries_wait_longer_and_longer() -> None:
    """From a slip of the finger that is not felt to two seconds, which nothing exceeds; time forgives."""
    tries = Tries()
    waits = [_try(tries, "192.0.2.1", 0.0) for _ in range(9)]
    assert waits[:4] == [0.05, 0.1, 0.2, 0.4]
    assert waits[-2:] == [SLOWEST, SLOWEST]
    assert _try(tries, "192.0.2.2", 0.0) == 0.05, "another address is not slowed by one that errs"
    assert _try(tries, "192.0.2.1", 3600.0) == 0.05


def test_many_addresses_are_slowed_together() -> None:
    """Who tries once from each of many addresses waits as well, and the rest with them, until it is over."""
    tries = Tries()
    waits = [_try(tries, f"192.0.2.{place}", 0.0) for place in range(40)]
    assert waits[:20] == [0.05] * 20
    assert waits[-1] == SLOWEST
    assert _try(tries, "198.51.100.1", 3600.0) == 0.05


def test_at_most_so_many_wait() -> None:
    """Beyond a few of one address, and a few more of all, nobody waits: the connection is not held for it."""
    tries = Tries()
    assert all(tries.begin("192.0.2.1", 0.0) is not None for _ in range(WAITING_EACH))
    assert tries.begin("192.0.2.1", 0.0) is None
    assert tries.begin("192.0.2.2", 0.0) is not None
    tries.end("192.0.2.1")
    assert tries.begin("192.0.2.1", 0.0) is not None
    spread = [tries.begin(f"10.0.{place}.1", 0.0) for place in range(WAITING_ALL)]
    assert spread.count(None) == WAITING_EACH + 1
    assert tries.begin("10.9.9.9", 0.0) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    """An IPv6 network of a /64 is one sender's, and an address is one however it is written."""
    tries = Tries()
    _try(tries, one, 0.0)
    assert (_try(tries, other, 0.0) > 0.05) is same


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 5)), max_size=200))
def test_a_wait_is_always_bounded(tried: list[tuple[int, float]]) -> None:
    """Whatever comes from wherever at whatever pace: none waits for more than two seconds, or for nothing."""
    tries, now = Tries(), 0.0
    for place, pause in tried:
        now += pause
        assert 0.0 < _try(tries, f"192.0.2.{place}", now) <= SLOWEST


def test_addresses_are_forgotten_in_the_end() -> None:
    """A million addresses leave no more behind than a few thousand; the latest are still known."""
    tries = Tries()
    for place in range(20_000):
        _try(tries, f"10.{place >> 16}.{place >> 8 & 255}.{place & 255}", 0.0)
    assert len(tries._each) <= 4096
    assert len(tries._waiting) == 0

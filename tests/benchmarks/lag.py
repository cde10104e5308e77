"""How late a Homeport's event loop was, by its own account: what its histogram has gained between two moments.

1. It looks ten times a second (`proxy/record/lag.py`), so a p99 takes ten seconds at the least: those of all rounds are
   put together.
2. What is done every so often beside it must not keep step with the looks, or they always miss it or never.
3. Within a bucket looks are taken to be evenly spread, as Prometheus does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from typing import TypeVar

from tests.benchmarks import load, settings
from tests.benchmarks.report import Measure
from tests.benchmarks.rounds import Samples

ODD = 0.46
"""Seconds between two disturbances: five of them fall at five moments between two looks."""
NAME = b"homeport_event_loop_lag_seconds_bucket{le="

_T = TypeVar("_T")
Looks = Counter[float]
"""How many looks found the loop at most so many seconds late, and later than the next smaller number."""


def measure(key: str, title: str, shown: tuple[str, str, str]) -> Measure:
    """`shown`: p99 without and with what the title says, and what that adds."""
    return Measure(f"{key}_lag", f"ms of loop lag, {title}", must=10, absolute=True, shown=shown, owes=shown[2])


async def during(admin: int, gained: Looks, done: Awaitable[_T]) -> _T:
    """Have it done, and add what was seen meanwhile."""
    before = await looks(admin)
    result = await done
    gained += await looks(admin) - before
    return result


def tell(samples: Samples, key: str, late: tuple[Looks, Looks], shown: tuple[str, str, str]) -> None:
    """What `measure` shows."""
    without, beside = map(p99, late)
    for name, value in zip(shown, (without, beside, beside - without), strict=True):
        samples[f"{key}_lag"][name].append(value)


async def looks(admin: int) -> Looks:
    """All since the start, by the operators' listener."""
    return read(await settings.ask(admin, load.get("/metrics")))


def read(exposition: bytes) -> Looks:
    """Raises WrongAnswer where there is no such histogram."""
    found, below = Looks(), 0
    for line in exposition.splitlines():
        if line.startswith(NAME):
            name, _, value = line.partition(b"} ")
            count = int(float(value))
            found[float(name.removeprefix(NAME).strip(b'"'))] = count - below
            below = count
    if not found:
        raise load.WrongAnswer("it tells nothing of its event loop")
    return found


def p99(gained: Looks) -> float:
    """In ms; of the last bucket, which has no end, its beginning."""
    wanted, low = 0.99 * gained.total(), 0.0
    for high in sorted(gained):
        if gained[high] >= wanted and high != float("inf"):
            return (low + (high - low) * wanted / max(1, gained[high])) * 1000
        wanted -= gained[high]
        low = high if high != float("inf") else low
    return low * 1000

"""What is made of Homeport's own word on its event loop."""

from __future__ import annotations

import pytest

from proxy.record.metrics import Metrics
from proxy.routing.bindings import Bindings
from tests.benchmarks import lag, load
from tests.benchmarks.lag import Looks
from tests.unit.record.now import now


def test_looks_are_those_of_homeports_own_histogram() -> None:
    """Each in the bucket that it belongs to, and what was seen before is none of what is gained."""
    metrics = Metrics(now(Bindings({}, "1")))
    metrics.lagged(0.03)
    before = lag.read(metrics.exposition())
    for late in (0.0002, 0.0007, 0.0008, 0.02, 3.0):
        metrics.lagged(late)
    assert lag.read(metrics.exposition()) - before == {0.0005: 1, 0.001: 2, 0.025: 1, float("inf"): 1}


def test_a_homeport_that_tells_nothing_ends_the_run() -> None:
    """A p99 of nothing would be a bound met."""
    with pytest.raises(load.WrongAnswer):
        lag.read(b"homeport_build_info 1\n")


@pytest.mark.parametrize(
    ("looks", "ms"),
    [
        (Looks({0.0005: 100}), 0.495),
        (Looks({0.0005: 99, 0.01: 1}), 0.5),
        (Looks({0.0005: 98, 0.01: 2}), 5.25),
        (Looks({0.0005: 90, 1.0: 4, float("inf"): 6}), 1000),
    ],
)
def test_p99_is_read_off_the_bucket_that_it_falls_into(looks: Looks, ms: float) -> None:
    """Which has no end where it is the last."""
    assert lag.p99(looks) == pytest.approx(ms)

"""The second table: what fleet.py measures of replicas that share their breakers, and the bounds that are promised."""

from __future__ import annotations

from proxy.breaker.state import Policy
from tests.benchmarks import rounds
from tests.benchmarks.candidates import ALONE, SHARED, UNRECORDED
from tests.benchmarks.report import Measure

REPLICAS, CALLERS = 8, 50
FEW = 2
"""Callers of each `homeport serve`: fewer than failures that one of them needs to open its breaker alone."""
SHAPES = ("p50", "p99", "max")
_AT_MOST = Policy().failure_threshold + REPLICAS * FEW

MEASURES = (
    Measure("seen_2", "ms until a trip is seen elsewhere, 2 (I2)", must=50, absolute=True, shown=SHAPES, owes="p99"),
    Measure(
        "seen_8",
        f"ms until a trip is seen elsewhere, {REPLICAS} (I2)",
        None,
        50,
        absolute=True,
        shown=SHAPES,
        owes="p99",
    ),
    Measure(
        "reached",
        f"requests to a dead tier, {REPLICAS} × {FEW} callers (I3)",
        must=_AT_MOST,
        absolute=True,
        shown=("in all", "in flight at the trip"),
        owes="in all",
        worst=True,
    ),
    Measure(
        "late",
        "of them begun after the third failure",
        must=0,
        absolute=True,
        shown=("at any time", "over 50 ms after"),
        owes="over 50 ms after",
        worst=True,
    ),
    Measure(
        "probes",
        f"probes per cooldown, {REPLICAS} × {CALLERS} callers (I1)",
        must=1,
        absolute=True,
        shown=("most", "cooldowns watched"),
        owes="most",
        worst=True,
    ),
    Measure(
        "cpu_request",
        f"CPU µs per request, 4 KB JSON, c={rounds.CALLERS}",
        ALONE.name,
        1.05,
        shown=(ALONE.name, SHARED.name),
        owes=SHARED.name,
    ),
    Measure(
        "cpu_recording",
        "the same, recording against not recording",
        UNRECORDED.name,
        1.05,
        shown=(UNRECORDED.name, ALONE.name, SHARED.name),
        owes=ALONE.name,
    ),
    Measure(
        "commands",
        "Redis commands a second, each replica (I12): the journal's five and no more",
        must=8.5,
        absolute=True,
        shown=("idle", "under load"),
        owes="under load",
    ),
    Measure(
        "admit",
        f"ms of a breaker's answer, 2 × {CALLERS} callers (I4)",
        must=30,
        absolute=True,
        shown=("Redis well, p99", "Redis well, max", "Redis frozen, p99", "Redis frozen, max"),
        owes="Redis frozen, max",
        worst=True,
    ),
)

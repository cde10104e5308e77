"""What a run is made of: each section with its title, what it needs and what it measures.

1. A section whose program is not here is left out, and the run says so; the others are measured.
2. Sections share nothing: each starts what it needs and ends it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from tests.benchmarks import (
    beside,
    drain,
    endless,
    fleet,
    fleet_measures,
    growth,
    peers,
    report,
    rounds,
    scrape,
    streams,
    workers,
)
from tests.benchmarks.candidates import Candidate
from tests.benchmarks.report import Measure
from tests.benchmarks.rounds import Plan, Samples


class Running(Protocol):
    """A section at work."""

    samples: Samples

    async def go(self) -> None:
        """Measure. Raises NotStarted and WrongAnswer."""


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the run."""

    name: str
    title: str
    make: Callable[[Plan, Path, contextlib.ExitStack], Running]
    measures: Sequence[Measure]
    needs: Callable[[], bool] = lambda: True
    """Whether what it is about is here."""
    remedy: str = ""
    """What brings it."""


def _redis() -> bool:
    return shutil.which("redis-server") is not None


_REDIS = "no redis-server here; install it with: sudo apt-get install redis-server"
_PEERS = "no peers here; make bench-peers installs them"


def sections(candidates: Sequence[Candidate]) -> tuple[Section, ...]:
    """All of them; `candidates` are for the first."""
    return (
        Section("http", "One replica beside nginx", partial(rounds.Run, candidates=candidates), report.MEASURES),
        Section(
            "peers",
            "Beside Envoy and other gateways",
            peers.peers,
            peers.MEASURES,
            lambda: bool(peers.versions()),
            _PEERS,
        ),
        Section("streams", "Many streams", streams.Streams, streams.MEASURES),
        Section("scrape", "A scrape at full size, beside requests", scrape.Scrape, scrape.MEASURES),
        Section(
            "beside",
            "Reloads, a lost Redis and the journal, beside requests",
            beside.Beside,
            beside.MEASURES,
            _redis,
            _REDIS,
        ),
        Section("drain", "A replica is stopped under load", drain.Drain, drain.MEASURES),
        Section("growth", "What grows with assistants", growth.Growth, growth.MEASURES),
        Section("endless", "What grows with requests", endless.Endless, endless.MEASURES),
        Section("workers", "Two workers on one host", workers.Workers, workers.MEASURES, _redis, _REDIS),
        Section(
            "fleet",
            "Replicas that share their breakers over Redis",
            fleet.Fleet,
            fleet_measures.MEASURES,
            _redis,
            _REDIS,
        ),
    )


NAMES = tuple(each.name for each in sections(()))

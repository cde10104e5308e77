"""What the run found: one table, and the same as JSON.

1. A ratio is taken within each round, so both sides met the same machine; then the median of the rounds.
2. `must` are the bounds that Homeport sets itself. They are printed beside what was measured, met or not.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import proxy
from tests.benchmarks.candidates import (
    BARE,
    DIRECT,
    HAPROXY,
    HOMEPORT,
    HOMEPORT_CLAUDE,
    HOMEPORT_DEAD,
    HOMEPORT_HOP,
    INTERPRETED,
    NGINX,
    OTHER,
    PLAIN,
    find,
)
from tests.benchmarks.process import PINNED
from tests.benchmarks.rounds import CALLERS, EVENTS, STREAMS, Samples

PROXIES = (NGINX.name, HAPROXY.name, BARE.name, PLAIN.name, INTERPRETED.name, HOMEPORT.name, OTHER)


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing measured, and what Homeport owes there."""

    key: str
    title: str
    against: str | None = None
    """The candidate that ratios are taken to."""
    must: float | None = None
    """The highest ratio allowed, or with `absolute` the highest value."""
    absolute: bool = False
    shown: tuple[str, ...] = PROXIES
    owes: str = HOMEPORT.name
    """The candidate that `must` is for."""
    worst: bool = False
    """`must` is for the worst round: nothing that a busy machine may disturb."""


MEASURES = (
    Measure("cpu_request", f"CPU µs per request, 4 KB JSON, c={CALLERS}", NGINX.name, 4.0),
    Measure("cpu_event_0", f"CPU µs per event, {STREAMS} streams × {EVENTS}, no pause", NGINX.name, 1.4),
    Measure("cpu_event_5", f"CPU µs per event, {STREAMS} streams × {EVENTS}, 5 ms apart", NGINX.name, 1.4),
    Measure("p50", "p50 µs of one caller", shown=(DIRECT.name, *PROXIES)),
    Measure("added_p50", "p50 µs added to the upstream's", NGINX.name, 2.5),
    Measure("connects", f"upstream connects from a fresh start, c={CALLERS}", must=CALLERS, absolute=True, worst=True),
    Measure(
        "cpu_request",
        "CPU µs per request, primary dead, breaker open",
        HOMEPORT.name,
        1.1,
        shown=(HOMEPORT.name, HOMEPORT_DEAD.name),
        owes=HOMEPORT_DEAD.name,
    ),
    Measure(
        "dead_calls",
        "calls to the dead tier",
        must=0,
        absolute=True,
        worst=True,
        shown=(HOMEPORT_DEAD.name,),
        owes=HOMEPORT_DEAD.name,
    ),
    Measure(
        "cpu_request",
        "CPU µs per request, one hop: primary fails",
        HOMEPORT.name,
        shown=(HOMEPORT.name, HOMEPORT_HOP.name),
    ),
    Measure("p50", "p50 µs of one caller, one hop", HOMEPORT.name, shown=(HOMEPORT.name, HOMEPORT_HOP.name)),
    *(
        Measure(
            f"cpu_event_{pause}",
            f"CPU µs per event, translated, {how}",
            HOMEPORT.name,
            1.5,
            shown=(HOMEPORT.name, HOMEPORT_CLAUDE.name),
            owes=HOMEPORT_CLAUDE.name,
        )
        for pause, how in ((0, "no pause"), (5, "5 ms"))
    ),
    Measure("rss", "idle MiB resident", must=75, absolute=True),
    Measure("start", "s from start to ready", must=1.5, absolute=True),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate's figures for one measure; `values` and `ratios` hold one figure a round."""

    measure: Measure
    candidate: str
    values: tuple[float, ...]
    ratios: tuple[float, ...]

    @property
    def met(self) -> bool | None:
        """None where nothing is owed, or nothing to compare with was run."""
        owed = self.values if self.measure.absolute else self.ratios
        if self.measure.must is None or self.candidate != self.measure.owes or not owed:
            return None
        return (max(owed) if self.measure.worst else statistics.median(owed)) <= self.measure.must


def rows(samples: Samples, measures: Sequence[Measure] = MEASURES) -> list[Row]:
    """Every figure of the table, in its order."""
    known = {**samples, "added_p50": _added(samples)}
    found = []
    for measure in measures:
        figures = known.get(measure.key, {})
        base = figures.get(measure.against or "", [])
        for candidate in measure.shown:
            if values := figures.get(candidate):
                ratios = [value / other for value, other in zip(values, base, strict=True)] if base else []
                found.append(Row(measure, candidate, tuple(values), tuple(ratios)))
    return found


def _added(samples: Samples) -> dict[str, list[float]]:
    direct = samples["p50"].get(DIRECT.name, [])
    return {
        name: [via - without for via, without in zip(values, direct, strict=True)]
        for name, values in samples["p50"].items()
        if name != DIRECT.name and direct
    }


def table(found: Sequence[Row]) -> str:
    """Lines for a terminal, 132 columns at most."""
    lines = [_line("", "", "median", "min – max", "ratio", "min – max", "must")]
    titled = ""
    for row in found:
        title = row.measure.title if row.measure.title != titled else ""
        titled = row.measure.title
        if title:
            lines.append("")
        ratio = f"{statistics.median(row.ratios):.2f} ×" if row.ratios else ""
        lines.append(
            _line(
                title,
                row.candidate,
                figure(statistics.median(row.values)),
                f"{figure(min(row.values))} – {figure(max(row.values))}",
                ratio,
                f"{min(row.ratios):.2f} – {max(row.ratios):.2f}" if row.ratios else "",
                bound(row),
            )
        )
    return "\n".join(line.rstrip() for line in lines)


def _line(title: str, candidate: str, *cells: str) -> str:
    median, spread, ratio, ratios, must = cells
    return f"{title:<46} {candidate:<22} {median:>7}  {spread:<15} {ratio:>7}  {ratios:<13} {must}"


def figure(value: float) -> str:
    """With three digits that count, about."""
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def bound(row: Row) -> str:
    """What is owed, and whether it was met; empty where nothing is."""
    if row.met is None:
        return ""
    must = row.measure.must or 0.0
    most = f"{must:g}" if row.measure.absolute else f"{must:.1f} ×" if must == round(must, 1) else f"{must:g} ×"
    return f"≤ {most} {'met' if row.met else 'MISSED'}"


def machine(peers: Mapping[str, str]) -> dict[str, str]:
    """Where the figures come from; `peers` are the versions of those that are here."""
    cores = os.cpu_count()
    return {
        "cpu": f"{_processor()}, {cores} cores, "
        + ("candidates on one, load and upstream on another" if PINNED else "shared by candidates, load and upstream"),
        "kernel": f"{platform.system()} {platform.release()}",
        "load average": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("aiohttp", "uvloop")},
        "nginx": _version("nginx", "-v", "nginx/"),
        "haproxy": _version("haproxy", "-v", "HAProxy version "),
        "redis": _version("redis-server", "--version", " v="),
        **peers,
        "homeport": f"{proxy.__version__}, {'compiled' if proxy.compiled() else 'interpreted'}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str, flag: str, before: str) -> str:
    """What a program says of itself after these words; it may say so on stderr."""
    path = find(name)
    if path is None:
        return "none"
    ran = subprocess.run([path, flag], capture_output=True, text=True, check=False)
    return (ran.stdout + ran.stderr).partition(before)[2].split()[0]


def document(found: Sequence[Row], where: dict[str, str]) -> dict[str, Any]:
    """The same as `table`, with every round's figure, for machines."""
    return {
        "machine": where,
        "figures": [
            {
                "measure": row.measure.key,
                "title": row.measure.title,
                "candidate": row.candidate,
                "rounds": row.values,
                "against": row.measure.against if row.ratios else None,
                "ratios": row.ratios,
                "must": row.measure.must if row.met is not None else None,
                "met": row.met,
            }
            for row in found
        ],
    }

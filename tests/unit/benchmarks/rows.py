"""Rows of a made-up measure."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.report import Measure, Row

NGINX, HOMEPORT = "nginx", "homeport"


def row(*values: float, who: str = HOMEPORT, ratios: tuple[float, ...] = (), title: str = "µs", **more: Any) -> Row:
    """One candidate's; `more` is the measure's."""
    return Row(Measure("key", title, **more), who, values, ratios)

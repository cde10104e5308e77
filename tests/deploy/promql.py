"""What PromQL expressions speak of, and what there is to speak of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
_SUFFIXES = ("_bucket", "_sum", "_count")


def rules() -> Iterator[dict[str, Any]]:
    """Every recording and alerting rule."""
    for name in ("recording.yml", "alerts.yml"):
        for group in yaml.safe_load((PROMETHEUS / name).read_text())["groups"]:
            yield from group["rules"]


def exported() -> set[str]:
    """Every series that Homeport exports: docs/metrics.md has them all and no other, by a test of the house."""
    rows = re.findall(r"^\| `(homeport_\w+)` \| (\w+) \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    plain = {name for name, kind in rows if kind != "histogram"}
    return plain | {name + suffix for name, kind in rows if kind == "histogram" for suffix in _SUFFIXES}


def recorded() -> set[str]:
    """Every series that a rule records."""
    return {rule["record"] for rule in rules() if "record" in rule}


def names(expression: str) -> set[str]:
    """The series of Homeport's that an expression asks for."""
    return set(re.findall(r"(?<![\w:])(?:[a-z_]+:)?homeport_\w+(?::\w+)?", expression))

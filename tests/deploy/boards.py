"""The committed dashboards, as files and as queries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.deploy.promql import ROOT

FILES = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))


def load() -> dict[str, dict[str, Any]]:
    """Each dashboard by its uid."""
    return {document["uid"]: document for document in (json.loads(path.read_text()) for path in FILES)}


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel."""

    board: str
    panel: str
    letter: str
    expr: str

    @property
    def name(self) -> str:
        """Where it stands: `overview/Errors/A`."""
        return f"{self.board.removeprefix('homeport-')}/{self.panel}/{self.letter}"


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Those with queries: all but the rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def targets() -> Iterator[Target]:
    """Every query of every panel, with its variables."""
    for uid, board in load().items():
        for panel in panels(board):
            for target in panel["targets"]:
                yield Target(uid, panel["title"], target["refId"], target["expr"])


def filled(expr: str, **variables: str) -> str:
    """A query as Grafana would send it; `interval` is $__rate_interval."""
    for name, value in variables.items():
        expr = expr.replace("$__rate_interval" if name == "interval" else f"${name}", value)
    assert "$" not in expr, expr
    return expr

"""`python -m grafana`: write dashboards/*.json, which are committed, so that using them needs none of this.

1. The same code writes the same bytes: a test compares them with the committed files.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana import assistant, overview, replicas, sources
from grafana.parts import Board, dashboard

FOLDER = Path(__file__).parent / "dashboards"
BOARDS: tuple[Board, ...] = (overview.BOARD, assistant.BOARD, sources.BOARD, replicas.BOARD)


def files() -> dict[str, str]:
    """Each dashboard's JSON by its file's name."""
    return {
        f"{board.uid}.json": JSONEncoder(sort_keys=True, indent=2).encode(dashboard(board).build()) + "\n"
        for board in BOARDS
    }


def main() -> int:
    """Write them; the exit code."""
    for name, text in files().items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

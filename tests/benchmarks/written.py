"""The run's tables as Markdown, between two marks of a document whose other words are written by hand.

1. Nothing outside the marks is touched, and a document without them is refused before the run.
2. The machine, the versions and how much was run stand above the tables: figures without them are worth nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.benchmarks.report import Row, bound, figure

BEGIN, END = "<!-- figures: made by `make bench` -->", "<!-- end of figures -->"
_HEAD = ("what", "who", "median", "lowest – highest", "ratio", "lowest – highest", "must")


def marked(path: Path) -> bool:
    """Whether it has both marks, each once, in their order."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return False
    return lines.count(BEGIN) == lines.count(END) == 1 and lines.index(BEGIN) < lines.index(END)


def write(path: Path, where: Mapping[str, str], found: Mapping[str, Sequence[Row]]) -> None:
    """Put the tables there, in the place of those that it has."""
    before, _, rest = path.read_text().partition(f"{BEGIN}\n")
    _, _, after = rest.partition(f"{END}\n")
    path.write_text(f"{before}{BEGIN}\n{document(where, found)}{END}\n{after}")


def document(where: Mapping[str, str], found: Mapping[str, Sequence[Row]]) -> str:
    """All of it: where the figures come from, then a table for each section."""
    lines = ["", *_table(("machine", ""), where.items())]
    for title, rows in found.items():
        lines += ["", f"### {title}", "", *_table(_HEAD, _rows(rows))]
    return "\n".join([*lines, "", ""])


def _rows(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    titled = ""
    for row in rows:
        title = row.measure.title if row.measure.title != titled else ""
        titled = row.measure.title
        yield (
            title,
            row.candidate,
            figure(statistics.median(row.values)),
            _spread([figure(each) for each in (min(row.values), max(row.values))]),
            f"{statistics.median(row.ratios):.2f} ×" if row.ratios else "",
            _spread([f"{each:.2f}" for each in (min(row.ratios), max(row.ratios))]) if row.ratios else "",
            bound(row),
        )


def _spread(ends: Sequence[str]) -> str:
    """Nothing where there was one figure, or always the same."""
    return " – ".join(ends) if len(set(ends)) > 1 else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _line(head)
    yield "|" + "---|" * len(head)
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"

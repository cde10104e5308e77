"""The document of the figures: what is by hand stays as it is, and the tables say what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import written
from tests.benchmarks.written import BEGIN, END
from tests.unit.benchmarks.rows import HOMEPORT, NGINX, row

_ROOT = Path(__file__).parents[3]
_BY_HAND = f"# Title\n\nWords.\n\n{BEGIN}\nold\n{END}\n\n## After\n\nMore words.\n"
_FOUND = {
    "One beside another": [
        row(10, 12, who=NGINX, ratios=(1.0, 1.0), title="CPU", against=NGINX, must=4.0),
        row(20, 36, ratios=(2.0, 3.0), title="CPU", against=NGINX, must=4.0),
        row(7, title="of a|b", must=5, absolute=True),
    ]
}


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path) -> None:
    """However often it is written."""
    file = tmp_path / "figures.md"
    file.write_text(_BY_HAND)
    for version in ("1.0", "2.0"):
        written.write(file, {"homeport": version}, _FOUND)
        text = file.read_text()
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        assert (before, after) == ("# Title\n\nWords.\n\n", "\n\n## After\n\nMore words.\n")
        assert "old" not in text
        assert [line for line in text.splitlines() if line.startswith("| homeport |")] == [f"| homeport | {version} |"]


def test_a_section_is_a_table_of_what_was_measured() -> None:
    """A title stands once, ratios and bounds beside who has them, and one figure has no lowest and highest."""
    text = written.document({"cpu": "a core"}, _FOUND)
    assert text.splitlines()[1:] == [
        "| machine |  |",
        "|---|---|",
        "| cpu | a core |",
        "",
        "### One beside another",
        "",
        "| what | who | median | lowest – highest | ratio | lowest – highest | must |",
        "|---|---|---|---|---|---|---|",
        f"| CPU | {NGINX} | 11 | 10 – 12 | 1.00 × |  |  |",
        f"|  | {HOMEPORT} | 28 | 20 – 36 | 2.50 × | 2.00 – 3.00 | ≤ 4.0 × met |",
        f"| of a\\|b | {HOMEPORT} | 7 |  |  |  | ≤ 5 MISSED |",
        "",
    ]


@pytest.mark.parametrize(
    "text", ["", BEGIN, f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n", f"see {BEGIN}\n{END}\n"]
)
def test_a_document_without_its_marks_is_refused(tmp_path: Path, text: str) -> None:
    """So is one that is not there."""
    file = tmp_path / "figures.md"
    assert not written.marked(file)
    file.write_text(text)
    assert not written.marked(file)
    file.write_text(_BY_HAND)
    assert written.marked(file)


def test_the_published_document_can_be_written() -> None:
    """`make bench` finds its place in it."""
    assert written.marked(_ROOT / "docs" / "performance.md")

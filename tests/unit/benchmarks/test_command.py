"""`python -m tests.benchmarks`: what it refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.__main__ import main

_ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--write", str(_ROOT / "docs" / "performance.md"), "--only", "http"], "--write is for the whole run"),
        (["--write", str(_ROOT / "README.md")], "has no lines <!-- figures"),
        (["--only", "nothing"], "invalid choice: 'nothing'"),
        (["--rounds", "0"], "must be at least 1"),
        (["--beside", str(_ROOT / "docs")], "must be a checkout of Homeport"),
    ],
)
def test_a_run_that_could_not_be_kept_is_not_begun(
    words: list[str], what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty minutes would be lost."""
    monkeypatch.setattr("sys.argv", ["benchmarks", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert what in capsys.readouterr().err

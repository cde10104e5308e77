"""`python -m tests.benchmarks`: what it refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import peers
from tests.benchmarks.__main__ import main

_ROOT = Path(__file__).parents[3]


def test_without_peers_their_section_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """And the run says what brings them; it is no fault."""
    monkeypatch.setattr(peers, "_PYTHON", tmp_path)
    monkeypatch.setattr(peers, "_GATEWAY", tmp_path)
    assert peers.versions() == {}
    monkeypatch.setattr("sys.argv", ["benchmarks", "--only", "peers"])
    assert main() == 1
    assert "no section peers: no peers here; make bench-peers installs them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--write", str(_ROOT / "docs" / "performance.md"), "--only", "http"], "--write is for the whole run"),
        (["--write", str(_ROOT / "README.md")], "has no lines <!-- figures"),
        (["--only", "nothing"], "invalid choice: 'nothing'"),
        (["--write", str(_ROOT / "docs" / "performance.md"), "--only", "peers"], "--write is for the whole run"),
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

"""The systemd unit: one that systemd takes without a word, and that gives a replica as few rights as it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from proxy.config import schema
from tests.deploy.promql import ROOT
from tests.e2e.replica import HOMEPORT

_UNIT = ROOT / "deploy" / "systemd" / "homeport.service"
_COMMAND = "/opt/homeport/bin/homeport"
_EXPOSURE = 2.0
"""Of 10, as `systemd-analyze security` counts."""


def _analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert shutil.which("systemd-analyze"), "systemd-analyze is not on PATH: apt-get install systemd"
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_systemd_takes_it(tmp_path: Path) -> None:
    """`systemd-analyze verify` is silent, with the command where it is on this machine."""
    unit = tmp_path / _UNIT.name
    text = _UNIT.read_text()
    assert text.count(_COMMAND) == 2
    unit.write_text(text.replace(_COMMAND, str(HOMEPORT)))
    ran = _analyze("verify", unit)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_it_exposes_little() -> None:
    """What a process that is taken over could reach: `systemd-analyze security`."""
    ran = _analyze("security", "--offline=true", f"--threshold={_EXPOSURE * 10:.0f}", _UNIT)
    (level,) = re.findall(r"exposure level for homeport.service: ([\d.]+)", ran.stdout)
    assert float(level) < _EXPOSURE
    assert ran.returncode == 0


def test_it_waits_for_a_drain() -> None:
    """Longer than `limits.drain` by default, and no restart for a configuration with a fault."""
    text = _UNIT.read_text()
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)s$", text, re.MULTILINE)
    assert int(seconds) >= schema.Limits().drain + 5
    assert "RestartPreventExitStatus=2" in text

"""What is compiled and what is interpreted is one program: all of it, or none."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import proxy

_ROOT = Path(__file__).parents[2]


def test_all_that_is_listed_is_compiled_or_nothing_is() -> None:
    """In .compiled it is."""
    built = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    modules = [name.removesuffix(".py").replace("/", ".") for name in built["hooks"]["mypyc"]["include"]]
    kinds = {Path(importlib.import_module(name).__file__ or "").suffix for name in modules}
    assert kinds == {".so" if _ROOT.name == ".compiled" else ".py"}
    assert proxy.compiled() == (kinds == {".so"})


def test_a_compiled_homeport_can_be_interpreted() -> None:
    """Whoever suspects the compiler need install nothing."""
    asked = "import proxy, proxy.routing.walk as walk; print(proxy.compiled(), walk.__file__[-3:])"
    told = subprocess.run(
        [sys.executable, "-c", asked],
        env={**os.environ, "HOMEPORT_COMPILED": "off"},
        cwd=_ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.split() == ["False", ".py"]


def test_nobody_else_is_interpreted() -> None:
    """Whose name begins with ours neither: what is compiled of it may have no source."""
    (home,) = proxy.__path__
    assert proxy._interpreted(f"{home}{os.sep}edge").path == f"{home}{os.sep}edge"
    with pytest.raises(ImportError):
        proxy._interpreted(f"{home}_of_others")

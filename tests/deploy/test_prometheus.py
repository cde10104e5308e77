"""Prometheus' configuration and rules: valid, tested by promtool both ways, and each alert explained in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.promql import PROMETHEUS, ROOT, exported, names, recorded, rules

_TESTS = sorted((PROMETHEUS / "tests").glob("*.test.yml"))
_ALERTS = [rule for rule in rules() if "alert" in rule]


def _promtool(*arguments: str | Path) -> None:
    assert shutil.which("promtool"), "promtool is not on PATH: apt-get install prometheus"
    ran = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "FAILED" not in ran.stdout + ran.stderr


def test_the_configuration_is_one_that_prometheus_takes() -> None:
    """`promtool check config`, which looks for the rules too."""
    _promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_the_rules_are_clean() -> None:
    """`promtool check rules` with every lint, as errors."""
    _promtool("check", "rules", "--lint=all", "--lint-fatal", PROMETHEUS / "recording.yml", PROMETHEUS / "alerts.yml")


@pytest.mark.parametrize("file", _TESTS, ids=lambda path: path.name)
def test_the_rules_say_what_they_should(file: Path) -> None:
    """promtool's unit tests: fires when it should, stays quiet when it should not, records the right figure."""
    _promtool("test", "rules", file)


def test_every_rule_is_tested_both_ways() -> None:
    """Each alert has a case in which it fires and one in which it is quiet; each recording rule has a figure."""
    fired: set[str] = set()
    quiet: set[str] = set()
    figures: set[str] = set()
    for file in _TESTS:
        for case in yaml.safe_load(file.read_text())["tests"]:
            for ask in case.get("alert_rule_test", []):
                (fired if ask["exp_alerts"] else quiet).add(ask["alertname"])
            for ask in case.get("promql_expr_test", []):
                figures |= names(ask["expr"])
    alerts = {rule["alert"] for rule in _ALERTS}
    assert (fired, quiet) == (alerts, alerts)
    assert figures == recorded()


@pytest.mark.parametrize("rule", _ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_tells_what_to_do(rule: dict[str, Any]) -> None:
    """How urgent it is, what it means in one line and in full, and a section of the runbook that is there."""
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    titles = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert anchor in {title.lower().replace(" ", "-") for title in titles}
    assert rule["for"]


def test_the_rules_ask_for_what_is_exported() -> None:
    """Every series that a rule names is exported by Homeport, or recorded by another rule."""
    for rule in rules():
        asked = names(rule["expr"])
        assert asked or "up{" in rule["expr"], rule
        assert asked <= exported() | recorded(), rule

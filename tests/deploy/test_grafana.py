"""The dashboards: made by the committed code, complete, and laid out so that nothing overlaps."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from grafana.__main__ import files
from tests.deploy.boards import FILES, load, panels, targets
from tests.deploy.promql import ROOT, exported, names, recorded

_BOARDS = load()
_SCRAPED = {"up", "scrape_duration_seconds", "scrape_samples_scraped"}
_LABELS = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "metrics.md").read_text())) | {"job", "instance", "le"}


def test_making_them_again_gives_the_committed_files() -> None:
    """`python -m grafana` changes nothing, and no file is left over."""
    assert {path.name: path.read_text() for path in FILES} == files()


def test_the_addresses_of_dashboards_stay() -> None:
    """Links lead to uids, so these are a promise."""
    assert set(_BOARDS) == {"homeport-overview", "homeport-assistant", "homeport-sources", "homeport-platform"}
    assert {path.stem for path in FILES} == set(_BOARDS)


@pytest.mark.parametrize("uid", _BOARDS)
def test_a_panel_says_what_it_shows(uid: str) -> None:
    """Each has a title of its own, a description, a unit, a query, and the data source that the reader chose."""
    board = _BOARDS[uid]
    assert board["description"]
    assert board["tags"] == ["homeport"]
    others, *ways = board["links"]
    assert others["tags"] == ["homeport"]
    assert ways
    for way in ways:
        assert way["url"].startswith("${page}/#/"), way
        assert set(re.findall(r"\$\{([a-z]+)", way["url"])) <= {each["name"] for each in board["templating"]["list"]}
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)
    for panel in panels(board):
        assert panel["description"].endswith((".", "?")), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        letters = [target["refId"] for target in panel["targets"]]
        assert letters
        assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("uid", _BOARDS)
def test_variables_are_all_there_and_all_used(uid: str) -> None:
    """A data source to choose first; every variable is asked for by a query, and every one asked for exists."""
    variables = _BOARDS[uid]["templating"]["list"]
    assert (variables[0]["name"], variables[0]["type"], variables[0]["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    asked = {name for each in targets() if each.board == uid for name in re.findall(r"\$([a-z]+)", each.expr)}
    *by_query, page = variables[1:]
    assert asked == {each["name"] for each in by_query}
    assert (page["name"], page["type"], page["query"]) == ("page", "textbox", "http://127.0.0.1:8081")
    for each in by_query:
        assert each["datasource"]["uid"] == "${datasource}"
        assert names(each["query"]) <= exported()


@pytest.mark.parametrize("uid", _BOARDS)
def test_the_layout_has_no_holes_and_no_overlaps(uid: str) -> None:
    """Ids are unique; every place is within 24 columns; none is taken twice and none is left."""
    placed = _BOARDS[uid]["panels"]
    assert [panel["id"] for panel in placed] == list(range(1, len(placed) + 1))
    cells = [_cells(panel["gridPos"]) for panel in placed]
    for one, other in combinations(cells, 2):
        assert not one & other
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in placed)
    for y in range(bottom):
        assert {x for x, at in set().union(*cells) if at == y} == set(range(24)), y


def _cells(place: dict[str, Any]) -> set[tuple[int, int]]:
    assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    return {
        (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    }


def test_queries_ask_for_what_there_is() -> None:
    """Series that Homeport exports, labels that it documents, and rates over Grafana's own interval."""
    for each in targets():
        asked = names(each.expr)
        assert asked <= exported() | recorded(), each.name
        assert asked or re.search(r"\b(process_\w+|scrape_\w+|up)\{", each.expr), each.name
        assert set(re.findall(r"[{,](\w+)(?:=|!=|=~|!~)\"", each.expr)) <= _LABELS, each.name
        assert set(re.findall(r"\[([^\]]+)\]", each.expr)) <= {"$__rate_interval"}, each.name


def test_every_metric_is_on_a_panel_or_in_a_rule() -> None:
    """What is exported is shown somewhere: a metric that nobody looks at would only cost."""
    rules = " ".join((ROOT / "deploy" / "prometheus" / name).read_text() for name in ("recording.yml", "alerts.yml"))
    shown = names(" ".join(each.expr for each in targets())) | names(rules)
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()} - bases == _UNSEEN


_UNSEEN = {"homeport_tier_last_used_timestamp_seconds", "homeport_state_version"}
"""For the runbook and for hands: last success and failure say more than last use; versions explain a disagreement."""


def test_provisioning_finds_the_dashboards() -> None:
    """The provider's folder is the one at which compose.yaml mounts them, and the data source is Prometheus'."""
    folder = ROOT / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((folder / "dashboards" / "homeport.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")

"""The house in order: modules stand alone, files stay small, and the documents say what there is, no more, no less."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from proxy import cli
from proxy.admin.trial.findings import What
from proxy.breaker.linked import LinkStatus
from proxy.breaker.permit import Guard
from proxy.breaker.redis_scripts import ACL
from proxy.breaker.redis_store import WORDS
from proxy.breaker.state import Moved, View, Word
from proxy.config import load, schema, yaml_map
from proxy.config.oauth import OAuth
from proxy.config.thresholds import Breaker, OwnBreaker, Thresholds
from proxy.record.lines import Look
from proxy.record.metrics import Metrics
from proxy.routing.bindings import Bindings, bind
from proxy.routing.decision import Attempted, Decision, Skipped
from proxy.routing.verdict import ATTEMPT_LABELS
from proxy.terms import ENDPOINTS, Cause, Usage
from proxy.upstream.client import Connections
from proxy.upstream.oauth.account import RESULTS
from tests.unit.record.decisions import decision
from tests.unit.record.now import now

_ROOT = Path(__file__).parents[2]
_SOURCES = sorted((_ROOT / "proxy").rglob("*.py"))
_MOST_LINES = 400
_DOCUMENTS = sorted(
    [_ROOT / "README.md", *(path for each in ("docs", "deploy", "grafana") for path in (_ROOT / each).glob("*.md"))]
)


def _doc(name: str) -> str:
    return (_ROOT / "docs" / f"{name}.md").read_text()


def _rows(text: str) -> Iterator[list[str]]:
    """The rows of a document's tables, without their headings."""
    previous: list[str] | None = None
    ruled = False
    for line in text.splitlines():
        if not line.startswith("|"):
            previous, ruled = None, False
            continue
        cells = [cell.strip() for cell in line.strip()[1:-1].split("|")]
        if ruled:
            yield cells
        ruled = ruled or (previous is not None and set(line) <= set("|-: "))
        previous = cells


def _code(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


# -- modules

_IMPORT_EACH = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [each for each in sys.modules if each == "proxy" or each.startswith("proxy.")]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except BaseException as error:
        print(f"{name}: {error!r}")
"""


def _modules() -> list[str]:
    parts = [path.relative_to(_ROOT).with_suffix("").parts for path in _SOURCES]
    names = [".".join(each[:-1] if each[-1] == "__init__" else each) for each in parts]
    # Importing that one runs the command; the tests of the command do.
    return [name for name in names if name != "proxy.__main__"]


def test_every_module_imports_alone() -> None:
    """Whichever module of proxy/ is imported first, it finds what it needs, without a warning."""
    names = _modules()
    assert {"proxy", "proxy.app.replica", "proxy.terms", "proxy.config.schema"} <= set(names)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", _IMPORT_EACH, *names],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_who_serves_loads_no_more_than_it_needs() -> None:
    """Neither the store's client nor the simulated upstreams, each of which takes a moment of every start."""
    code = "import sys, proxy.cli, proxy.app\nprint(*sorted({'redis', 'proxy.demo'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_no_file_is_too_long() -> None:
    """A file that outgrows its room is split: none in proxy/ has over 400 lines."""
    lengths = {str(path.relative_to(_ROOT)): len(path.read_text().splitlines()) for path in _SOURCES}
    assert {name: count for name, count in lengths.items() if count > _MOST_LINES} == {}


# -- docs/configuration.md

_SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "The file": (schema.Config,),
    "`admin`": (schema.Admin,),
    "`identity`": (schema.Identity,),
    "`clients[]`": (schema.Client,),
    "`sources.<name>`": (schema.Source,),
    "`sources.<name>.oauth`": (OAuth,),
    "`sources.<name>.faults[]`": (schema.FaultRule,),
    "`assistants.<id>`": (schema.Assistant, schema.Chain),
    "Binding": (schema.Binding,),
    "`params`": (schema.Params,),
    "`assistants.<id>.timeouts`": (schema.Timeouts,),
    "`breaker`": (OwnBreaker, Breaker),
    "`limits`": (schema.Limits,),
    "`decisions`": (schema.Decisions,),
}
"""Each section with a table, and the parts of the configuration whose fields it tells of."""


def _sections() -> dict[str, list[list[str]]]:
    parts = re.split(r"^#{2,3} (.+)$", _doc("configuration"), flags=re.MULTILINE)
    return {title: list(_rows(text)) for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def _parts_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _parts(annotation)
    for inner in get_args(annotation):
        yield from _parts_in(inner)


def _parts(part: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A part of the configuration and all that it holds."""
    yield part
    for field in part.model_fields.values():
        yield from _parts_in(field.annotation)


def test_every_configuration_field_is_documented() -> None:
    """A field that is not in docs/configuration.md isn't there for anybody, and one that is there exists."""
    tables = {title: rows for title, rows in _sections().items() if rows}
    assert list(tables) == list(_SECTIONS)
    assert {part for parts in _SECTIONS.values() for part in parts} == set(_parts(schema.Config))
    for title, parts in _SECTIONS.items():
        documented = [name for row in tables[title] for name in _code(row[0])]
        assert len(set(documented)) == len(documented), title
        assert set(documented) == {name for part in parts for name in part.model_fields}, title


def _value(written: str) -> Any:
    """A value as a configuration file would hold it."""
    root, faults = yaml_map.compose(f"value: {written}", "docs", lambda text: text)
    assert root is not None
    assert faults == []
    return yaml_map.plain(root)["value"]


def _default(part: type[BaseModel], name: str, written: str) -> tuple[object, object]:
    """The default that is written, as the configuration would read it, and the one that holds."""
    if part is OwnBreaker and name != "scope":
        given = part.model_validate({name: _value(written)})
        return getattr(given, name), getattr(Thresholds(), name)
    needed: dict[type[BaseModel], dict[str, Any]] = {
        schema.Config: {"version": 1},
        schema.Source: {"kind": "openai"},
        schema.Binding: {"source": "s", "model": "m"},
        schema.Client: {"id": "c", "key_sha256": "0" * 64},
        schema.FaultRule: {"status": 500, "cause": Cause.SERVER},
        OAuth: {"token_url": "https://login.test/token", "client_id": "c", "token_file": "f"},
    }
    rest = needed.get(part, {})
    read = part.model_validate({**rest, name: _value(written)})
    return getattr(read, name), getattr(part.model_validate(rest), name)


def test_the_documented_defaults_are_the_ones_that_hold() -> None:
    """What docs/configuration.md calls a default is what a file without that field gets."""
    for title, (part, *_) in _SECTIONS.items():
        for row in _sections()[title]:
            name, default = _code(row[0])[0], row[2]
            field = part.model_fields[name]
            if default == "required":
                # base_url is so for some of the kinds.
                assert field.is_required() or name == "base_url", (title, name)
            elif default == "none":
                assert field.get_default(call_default_factory=True) is None, (title, name)
            elif default:
                written, holds = _default(part, name, _code(default)[0])
                assert written == holds, (title, name)
            else:
                # A part of its own, with defaults of its own; or a breaker, which the level above fills.
                assert [*_parts_in(field.annotation)], (title, name)


# -- docs/metrics.md

_CONFIG = """
version: 1
sources: {s: {kind: openai-compatible, base_url: "http://127.0.0.1:1/v1", api_key: k}}
assistants: {bot: {primary: {source: s, model: m}, fallbacks: [{source: s, model: n}]}}
"""


def _look(_: Guard) -> View:
    return View(Word.OPEN, "http_503", 1.0, 2.0, failures=3)


def _decisions() -> Iterator[Decision]:
    """Requests that between them make a sample of every metric."""
    skipped = Skipped("primary", "s", "m", "half_open", 0.0, View(Word.HALF_OPEN))
    cut = Attempted(
        "primary", "s", "m", "stream_broken", "idle", "bad", 0.0, 1.0, "yes", "half_open", 200, 0.1, 0.2, 0.3
    )
    served = Attempted("fallback-1", "s", "n", "served", "", "good", 1.0, 2.0, "yes", None, 200, 1.1, 1.2, 1.3)
    whole, gone = ((skipped, served), "fallback_success"), ((cut, served), "exhausted")
    for (steps, outcome), usage in ((whole, Usage(1, 2, 3)), (whole, None), (gone, None)):
        yield decision(stream=True, steps=steps, served=served, outcome=outcome, first_byte=0.1, usage=usage)


def _exported() -> dict[str, tuple[str, set[str]]]:
    """Every metric that is exported: type and labels by name."""
    config = load.parse(_CONFIG, "test", {}, Path())
    assert isinstance(config, schema.Config), config
    bindings: Bindings = bind(config, "1", lambda secret: "digest")
    link = LinkStatus(True, 1.0, "", 1.0, "a", 2, 3, 4, 5.0)
    connections = {"s": Connections(in_use=1, idle=2, waiting=3)}
    facts = {
        "serving": lambda: {"bot": 1},
        "trying": lambda: {("bot", "primary"): 1},
        "connections": lambda: connections,
    }
    left = {("s", "m", "requests"): 9.0}
    metrics = Metrics(
        now(bindings, look=_look, link=lambda: link, remaining=lambda: left, expiries=lambda: {"s": 1.0}, **facts)
    )
    metrics.store_operation("sync", 0.1, "timeout")
    metrics.propagated(0.1)
    metrics.lagged(0.1)
    metrics.accounts(["s"])
    metrics.refreshed("s", "refreshed")
    for each in _decisions():
        metrics.counts(each, Look()).add(each)
    metrics.settle()
    target = next(iter(bindings.routes["bot"].own.tiers[0].guards.values())).target
    metrics.moved(target, Moved(Word.CLOSED, Word.OPEN, "failures"))
    exported = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        if not family.name.startswith("process_"):
            assert family.samples, f"nothing here makes a sample of {family.name}"
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            exported[name] = (family.type, labels)
    return exported


def test_every_metric_is_documented_and_every_documented_one_exported() -> None:
    """docs/metrics.md has each metric once, with its type and its labels, and no other."""
    rows = [row for row in _rows(_doc("metrics")) if _code(row[0])[:1] and _code(row[0])[0].startswith("homeport_")]
    documented = {_code(row[0])[0]: (row[1], set(_code(row[2]))) for row in rows}
    assert len(documented) == len(rows)
    assert documented == _exported()


def test_metric_names_anywhere_in_the_documents_exist() -> None:
    """A metric that README or a document speaks of is one that is exported."""
    exported = _exported()
    names = {name for name, (kind, _) in exported.items() if kind != "histogram"}
    for name, (kind, _) in exported.items():
        if kind == "histogram":
            names |= {name, f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    for path in _DOCUMENTS:
        assert set(re.findall(r"\bhomeport_[a-z_]+", path.read_text())) <= names, path.name


def test_the_closed_lists_of_labels_are_closed() -> None:
    """The documented words of attempts, states and endpoints are the ones that the code can say."""
    lists = {row[0]: _code(row[1]) for row in _rows(_doc("metrics")) if len(row) == 2}
    assert sorted(lists["attempt `outcome`"]) == sorted(ATTEMPT_LABELS)
    assert lists["`state`, `from_state`, `to_state`"] == [word.value for word in Word]
    assert set(lists["store `error`"]) == WORDS
    assert lists["refresh `result`"] == list(RESULTS)
    assert lists["`endpoint`"] == [*(endpoint.name for endpoint in ENDPOINTS), "other"]


# -- docs/shared-store.md


def test_the_documented_rights_and_words_of_the_store_are_the_ones_that_hold() -> None:
    """The rule for a Redis user is the one that is tested, and each word for a store that is away is explained."""
    text = _doc("shared-store")
    assert f" on >password {ACL}\n" in text
    assert set(_code(text)) >= WORDS


# -- docs/api.md

_HEADER = re.compile(r"x-homeport-[a-z]+(?:-[a-z]+)*")


def test_every_header_is_documented() -> None:
    """The x-homeport-* headers that the code names and those of docs/api.md are the same."""
    named = {header for path in _SOURCES for header in _HEADER.findall(path.read_text())}
    assert "x-homeport-tier" in named
    assert set(_HEADER.findall(_doc("api"))) == named
    assert set(_HEADER.findall((_ROOT / "README.md").read_text())) <= named


def test_what_a_finding_can_be_about_is_documented() -> None:
    """docs/api.md lists the words in the order in which findings are told."""
    said = re.search(r"^`what` is, in this order, (.+?)\. ", _doc("api"), re.MULTILINE)
    assert said is not None
    assert _code(said.group(1)) == list(What)


def _refusals() -> set[tuple[str, int]]:
    """Code and status of every Refusal that is made in edge/refusals.py."""
    tree = ast.parse((_ROOT / "proxy" / "edge" / "refusals.py").read_text())
    found = set()
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Refusal":
            status, code = call.args[:2]
            assert isinstance(code, ast.Constant), "a code is written out, so that it can be found"
            assert isinstance(code.value, str)
            either = [status.body, status.orelse] if isinstance(status, ast.IfExp) else [status]
            for each in either:
                assert isinstance(each, ast.Constant)
                assert isinstance(each.value, int)
                found.add((code.value, each.value))
    return found


def test_every_refusal_is_documented() -> None:
    """Each code stands in docs/api.md with its statuses, and each that stands there can be met."""
    table = _doc("api").partition("\n## Refusals\n")[2].partition("\n## ")[0]
    documented = {
        (code, int(status)) for row in _rows(table) for code in _code(row[0]) for status in re.findall(r"\d{3}", row[1])
    }
    assert documented == _refusals()
    in_band = (_ROOT / "proxy" / "edge" / "journey.py").read_text()
    assert '"code": "stream_broken"' in in_band
    assert "`stream_broken`" in _doc("api")


# -- README.md


def _commands() -> set[str]:
    parser = cli._parser()
    return {
        name for action in parser._actions if isinstance(action, argparse._SubParsersAction) for name in action.choices
    }


def test_the_readme_is_short_and_names_what_there_is() -> None:
    """At most 150 lines, and every make target, command and file that it or a document names exists."""
    readme = (_ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 150
    targets = set(re.findall(r"^([a-z-]+):", (_ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in _DOCUMENTS:
        text = path.read_text()
        said = "\n".join([*_code(text), *re.findall(r"^ {4}(.+)$", text, re.MULTILINE)])
        assert set(re.findall(r"\bmake ([a-z-]+)", said)) <= targets, path.name
        assert set(re.findall(r"\bhomeport ([a-z-]+)", said)) <= _commands(), path.name
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"
    assert "make demo" in readme
    assert "homeport serve" in readme


def _anchors(text: str) -> set[str]:
    """The anchors of a document's headings."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", _DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_links_within_the_documents_lead_somewhere(path: Path) -> None:
    """A link to a heading finds it."""
    for file, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text()):
        other = path.parent / file if file else path
        assert anchor in _anchors(other.read_text()), f"{path.name} links to {file}#{anchor}"

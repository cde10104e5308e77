"""The operators' API is one thing in the code, in its own description and in docs/api.md."""

from __future__ import annotations

import ast
import inspect
import io
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from proxy.admin.access.auth import Gate
from proxy.admin.access.sessions import Sessions
from proxy.admin.api import openapi
from proxy.admin.api.calls import HEADERS, STATUS, Call
from proxy.admin.operators import Operators
from proxy.admin.page.serving import Page
from proxy.admin.table import table
from proxy.app.replica import Replica
from proxy.config import load
from proxy.config.schema import Config
from proxy.record.log import Log

_ROOT = Path(__file__).parents[2]
_ADMIN = sorted((_ROOT / "proxy" / "admin").rglob("*.py"))


@pytest.fixture(scope="module")
def calls() -> tuple[Call, ...]:
    """Those that a replica serves."""
    config = load.parse("version: 1\n", "test", {}, Path())
    assert isinstance(config, Config), config
    log = Log(io.BytesIO(), human=False, unix=lambda: 0.0)
    gate = Gate("token", Sessions(lambda: 0.0, lambda: "id"), lambda: 0.0)
    try:
        replica = Replica(config, log, None)
        return Operators(table(replica._calls(), gate), gate, Page(), "1", lambda: None, log.failed).calls
    finally:
        log.close()


@pytest.fixture(scope="module")
def document(calls: tuple[Call, ...]) -> dict[str, Any]:
    """What they are described by."""
    return openapi.document(calls, "1")


def _doc() -> str:
    return (_ROOT / "docs" / "api.md").read_text()


def _bare(path: str) -> str:
    """Without what the segments are called."""
    return re.sub(r"\{\w+\}", "{}", path)


def _documented() -> Iterator[str]:
    """`GET /api/assistants/{}` and the like, from the table of the operators' listener."""
    table = _doc().partition("\n## Operators\n")[2].partition("\n\n`/api/")[0]
    for row in re.findall(r"^\| (.+?) \|", table, re.MULTILINE):
        methods: list[str] = []
        for said in re.findall(r"`([^`]+)`", row):
            method, _, path = said.partition(" ")
            methods.append(method)
            if path:
                yield from (f"{each} {_bare(path)}" for each in methods)
                methods = []


def test_every_call_is_documented_and_every_documented_one_served(calls: tuple[Call, ...]) -> None:
    """The table in docs/api.md and the one in the code have the same calls, each once."""
    documented, served = [*_documented()], [f"{each.method} {_bare(each.path)}" for each in calls]
    assert len(documented) > 20
    assert sorted(documented) == sorted(served)
    assert len(set(served)) == len(served)


def test_every_error_code_is_documented_with_its_status() -> None:
    """docs/api.md lists the codes that the code has, with their statuses, and no others."""
    table = _doc().partition("\n### Errors\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`.+?) \| (\d{3}) \|", table, re.MULTILINE)
    documented = {code: int(status) for codes, status in rows for code in re.findall(r"`(\w+)`", codes)}
    assert documented == STATUS


def _raised() -> Iterator[str]:
    for path in _ADMIN:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refused":
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    yield str(code.value)
                else:
                    # The one place where a change that was not made is translated.
                    assert path.name == "assistants.py", ast.unparse(node)


def test_every_refusal_has_a_status_and_every_status_a_refusal() -> None:
    """No code is made up in passing, and none is listed that nobody can meet."""
    from proxy.admin.assistants import _CODES

    assert {*_raised(), *_CODES.values()} == set(STATUS)


def test_a_handler_takes_what_its_call_says(calls: tuple[Call, ...]) -> None:
    """The request, then what is read of it, then the names in the path; so that no call can fail for want of one."""
    for call in calls:
        names = [*inspect.signature(call.handler).parameters.values()]
        hints = typing.get_type_hints(call.handler)
        positional = [each for each in names if each.kind is each.POSITIONAL_OR_KEYWORD]
        keyword = {each.name for each in names if each.kind is each.KEYWORD_ONLY}
        assert keyword == set(re.findall(r"\{(\w+)\}", call.path)), call.path
        takes = [hints[each.name] for each in positional[1:]]
        assert takes == ([] if call.takes is None else [call.takes]), call.path
        assert set(call.refuses) <= STATUS.keys()
        assert {*call.hears, *call.sends} <= HEADERS.keys()


def test_the_description_is_sound(document: dict[str, Any], calls: tuple[Call, ...]) -> None:
    """It has every call once, under an id of its own; its schemas are schemas, and its references lead somewhere."""
    operations = {(method.upper(), path): each for path, of in document["paths"].items() for method, each in of.items()}
    assert set(operations) == {(each.method, each.path) for each in calls}
    assert len({each["operationId"] for each in operations.values()}) == len(calls)
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert "__" not in name, "two shapes have the same name"
    references = set(re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document)))
    assert references <= document["components"]["schemas"].keys()
    free = {path for (_, path), each in operations.items() if not each["security"]}
    assert free == {"/metrics", "/healthz", "/readyz", "/api/session"}


def test_the_description_gives_each_member_its_words(document: dict[str, Any]) -> None:
    """Shapes tell what they are; what requests take tells of each field that needs it."""
    shapes = document["components"]["schemas"]
    assert shapes["Revision"]["description"] == "One change of what is served."
    assert shapes["BreakerOrder"]["properties"]["for"]["description"].startswith("How long to isolate")
    query = document["paths"]["/api/decisions"]["get"]["parameters"]
    assert {each["name"] for each in query} == {
        "assistant", "tier", "outcome", "reason", "id", "after", "before", "limit", "cursor",
    }  # fmt: skip
    assert shapes["Rebound"]["properties"]["primary"]["anyOf"][0]["$ref"].endswith("/Binding")

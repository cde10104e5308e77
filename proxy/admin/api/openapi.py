"""`GET /api/openapi.json`: the operators' API in OpenAPI 3.1, made from the calls that are served.

1. Nothing is said here that the calls do not say: requests are read by these shapes, and answers tested against them.
2. An answer may get further members in a later version, so its shapes are not closed; a request's are.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from aiohttp import hdrs, web
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from proxy.admin.api.answering import written
from proxy.admin.api.calls import HEADERS, STATUS, Asked, Call, Text
from proxy.admin.shapes.replica import Error

_ALWAYS = ("malformed_request", "request_headers_too_large")
_READ = ("request_timeout", "request_too_large")
_GUARDED = ("unauthorized", "too_many_tries")
_REF = "#/components/schemas/{model}"
_JSON = "application/json"
_SENT = {"too_many_tries": "Retry-After", "unauthorized": "WWW-Authenticate"}
"""Headers of refusals."""


def call(described: Callable[[], bytes]) -> Call:
    """The call that gives the document. `described` may take a moment, once."""

    async def describe(_: web.BaseRequest) -> web.StreamResponse:
        return written(await asyncio.to_thread(described))

    return Call(hdrs.METH_GET, "/api/openapi.json", describe, "This description", {200: dict[str, Any]})


def document(calls: Sequence[Call], version: str) -> dict[str, Any]:
    """The whole document."""
    shapes = _Shapes(calls)
    paths: dict[str, dict[str, Any]] = {}
    for each in calls:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, shapes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Homeport, the operators' API",
            "version": version,
            "description": "An error is answered as `Error`; 500 `internal_error` is a fault of Homeport's own.",
        },
        "paths": paths,
        "components": {
            "schemas": shapes.components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`admin.token`."},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "homeport-session",
                    "description": "A change also needs the header `x-homeport-csrf: 1`.",
                },
            },
        },
    }


def refusals(each: Call) -> dict[int, list[str]]:
    """The codes that a call may be refused with, by status."""
    found: dict[int, list[str]] = {}
    for code in dict.fromkeys((*each.refuses, *_met(each))):
        found.setdefault(STATUS[code], []).append(code)
    return found


def _met(each: Call) -> Iterator[str]:
    yield from _ALWAYS
    if not each.free:
        yield from _GUARDED
        if each.method != hdrs.METH_GET:
            yield "csrf"
    if each.takes is not None:
        yield "invalid_request"
        if each.method != hdrs.METH_GET:
            yield from _READ


class _Untitled(GenerateJsonSchema):
    """A member's title would only be its name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class _Shapes:
    """The schemas of all that is taken and given."""

    def __init__(self, calls: Sequence[Call]) -> None:
        found = (one for each in calls for one in (_body(each), *_documents(each)) if one is not None)
        types = {_name(one): one for one in (Error, *found)}
        adapters = [(name, "validation", TypeAdapter(each)) for name, each in types.items()]
        schemas, shared = TypeAdapter.json_schemas(
            adapters,  # type: ignore[arg-type]  # "validation" is one of its literals
            ref_template=_REF,
            schema_generator=_Untitled,
        )
        self.components: dict[str, Any] = dict(sorted(shared.get("$defs", {}).items()))
        self._schemas = {name: schema for (name, _), schema in schemas.items()}

    def of(self, shape: Any) -> dict[str, Any]:
        return self._schemas[_name(shape)]


def _body(each: Call) -> type[Asked] | None:
    return None if each.method == hdrs.METH_GET else each.takes


def _documents(each: Call) -> Iterator[Any]:
    for given in each.gives.values():
        if isinstance(given, Text):
            yield from given.events
        else:
            yield given


def _name(shape: Any) -> str:
    return f"{shape.__module__}.{getattr(shape, '__qualname__', shape)}"


def _operation(each: Call, shapes: _Shapes) -> dict[str, Any]:
    answers = {str(status): _given(given, each, shapes) for status, given in each.gives.items()}
    for status, codes in refusals(each).items():
        own = answers.get(str(status))
        answers[str(status)] = _refused(codes, shapes) if own is None else _either(own, _refused(codes, shapes))
    words = re.findall(r"[a-z]+", each.path.removeprefix("/api"))
    operation: dict[str, Any] = {
        "operationId": "-".join([each.method.lower(), *words]),
        "summary": each.summary,
        "parameters": [*_parameters(each)],
        "responses": dict(sorted(answers.items())),
        "security": [] if each.free else [{"token": []}, {"session": []}],
    }
    if (body := _body(each)) is not None:
        required = any(field.is_required() for field in body.model_fields.values())
        operation["requestBody"] = {"required": required, "content": {_JSON: {"schema": shapes.of(body)}}}
    return operation


def _given(given: Any, each: Call, shapes: _Shapes) -> dict[str, Any]:
    if isinstance(given, Text):
        return {"description": given.said, "content": {given.content_type: {"schema": {"type": "string"}}}}
    answer: dict[str, Any] = {
        "description": (getattr(given, "__doc__", None) or "A document.").splitlines()[0],
        "content": {_JSON: {"schema": shapes.of(given)}},
    }
    if each.sends:
        answer["headers"] = {name: _header(name) for name in each.sends}
    return answer


def _refused(codes: Sequence[str], shapes: _Shapes) -> dict[str, Any]:
    named = {"properties": {"error": {"properties": {"code": {"enum": list(codes)}}}}}
    answer: dict[str, Any] = {
        "description": ", ".join(f"`{code}`" for code in codes),
        "content": {_JSON: {"schema": {"allOf": [shapes.of(Error), named]}}},
    }
    if sent := {_SENT[code]: _header(_SENT[code]) for code in codes if code in _SENT}:
        answer["headers"] = sent
    return answer


def _either(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    schemas = [each["content"][_JSON]["schema"] for each in (one, other)]
    said = f"{one['description']} Or {other['description']}."
    return {"description": said, "content": {_JSON: {"schema": {"anyOf": schemas}}}}


def _header(name: str) -> dict[str, Any]:
    return {"description": HEADERS[name], "schema": {"type": "string"}}


def _parameters(each: Call) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", each.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    for name in each.hears:
        yield {"name": name, "in": "header", "required": False, **_header(name)}
    if each.takes is not None and each.method == hdrs.METH_GET:
        yield from _query(each.takes)


def _query(takes: type[Asked]) -> Iterator[dict[str, Any]]:
    shape = takes.model_json_schema(schema_generator=_Untitled)
    for name, schema in shape["properties"].items():
        # A query knows no null: what is not given is left out.
        kinds = [one for one in schema.get("anyOf", [schema]) if one != {"type": "null"}]
        told = {"description": schema["description"]} if "description" in schema else {}
        yield {
            "name": name,
            "in": "query",
            "required": name in shape.get("required", ()),
            **told,
            "schema": kinds[0] if len(kinds) == 1 else {"anyOf": kinds},
        }

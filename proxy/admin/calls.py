"""Reading what a call of the operators' API asks for, and answering it.

1. What is wrong with a call is said by field, with what was expected; what was sent is not repeated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

_SAID = 5
"""Faults that one answer tells of."""


class Asked(BaseModel):
    """What one call takes: the members of its body, or of its query."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


Order = TypeVar("Order", bound=Asked)


class Refused(Exception):
    """The call is not done, and why."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


async def order(request: web.Request, shape: type[Order]) -> Order:
    """The body of a call; none is `{}`. Raises Refused."""
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(413, "request_too_large", "A call of this API is a few lines.") from None
    try:
        document = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise Refused(400, "invalid_request", "Send one JSON object.")
    return _shaped(document, shape)


def query(request: web.Request, shape: type[Order]) -> Order:
    """The query of a call. Raises Refused."""
    given = dict(request.query)
    if len(given) != len(request.query):
        raise Refused(400, "invalid_request", "A field stands in the query more than once.")
    return _shaped(given, shape)


def _shaped(document: Mapping[str, Any], shape: type[Order]) -> Order:
    try:
        return shape.model_validate(document)
    except ValidationError as error:
        raise Refused(400, "invalid_request", _faults(error, shape)) from None


def _faults(error: ValidationError, shape: type[Asked]) -> str:
    said = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False)[:_SAID]:
        where = ".".join(str(part)[:80] for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            said.append(f"{where!r} is not known here: it takes {', '.join(shape.model_fields) or 'nothing'}")
        else:
            said.append(f"{where}: {fault['msg']}")
    return "; ".join(said) + "."


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def done(handler: Handler) -> Handler:
    """`handler`, whose Refused becomes an answer."""

    async def call(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refusal:
            return refused(refusal.status, refusal.code, refusal.message)

    return call


def refused(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error of the operators' API."""
    body = {"error": {"message": message, "type": code, "param": None, "code": code}}
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json", headers=headers)


def answer(document: object, status: int = 200) -> web.Response:
    """A call's answer."""
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")

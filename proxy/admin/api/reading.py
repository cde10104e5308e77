"""Reading what a call of the operators' API takes, from its body or its query.

1. What is wrong with a call is said by field, with what was expected; what was sent is not repeated.
2. A body is bounded: in bytes, in its depth, and in the time that it may pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11
from pydantic import ValidationError

from proxy.admin.api.calls import Asked, Refused
from proxy.config.fault import Wrong

LARGEST = 64 * 1024
"""Bytes of a body."""
DEEPEST = 40
"""Levels of a body, as of a configuration file: what is kept has to be read again."""
_PAUSE = 30.0
"""Seconds without a byte of a body."""
_SAID = 5
"""Faults that one answer tells of."""
_NAME = 80
"""Letters of a field's name that are repeated."""

Order = TypeVar("Order", bound=Asked)


async def order(request: web.BaseRequest, shape: type[Order]) -> Order:
    """The body of a call; none is `{}`. Raises Refused."""
    body = await _body(request)
    try:
        document = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise Refused("invalid_request", "Send one JSON object.")
    if _deeper(document, DEEPEST):
        raise Refused("invalid_request", f"It is nested deeper than {DEEPEST} levels; nest it less.")
    return _shaped(document, shape)


def _deeper(document: object, levels: int) -> bool:
    """Level by level: a call of itself for each would end before a hostile document does."""
    level = [document]
    for _ in range(levels):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = [one for each in inner for one in each]
        if not level:
            return False
    return True


def query(request: web.BaseRequest, shape: type[Order]) -> Order:
    """The query of a call. Raises Refused."""
    given = dict(request.query)
    if len(given) != len(request.query):
        raise Refused("invalid_request", "A field stands in the query more than once.")
    return _shaped(given, shape)


async def _body(request: web.BaseRequest) -> bytes:
    parts: list[bytes] = []
    left = LARGEST - (request.content_length or 0)
    if left >= 0:
        left = LARGEST
        await _expected(request)
    try:
        while left >= 0 and not request.content.at_eof():
            async with asyncio.timeout(_PAUSE):
                parts.append(await request.content.readany())
            left -= len(parts[-1])
    except TimeoutError:
        raise Refused("request_timeout", f"No byte of the request's body came for {_PAUSE:.0f} s.") from None
    except web.RequestPayloadError:
        text = "The request's body could not be read: its chunks or its Content-Encoding are not as announced."
        raise Refused("malformed_request", text) from None
    if left < 0:
        raise Refused("request_too_large", "A call of this API is a few lines.")
    return b"".join(parts)


async def _expected(request: web.BaseRequest) -> None:
    """Ask for the body of a caller who waits to be asked; HTTP/1.0 knows no interim answers."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _shaped(document: Mapping[str, Any], shape: type[Order]) -> Order:
    try:
        return shape.model_validate(document)
    except ValidationError as error:
        raise Refused("invalid_request", _faults(error, shape)) from None


def _faults(error: ValidationError, shape: type[Asked]) -> str:
    said = []
    for fault in error.errors(include_url=False, include_input=False)[:_SAID]:
        where = ".".join(str(part)[:_NAME] for part in fault["loc"])
        own = fault.get("ctx", {}).get("error")
        if fault["type"] == "extra_forbidden":
            said.append(f"{where!r} is not known here: it takes {', '.join(_fields(shape)) or 'nothing'}")
        elif isinstance(own, Wrong):
            said.append(f"{where}: {own.problem}; {own.remedy}")
        elif own is not None:
            said.append(str(own).removesuffix("."))
        else:
            said.append(f"{where}: {fault['msg']}")
    return "; ".join(said) + "."


def _fields(shape: type[Asked]) -> list[str]:
    return [each.alias or name for name, each in shape.model_fields.items()]

"""Answers of the operators' listener: all of them are made here, with the same headers.

1. An answer is bounded: a list ends before it is larger than a page, and says where it goes on.
2. No answer says what software it comes from, or may be kept by a cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from aiohttp import web

from proxy.admin.api.calls import Refused

PAGE = 1024 * 1024
"""Bytes after which a list ends; its last entry may come on top of them."""
_ALWAYS = {"Server": "homeport", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_JSON = "application/json"


def answer(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A call's answer."""
    told = {**_ALWAYS, **(headers or {})}
    return web.Response(status=status, body=orjson.dumps(document), content_type=_JSON, headers=told)


def written(document: bytes) -> web.Response:
    """A call's answer that is JSON already."""
    return web.Response(body=document, content_type=_JSON, headers=_ALWAYS)


def refusal(refused: Refused) -> web.Response:
    """An error of the operators' API."""
    error = {"message": refused.message, "type": refused.code, "param": None, "code": refused.code}
    return answer({"error": error}, refused.status, refused.headers)


def text(body: str | bytes, content_type: str = "text/plain; charset=utf-8", status: int = 200) -> web.Response:
    """An answer that is no JSON."""
    body = body.encode() if isinstance(body, str) else body
    return web.Response(status=status, body=body, headers={**_ALWAYS, "Content-Type": content_type})


def stream() -> web.StreamResponse:
    """A stream of events, yet to be prepared."""
    return web.StreamResponse(headers={**_ALWAYS, "Content-Type": "text/event-stream"})


def page(documents: Iterable[Any], room: int = PAGE) -> tuple[list[Any], bool]:
    """As many as go into one answer, at least one; and whether some are left. What is returned can be written once."""
    told: list[Any] = []
    for each in documents:
        if room <= 0:
            return told, True
        written = orjson.dumps(each)
        room -= len(written)
        told.append(orjson.Fragment(written))
    return told, False

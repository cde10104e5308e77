"""The operators' listener: finds the call that a request is, or the page's file, asks who makes it, answers. Never on
the data plane.

1. What is no call is refused in the same shape as everything else, and so is what is no HTTP.
2. A body that nobody has read ends its connection: the rest would be taken for the next request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from urllib.parse import unquote

import orjson
from aiohttp import hdrs, web

from proxy.admin.access.auth import Gate
from proxy.admin.api import openapi
from proxy.admin.api.answering import refusal
from proxy.admin.api.calls import Call, Refused, Text
from proxy.admin.api.reading import order, query
from proxy.admin.page.serving import Page


class Operators:
    """What Prometheus and an orchestrator ask for, and what operators do with their token or their session."""

    def __init__(
        self,
        calls: Sequence[Call],
        gate: Gate,
        page: Page,
        version: str,
        settle: Callable[[], None],
        failed: Callable[[str, Exception], None],
    ) -> None:
        """`settle` makes known what has happened until now; `failed` hears of a fault of our own, with the call."""
        self.calls = (*calls, openapi.call(lambda: self._described))
        self._gate, self._page, self._version, self._settle, self._failed = gate, page, version, settle, failed
        self._paths: dict[tuple[str, ...], dict[str, Call]] = {}
        for each in self.calls:
            self._paths.setdefault(tuple(each.path.split("/")[1:]), {})[each.method] = each

    @cached_property
    def _described(self) -> bytes:
        return orjson.dumps(openapi.document(self.calls, self._version))

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of any path and method."""
        met = "none"
        response: web.StreamResponse | None
        try:
            response = self._page.answer(request)
            if response is None:
                call, named = self._find(request)
                met = f"{call.method} {call.path}"
                self._settle()
                response = await self._answer(request, call, named)
        except Refused as refused:
            response = refusal(refused)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever the bug, the operator gets a typed answer and we learn of it
            self._failed(met, error)
            if request.writer.output_size > 0:
                raise ConnectionResetError("an answer was begun already") from None
            response = refusal(Refused("internal_error", "Homeport itself failed; its log has the fault."))
        if not request.content.is_eof():
            response.force_close()
        return response

    def malformed(self, _: web.BaseRequest, too_large: bool) -> web.Response:
        """The answer to what is no HTTP."""
        if too_large:
            return refusal(Refused("request_headers_too_large", "The request's head is too large."))
        text = "This is not HTTP as it should be: its bounds are not certain."
        return refusal(Refused("malformed_request", text))

    async def _answer(self, request: web.BaseRequest, call: Call, named: Mapping[str, str]) -> web.StreamResponse:
        if not call.free:
            await self._gate.admit(request)
        if call.takes is None:
            return await call.handler(request, **named)
        asked = query(request, call.takes) if call.method == hdrs.METH_GET else await order(request, call.takes)
        return await call.handler(request, asked, **named)

    def _find(self, request: web.BaseRequest) -> tuple[Call, dict[str, str]]:
        # Split before it is decoded: a slash within a name is part of the name.
        segments = [unquote(each) for each in request.rel_url.raw_path.split("/")[1:]]
        for path, methods in self._paths.items():
            named = _named(path, segments)
            if named is None:
                continue
            if (call := methods.get(_method(request.method, methods))) is not None:
                return call, named
            allowed = ", ".join(sorted(methods))
            raise Refused("method_not_allowed", f"This path takes {allowed}.", {"Allow": allowed})
        raise Refused("not_found", "Nothing is served at this path: GET /api/openapi.json lists what there is.")


def _named(path: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    """What the segments are called in the path; None if they are none of its."""
    if len(path) != len(segments):
        return None
    named = {}
    for part, segment in zip(path, segments, strict=True):
        if part.startswith("{") and segment:
            named[part.strip("{}")] = segment
        elif part != segment:
            return None
    return named


def _method(method: str, methods: Mapping[str, Call]) -> str:
    """HEAD asks for a GET without its body, where that has an end."""
    if method != hdrs.METH_HEAD or hdrs.METH_GET not in methods:
        return method
    endless = any(isinstance(each, Text) and each.endless for each in methods[hdrs.METH_GET].gives.values())
    return method if endless else hdrs.METH_GET

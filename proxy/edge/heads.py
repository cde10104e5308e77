"""Heads as bytes: a request's that the lane may take, and an answer's.

1. A head that is not plainly one of the lane's is none: what is wrong with it is for the server to say.
2. Nothing that a header holds can end its line early.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import httptools
from aiohttp.helpers import rfc822_formatted_time
from multidict import CIMultiDict

from proxy.providers.hops import Names
from proxy.terms import ENDPOINTS, Headers

FIELDS = 100
"""Of a request."""
_PATHS: Mapping[bytes, str] = {f"/v1{endpoint.path}".encode(): f"/v1{endpoint.path}" for endpoint in ENDPOINTS}
_PLAIN_QUERY = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.=&"
_SPECIAL = {"content-length": "length", "connection": "connection"} | dict.fromkeys(
    ("transfer-encoding", "content-encoding", "expect", "upgrade"), "foreign"
)
_ROLES = Names(lambda low: _SPECIAL.get(low, ""))
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Head:
    """A request's, as the parser tells of it."""

    __slots__ = ("fields", "headers", "length", "path", "query", "url")

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.path = self.query = ""
        self.headers: CIMultiDict[str] = CIMultiDict()
        self.length = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


def read(data: bytes) -> Head | None:
    """A head that is plainly one of the lane's, or None."""
    head = Head()
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    path, _, query = head.url.partition(b"?")
    known = _PATHS.get(path)
    if known is None or query.translate(None, _PLAIN_QUERY) or len(head.fields) > FIELDS:
        return None
    if parser.get_http_version() != "1.1":
        return None
    length, fields = None, []
    for name, raw in head.fields:
        text, value = name.decode("ascii", "replace"), raw.rstrip(b" \t").decode("utf-8", "surrogateescape")
        fields.append((text, value))
        match _ROLES[text]:
            case "":
                pass
            case "length":
                # More than one of them, or a sign, is for the server to refuse.
                length = int(value) if length is None and value.isascii() and value.isdigit() else -1
            case "connection" if value.lower() == "keep-alive":
                pass
            case _:
                return None
    if length is None or length < 0:
        return None
    head.path, head.query, head.length, head.headers = known, query.decode(), length, CIMultiDict(fields)
    return head


def answer(status: int, headers: Headers, length: int | None, *, chunked: bool, close: bool) -> bytes:
    """Raises ValueError for what could end a line early."""
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}", *[f"{name}: {value}" for name, value in headers]]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    if close:
        lines.append("Connection: close")
    names = {name.lower() for name, _ in headers}
    if "date" not in names:
        lines.append(f"Date: {rfc822_formatted_time()}")
    lines.append("\r\n")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        raise ValueError("a header holds a line break or a NUL")
    return text.encode("utf-8", "surrogateescape")

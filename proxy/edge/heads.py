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

from proxy.providers import lines
from proxy.providers.hops import Names
from proxy.terms import ENDPOINTS, Headers

FIELDS = 100
"""Of a request."""
_PATHS: Mapping[bytes, str] = {f"/v1{endpoint.path}".encode(): f"/v1{endpoint.path}" for endpoint in ENDPOINTS}
_PLAIN_QUERY = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.=&"
_SPECIAL = {"content-length": "length", "connection": "connection"} | dict.fromkeys(
    ("transfer-encoding", "content-encoding", "expect", "upgrade"), "foreign"
)
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Head:
    """A request's, as the parser tells of it."""

    __slots__ = ("fields", "headers", "length", "path", "query", "special", "url")

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[str, str]] = []
        self.special: list[tuple[str, str]] = []
        """What is said by fields that are something to the lane."""
        self.path = self.query = ""
        self.headers: CIMultiDict[str] = CIMultiDict()
        self.length = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, raw: bytes) -> None:
        text, role = _NAMES[name]
        value = raw.decode("utf-8", "surrogateescape").rstrip(" \t")
        self.fields.append((text, value))
        if role:
            self.special.append((role, value))


def _known(name: bytes) -> tuple[str, str]:
    """As text, and what it is to the lane; empty for nothing."""
    text = name.decode("ascii", "replace")
    return text, _SPECIAL.get(text.lower(), "")


_NAMES: Names[bytes, tuple[str, str]] = Names(_known)


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
    length = None
    for role, value in head.special:
        if role == "length" and length is None and value.isascii() and value.isdigit() and len(value) < 10:
            length = int(value)
        elif role != "connection" or value.lower() != "keep-alive":
            # More than one length, or a sign before it, is for the server to refuse.
            return None
    if length is None:
        return None
    head.path, head.query, head.length, head.headers = known, query.decode(), length, CIMultiDict(head.fields)
    return head


def answer(status: int, headers: Headers, length: int | None, *, chunked: bool, close: bool) -> bytes:
    """Raises ValueError for what could end a line early."""
    fields = [f"{name}: {value}" for name, value in headers]
    if length is not None:
        fields.append(f"Content-Length: {length}")
    if chunked:
        fields.append("Transfer-Encoding: chunked")
    if close:
        fields.append("Connection: close")
    if not any(name.lower() == "date" for name, _ in headers):
        fields.append(f"Date: {rfc822_formatted_time()}")
    return lines.head([f"HTTP/1.1 {status} {_PHRASES.get(status, '')}", *fields])

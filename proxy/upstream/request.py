"""The bytes of a request's head, and where a URL leads.

1. Nothing that a header or a URL holds can end its line early: a CR, LF or NUL is refused, whoever it came from.
2. Bytes of a caller's header that are no UTF-8 go up as they came.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from proxy.providers import lines
from proxy.terms import Headers

Origin = tuple[bool, str, int]
"""TLS or not, host, port: connections to the same one serve each other's requests."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where one URL leads."""

    origin: Origin
    authority: str
    """Host and port as the Host header names them: without a scheme's own port."""
    path: str
    """With its query."""

    @property
    def absolute(self) -> str:
        """What a forward proxy is asked for."""
        return f"http://{self.authority}{self.path}"


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """One that requests go through, and what it is told of us."""

    origin: Origin
    authorization: str | None

    def __repr__(self) -> str:
        return f"ForwardProxy({self.origin})"


@lru_cache(maxsize=1024)
def aim(url: str) -> Target:
    """Where a URL leads. Raises ValueError for what is no http(s) URL of printable characters."""
    # urlsplit drops line breaks without a word.
    if any(letter <= " " or letter == "\x7f" for letter in url):
        raise ValueError("a URL holds no white space and no control characters")
    parts = urlsplit(url)
    origin = _origin(parts.scheme, parts.hostname, parts.port)
    _, host, port = origin
    name = f"[{host}]" if ":" in host else host
    authority = name if parts.port is None or port == _PORTS[parts.scheme] else f"{name}:{port}"
    return Target(origin, authority, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def forward_proxy(url: str) -> ForwardProxy:
    """Read a proxy's URL; its user and password become what it is told. Raises ValueError."""
    parts = urlsplit(url)
    authorization = None
    if parts.username is not None or parts.password is not None:
        given = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(given.encode()).decode()}"
    return ForwardProxy(_origin(parts.scheme, parts.hostname, parts.port), authorization)


_PORTS = {"http": 80, "https": 443}


def _origin(scheme: str, host: str | None, port: int | None) -> Origin:
    if scheme not in _PORTS or not host:
        raise ValueError("expected an http(s) URL with a host")
    return scheme == "https", host, _PORTS[scheme] if port is None else port


def head(method: str, uri: str, authority: str, headers: Headers, length: int | None) -> bytes:
    """A request's line and header fields, with the blank line. Raises ValueError for what could end a line early."""
    fields = [f"{name}: {value}" for name, value in headers]
    if length is not None:
        fields.append(f"Content-Length: {length}")
    return lines.head([f"{method} {uri} HTTP/1.1", f"Host: {authority}", *fields])

"""The bytes of a request's head, and where a URL leads.

1. Nothing that a header or a URL holds can end its line early: a CR, LF or NUL is refused, whoever it came from.
2. Bytes of a caller's header that are no UTF-8 go up as they came.
3. A head holds a credential, so it is never shown.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from proxy.providers import lines
from proxy.terms import Headers

END = b"\r\n"
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


class Opening(NamedTuple):
    """How a request begins."""

    target: Target
    start: bytes
    """Its line and header fields without the body's length, which may be another each time, and the blank line."""

    def __repr__(self) -> str:
        return f"Opening({self.target.authority})"


def opening(method: str, url: str, headers: Headers, proxy: ForwardProxy | None) -> Opening | None:
    """How `url` is asked, through `proxy` if there is one; None for what cannot be sent as it is."""
    try:
        target = aim(url)
        uri = target.path
        if proxy is not None and not target.origin[0]:
            uri = target.absolute
            headers = (*headers, ("Proxy-Authorization", proxy.authorization)) if proxy.authorization else headers
        return Opening(target, head(method, uri, target.authority, headers).removesuffix(END))
    except ValueError:
        return None


def head(method: str, uri: str, authority: str, headers: Headers) -> bytes:
    """A request's line and header fields, with the blank line. Raises ValueError for what could end a line early."""
    fields = [f"{name}: {value}" for name, value in headers]
    return lines.head([f"{method} {uri} HTTP/1.1", f"Host: {authority}", *fields])

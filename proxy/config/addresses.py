"""Where to listen and where to send: `host:port` and base URLs, read once and checked.

1. A base URL holds no credentials and no query: what is secret has a field of its own that nothing shows.
2. An address without a host is refused: listening on every interface is something to say, not to slip into.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from proxy.config.fault import Wrong
from proxy.providers.networks import Network, network

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener is bound."""

    host: str
    """A name or an address; IPv6 without brackets."""
    port: int
    """0 is any free one."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it."""
        return is_loopback(self.host)


def cannot_listen(address: Address, error: OSError) -> str:
    """Why an address cannot be had, with the remedy."""
    remedy = "choose another address with --listen or --admin"
    return f"cannot listen on {address.host}:{address.port}: {error.strerror}; {remedy}"


def is_loopback(host: str) -> bool:
    """True for localhost and for the addresses that only this machine can reach; IPv6 without brackets."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address(value: object) -> Address:
    """Read `host:port` or `[ipv6]:port`."""
    if isinstance(value, Address):
        return value
    host, colon, port = value.strip().rpartition(":") if isinstance(value, str) else ("", "", "")
    if not colon or "/" in host:
        raise Wrong("expected host:port", "write it like 127.0.0.1:8080")
    if not host:
        raise Wrong("an address needs a host", "write 127.0.0.1:PORT for this machine, 0.0.0.0:PORT for all")
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        raise Wrong("a port is a number from 0 to 65535", "write it like 127.0.0.1:8080; 0 takes any free port")
    return Address(_host(host), int(port))


def _host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise Wrong("expected an IPv6 address in the brackets", 'write it like "[::1]:8080"') from None
    if ":" in host:
        raise Wrong("an IPv6 address stands in brackets", 'write it like "[::1]:8080"')
    if not _HOST.fullmatch(host):
        raise Wrong("expected a host name or an address before the port", "write it like 127.0.0.1:8080")
    return host


def base_url(value: str) -> str:
    """An http(s) URL to append paths to; its closing slashes are dropped."""
    parts = _split(value, "http://127.0.0.1:11434/v1")
    if parts.username is not None or parts.password is not None:
        raise Wrong("a base URL holds no credentials", "put the key into `api_key` or `headers`")
    if "?" in value or "#" in value:
        raise Wrong("a base URL has no query and no fragment", "end it with its path, like https://api.example.com/v1")
    return value.rstrip("/")


def token_url(value: str) -> str:
    """An http(s) URL that tokens are got from."""
    parts = _split(value, "https://login.example.com/oauth/token")
    if parts.username is not None or parts.password is not None or "#" in value:
        raise Wrong("it holds credentials, or a fragment", "put them into `client_id` and `client_secret`")
    return value


def proxy_url(value: str) -> str:
    """An http(s) URL of a forward proxy; it may hold the credentials that the proxy asks for."""
    _split(value, "http://proxy.example.com:3128")
    return value


def _split(value: str, example: str) -> SplitResult:
    remedy = f"write it like {example}"
    if not value.isascii() or not value.isprintable() or " " in value:
        raise Wrong("a URL is ASCII without spaces", f"{remedy}; a host in other letters in its xn-- form")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Wrong("expected a URL, found other text", remedy) from None
    if parts.scheme not in ("http", "https") or not host:
        raise Wrong("expected a URL of http:// or https:// with a host", remedy)
    if network(host) is Network.FORBIDDEN:
        raise Wrong("a link-local or metadata address, which nothing is ever sent to", "name a host that serves models")
    return parts

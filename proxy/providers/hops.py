"""Which header fields belong to one connection and never travel on (RFC 9110, 7.6.1)."""

from __future__ import annotations

from proxy.terms import Headers

_ALWAYS = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def hop_by_hop(headers: Headers) -> frozenset[str]:
    """Lower-case names: those that always are, and those that `Connection` names in these headers."""
    named = {
        token.strip().lower() for name, value in headers if name.lower() == "connection" for token in value.split(",")
    }
    return _ALWAYS | named if named else _ALWAYS

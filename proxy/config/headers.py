"""Header names and values that a configuration may name, and those that it may not.

1. A caller's credentials, cookies, identity and forwarding headers go to no upstream, whatever a config asks for.
2. A value that could end its line early is refused, and never repeated in the refusal.
"""

from __future__ import annotations

import re

from proxy.config.fault import Wrong

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
_CONNECTION = re.compile(
    "connection|keep-alive|proxy-authenticate|proxy-authorization|proxy-connection|te|trailer|transfer-encoding|upgrade"
    "|host|content-length|expect|x-homeport-.*"
)
_CALLERS_OWN = frozenset(("authorization", "cookie", "api-key", "x-api-key", "forwarded", "x-real-ip", "via"))
_OUT_OF_LINE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


def header_name(value: str) -> str:
    """A name that may be sent, or that a caller may be asked for."""
    if not _TOKEN.fullmatch(value):
        raise Wrong("expected the name of an HTTP header", "write it like X-Team: letters, digits and dashes")
    if _CONNECTION.fullmatch(value.lower()):
        raise Wrong("this header is the connection's or Homeport's own", "leave it out")
    return value


def forwarded_name(value: str) -> str:
    """A caller's header that may be passed on."""
    header_name(value)
    if value.lower() in _CALLERS_OWN or value.lower().startswith("x-forwarded-"):
        raise Wrong("a caller's credentials, cookies and forwarding headers are never passed on", "leave it out")
    return value


def secret_value(value: object) -> object:
    """The value of a header, or what becomes a part of one: a secret for all that is known here."""
    if not isinstance(value, str):
        raise Wrong("expected text", "put the value in quotes")
    if not value:
        raise Wrong("it is empty", "give it a value, or leave the key out")
    if _OUT_OF_LINE.search(value) or value != value.strip():
        raise Wrong("it holds a line break, a control character, or white space around it", "write the value alone")
    return value

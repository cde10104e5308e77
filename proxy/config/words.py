"""The words a configuration may use: names, kinds, abilities, causes, and what to say of the others.

1. A word that product.md promises and this version does not serve is refused by name, not as a typing error.
2. A name is short and plain, because it travels in headers and in metrics.
3. Each reader gives the value back as it is kept, or raises Wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from urllib.parse import parse_qsl, urlencode

from pydantic import SecretStr

from proxy.config.fault import Wrong
from proxy.providers import kinds
from proxy.providers.presets import PRESETS
from proxy.terms import Cause

ASSISTANT_ID = r"[a-z0-9][a-z0-9._-]{0,62}"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"

VERSION = 1
"""Of the configuration's form. A file of an older one is migrated, a newer one is refused."""
KINDS = tuple(kinds.KINDS)
_ABILITIES = ("tools", "images", "json_schema")
_HOMEPORTS = {
    "model": "the model is the binding's: write it as `model` beside `params`",
    "stream": "the caller alone says whether it wants a stream: leave it out",
}


def listed(words: Iterable[str]) -> str:
    """Words as a fault shows them."""
    return ", ".join(f"`{word}`" for word in words)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    close = get_close_matches(word.lower()[:80], list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def assistant_id(value: str) -> str:
    if not re.fullmatch(ASSISTANT_ID, value, re.ASCII):
        raise Wrong("not an assistant id", "use up to 63 of a-z, 0-9, `.`, `_` and `-`, a letter or digit first")
    return value


def name(value: str) -> str:
    if not re.fullmatch(NAME, value, re.ASCII):
        raise Wrong("not a name", "use up to 63 letters, digits, `.`, `_` and `-`, a letter or digit first")
    return value


def model(value: str) -> str:
    if not 0 < len(value) <= 256 or not value.isprintable() or value != value.strip():
        raise Wrong("not a model name", 'write it as its source does; "*" passes the caller\'s own through')
    return value


def request_field(value: str) -> str:
    if value in _HOMEPORTS:
        raise Wrong(f"`{value}` cannot be changed by params", _HOMEPORTS[value])
    if not value:
        raise Wrong("expected the name of a field of the request", "write it like temperature")
    return value


def preset(value: str) -> str:
    if value not in PRESETS:
        meant = nearest(value, PRESETS)
        remedy = f"did you mean `{meant}`?" if meant else f"it can be {listed(PRESETS)}; or write its base_url"
        raise Wrong("no preset of that name", remedy)
    return value


def api_version(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}", value, re.ASCII):
        raise Wrong("expected a version of an API", 'write it like "2024-10-21"')
    return value


def sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value, re.ASCII):
        raise Wrong("expected a SHA-256 in 64 hex digits", 'printf %s "$KEY" | sha256sum prints it')
    return value.lower()


def kind(value: object) -> object:
    return _one_of(value, KINDS, "a kind of source")


def api(value: object) -> object:
    return _one_of(value, ("both", "chat", "responses"), "the part of OpenAI's API that the source has")


def store(value: object) -> object:
    if value == "memory" or isinstance(value, SecretStr):
        return value
    scheme = str(value).partition("://")[0] if isinstance(value, str) else ""
    if scheme in ("redis+sentinel", "redis+cluster"):
        raise Wrong(f"`{scheme}` is not served by this version", "write redis://, rediss:// or unix://")
    if scheme not in ("redis", "rediss", "unix") or not str(value).partition("://")[2].strip("/"):
        raise Wrong("expected `memory` or the URL of a Redis", "write it like redis://127.0.0.1:6379/0")
    if not re.fullmatch(NAME, shared_store(str(value)).namespace, re.ASCII):
        raise Wrong("the `namespace` in the store's URL is not a name", "use letters, digits, `.`, `_` and `-`")
    return value


@dataclass(frozen=True, slots=True)
class SharedStore:
    """A Redis, and the namespace in it."""

    url: str = field(repr=False)
    """May hold a password."""
    namespace: str


def shared_store(url: str) -> SharedStore:
    """`namespace` in the URL's query is Homeport's own; fleets that share a Redis and nothing else differ in it."""
    base, _, query = url.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    namespace = next((value for key, value in options if key == "namespace"), "homeport")
    rest = urlencode([(key, value) for key, value in options if key != "namespace"])
    return SharedStore(f"{base}?{rest}" if rest else base, namespace)


def version(value: object) -> object:
    number = whole_version(value)
    if number is None:
        raise Wrong("expected the version of the file's form, a whole number", f"write version: {VERSION}")
    if number != VERSION:
        raise Wrong(f"there is no such version; this Homeport reads {VERSION}", f"write version: {VERSION}")
    return number


def whole_version(value: object) -> int | None:
    """The number of a form, which may come as text where it was substituted; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"0|[1-9][0-9]{0,8}", value, re.ASCII):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def ability(value: object) -> object:
    return _one_of(value, _ABILITIES, "an ability")


def scope(value: object) -> object:
    return _one_of(value, ("assistant",), "a scope")


def chain(value: object) -> object:
    return _one_of(value, ("embeddings",), "a chain")


def on_or_off(value: object) -> object:
    return _one_of(value, ("on", "off"), "on or off")


def flag(value: object) -> object:
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        raise Wrong("expected true or false", "write it without quotes")
    return value


def clients_open(value: object) -> object:
    return _one_of(value, ("open",), "a list of clients or the word for anybody")


def plain(value: str) -> str:
    if not 0 < len(value) <= 1024 or not value.isascii() or not value.isprintable() or value != value.strip():
        raise Wrong("expected plain text on one line", "write it as the account's vendor gives it")
    return value


def grant(value: object) -> object:
    return _one_of(value, ("refresh_token", "client_credentials"), "what is spent for a token")


def encoding(value: object) -> object:
    return _one_of(value, ("form", "json"), "an encoding")


def cause(value: object) -> object:
    return _one_of(value, tuple(Cause), "a cause")


def _one_of(value: object, known: tuple[str, ...], what: str) -> object:
    if not isinstance(value, str) or value not in known:
        raise Wrong(f"expected {what}", f"it can be {listed(known)}")
    return value

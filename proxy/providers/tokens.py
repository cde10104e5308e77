"""An account's tokens: how long they hold, and how they are written in a file, in a store and in an answer. Pure.

1. A token is in no repr and in no error: what cannot be read is a ValueError that repeats nothing.
2. A version counts the refreshes since an operator gave the first token. Of two tokens of one login the higher version
   is the newer one, wherever it lies.
3. A file keeps what else stands in it. What is added under `homeport` tells which login the tokens belong to; where
   the tokens are not those that it was written with, somebody has logged in anew, and it counts for nothing.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

_SENDABLE = re.compile(r"[\x21-\x7e]{1,16384}")
"""What may stand in a header, and is no larger than any header may be."""
_OURS = "homeport"
_FAR = 1e11
"""A Unix time beyond this is one of milliseconds."""


@dataclass(frozen=True, slots=True)
class Token:
    """What an account has at one moment. Times are Unix seconds."""

    access: str = field(repr=False)
    """Empty until there is one."""
    refresh: str | None = field(default=None, repr=False)
    expires: float | None = None
    """None where nobody said."""
    obtained: float | None = None
    version: int = 0

    def usable(self, now: float) -> bool:
        """There is an access token, and nobody said that it has run out."""
        return bool(self.access) and (self.expires is None or now < self.expires)

    def due(self, since: float, chance: float) -> float:
        """When to refresh: at some 80 % of its life, `since` its beginning where that is not known, 0 ≤ chance < 1."""
        if not self.access:
            return -math.inf
        if self.expires is None:
            return math.inf
        began = self.obtained if self.obtained is not None else since
        return began + (self.expires - began) * (0.75 + 0.1 * chance)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where a file has its tokens."""

    place: str
    access: str
    refresh: str
    expires: str
    scale: float
    """Of its times, in units to a second."""


_FLAT = _Shape("", "access_token", "refresh_token", "expires_at", 1)
_SHAPES = (_Shape("claudeAiOauth", "accessToken", "refreshToken", "expiresAt", 1000), _FLAT)
"""The second is what is documented; the first is that of Claude Code."""


def login(*secrets: str) -> str:
    """A name for what an operator gave, which does not change as tokens are refreshed."""
    return hashlib.sha256("\0".join(secrets).encode()).hexdigest()


def from_file(raw: bytes) -> tuple[Token, str]:
    """The token in a file, and its login. Raises ValueError."""
    document = _mapping(raw)
    shape, held = _held(document)
    access, refresh = _text(held, shape.access), _text(held, shape.refresh)
    if not access and refresh is None:
        raise ValueError("neither an access token nor a refresh token")
    expires = _time(held, shape.expires)
    if expires is not None:
        expires /= shape.scale
        # Hand-written files mix the two up, and no token lives for thousands of years.
        expires = expires / 1000 if expires > _FAR else expires
    ours = document.get(_OURS)
    token = Token(access or "", refresh, expires)
    if not isinstance(ours, Mapping) or ours.get("mark") != _mark(token):
        return token, login(refresh or access or "")
    known, version = ours.get("login"), ours.get("version")
    if not isinstance(known, str) or not re.fullmatch("[0-9a-f]{64}", known) or not isinstance(version, int):
        raise ValueError("what Homeport wrote there is not whole")
    return Token(token.access, refresh, expires, _time(ours, "obtained"), version), known


def into_file(raw: bytes, token: Token, known: str) -> bytes:
    """The file `raw` with another token of the login `known`; what else stands in it stays. Raises ValueError."""
    document = _mapping(raw)
    shape, held = _held(document)
    expires: float | int | None = token.expires
    if expires is not None and shape.scale != 1:
        expires = int(expires * shape.scale)
    said = {shape.access: token.access, shape.refresh: token.refresh, shape.expires: expires}
    changed = {**held, **{name: value for name, value in said.items() if value is not None or name in held}}
    whole = {**document, shape.place: changed} if shape.place else changed
    ours = {"login": known, "version": token.version, "obtained": token.obtained, "mark": _mark(token)}
    return orjson.dumps({**whole, _OURS: ours}, option=orjson.OPT_INDENT_2) + b"\n"


def encoded(token: Token) -> bytes:
    """As a store keeps it."""
    return orjson.dumps([token.version, token.access, token.refresh, token.expires, token.obtained])


def decoded(raw: bytes) -> Token:
    """What `encoded` made. Raises ValueError."""
    match orjson.loads(raw):
        case [int(version), str(access), str() | None as refresh, int() | float() | None as expires, obtained]:
            if version > 0 and _SENDABLE.fullmatch(access) and isinstance(obtained, int | float | None):
                return Token(access, refresh, expires, obtained, version)
        case _:
            pass
    raise ValueError("no token")


def from_answer(raw: bytes, former: Token | None, now: float) -> Token:
    """What a token endpoint answered with 200, as the successor of `former`. Raises ValueError.

    A refresh token that the answer does not name stays as it was.
    """
    document = _mapping(raw)
    access = _text(document, "access_token")
    if not access or str(document.get("token_type", "bearer")).lower() != "bearer":
        raise ValueError("no bearer token")
    lives = document.get("expires_in")
    if isinstance(lives, str) and re.fullmatch("[0-9]{1,9}", lives, re.ASCII):
        lives = int(lives)
    ends = now + lives if isinstance(lives, int | float) and 0 < lives < _FAR else None
    refresh = _text(document, "refresh_token") or (former.refresh if former else None)
    version = former.version + 1 if former else 1
    return Token(access, refresh, ends, now, version)


def _held(document: Mapping[str, Any]) -> tuple[_Shape, Mapping[str, Any]]:
    for shape in _SHAPES:
        held = document.get(shape.place) if shape.place else document
        if isinstance(held, Mapping):
            return shape, held
    raise AssertionError("the flat shape fits every document")


def _mapping(raw: bytes) -> Mapping[str, Any]:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # Not chained: it quotes what it could not read.
        raise ValueError("not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def _text(held: Mapping[str, Any], name: str) -> str | None:
    value = held.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _SENDABLE.fullmatch(value):
        raise ValueError(f"{name} is not a token")
    return value


def _time(held: Mapping[str, Any], name: str) -> float | None:
    value = held.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is not a Unix time")
    return float(value)


def _mark(token: Token) -> str:
    return login(token.refresh or "", token.access)[:16]

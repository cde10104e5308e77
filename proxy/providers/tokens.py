"""An account's tokens: how long they hold, and how they are written in a file, in a store and in an answer. Pure.

1. A token is in no repr and in no error: what cannot be read is a ValueError that repeats nothing.
2. A version counts the refreshes since an operator gave the first token. Of two tokens of one login the higher version
   is the newer one, wherever it lies.
3. A file keeps what else stands in it. What is added under `homeport` tells which login the tokens belong to; where
   the tokens are not those that it was written with, somebody has logged in anew, and it counts for nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import orjson

_SENDABLE = re.compile(r"[\x21-\x7e]{1,16384}")
"""What may stand in a header, and is no larger than any header may be."""
_OURS = "homeport"
_SURELY = 30.0
"""Seconds by which this machine's clock may be wrong about what a vendor calls too soon."""
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
    earliest: float | None = None
    """Before that its successor may not be asked for: some vendors end the login of who does."""

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
        due = began + (self.expires - began) * (0.75 + 0.1 * chance)
        return due if self.earliest is None else max(due, self.earliest + _SURELY)

    def early(self, now: float) -> bool:
        """It is too soon to ask for its successor."""
        return self.usable(now) and self.earliest is not None and now < self.earliest + _SURELY


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where a file has its tokens."""

    place: str
    access: str
    refresh: str
    expires: str = ""
    """Empty where it has no times: an access token then says itself when it ends, or nobody does."""
    scale: float = 1
    """Of its times, in units to a second."""
    earliest: str = ""
    written: str = ""
    """Beside `place`: when the tokens were got."""


_FLAT = _Shape("", "access_token", "refresh_token", "expires_at", earliest="earliest_refresh_at")
_SHAPES = (
    _Shape("claudeAiOauth", "accessToken", "refreshToken", "expiresAt", 1000),
    _Shape("tokens", "access_token", "refresh_token", written="last_refresh"),
    _FLAT,
)
"""The last is what is documented; the first is that of Claude Code, the second that of Codex."""


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
    else:
        expires = _ends(access or "")
    ours = document.get(_OURS)
    token = Token(access or "", refresh, expires, earliest=_moment(held.get(shape.earliest)))
    if not isinstance(ours, Mapping) or ours.get("mark") != _mark(token):
        return token, login(refresh or access or "")
    known, version = ours.get("login"), ours.get("version")
    if not isinstance(known, str) or not re.fullmatch("[0-9a-f]{64}", known) or not isinstance(version, int):
        raise ValueError("what Homeport wrote there is not whole")
    return replace(token, obtained=_time(ours, "obtained"), version=version), known


def whose(raw: bytes) -> str:
    """The account that a file says its tokens are of; empty where it says nothing that can be sent."""
    name = _held(_mapping(raw))[1].get("account_id")
    return name if isinstance(name, str) and sendable(name) else ""


def claims(access: str) -> Mapping[str, Any]:
    """What an access token says of itself, if it is a JWT. Unverified: it is its issuer's to judge."""
    try:
        body = access.split(".")[1]
        found = orjson.loads(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_"))
    except (IndexError, binascii.Error, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def sendable(value: str) -> bool:
    """May it stand in a header as it is?"""
    return _SENDABLE.fullmatch(value) is not None


def into_file(raw: bytes, token: Token, known: str) -> bytes:
    """The file `raw` with another token of the login `known`; what else stands in it stays. Raises ValueError."""
    document = _mapping(raw)
    shape, held = _held(document)
    expires: float | int | None = token.expires
    if expires is not None and shape.scale != 1:
        expires = int(expires * shape.scale)
    said = {
        shape.access: token.access,
        shape.refresh: token.refresh,
        shape.expires: expires,
        shape.earliest: token.earliest,
    }
    changed = {**held, **{name: value for name, value in said.items() if name and (value is not None or name in held)}}
    whole = {**document, shape.place: changed} if shape.place else changed
    if shape.written and token.obtained is not None:
        whole[shape.written] = datetime.fromtimestamp(token.obtained, UTC).isoformat().replace("+00:00", "Z")
    ours = {"login": known, "version": token.version, "obtained": token.obtained, "mark": _mark(token)}
    return orjson.dumps({**whole, _OURS: ours}, option=orjson.OPT_INDENT_2) + b"\n"


def encoded(token: Token) -> bytes:
    """As a store keeps it."""
    return orjson.dumps([token.version, token.access, token.refresh, token.expires, token.obtained, token.earliest])


def decoded(raw: bytes) -> Token:
    """What `encoded` made. Raises ValueError."""
    match orjson.loads(raw):
        case [int(version), str(access), str() | None as refresh, *times] if len(times) == 3:
            expires, obtained, earliest = times
            if version > 0 and sendable(access) and all(isinstance(each, int | float | None) for each in times):
                return Token(access, refresh, expires, obtained, version, earliest)
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
    ends = now + lives if isinstance(lives, int | float) and 0 < lives < _FAR else _ends(access)
    refresh = _text(document, "refresh_token") or (former.refresh if former else None)
    version = former.version + 1 if former else 1
    return Token(access, refresh, ends, now, version, _moment(document.get("earliest_refresh_at")))


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


def _ends(access: str) -> float | None:
    """When an access token ends, as it says of itself."""
    ends = claims(access).get("exp")
    return float(ends) if isinstance(ends, int | float) and not isinstance(ends, bool) and 0 < ends < _FAR else None


def _moment(value: object) -> float | None:
    """A Unix time, or an RFC 3339 one; None for what is neither."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def _mark(token: Token) -> str:
    return login(token.refresh or "", token.access)[:16]

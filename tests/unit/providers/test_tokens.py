"""What an access token, a file and an answer say of a token: when it ends, whose it is, when a refresh is too soon."""

from __future__ import annotations

import base64
import math
from typing import Any

import orjson
import pytest

from proxy.providers import tokens
from proxy.providers.tokens import Token

_NOW = 1_790_000_000.0


def _jwt(**claims: Any) -> str:
    parts = (orjson.dumps({"alg": "RS256"}), orjson.dumps(claims), b"signature")
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


@pytest.mark.parametrize(
    "access",
    ["", "opaque", "a.b.c", "..", "a.e30.c", "a.W10.c", "a.bnVsbA.c", "é.é.é", "x." + "A" * 5 + ".y"],
)
def test_what_is_no_jwt_says_nothing(access: str) -> None:
    """And is used all the same."""
    assert tokens.claims(access) == {}


def test_a_jwt_says_what_it_is() -> None:
    """Whatever its length is, with letters that only the URL's alphabet has."""
    for note in ("", "a", "ab", "abc", "ÿþ??>>"):
        assert tokens.claims(_jwt(note=note)) == {"note": note}


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ({"expires_in": 60}, _NOW + 60),
        ({"expires_in": "60"}, _NOW + 60),
        ({}, _NOW + 3600),
        ({"expires_in": 0}, _NOW + 3600),
        ({"expires_in": None}, _NOW + 3600),
    ],
)
def test_where_nobody_says_when_a_token_ends_it_says_so_itself(said: dict[str, Any], ends: float) -> None:
    """An answer's word beats the token's; a file's too."""
    access = _jwt(exp=_NOW + 3600)
    token = tokens.from_answer(orjson.dumps({"access_token": access, **said}), None, _NOW)
    assert token.expires == ends
    held, _ = tokens.from_file(orjson.dumps({"access_token": access}))
    assert held.expires == _NOW + 3600
    held, _ = tokens.from_file(orjson.dumps({"access_token": access, "expires_at": 5}))
    assert held.expires == 5


@pytest.mark.parametrize("exp", ["soon", True, None, -1, 0, 1e300, [1]])
def test_an_end_that_is_no_time_is_none(exp: object) -> None:
    """So the token is used until it is refused."""
    assert tokens.from_answer(orjson.dumps({"access_token": _jwt(exp=exp)}), None, _NOW).expires is None


@pytest.mark.parametrize(
    ("given", "earliest"),
    [
        (_NOW + 3240, _NOW + 3240),
        ("2026-09-21T15:07:20Z", _NOW + 3240),
        ("2026-09-21T17:07:20+02:00", _NOW + 3240),
        ("soon", None),
        ("", None),
        (True, None),
        (-1, None),
        (None, None),
        ([], None),
    ],
)
def test_a_refresh_may_be_too_soon(given: object, earliest: float | None) -> None:
    """As the answer says it; it is kept in the file and in the store, and what cannot be read is nothing."""
    answer = {"access_token": "a", "refresh_token": "r", "expires_in": 3600, "earliest_refresh_at": given}
    token = tokens.from_answer(orjson.dumps(answer), None, _NOW)
    assert token.earliest == earliest
    assert tokens.decoded(tokens.encoded(token)) == token
    file = tokens.into_file(b"{}", token, "0" * 64)
    assert tokens.from_file(file) == (token, "0" * 64)


def test_no_refresh_comes_before_its_time() -> None:
    """It is due no sooner, and a little later for clocks that are wrong; once it has run out nothing is too soon."""
    token = Token("a", "r", _NOW + 3600, _NOW, 1, _NOW + 3240)
    assert token.due(_NOW, 0.0) == _NOW + 3270
    assert token.early(_NOW + 3269)
    assert not token.early(_NOW + 3270)
    assert not Token("a", "r", _NOW + 3600, _NOW, 1).early(_NOW)
    assert not Token("a", "r", _NOW - 1, _NOW - 3600, 1, _NOW + 9).early(_NOW)
    assert Token("", "r", earliest=_NOW + 9).due(_NOW, 0.0) == -math.inf


@pytest.mark.parametrize(
    ("document", "account"),
    [
        ({"tokens": {"access_token": "a", "account_id": "acc-1"}}, "acc-1"),
        ({"access_token": "a", "account_id": "acc-1"}, "acc-1"),
        ({"tokens": {"access_token": "a"}, "account_id": "acc-1"}, ""),
        ({"tokens": {"access_token": "a", "account_id": "a\nb"}}, ""),
        ({"tokens": {"access_token": "a", "account_id": 7}}, ""),
        ({"claudeAiOauth": {"accessToken": "a"}}, ""),
    ],
)
def test_a_file_says_whose_its_tokens_are(document: dict[str, Any], account: str) -> None:
    """Beside them, as what may be sent."""
    assert tokens.whose(orjson.dumps(document)) == account


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"{}",
        b"[1]",
        b'[1,"a","r",null,null]',
        b'[0,"a","r",null,null,null]',
        b'[1,"a b","r",null,null,null]',
        b'[1,"a","r","x",null,null]',
        b'[1,"a","r",null,null,[]]',
        b'[1,"a","r",null,null,null,1]',
    ],
)
def test_what_a_store_holds_may_be_no_token(raw: bytes) -> None:
    """It is never obeyed."""
    with pytest.raises(ValueError, match=r"^no token$"):
        tokens.decoded(raw)

"""A token file through refreshes, and whose login it holds."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.config import load
from proxy.config.schema import Config
from proxy.providers import tokens
from proxy.providers.tokens import Token
from proxy.routing.bindings import bind
from proxy.upstream.oauth.token_file import Busy, FileError, TokenFile


def _claims(ends: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps({"exp": ends})).decode().rstrip("=")


_FLAT = {"access_token": "access-0", "refresh_token": "refresh-0", "expires_at": 1790000000, "note": [1]}
_NESTED = {
    "claudeAiOauth": {
        "accessToken": "access-0",
        "refreshToken": "refresh-0",
        "expiresAt": 1790000000000,
        "scopes": ["a"],
    },
    "other": 1,
}
_CODEX: dict[str, Any] = {
    "OPENAI_API_KEY": None,
    "tokens": {
        "id_token": "id-0",
        "access_token": f"x.{_claims(1790000000)}.y",
        "refresh_token": "refresh-0",
        "account_id": "acc-1",
    },
    "last_refresh": "2026-09-20T14:13:20.123456789Z",
    "other": 1,
}
_NEXT = Token("access-1", "refresh-1", 1790003600.5, 1790000001.0, 1)


def _put(file: Path, document: object, mode: int = 0o600) -> Path:
    file.write_bytes(orjson.dumps(document))
    file.chmod(mode)
    return file


@pytest.mark.parametrize("document", [_FLAT, _NESTED], ids=["flat", "nested"])
def test_a_new_token_takes_the_place_of_the_old_one_and_nothing_else(tmp_path: Path, document: dict[str, Any]) -> None:
    """It is read back with its version; what else stands in the file stays; the login is the same."""
    path = _put(tmp_path / "t.json", document)
    file = TokenFile(path)
    first, login = file.read()
    assert (first.access, first.refresh, first.expires, first.version) == ("access-0", "refresh-0", 1790000000, 0)
    file.write(_NEXT, login)
    assert file.read() == (_NEXT, login)
    held = orjson.loads(path.read_bytes())
    assert held.get("note", held.get("other")) == document.get("note", document.get("other"))
    assert held.get("claudeAiOauth", {}).get("scopes") == document.get("claudeAiOauth", {}).get("scopes")


def test_the_form_of_codex(tmp_path: Path) -> None:
    """It has no place for an end, which the token tells itself, and one for when it was got; the rest stays."""
    path = _put(tmp_path / "auth.json", _CODEX)
    file = TokenFile(path)
    first, login = file.read()
    assert (first.refresh, first.expires, first.version) == ("refresh-0", 1790000000, 0)
    following = Token(f"x.{_claims(1790003600)}.y", "refresh-1", 1790003600.0, 1790000001.0, 1)
    file.write(following, login)
    assert file.read() == (following, login)
    held = orjson.loads(path.read_bytes())
    assert held.pop("homeport")["login"] == login
    assert held == {
        **_CODEX,
        "tokens": {**_CODEX["tokens"], "access_token": following.access, "refresh_token": "refresh-1"},
        "last_refresh": "2026-09-21T14:13:21Z",
    }


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_the_mode_and_a_link_stay(tmp_path: Path, mode: int) -> None:
    """Also when what is named is a link to the file, and when a killed process has left its beginning."""
    (tmp_path / "real").mkdir()
    real = _put(tmp_path / "real" / "t.json", _FLAT, mode)
    (tmp_path / "real" / ".t.json.new").write_text("half a tok")
    link = tmp_path / "link.json"
    link.symlink_to(real)
    file = TokenFile(link)
    file.write(_NEXT, file.read()[1])
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == mode
    assert os.listdir(real.parent) == ["t.json"]


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full, or the process dies, before the new one has its name."""
    path = _put(tmp_path / "t.json", _FLAT)
    before, file = path.read_bytes(), TokenFile(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"^io_error$"):
        file.write(_NEXT, "0" * 64)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["t.json"]


def test_one_has_the_lock(tmp_path: Path) -> None:
    """Another open of the same file is refused until it is free."""
    one, other = TokenFile(_put(tmp_path / "t.json", _FLAT)), TokenFile(tmp_path / "t.json")
    with one.locked(), pytest.raises(Busy), other.locked():
        pass
    with other.locked():
        pass
    assert stat.S_IMODE((tmp_path / "t.json.lock").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"access_token": 1}',
        b'{"access_token": "a b"}',
        b'{"access_token": "a", "expires_at": "x"}',
    ],
)
def test_what_is_no_token_file_is_told_without_its_content(raw: bytes) -> None:
    """A ValueError that repeats nothing."""
    with pytest.raises(ValueError, match=r"^[^:]+$") as caught:
        tokens.from_file(raw)
    assert "a b" not in str(caught.value)
    assert caught.value.__cause__ is None


def _credential(folder: Path) -> tuple[str, Config]:
    config = load.parse(
        "version: 1\nsources:\n"
        "  s: {kind: openai, oauth: {token_url: https://l.test/t, client_id: c, token_file: t.json}}\n"
        "assistants: {bot: {primary: {source: s, model: m}}}\n",
        "f",
        {},
        folder,
    )
    assert isinstance(config, Config), config
    (guard, *_) = bind(config, "1", lambda secret: secret).guards
    assert guard.credential is not None
    return guard.credential, config


def test_a_refreshed_account_is_the_same_credential_and_another_login_is_another(tmp_path: Path) -> None:
    """So its breaker stays as it is when a token is refreshed, and begins anew when an operator has logged in anew."""
    path = _put(tmp_path / "t.json", _FLAT)
    credential, config = _credential(tmp_path)
    file = TokenFile(path)
    file.write(_NEXT, file.read()[1])
    same, unchanged = _credential(tmp_path)
    assert (same, unchanged) == (credential, config)
    written = orjson.loads(path.read_bytes())
    _put(path, written | {"access_token": "access-9", "refresh_token": "refresh-9"})
    other, changed = _credential(tmp_path)
    assert other != credential
    assert changed != config
    assert "refresh" not in credential + other

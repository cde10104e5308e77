"""Keys of clients: what one is, and a client that is added to a file in which everything else stays as it was."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import insert, keys, load, yaml_map
from proxy.config.fault import Fault, Wrong
from proxy.config.schema import Config
from proxy.config.starter import starter

_SHA = "ab" * 32
_REST = """\
sources: {o: {kind: openai, api_key: "${KEY}"}}  # a secret
assistants:
  bot: {primary: {source: o, model: m}}
  other: {primary: {source: o, model: m}}
"""
_ENV = {"KEY": "sk-made-up"}
_OLD = "00" * 32


def _clients(text: str) -> list[tuple[str, str, tuple[str, ...] | None]]:
    config = load.parse(text, "f", _ENV, Path())
    assert isinstance(config, Config), config
    assert not isinstance(config.clients, str)
    return [(each.id, each.key_sha256, each.assistants) for each in config.clients]


_WEB = f"{{id: web, key_sha256: '{_OLD}'}}"
_PLACES = {
    "none, and nothing behind": "version: 1\n" + _REST,
    "none, and no end of line": "version: 1\n" + _REST.rstrip("\n"),
    "an empty list": "version: 1\nclients: []  # nobody yet\n" + _REST,
    "null": "version: 1\nclients:  # nobody yet\n" + _REST,
    "null, written out": "version: 1\nclients: null\n" + _REST,
    "a word for null": "version: 1\nclients: ~\n" + _REST,
    "one in a line": f"version: 1\nclients:\n  - {_WEB}  # the site\n# mine\n{_REST}",
    "one in several lines": f"version: 1\nclients:\n  - id: web\n    key_sha256: '{_OLD}'  # x\n\n# mine\n{_REST}",
    "not indented": f"version: 1\nclients:\n- id: web\n  key_sha256: '{_OLD}'\n{_REST}",
    "deeply indented": f"version: 1\nclients:\n       -   key_sha256: '{_OLD}'\n           id: web\n{_REST}",
    "with a list in lines": f"version: 1\nclients:\n  - id: web\n    key_sha256: '{_OLD}'\n    assistants:\n"
    f"      - bot\n      - other\n{_REST}",
    "with a list in brackets over lines": f"version: 1\nclients:\n  - id: web\n    key_sha256: '{_OLD}'\n"
    f"    assistants: [bot,\n      other]  # both\n{_REST}",
    "at the end without an end of line": f"version: 1\n{_REST}clients:\n  - {_WEB}",
    "with references and letters": "version: 1\n# ключи 🔑\nclients:\n"
    f"  - {_WEB.replace('web', '${WHO:-web}')}\n{_REST}",
    "line ends of Windows": f"version: 1\nclients:\n  - {_WEB}\n{_REST}".replace("\n", "\r\n"),
}


@pytest.mark.parametrize("name", _PLACES)
@pytest.mark.parametrize("assistants", [(), ("bot",), ("bot", "other")])
def test_a_client_is_added_and_nothing_else_changes(name: str, assistants: tuple[str, ...]) -> None:
    """Wherever clients stand: the new one is the last, the others are as before, and every comment is where it was."""
    text = _PLACES[name]
    changed = insert.add(text, "new.one", _SHA, assistants)
    before = _clients(text)
    assert _clients(changed) == [*before, ("new.one", _SHA, assistants or None)]
    line = insert.entry("new.one", _SHA, assistants)
    assert changed.count(line) == 1
    lines = iter(changed.splitlines())
    assert all(each in lines for each in text.splitlines() if not each.startswith("clients:")), "in their order"
    assert re.findall("#.*", changed) == re.findall("#.*", text)
    assert ("\r\n" in changed) is ("\r\n" in text)
    assert changed.count("\r") == (changed.count("\n") if "\r\n" in text else 0)


def test_the_starter_takes_clients() -> None:
    """What `homeport init` writes takes one client after the other."""
    text = starter()
    for place in range(3):
        text = insert.add(text, f"c{place}", f"{place:064x}", ("support-bot",))
    config = load.parse(text, "f", {"OPENAI_API_KEY": "k"}, Path())
    assert isinstance(config, Config)
    assert [each.id for each in config.clients if not isinstance(each, str)] == ["c0", "c1", "c2"]
    assert text.startswith(starter())


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nclients: open\n" + _REST,
        f"version: 1\nclients: [{_WEB}]\n{_REST}",
        f"{{version: 1, clients: [{_WEB}]}}",
        "{version: 1}",
        "version: 1\n...\n",
        "version: 1\nclients: &none []\nbreaker: *none\n",
        f"version: 1\nclients: &all\n  - {_WEB}\nbreaker: *all\n",
        "version: 1\nclients: {}\n",
        "version: 1\nclients: []\nclients: []\n",
        "version: [1\n",
        "- 1\n",
        "",
    ],
)
def test_where_it_cannot_be_done_safely_it_is_refused(text: str) -> None:
    """A form that leaves no place, or that means something else: the person is told what to do instead."""
    with pytest.raises(Wrong) as refused:
        insert.add(text, "new", _SHA, ())
    assert refused.value.remedy


_LINES = st.sampled_from(
    [
        *("", "# a comment", "version: 1", "clients:", "clients: []", "  clients:", "sources: {a: {}}", "admin: |"),
        *("  - {id: a, key_sha256: x}", "- id: b", "  id: c", "    - d", "  # deeper"),
        *("listen: 'x", "x'", "\t", "? x", "--- ", "&a b", "<<: *a"),
    ]
)


@given(st.lists(_LINES, max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_an_edit_says_the_new_client_or_is_none(lines: list[str], end: str) -> None:
    """Any text at all: refused, or read afterwards as it was, with one client more at the end."""
    text = end.join(lines)
    try:
        changed = insert.add(text, "new", _SHA, ("bot",))
    except Wrong:
        return

    def said(written: str) -> dict[str, object]:
        root, faults = yaml_map.compose(written, "", lambda value: value)
        assert root is not None
        assert faults == []
        found = yaml_map.plain(root)
        assert isinstance(found, dict)
        return found

    before, after = said(text), said(changed)
    listed = before.pop("clients", None) or []
    assert isinstance(listed, list)
    assert after.pop("clients") == [*listed, {"id": "new", "key_sha256": _SHA, "assistants": ["bot"]}]
    assert after == before


@pytest.mark.parametrize("name", ["on", "Null", "1e5", "012", "5", "a.b", "web", "true", "y", "9-x"])
def test_a_name_is_text_whatever_it_looks_like(name: str) -> None:
    """A client may be called as names allow, and is read so again."""
    changed = insert.add("version: 1\n", name, _SHA, ())
    assert [each for each, _, _ in _clients(changed)] == [name]


def test_a_key_is_made_of_chance() -> None:
    """It can be told from other text, stands in a header, holds all 32 bytes, and is known by its SHA-256."""
    key = keys.make(bytes(range(32)))
    assert key == "hp_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert keys.digest(key) == hashlib.sha256(key.encode()).hexdigest()
    assert len({keys.make(bytes([place]) * 32) for place in range(256)}) == 256
    issued = keys.issue("web", (), None, {}, bytes(32), write=False)
    assert isinstance(issued, keys.Issued)
    assert issued.key not in repr(issued)
    assert issued.key not in issued.line


def _issue(path: Path, client: str = "new", *assistants: str, write: bool = True) -> keys.Issued | tuple[Fault, ...]:
    return keys.issue(client, assistants, path, _ENV, os.urandom(32), write=write)


def test_a_written_file_keeps_its_rights_and_its_links(tmp_path: Path) -> None:
    """A link still leads to it, its rights are the same, and nothing is left lying about."""
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_bytes(b"\xef\xbb\xbfversion: 1\n" + _REST.encode())
    real.chmod(0o640)
    link.symlink_to(real)
    issued = _issue(link, "new", "bot")
    assert isinstance(issued, keys.Issued), issued
    assert "everybody needs a key" in issued.note
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert real.read_bytes().startswith(b"\xef\xbb\xbfversion: 1\n")
    assert sorted(os.listdir(tmp_path)) == ["link.yaml", "real.yaml"]
    config = load.read(link, _ENV)
    assert isinstance(config, Config)
    assert keys.known(config) == [f"new  {keys.digest(issued.key)[:12]}…  bot"]
    assert issued.key not in real.read_text()
    again = _issue(link, "second")
    assert isinstance(again, keys.Issued)
    assert "everybody needs a key" not in again.note


@pytest.mark.parametrize(
    ("text", "client", "assistants", "said"),
    [
        ("version: 1\nclients: open\n" + _REST, "new", (), "lets anybody call"),
        (_PLACES["one in a line"], "web", (), "there is a client `web` already"),
        (_PLACES["one in a line"], "new", ("bto",), "did you mean `bot`?"),
        (_PLACES["one in a line"], "new", ("nobody",), "there are `bot`, `other`"),
        (_PLACES["one in a line"], "not a name", (), "not a name"),
        (_PLACES["one in a line"], "new", ("Not-One",), "not an assistant id"),
        ("version: 1\nlisten: nowhere\n" + _REST, "new", (), "host:port"),
        (f"version: 1\nclients: [{_WEB}]\n{_REST}", "new", (), "a list in brackets"),
    ],
)
def test_what_does_not_fit_is_not_written(
    tmp_path: Path, text: str, client: str, assistants: tuple[str, ...], said: str
) -> None:
    """A client that is there, an assistant that is not, a file at fault: told, and the file is untouched."""
    file = tmp_path / "homeport.yaml"
    file.write_text(text)
    faults = _issue(file, client, *assistants)
    assert isinstance(faults, tuple)
    assert said in str(faults[0])
    assert file.read_text() == text
    assert os.listdir(tmp_path) == ["homeport.yaml"]


def test_a_file_that_changes_meanwhile_or_has_two_names_is_left(tmp_path: Path) -> None:
    """Nobody's edit is lost, and no other name is left behind with the old text."""
    file = tmp_path / "homeport.yaml"
    file.write_text("version: 1\n")
    with pytest.raises(Wrong, match="meanwhile"):
        insert.replace(file, b"version: 2\n", b"new")
    assert os.listdir(tmp_path) == ["homeport.yaml"]
    os.link(file, tmp_path / "other.yaml")
    with pytest.raises(Wrong, match="one name"):
        insert.replace(file, b"version: 1\n", b"new")
    assert file.read_text() == "version: 1\n"
    missing = _issue(tmp_path / "nowhere.yaml")
    assert isinstance(missing, tuple)


def test_the_list_tells_who_may_call() -> None:
    """Nobody's key, everybody, or each client with what it may use; never a whole digest."""
    for clients, said in (
        ("[]", "no clients: who reaches `listen` may call, without a key"),
        ("open", "clients: open: anybody may call, without a key"),
        (f"[{{id: a, key_sha256: '{_OLD}', assistants: []}}]", "a  000000000000…  none"),
    ):
        config = load.parse(f"version: 1\nclients: {clients}\n", "f", {}, Path())
        assert isinstance(config, Config)
        assert keys.known(config) == [said]

"""Keys of clients: made for whoever asks, and told by what is kept of them.

1. A key is shown to who makes it, once, and kept as its SHA-256 alone.
2. Where a file is named, the client has to fit it before a key is made; a file that is written has passed every check.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proxy.config import insert, load, words
from proxy.config.fault import Fault, Wrong
from proxy.config.schema import Config

CHANCE = 32
"""Bytes of chance in a key."""
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key."""

    key: str = field(repr=False)
    line: str
    """Its client, as an item of `clients`."""
    note: str
    """What is left to do."""


def make(chance: bytes) -> str:
    """A key of these bytes. A scanner for lost secrets knows it by its beginning."""
    return "hp_" + base64.urlsafe_b64encode(chance).rstrip(b"=").decode()


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def issue(
    client: str,
    assistants: Sequence[str],
    file: Path | None,
    env: Mapping[str, str],
    chance: bytes,
    *,
    write: bool,
) -> Issued | tuple[Fault, ...]:
    """A key for a client that may use these assistants, all if none are named; `file` is where it is to be known.

    With `write` the client is added to the file.
    """
    name = "" if file is None else str(file)
    try:
        words.name(client)
        for assistant in assistants:
            words.assistant_id(assistant)
        key = make(chance)
        line = insert.entry(client, digest(key), assistants)
        if file is None:
            return Issued(key, line, "put the line into the configuration, under `clients:`")
        config = load.read(file, env)
        if isinstance(config, tuple):
            return config
        first = _fit(config, client, assistants)
        if not write:
            return Issued(key, line, f"put the line into {file}, under `clients:`{first}")
        faults = _write(file, env, client, digest(key), assistants)
        note = f"{client} stands in {file} now; a replica that serves it takes it up at once{first}"
        return faults or Issued(key, line, note)
    except Wrong as wrong:
        return (Fault(name or "keys new", 0, 0, "", wrong.problem, wrong.remedy),)
    except OSError as error:
        return (Fault(name, 0, 0, "", f"cannot be written: {error.strerror}", "write the line yourself"),)


def known(config: Config) -> list[str]:
    """Every client, a line each: its id, the beginning of its key's SHA-256, what it may use."""
    if isinstance(config.clients, str):
        return ["clients: open: anybody may call, without a key"]
    if not config.clients:
        return ["no clients: who reaches `listen` may call, without a key"]
    width = max(len(client.id) for client in config.clients)
    return [
        f"{client.id:<{width}}  {client.key_sha256[:12]}…  "
        + ("all assistants" if client.assistants is None else ", ".join(client.assistants) or "none")
        for client in config.clients
    ]


def _fit(config: Config, client: str, assistants: Sequence[str]) -> str:
    """What changes for everybody, if anything. Raises Wrong."""
    if isinstance(config.clients, str):
        raise Wrong("clients: open lets anybody call", "make `clients` a list first; then everybody needs a key")
    if client in (each.id for each in config.clients):
        raise Wrong(f"there is a client `{client}` already", "name another, or take that one out first")
    for assistant in assistants:
        if assistant not in config.assistants:
            meant = words.nearest(assistant, config.assistants)
            there = f"did you mean `{meant}`?" if meant else f"there are {words.listed(config.assistants)}"
            raise Wrong(f"no assistant is called `{assistant}`", there)
    return "" if config.clients else "; with a first client everybody needs a key"


def _write(
    file: Path, env: Mapping[str, str], client: str, key_sha256: str, assistants: Sequence[str]
) -> tuple[Fault, ...]:
    old = file.read_bytes()
    mark = _BOM if old.startswith(_BOM) else b""
    try:
        text = old.removeprefix(mark).decode()
    except UnicodeDecodeError:
        raise Wrong("not UTF-8", "save the file as UTF-8") from None
    new = insert.add(text, client, key_sha256, assistants)
    checked = load.parse(new, str(file), env, file.parent)
    if isinstance(checked, tuple):
        return checked
    insert.replace(file, old, mark + new.encode())
    return ()

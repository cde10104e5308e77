"""A client added to a configuration's text, and a file replaced, without touching anything else in it.

1. An edit is made in the text, so that comments, order and references stay. It counts only if the new text reads as the
   old one and the one new client; whatever the text looks like, nothing else is ever written.
2. The file is replaced whole, or stays as it was.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from proxy.config import yaml_map
from proxy.config.fault import Wrong
from proxy.config.interpolate import shield

_PLAIN = re.compile(r"(?!(?:null|true|false|on|off|yes|no|y|n)$)[a-z][a-z0-9._-]*", re.ASCII | re.IGNORECASE)
"""A name that needs no quotes, whoever reads the file."""


def entry(client: str, key_sha256: str, assistants: Sequence[str]) -> str:
    """An item of `clients`, as one line of YAML."""
    limits = f", assistants: [{', '.join(map(_name, assistants))}]" if assistants else ""
    return f'- {{id: {_name(client)}, key_sha256: "{key_sha256}"{limits}}}'


def add(text: str, client: str, key_sha256: str, assistants: Sequence[str]) -> str:
    """The text with one client more. Raises Wrong where that cannot be done safely."""
    before = _plain(text)
    listed = before.get("clients")
    if listed is None:
        listed = []
    if not isinstance(listed, list):
        raise Wrong("`clients` is no list", "write the line into a list yourself: that changes who may call")
    line = entry(client, key_sha256, assistants)
    end = "\r\n" if "\r\n" in text else "\n"
    changed = _inserted(text, line, end) if listed else _begun(text, line, end)
    new: dict[str, Any] = {"id": client, "key_sha256": key_sha256}
    if assistants:
        new["assistants"] = list(assistants)
    try:
        after = _plain(changed)
    except Wrong:
        after = {}
    if after != {**before, "clients": [*listed, new]}:
        raise Wrong("the file's form leaves no safe place for it", "write the line under `clients` yourself")
    return changed


def replace(path: Path, old: bytes, new: bytes) -> None:
    """Put `new` in the place of a file that still holds `old`; its rights stay. Raises Wrong or OSError."""
    real = Path(os.path.realpath(path))
    status = real.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise Wrong("it is no plain file of one name", "write the line yourself")
    number, name = tempfile.mkstemp(prefix=f".{real.name}.", dir=real.parent)
    made = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(new)
            file.flush()
            os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
            if (os.geteuid(), os.getegid()) != (status.st_uid, status.st_gid):
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            os.fsync(file.fileno())
        if real.read_bytes() != old:
            raise Wrong("somebody has changed it meanwhile", "run it again")
        made.replace(real)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            made.unlink()
        raise
    directory = os.open(real.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _name(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else f'"{value}"'


def _plain(text: str) -> dict[str, Any]:
    """What the text says, its references left as they are."""
    root, faults = yaml_map.compose(text, "", lambda value: value)
    if root is None or faults or not isinstance(root.content, dict):
        raise Wrong("it cannot be read as it stands", "`homeport check` says why")
    said: dict[str, Any] = yaml_map.plain(root)
    return said


def _begun(text: str, line: str, end: str) -> str:
    """Where there are no clients yet: in the place of an empty list, else behind everything."""
    node = _clients(text)
    if node is None:
        gap = "" if text.endswith(("\n", "\r")) else end
        return f"{text}{gap}{end}clients:{end}  {line}{end}"
    first, last = node.start_mark.index, node.end_mark.index
    return f"{text[:first].rstrip(' ')}{end}  {line}{text[last:]}"


def _inserted(text: str, line: str, end: str) -> str:
    """Behind the last item, with its indentation; what stands behind that on its line stays there."""
    node = _clients(text)
    if not isinstance(node, yaml.SequenceNode) or node.flow_style:
        raise Wrong("`clients` is a list in brackets", "give each item a line of its own, or write the line yourself")
    last: yaml.Node = node.value[-1]
    while isinstance(last, yaml.CollectionNode) and not last.flow_style and last.value:
        inner = last.value[-1]
        last = inner[1] if isinstance(inner, tuple) else inner
    at = last.end_mark.index
    rest = text.find("\n", at)
    indent = " " * int(node.start_mark.column)
    if rest < 0:
        return f"{text}{end}{indent}{line}{end}"
    return f"{text[: rest + 1]}{indent}{line}{end}{text[rest + 1 :]}"


def _clients(text: str) -> yaml.Node | None:
    """The node of `clients`, with where it begins and ends in the text."""
    root = yaml.compose(shield(text), Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            if key.value == "clients":
                found: yaml.Node = value
                return found
    return None

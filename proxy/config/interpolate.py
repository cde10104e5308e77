"""`${NAME}`, `${NAME:-default}` and `${file:PATH}` in a configuration's text values, and the masking of what they gave.

1. Whatever was substituted may be a secret: `mask` takes it out of a fault's text, where values stand between
   backticks and nowhere else.
2. A reference keeps its place and length through the YAML parser (`shield`), so that it may stand bare within `{…}`.
3. `$${` is a plain `${`. As in a shell, `:-` also stands in for a variable that is set to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from proxy.config.fault import Wrong

_REFERENCE = re.compile(r"\$?\$\{[^}\r\n]*\}")
_START = re.compile(r"\$?\$\{(?:([^}]*)\})?")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.ASCII | re.DOTALL)
_SHIFT = 0xF0000
_HIDE = {code: _SHIFT + code for code in range(0x20, 0x7F)}
_SHOW = {shifted: code for code, shifted in _HIDE.items()}
_SPAN = re.compile(r"`([^`]*)`")
_LARGEST = 64 * 1024
"""Bytes of a file that is read for one value."""
_TELLING = 4
"""Characters from which a piece is masked within a longer value too."""


def shield(text: str) -> str:
    """Every reference in characters that mean nothing to YAML. Same length, line for line."""
    return _REFERENCE.sub(lambda match: match.group().translate(_HIDE), text)


def unshield(text: str) -> str:
    """Undo `shield`."""
    return text if text.isascii() else text.translate(_SHOW)


def shielded(text: str) -> bool:
    """Does the text hold a character of `shield`'s?"""
    return not text.isascii() and any(ord(character) in _SHOW for character in text)


class Interpolation:
    """Reads the references of one configuration; relative paths start at `directory`."""

    def __init__(self, env: Mapping[str, str], directory: Path) -> None:
        self._env, self._directory = env, directory
        self._pieces: dict[str, str] = {}
        self._values: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """The text with its references replaced; raises Wrong for one that cannot be."""
        if "${" not in text:
            return text
        value = _START.sub(self._replace, text)
        if value != text:
            self._values[value] = text
        return value

    def mask(self, text: str) -> str:
        """`text` with every substituted value between backticks written the way the file writes it."""
        return _SPAN.sub(lambda match: f"`{self._written(match.group(1))}`", text)

    def _written(self, shown: str) -> str:
        if shown in self._values:
            return self._values[shown]
        # The longest first: one value may be a part of another.
        for piece in sorted(self._pieces, key=len, reverse=True):
            shown = shown.replace(piece, self._pieces[piece])
        return shown

    def _replace(self, match: re.Match[str]) -> str:
        if match.group().startswith("$$"):
            return match.group()[1:]
        inside: str | None = match.group(1)
        if inside is None:
            raise Wrong("a `${` without its `}`", "close it, or write $${ for a plain ${")
        value = self._file(inside[5:]) if inside.startswith("file:") else self._variable(inside)
        if len(value) >= _TELLING:
            self._pieces[value] = match.group()
        return value

    def _variable(self, inside: str) -> str:
        match = _VARIABLE.fullmatch(inside)
        if match is None:
            raise Wrong("expected ${NAME}, ${NAME:-default} or ${file:PATH}", "write $${ for a plain ${")
        name, default = match.groups()
        value = self._env.get(name)
        if value is None or (not value and default is not None):
            if default is None:
                raise Wrong(f"the environment has no {name}", f"set {name}, or write ${{{name}:-default}}")
            return str(default)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Wrong(f"the value of {name} is not UTF-8", "set it to text") from None
        return value

    def _file(self, name: str) -> str:
        try:
            with (self._directory / name).open("rb") as file:
                raw = file.read(_LARGEST + 1)
        except OSError as error:
            raise Wrong(
                f"{name or 'a file'} cannot be read: {error.strerror}", "name a file that Homeport may read"
            ) from None
        except ValueError:
            raise Wrong("expected the path of a file", "write it like ${file:/run/secrets/key}") from None
        if len(raw) > _LARGEST:
            raise Wrong(f"{name} holds more than 64 KiB", "name a file that holds the value alone")
        try:
            return raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise Wrong(f"{name} is not UTF-8", "name a file that holds text") from None

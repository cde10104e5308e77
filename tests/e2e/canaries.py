"""Secrets made to be found again: one for each place that holds one, and an ear that knows them in any dress.

1. A canary is found whole or by any twelve characters of it: as it is, backwards, in base64 and base64url at all three
   alignments, in hex, percent-encoded, and escaped as JSON escapes.
2. What may be told where is said where it is listened to, by name.
"""

from __future__ import annotations

import base64
import random
import re
import string
from collections.abc import Collection, Iterator
from urllib.parse import unquote

PIECE = 12
"""Characters of a secret that are one themselves."""
_BASE64_PIECE = 4 * PIECE // 3
_LETTERS = string.ascii_letters + string.digits
_ESCAPED = re.compile(r"\\u00([0-9a-fA-F]{2})")


class Canaries:
    """Secrets by the name of the place that they were put into."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.values: dict[str, str] = {}
        self._pieces: dict[int, dict[str, str]] = {PIECE: {}, _BASE64_PIECE: {}, 2 * PIECE: {}}
        """Length → text of that length → whose it is."""

    def plant(self, name: str, ending: str = "") -> str:
        """A new secret for a place. `ending` is what else it has to hold."""
        return self.know(name, "".join(self._random.choices(_LETTERS, k=28)) + ending)

    def know(self, name: str, value: str) -> str:
        """A secret that somebody else has made."""
        assert len(value) >= PIECE
        assert name not in self.values
        self.values[name] = value
        for text in (value, value[::-1]):
            self._learn(name, text, PIECE)
        for text in _base64(value.encode()):
            self._learn(name, text, _BASE64_PIECE)
        self._learn(name, value.encode().hex(), 2 * PIECE)
        return value

    def _learn(self, name: str, text: str, length: int) -> None:
        known = self._pieces[length]
        known.update((text[at : at + length], name) for at in range(len(text) - length + 1))

    def heard(self, said: str | bytes, *, but: Collection[str] = ()) -> list[str]:
        """The names of those that a text tells of, apart from those that it may."""
        text = said if isinstance(said, str) else said.decode("utf-8", "replace")
        names = {name for each in _undressed(text) for name in self._told(each)}
        return sorted(names.difference(but))

    def _told(self, text: str) -> Iterator[str]:
        for length, known in self._pieces.items():
            read = text.lower() if length == 2 * PIECE else text
            found = {read[at : at + length] for at in range(len(read) - length + 1)} & known.keys()
            yield from (known[each] for each in found)


def _base64(value: bytes) -> Iterator[str]:
    """What stands for the value in base64, wherever in a longer text it begins."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + value).decode().rstrip("=")
        # The first and the last digit hold bits of what is beside it.
        inner = text[(0, 2, 3)[before] : -1]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def _undressed(text: str) -> Iterator[str]:
    yield text
    if "%" in text:
        yield unquote(text)
    if "\\" in text:
        plain = _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), text)
        yield plain.replace("\\\\", "\\").replace('\\"', '"').replace("\\/", "/")


class Ears:
    """All that was said, by where it was said; judged at the end."""

    def __init__(self, canaries: Canaries) -> None:
        self.canaries = canaries
        self.places: dict[str, int] = {}
        """How many characters were listened to."""
        self.leaks: list[str] = []

    def listen(self, place: str, said: str | bytes, *, but: Collection[str] = ()) -> None:
        """`but` may be told here."""
        self.places[place] = self.places.get(place, 0) + len(said)
        self.leaks += [f"{place} tells {name}" for name in self.canaries.heard(said, but=but)]

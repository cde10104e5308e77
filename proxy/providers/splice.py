"""A JSON object's top-level members, changed in place: every byte that is not theirs stays as it is.

1. The text has been parsed before: here it is only cut, at strings, brackets, colons and commas.
2. Of a key that occurs twice both are changed: upstreams differ in which one they take.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.providers import lenient

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Member:
    """One member: where its key begins, and where its value lies."""

    key: str
    start: int
    value: int
    end: int


def members(body: bytes) -> list[Member]:
    """The top-level members of the object that `body` is, in their order."""
    found: list[Member] = []
    depth, key, start, value = 0, b"", 0, -1
    for match in _TOKEN.finditer(body):
        token = match.group()
        if value >= 0 and depth == 1 and token in (b",", b"}"):
            text = body[value : match.start()]
            end = value + len(text.rstrip())
            found.append(Member(lenient.loads(key), start, value + len(text) - len(text.lstrip()), end))
            value = -1
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and token == b":" and value < 0:
            value = match.end()
        elif depth == 1 and token[:1] == b'"' and value < 0:
            key, start = token, match.start()
    return found


def edit(body: bytes, change: Callable[[str], bytes | bool], add: Mapping[bytes, bytes]) -> bytes:
    """`body` with each member's value replaced by what `change` says of its key (True: keep it, False: leave it out).

    `add` holds new members, keys and values as JSON; they come first.
    """
    old = members(body)
    pieces: list[bytes] = [key + b":" + value for key, value in add.items()]
    kept = b",".join(pieces)
    for place, member in enumerate(old):
        new = change(member.key)
        if new is False:
            continue
        between = body[old[place - 1].end : member.start] if place else b""
        text = body[member.start : member.end] if new is True else body[member.start : member.value] + bytes(new)
        if kept:
            kept += (between or b",") + text
        else:
            kept = text
    first = old[0].start if old else body.index(b"{") + 1
    return body[:first] + kept + body[old[-1].end if old else first :]

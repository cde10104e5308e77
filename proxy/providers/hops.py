"""What header fields mean to us by their names: which of them travel on, and which belong to one connection.

1. A name is looked at once, and known from then on as it was written: callers and sources write few, and always alike.
2. No more than _MOST are known, and no long ones, since others than we write them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from proxy.terms import Headers

_MOST, _LONG = 1000, 4096
Name = TypeVar("Name", str, bytes)
Meaning = TypeVar("Meaning")


class Names(dict[Name, Meaning]):
    """What names mean, by a rule that is told them as they were written: `names[name]`."""

    def __init__(self, rule: Callable[[Name], Meaning]) -> None:
        super().__init__()
        self._rule: Callable[[Name], Meaning] = rule

    def __missing__(self, name: Name) -> Meaning:
        meaning = self._rule(name)
        if len(self) < _MOST and len(name) <= _LONG:
            self[name] = meaning
        return meaning


_NEVER = frozenset(
    {"keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Fields of one connection (RFC 9110, 7.6.1), beside `connection` and what that names."""


_ALONE: Final = ("", "keep-alive", "close")
"""What `connection` says where it names no field."""


class Passing:
    """Which fields travel on."""

    def __init__(self, rule: Callable[[str], bool]) -> None:
        """`rule` says so of a name in lower case; no field of one connection ever does."""

        def passes(name: str) -> str | None:
            """What its line begins with; nothing for a field that stays, None for the one that names more of those."""
            low = name.lower()
            return None if low == "connection" else f"{name}: " if low not in _NEVER and rule(low) else ""

        self._names: Names[str, str | None] = Names(passes)

    def __call__(self, headers: Headers) -> Headers:
        """Those of `headers` that do."""
        names, kept, named = self._names, [], ""
        for pair in headers:
            passes = names[pair[0]]
            if passes:
                kept.append(pair)
            elif passes is None:
                named += f",{pair[1]}"
        if named[1:] in _ALONE:
            return tuple(kept)
        hops = {token.strip().lower() for token in named.split(",")}
        return tuple([pair for pair in kept if pair[0].lower() not in hops])

    def lines(self, headers: Headers) -> list[str]:
        """Likewise, as lines of a head."""
        names, kept = self._names, []
        for name, value in headers:
            begins = names[name]
            if begins:
                kept.append(begins + value)
            elif begins is None and value not in _ALONE:
                return [": ".join(pair) for pair in self(headers)]
        return kept

"""Heads as bytes: a request's that the lane may take, and an answer's.

1. A head that is not plainly one of the lane's is none: what is wrong with it is for the server to say.
2. A head is read once: the next like it, and nearly every one is like one before it, is known by its bytes. Two are
   alike when they differ in the digits of their one length alone. Where a connection's last head is known to be like
   the next one, its two pieces are compared in their place, and nothing is cut out or looked up.
3. Heads that differ also in the name of the assistant, of which there may be thousands, are read once as well: they
   share a Head without that field, and each has its name beside it.
4. Nothing that a header holds can end its line early.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Final

import httptools
from aiohttp.helpers import rfc822_formatted_time
from multidict import CIMultiDict

from proxy.edge.caller import Head
from proxy.providers import lines
from proxy.providers.hops import Names
from proxy.providers.lines import Fields
from proxy.terms import ENDPOINTS

HEAD, FIELDS = 16 * 1024, 100
"""Of a request: bytes of its head, and fields in it."""
_PATHS: Mapping[bytes, str] = {f"/v1{endpoint.path}".encode(): f"/v1{endpoint.path}" for endpoint in ENDPOINTS}
_PLAIN_QUERY = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.=&"
_LENGTH = "content-length"
_SPECIAL = {_LENGTH: "length", "connection": "connection"} | dict.fromkeys(
    ("transfer-encoding", "content-encoding", "expect", "upgrade"), "foreign"
)
_STARTS: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}" for status in HTTPStatus}

KEPT, _LONGEST, _ALL = 1000, 4096, 1024 * 1024
"""Heads that are known at once; bytes of one, and of all together."""


def _field(name: str, value: str) -> re.Pattern[bytes]:
    """One field, its value the group. Each letter is written both ways: to leave case aside takes longer."""
    letters = [f"[{each.upper()}{each}]" if each.isalpha() else re.escape(each) for each in name]
    return re.compile(f"\r\n{''.join(letters)}:[ \t]*({value})\r\n".encode())


_DIGITS, _NAME = _field(_LENGTH, "[0-9]{1,9}"), "[!-~]{1,128}"
Read = tuple[Head, int]
"""What a head says, and how many bytes follow it."""


class Like:
    """What heads say that differ in the digits of their one length alone. It holds their caller's key, as what was
    parsed of it does: nothing of it is ever shown.
    """

    __slots__ = ("_after", "_before", "head", "named")

    def __init__(self, head: Head, before: bytes, after: bytes, named: str) -> None:
        """`before` the digits, and `after` them up to the body; `named`: see Head.apart."""
        self.head, self._before, self._after, self.named = head, before, after, named

    def span(self, data: bytes) -> tuple[int, int] | None:
        """Of a request that begins with one of them: where its body begins, and where it ends."""
        # Of a head that was read each line is one field. The lines before the digits and after them are those of that
        # head, so this is its one length, and what follows it begins another line, as it did there.
        if not data.startswith(self._before):
            return None
        at = len(self._before)
        end = data.find(b"\r", at, at + 10)
        digits = data[at:end]
        if not digits.isdigit() or not data.startswith(self._after, end):
            return None
        start = end + len(self._after)
        return start, start + int(digits)


class Heads:
    """Heads that were read."""

    __slots__ = ("_apart", "_bytes", "_known", "_name")

    def __init__(self, apart: str = "") -> None:
        """`apart`: the name, in lower case, of a field that has a value of its own in each head. It must say nothing
        else of a request than what it is kept apart for.
        """
        self._apart = apart
        self._name = _field(apart, _NAME) if apart else None
        self._known: dict[tuple[bytes, ...], Head] = {}
        self._bytes = 0

    @property
    def kept(self) -> int:
        """How many there are."""
        return len(self._known)

    def like(self, data: bytes) -> Like | None:
        """What the head that `data` begins with is like; None if it is not whole, or not plainly one of the lane's."""
        end = data.find(b"\r\n\r\n") + 4
        length = _DIGITS.search(data, 0, end) if 4 <= end <= HEAD else None
        if length is None:
            return None
        at, behind = length.span(1)
        before, after, named = data[:at], data[behind:end], ""
        key: tuple[bytes, ...] = before, after
        if self._name is not None and (name := self._name.search(data, 0, end)) is not None:
            start, stop = name.span(1)
            named = name[1].decode()
            # What is said of digits above holds of a name as well: it cannot end its line.
            key = (data[:start], data[stop:at], after) if stop < at else (before, data[behind:start], data[stop:end])
        known = self._known.get(key)
        if known is None:
            found = read(data[:end])
            if found is None:
                return None
            head, _ = found
            known = self._without_name(head, named) if named else head
            if known is None:
                return Like(head, before, after, "")
            if (size := sum(map(len, key))) <= _LONGEST:
                self._keep(key, known, size)
        return Like(known, before, after, named)

    def _without_name(self, head: Head, named: str) -> Head | None:
        """The same with the field left out; None if the first of its name says something else."""
        if head.headers.get(self._apart) != named:
            return None
        # By items: among the keys each name may stand once.
        fields = list(head.headers.items())
        del fields[next(place for place, (name, _) in enumerate(fields) if name.lower() == self._apart)]
        return replace(head, headers=CIMultiDict(fields), apart=self._apart)

    def _keep(self, key: tuple[bytes, ...], known: Head, size: int) -> None:
        self._bytes += size
        if len(self._known) >= KEPT or self._bytes > _ALL:
            # Those that are used are known again at once.
            self._known.clear()
            self._bytes = size
        self._known[key] = known


class _Told:
    """What the parser tells of a head."""

    __slots__ = ("fields", "special", "url")

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[str, str]] = []
        self.special: list[tuple[str, str]] = []
        """What is said by fields that are something to the lane."""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, raw: bytes) -> None:
        text, role = _NAMES[name]
        value = raw.decode("utf-8", "surrogateescape")
        self.fields.append((text, value.rstrip(" \t")))
        if role:
            self.special.append((role, value))


def _meaning(name: bytes) -> tuple[str, str]:
    """As text, and what it is to the lane; empty for nothing."""
    text = name.decode("ascii", "replace")
    return text, _SPECIAL.get(text.lower(), "")


def special(name: str) -> bool:
    """Is a field of this name, in lower case, something to the lane?"""
    return name in _SPECIAL


_NAMES: Names[bytes, tuple[str, str]] = Names(_meaning)


def read(data: bytes) -> Read | None:
    """A head that is plainly one of the lane's, or None. `data` ends with its first blank line."""
    if not data.startswith(b"POST "):
        return None
    told = _Told()
    parser = httptools.HttpRequestParser(told)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    path, _, query = told.url.partition(b"?")
    known = _PATHS.get(path)
    if known is None or query.translate(None, _PLAIN_QUERY) or len(told.fields) > FIELDS:
        return None
    if parser.get_http_version() != "1.1" or not _each_line_a_field(data, len(told.fields)):
        return None
    length = None
    for role, value in told.special:
        if role == "length" and length is None and value.isascii() and value.isdigit() and len(value) < 10:
            length = int(value)
        elif role != "connection" or value.lower() != "keep-alive":
            # More than one length, or a sign before it, is for the server to refuse.
            return None
    if length is None:
        return None
    fields = CIMultiDict([pair for pair in told.fields if pair[0].lower() != _LENGTH])
    return Head("POST", known, query.decode(), fields, kept=True), length


def _each_line_a_field(data: bytes, fields: int) -> bool:
    """No field goes on in a second line, and no line ends but as lines do."""
    return data.count(b"\r\n") == fields + 2 == data.count(b"\n") == data.count(b"\r")


def answer(status: int, told: Fields, length: int | None, chunked: bool, close: bool) -> bytes:
    """Raises ValueError for what could end a line early."""
    fields = [_STARTS.get(status) or f"HTTP/1.1 {status} ", *told]
    if length is not None:
        fields.append(f"Content-Length: {length}")
    if chunked:
        fields.append("Transfer-Encoding: chunked")
    if close:
        fields.append("Connection: close")
    head = lines.text(fields)
    if "\r\nDate: " not in head and "\r\ndate: " not in head.lower():
        head = f"{head[:-2]}Date: {rfc822_formatted_time()}\r\n\r\n"
    return head.encode("utf-8", "surrogateescape")

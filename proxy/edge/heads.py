"""Heads as bytes: a request's that the lane may take, and an answer's.

1. A head that is not plainly one of the lane's is none: what is wrong with it is for the server to say.
2. A head is read once: the next like it, and nearly every one is like one before it, is known by its bytes. Two are
   alike when they differ in the digits of their one length alone, and in the name of the assistant, of which there may
   be thousands: they share a Head without that field, and each has its name beside it.
3. Where a connection's last head is like the next one, its pieces are compared in their place, and nothing but a name
   is cut out.
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


_DIGITS_MOST: Final = 9
_NAME_MOST: Final = 128
_NOT: Final = -1
"""There is no such thing."""
_DIGITS, _NAME = _field(_LENGTH, f"[0-9]{{1,{_DIGITS_MOST}}}"), f"[!-~]{{1,{_NAME_MOST}}}"
Read = tuple[Head, int]
"""What a head says, and how many bytes follow it."""
Pieces = tuple[bytes, bytes, bytes]


class Like:
    """What heads say that differ in the digits of their one length alone, and in a name that is kept apart. It holds
    their caller's key, as what was parsed of it does: nothing of it is ever shown.
    """

    __slots__ = ("_after", "_before", "_between", "_name", "_turned", "end", "head", "named", "start")

    def __init__(self, head: Head, pieces: Pieces, named: str, turned: bool) -> None:
        """`pieces`: what stands before and behind the digits, and between them and the name if one is kept apart;
        `turned`: the name is behind them. `named`: see Head.apart.
        """
        self.head, self.named, self._name, self._turned = head, named, named.encode(), turned
        self._before, self._between, self._after = pieces
        self.start = self.end = 0
        """Of the body of the last request that began with one of them."""

    def fits(self, data: bytes) -> bool:
        """Does a request begin with one of them? Then it is known where its body is, and whom it names."""
        # Of a head that was read each line is one field. The pieces are those of that head, and nothing that may stand
        # between them ends a line: so this is its one length, and what follows it begins another line, as it did there.
        if not data.startswith(self._before):
            return False
        at = len(self._before)
        if not self.named:
            length, at = _number(data, at)
        elif self._turned:
            length, at = _number(data, at)
            at = self._called(data, _behind(self._between, data, at))
        else:
            length, at = _number(data, _behind(self._between, data, self._called(data, at)))
        self.start = at = _behind(self._after, data, at)
        self.end = at + length
        return at >= 0

    def _called(self, data: bytes, at: int) -> int:
        """Note the name that stands there: where it ends, or _NOT."""
        end, most = at, min(at + _NAME_MOST, len(data)) if at >= 0 else _NOT
        while end < most and 0x21 <= data[end] <= 0x7E:
            end += 1
        if end == at:
            return _NOT
        name = data[at:end]
        if name != self._name:
            self._name, self.named = name, name.decode()
        return end


def _behind(piece: bytes, data: bytes, at: int) -> int:
    """Where the piece ends that stands there, or _NOT."""
    end = at + len(piece)
    return end if at >= 0 and data[at:end] == piece else _NOT


def _number(data: bytes, at: int) -> tuple[int, int]:
    """What the digits say that stand there, and where they end, or _NOT."""
    number, end, most = 0, at, min(at + _DIGITS_MOST, len(data)) if at >= 0 else _NOT
    while end < most and 0x30 <= (digit := data[end]) <= 0x39:
        number = number * 10 + digit - 0x30
        end += 1
    return number, end if end > at else _NOT


def _fitting(like: Like, data: bytes) -> Like | None:
    return like if like.fits(data) else None


class Heads:
    """Heads that were read."""

    __slots__ = ("_apart", "_bytes", "_known", "_name")

    def __init__(self, apart: str = "") -> None:
        """`apart`: the name, in lower case, of a field that has a value of its own in each head. It must say nothing
        else of a request than what it is kept apart for.
        """
        self._apart = apart
        self._name = _field(apart, _NAME) if apart else None
        self._known: dict[Pieces, Head] = {}
        self._bytes = 0

    @property
    def kept(self) -> int:
        """How many there are."""
        return len(self._known)

    def like(self, data: bytes) -> Like | None:
        """What fits the request that `data` begins with; None if its head is not whole, or not plainly the lane's."""
        end = data.find(b"\r\n\r\n") + 4
        length = _DIGITS.search(data, 0, end) if 4 <= end <= HEAD else None
        if length is None:
            return None
        at, behind = length.span(1)
        alone: Pieces = data[:at], b"", data[behind:end]
        pieces, named, turned = alone, "", False
        if self._name is not None and (name := self._name.search(data, 0, end)) is not None:
            start, stop = name.span(1)
            named, turned = name[1].decode(), at < start
            if turned:
                pieces = data[:at], data[behind:start], data[stop:end]
            else:
                pieces = data[:start], data[stop:at], data[behind:end]
        known = self._known.get(pieces)
        if known is None:
            found = read(data[:end])
            if found is None:
                return None
            head, _ = found
            known = self._without_name(head, named) if named else head
            if known is None:
                return _fitting(Like(head, alone, "", False), data)
            if (size := sum(map(len, pieces))) <= _LONGEST:
                self._keep(pieces, known, size)
        return _fitting(Like(known, pieces, named, turned), data)

    def _without_name(self, head: Head, named: str) -> Head | None:
        """The same with the field left out; None if the first of its name says something else."""
        if head.headers.get(self._apart) != named:
            return None
        # By items: among the keys each name may stand once.
        fields = list(head.headers.items())
        del fields[next(place for place, (name, _) in enumerate(fields) if name.lower() == self._apart)]
        return replace(head, headers=CIMultiDict(fields), apart=self._apart)

    def _keep(self, pieces: Pieces, known: Head, size: int) -> None:
        self._bytes += size
        if len(self._known) >= KEPT or self._bytes > _ALL:
            # Those that are used are known again at once.
            self._known.clear()
            self._bytes = size
        self._known[pieces] = known


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

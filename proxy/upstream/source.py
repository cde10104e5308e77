"""Where a source's requests go and what they carry, as config resolved it.

1. It holds the credential, so it is never shown. What an upstream calls something is told only where that repeats no
   secret that it was sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final
from urllib.parse import unquote, urlsplit

from proxy.providers import fault_table
from proxy.providers.dialect import Dialect
from proxy.providers.hops import Names, Passing
from proxy.providers.passthrough import PassThrough
from proxy.terms import Headers
from proxy.upstream.client import Connecting
from proxy.upstream.oauth.account import Account
from proxy.upstream.request import Opening, forward_proxy, opening

_KEPT: Final = 128
_LONG: Final = 4096
"""How many openings of requests are kept, and of how many bytes."""
_PIECE: Final = 12
"""Characters of a secret that are one themselves. A shorter one may be a word that says nothing, like a version."""
_NAME: Final = 128
"""Characters of an upstream's name for something."""
_HINT = 6
"""Characters of a piece that remind of it."""
_FIRST = slice(0, _HINT)
_LOOKS: Final = tuple(
    itemgetter(_FIRST, _FIRST, *(slice(at, at + _HINT) for at in range(0, length - _HINT + 1, _PIECE - _HINT + 1)[1:]))
    for length in range(_NAME + 1)
)
"""Where a name of each length is looked at for hints: wherever a piece stands in it, one of its hints is met. The first
stands twice: of less than two places there is no tuple.
"""
_UP_PREFIXES = ("accept", "content-", "openai-", "anthropic-", "x-stainless-")
_UP = frozenset({"user-agent", "idempotency-key", "traceparent", "tracestate"})
# Content codings are undone at both doors, so that answers can be read; the framing is each connection's own.
_NOT_UP = frozenset({"accept-encoding", "content-encoding", "content-length", "openai-organization", "openai-project"})


class _Secrets:
    """Secrets, and whether a text repeats one of them, or a piece of one."""

    __slots__ = ("_hints", "_pieces", "repeats")

    def __init__(self, secrets: set[str]) -> None:
        self._pieces = frozenset(secrets).union(*(_cut(secret, _PIECE) for secret in secrets))
        self._hints = frozenset[str]().union(*(_cut(secret, _HINT) for secret in secrets))
        self.repeats: Names[str, bool] = Names(self.repeated)
        """`repeated`, of what is said again and again."""

    def repeated(self, text: str) -> bool:
        """Does a text of up to _NAME characters say one of them?"""
        if text in self._pieces:
            return True
        # Names are many and hardly ever repeat a secret: they are looked at closely where anything reminds of one.
        if len(text) < _PIECE or self._hints.isdisjoint(_LOOKS[len(text)](text)):
            return False
        return not self._pieces.isdisjoint(_cut(text, _PIECE))


def _cut(text: str, length: int) -> Iterator[str]:
    """All of it that is so long."""
    return (text[at : at + length] for at in range(len(text) - length + 1))


class _Changing:
    """Secrets that change, and are cut once as long as they stay: some are thousands of letters long."""

    def __init__(self) -> None:
        self._told: tuple[str, ...] = ()
        self._secrets = _Secrets(set())

    def now(self, told: tuple[str, ...]) -> _Secrets:
        if told != self._told:
            self._told, self._secrets = told, _Secrets(set(told))
        return self._secrets


class _Openings:
    """How requests began, kept because most begin alike; with the token that an account had then."""

    def __init__(self) -> None:
        self._bearer = ""
        self._kept: dict[tuple[str, Headers], Opening] = {}

    def of(self, bearer: str) -> dict[tuple[str, Headers], Opening]:
        """Those with this token. They may be added to."""
        if bearer != self._bearer or len(self._kept) >= _KEPT:
            self._bearer = bearer
            self._kept.clear()
        return self._kept


@dataclass(frozen=True, slots=True)
class Source:
    """One source."""

    base_url: str
    headers: Headers
    """Sent with every request; holds the credential, so it is never shown."""
    forward_headers: frozenset[str]
    """Further headers of the caller's to pass on, lower case."""
    connecting: Connecting
    overrides: tuple[fault_table.Row, ...] = ()
    dialect: Dialect = field(default_factory=PassThrough)
    account: Account | None = None
    """Whose access token is sent beside the headers."""

    passing: Passing = field(init=False, repr=False, compare=False)
    """Which of a caller's headers go up."""
    fixed: Headers = field(init=False, repr=False, compare=False)
    """All that goes up whatever the caller sent, but for an account's token."""
    gathers: bool = field(init=False, repr=False, compare=False)
    """Its dialect gathers: every answer is a stream, also to who asked for none."""
    _own: frozenset[str] = field(init=False, repr=False, compare=False)
    """Names of `headers`, lower case."""
    _secret: _Secrets = field(init=False, repr=False, compare=False)
    """Those that never change."""
    _changing: _Changing = field(init=False, repr=False, compare=False, default_factory=_Changing)
    _openings: _Openings = field(init=False, repr=False, compare=False, default_factory=_Openings)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_secret", _Secrets(set(self._secrets())))
        object.__setattr__(self, "fixed", (*self.headers, ("Accept-Encoding", "identity")))
        own, foreign = frozenset(name.lower() for name, _ in self.headers), self.dialect.foreign
        object.__setattr__(self, "_own", own)

        def passes(low: str) -> bool:
            known = low.startswith(_UP_PREFIXES) or low in _UP or low in self.forward_headers
            return known and low not in _NOT_UP and low not in own and not (foreign and low.startswith(foreign))

        object.__setattr__(self, "passing", Passing(passes))
        object.__setattr__(self, "gathers", self.dialect.gatherer(self.named) is not None)

    def __repr__(self) -> str:
        return f"Source({self.base_url})"

    def opening(self, path: str, asked: Headers, bearer: str) -> Opening | None:
        """How a request to `path` begins whose caller sent `asked`; None for what cannot be sent as it is."""
        kept = self._openings.of(bearer)
        begun = kept.get((path, asked))
        if begun is None:
            headers = (*self.passing(asked), *self.fixed, *self.credential(bearer))
            proxy = forward_proxy(self.connecting.proxy) if self.connecting.proxy else None
            begun = opening("POST", self.base_url + path, headers, proxy)
            if begun is not None and len(begun.start) <= _LONG:
                kept[path, asked] = begun
        return begun

    def credential(self, bearer: str) -> Headers:
        """What an account's access token is sent with; nothing for none, as it then stands in `headers`."""
        if not bearer:
            return ()
        beside = tuple(pair for pair in self.dialect.beside(bearer, "") if pair[0].lower() not in self._own)
        return (("Authorization", f"Bearer {bearer}"), *beside)

    def named(self, said: str) -> str | None:
        """What it calls something, as far as that may be told: nothing where it repeats a secret that it was sent."""
        told = said[:_NAME]
        for secrets in self._all_secrets():
            if secrets.repeated(told):
                return None
        return told

    def model(self, said: str) -> str | None:
        """Likewise for a model's name, of which a source has few."""
        told = said[:_NAME]
        for secrets in self._all_secrets():
            if secrets.repeats[told]:
                return None
        return told

    def _all_secrets(self) -> tuple[_Secrets, ...]:
        if self.account is None:
            return (self._secret,)
        return self._secret, self._changing.now(tuple(self.account.secrets()))

    def _secrets(self) -> Iterator[str]:
        for _, value in self.headers:
            yield value.removeprefix("Bearer ")
        # A forward proxy's own answer looks like the source's.
        between = urlsplit(self.connecting.proxy or "")
        for part in (between.username, between.password):
            if part:
                yield from {part, unquote(part)}

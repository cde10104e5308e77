"""How requests begin is written once for all that begin alike, and is never another's."""

from __future__ import annotations

from typing import cast

import pytest

from proxy.terms import Headers
from proxy.upstream.client import Connecting
from proxy.upstream.oauth.account import Account
from proxy.upstream.request import Opening
from proxy.upstream.source import Source

_KEY = "sk-made-up-for-this-test-0123456789"
_ASKED = (("User-Agent", "test/1"), ("X-Not-For-Them", "1"), ("Content-Type", "application/json"))


def _source(*headers: tuple[str, str], proxy: str | None = None, account: object = None) -> Source:
    to = "http://127.0.0.1:1/v1"
    return Source(to, headers, frozenset(), Connecting(proxy=proxy), account=cast(Account | None, account))


def _begun(source: Source, path: str = "/chat/completions", asked: Headers = _ASKED, bearer: str = "") -> Opening:
    begun = source.opening(path, asked, bearer)
    assert begun is not None
    return begun


def test_it_is_all_of_a_head_but_the_length() -> None:
    begun = _begun(_source(("Authorization", f"Bearer {_KEY}")))
    assert begun.target.origin == (False, "127.0.0.1", 1)
    assert begun.start == (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:1\r\nUser-Agent: test/1\r\n"
        b"Content-Type: application/json\r\nAuthorization: Bearer %b\r\nAccept-Encoding: identity\r\n" % _KEY.encode()
    )
    assert _KEY not in repr(begun)


def test_those_that_begin_alike_share_it_and_others_do_not() -> None:
    source = _source()
    first = _begun(source)
    assert _begun(source, asked=tuple(_ASKED)) is first
    assert _begun(source, asked=tuple((str(name), str(value)) for name, value in _ASKED)) is first
    assert _begun(source, "/completions").start.startswith(b"POST /v1/completions ")
    assert b"User-Agent: test/2" in _begun(source, asked=(("User-Agent", "test/2"),)).start
    assert _begun(_source(("X-Other", "1"))).start != first.start


def test_a_token_is_sent_as_long_as_it_is_the_accounts() -> None:
    source = _source(account=object())
    assert b"Authorization: Bearer first\r\n" in _begun(source, bearer="first").start
    second = _begun(source, bearer="second").start
    assert b"Authorization: Bearer second\r\n" in second
    assert b"first" not in second
    assert b"Authorization: Bearer first\r\n" in _begun(source, bearer="first").start


def test_few_are_kept_and_no_long_one() -> None:
    source = _source()
    first = _begun(source)
    for number in range(128):
        _begun(source, asked=(("User-Agent", f"test/{number}"),))
    assert _begun(source) is not first
    long = (("User-Agent", "x" * 5000),)
    assert _begun(source, asked=long) == _begun(source, asked=long)
    assert _begun(source, asked=long) is not _begun(source, asked=long)


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\n", "a\rb", "a\0b"])
def test_what_would_end_a_line_early_begins_nothing(value: str) -> None:
    source = _source()
    for _ in range(2):
        assert source.opening("/chat/completions", (("User-Agent", value),), "") is None
        assert source.opening("/chat/completions", _ASKED, value) is None


def test_a_forward_proxy_is_asked_for_the_whole_url() -> None:
    begun = _begun(_source(proxy="http://me:word@127.0.0.1:2"))
    assert begun.start.startswith(b"POST http://127.0.0.1:1/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:1\r\n")
    assert begun.start.endswith(b"\r\nProxy-Authorization: Basic bWU6d29yZA==\r\n")

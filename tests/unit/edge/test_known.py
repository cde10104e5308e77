"""What a head says is found once, and by the configuration that its request goes by."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from multidict import CIMultiDict

from proxy.breaker.keeper import Keeper
from proxy.config import load
from proxy.config.schema import Config
from proxy.edge.caller import Head
from proxy.edge.exchange import Bounds, Serving
from proxy.edge.heads import KEPT
from proxy.edge.identity import Client, Identity, Named
from proxy.edge.refusals import Refusal
from proxy.routing.bindings import Bindings
from proxy.routing.walk import Ports
from proxy.terms import CHAT, Outcome

_KEY = "sk-of-a-client"
_DIGEST = hashlib.sha256(_KEY.encode()).hexdigest()


def _serving(clients: str = "open", identity: str = "{default: bot}") -> Serving:
    text = (
        f"version: 1\nlisten: 127.0.0.1:0\nidentity: {identity}\nclients: {clients}\n"
        "sources: {s: {kind: openai, api_key: sk-1}}\n"
        "assistants: {bot: {primary: {source: s, model: m}}, other: {primary: {source: s, model: m}}}\n"
    )
    config = load.parse(text, "test", {}, Path())
    assert isinstance(config, Config), config

    async def send(*_: object) -> Outcome:
        raise AssertionError

    ports = Ports(Keeper(lambda: 0.0, lambda: "token", lambda: 0.5, lambda *_: None), send, lambda: 0.0)
    return Serving("replica", Identity(config), Bindings({}, "1"), ports, Bounds(1, 1, 1))


def _head(*fields: tuple[str, str], path: str = "/v1/chat/completions", query: str = "", kept: bool = True) -> Head:
    return Head("POST", path, query, CIMultiDict(fields), kept)


def test_a_reload_asks_anew() -> None:
    """A head that was known before it goes by the new keys and the new header from then on."""
    head = _head(("Authorization", f"Bearer {_KEY}"), ("X-Assistant-Id", "bot"), ("X-Bot", "other"))
    before = _serving()
    assert before.known(head).named == Named("bot", "header")
    keyed = _serving(f"[{{id: c, key_sha256: {_DIGEST}, assistants: [other]}}]", "{header: X-Bot}")
    after = keyed.known(head)
    assert after.client == Client("c", frozenset({"other"}))
    assert after.named == Named("other", "header")
    revoked = _serving(f"[{{id: c, key_sha256: {'0' * 64}}}]").known(head)
    assert isinstance(revoked.client, Refusal)
    assert (revoked.client.status, revoked.named) == (401, None)
    assert before.known(head).named == Named("bot", "header")


def test_it_is_found_once_for_a_head_that_is_met_again() -> None:
    """Also the tuple of headers is the same one then; whoever comes once is not remembered."""
    serving = _serving()
    head, once = _head(("X-A", "1")), _head(("X-A", "1"), kept=False)
    assert serving.known(head) is serving.known(head)
    assert serving.known(head).headers is serving.known(head).headers
    assert serving.known(once) is not serving.known(once)
    assert serving.known(once) == serving.known(head)


def test_what_is_remembered_is_bounded() -> None:
    """However many heads there are."""
    serving = _serving()
    first = _head()
    known = serving.known(first)
    for _ in range(KEPT - 1):
        serving.known(_head())
    assert serving.known(first) is known
    serving.known(_head())
    assert serving.known(first) is not known


def test_what_a_head_says() -> None:
    """Of its fields neither the length nor the assistant's header travels, nor what belongs to the connection."""
    known = _serving().known(
        _head(
            ("Host", "x"),
            ("X-Assistant-ID", " bot "),
            ("content-length", "5"),
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "1"),
            ("X-Request-Id", "mine\u00e4" + "x" * 200),
            ("x-stainless-timeout", "100"),
            ("x-stainless-read-timeout", "nan"),
            query="a=b&api_key=secret&c",
        )
    )
    assert (known.endpoint, known.client, known.named) == (CHAT, Client(None, None), Named("bot", "header"))
    assert [name for name, _ in known.headers] == [
        "Host",
        "X-Request-Id",
        "x-stainless-timeout",
        "x-stainless-read-timeout",
    ]
    assert (known.query, known.patience) == ("?a=b&c", 99.0)
    assert known.called == "mine?" + "x" * 123


@pytest.mark.parametrize("shown", [repr, str])
def test_nothing_of_a_caller_is_shown(shown: type[str]) -> None:
    """A key, in a header or in the query."""
    serving = _serving()
    head = _head(("Authorization", f"Bearer {_KEY}"), query=f"a={_KEY}")
    assert _KEY not in shown(serving.known(head)) + shown(serving) + shown(head)

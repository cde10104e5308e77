"""What a head says is found once, and by the configuration that its request goes by."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from pathlib import Path

import pytest
from multidict import CIMultiDict

from proxy.breaker.keeper import Keeper
from proxy.config import load
from proxy.config.schema import Config
from proxy.edge.asked import Known, Way, apart, way_beside
from proxy.edge.caller import Head
from proxy.edge.exchange import Bounds, Serving
from proxy.edge.heads import KEPT
from proxy.edge.identity import Client, Identity, Named
from proxy.edge.refusals import Refusal
from proxy.routing.bindings import bind
from proxy.routing.walk import Ports
from proxy.terms import CHAT, Cause, Outcome, Progress

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

    def send(*_: object) -> tuple[Progress, Awaitable[Outcome]]:
        raise AssertionError

    ports = Ports(Keeper(lambda: 0.0, lambda: "token", lambda: 0.5, lambda *_: None), send, lambda: 0.0)
    return Serving("replica", Identity(config), bind(config, "1", lambda secret: "digest"), ports, Bounds(1, 1, 1))


def _named(known: Known) -> Named | None:
    return known.way.named if isinstance(known.way, Way) else None


def _head(*fields: tuple[str, str], path: str = "/v1/chat/completions", query: str = "", kept: bool = True) -> Head:
    return Head("POST", path, query, CIMultiDict(fields), kept)


def test_a_reload_asks_anew() -> None:
    """A head that was known before it goes by the new keys and the new header from then on."""
    head = _head(("Authorization", f"Bearer {_KEY}"), ("X-Assistant-Id", "bot"), ("X-Bot", "other"))
    before = _serving()
    assert _named(before.known(head)) == Named("bot", "header")
    keyed = _serving(f"[{{id: c, key_sha256: {_DIGEST}, assistants: [other]}}]", "{header: X-Bot}")
    after = keyed.known(head)
    assert after.client == Client("c", frozenset({"other"}))
    assert _named(after) == Named("other", "header")
    revoked = _serving(f"[{{id: c, key_sha256: {'0' * 64}}}]").known(head)
    assert isinstance(revoked.refusal, Refusal)
    assert (revoked.refusal.status, revoked.way, revoked.endpoint) == (401, None, None)
    assert revoked.client.id is None
    assert not revoked.client.may_use("bot")
    assert _named(before.known(head)) == Named("bot", "header")


def test_a_name_that_is_kept_apart_is_one_only_where_it_is_asked_for() -> None:
    """After a reload that has another header say the assistant, a head that was read before says it by that."""
    head = Head(
        "POST", "/v1/chat/completions", "", CIMultiDict([("X-Bot", "other")]), kept=True, apart="x-assistant-id"
    )
    before = _serving().known(head)
    assert (before.beside, before.way) == (True, None)
    after = _serving(identity="{header: X-Bot}").known(head)
    assert (after.beside, _named(after)) == (False, Named("other", "header"))


@pytest.mark.parametrize("name", ["bot", "other", "nobody"])
@pytest.mark.parametrize("clients", ["open", f"[{{id: c, key_sha256: {_DIGEST}, assistants: [bot]}}]"])
def test_a_name_that_is_kept_apart_leads_where_its_head_would(name: str, clients: str) -> None:
    """As if the head itself had said it: to an assistant's chain, or to why there is none for its client."""
    serving, key = _serving(clients), ("Authorization", f"Bearer {_KEY}")
    head = Head("POST", "/v1/chat/completions", "", CIMultiDict([key]), kept=True, apart="x-assistant-id")
    said = serving.known(_head(key, ("X-Assistant-Id", name))).way
    way = way_beside(serving.known(head), CHAT, name, None, serving.identity, serving.bindings)
    assert way == said
    assert isinstance(way, Way if name == "bot" or (name, clients) == ("other", "open") else Refusal)


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("X-Bot", "x-bot"),
        ("Authorization", ""),
        ("X-Request-ID", ""),
        ("Origin", ""),
        ("api-key", ""),
        ("x-stainless-timeout", ""),
        ("Expect", ""),
    ],
)
def test_no_field_is_kept_apart_that_says_anything_else(header: str, kept: str) -> None:
    """It would be missed."""
    assert apart(header) == kept


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
    assert (known.endpoint, known.client, _named(known)) == (CHAT, Client(None, None), Named("bot", "header"))
    assert [name for name, _ in known.headers] == [
        "Host",
        "X-Request-Id",
        "x-stainless-timeout",
        "x-stainless-read-timeout",
    ]
    assert (known.query, known.patience) == ("?a=b&c", 99.0)
    assert known.called == "mine?" + "x" * 123


def test_a_head_says_where_its_request_goes_and_for_how_long() -> None:
    """Its caller's patience where that is less than what is configured; a chain that there is not is a refusal."""
    serving, bot = _serving(), ("X-Assistant-Id", "bot")
    way = serving.known(_head(bot)).way
    assert isinstance(way, Way)
    assert (way.chain, way.total) == (serving.bindings.routes["bot"].own, way.times.total)
    assert way.overrun.cause is Cause.TIMEOUT_TOTAL
    hasty = serving.known(_head(bot, ("x-stainless-timeout", "10"))).way
    assert isinstance(hasty, Way)
    assert (hasty.total, hasty.overrun.cause) == (9.5, Cause.PATIENCE)
    elsewhere = serving.known(_head(bot, path="/v1/embeddings")).way
    assert isinstance(elsewhere, Way)
    assert isinstance(elsewhere.chain, Refusal)
    assert (elsewhere.named, elsewhere.chain.status) == (Named("bot", "header"), 404)
    nobody = serving.known(_head(("X-Assistant-Id", "nobody"))).way
    assert isinstance(nobody, Refusal)
    assert nobody.code == "assistant_not_found"
    assert serving.known(_head()).way is None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/chat/completions", 405), ("POST", "/v1/models", 405), ("POST", "/v1/nothing", 404)],
)
def test_what_is_refused_by_its_head_alone(method: str, path: str, status: int) -> None:
    """Found once, as all that a head says."""
    serving = _serving()
    head = Head(method, path, "", CIMultiDict(), kept=True)
    refusal = serving.known(head).refusal
    assert refusal is not None
    assert refusal.status == status
    assert serving.known(head).refusal is refusal


@pytest.mark.parametrize("shown", [repr, str])
def test_nothing_of_a_caller_is_shown(shown: type[str]) -> None:
    """A key, in a header or in the query."""
    serving = _serving()
    head = _head(("Authorization", f"Bearer {_KEY}"), query=f"a={_KEY}")
    assert _KEY not in shown(serving.known(head)) + shown(serving) + shown(head)

"""What a test of a binding finds in the configuration and the breakers, with a listing that a test makes up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.admin.api.calls import Refused
from proxy.admin.catalog import catalog
from proxy.admin.trial.binding_test import BindingOrder, BindingTest
from proxy.breaker.permit import Guard
from proxy.breaker.state import CLOSED, View, Word
from proxy.config import load
from proxy.config.schema import Config
from proxy.providers.listing import Listed, models
from proxy.routing.bindings import bind
from proxy.terms import Cause, Diagnosis

_CONFIG = """\
version: 1
sources:
  openai: {kind: openai, api_key: sk-SECRET-1}
  local: {kind: openai-compatible, base_url: "http://127.0.0.1:1", headers: {X-Team: hv-SECRET-2}}
  far: {kind: openai-compatible, base_url: "https://llm.example.com/v1", headers: {api-key: hv-SECRET-3}, forward_headers: [X-T]}
  bare: {kind: openai-compatible, base_url: "https://llm.example.org/v1", api: chat}
  own: {kind: azure-openai, base_url: "https://own.example.com", api_version: "2024-10-21", default_model: usual}
assistants:
  bot:
    primary: {source: openai, model: gpt-5.4, context: 1000, supports: [tools]}
    fallbacks: [{source: local, model: small, context: 2000, supports: [tools, images]}]
    chains: {embeddings: {primary: {source: openai, model: embed-3}}}
  other: {primary: {source: local, model: tiny, context: 10, supports: []}}
  wild: {primary: {source: far, model: "*"}}
  unnamed: {primary: {source: own, context: 5000}, fallbacks: [{source: local, model: small}]}
"""  # noqa: E501
_SECRETS = ("SECRET",)
_DISABLED = View(Word.DISABLED, "invalid_api_key", 100.0, None, ("req_1",), fault="auth")


class _Asked:
    """A source's listing, and how often it was asked."""

    def __init__(self, answer: Listed | Diagnosis) -> None:
        self.answer, self.times = answer, 0

    async def __call__(self, source: str, kind: str) -> Listed | Diagnosis:
        self.times += 1
        return self.answer


def _config() -> Config:
    config = load.parse(_CONFIG, "f", {}, Path())
    assert isinstance(config, Config), config
    return config


async def _test(
    source: str,
    model: str | None,
    answer: Listed | Diagnosis | None = None,
    views: Mapping[str, View] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The document; `views` are breakers' words by their target's model. With an answer, reach is asked for."""
    config = _config()
    listing = _Asked(answer if answer is not None else Diagnosis(Cause.LOCAL, "never"))

    def look(guard: Guard) -> View:
        return (views or {}).get(guard.target.split("|")[2], CLOSED)

    bindings = bind(config, "r", lambda secret: "d")
    test = BindingTest(lambda: config, lambda: bindings, look, listing, lambda at: at)
    told = await test.run(BindingOrder(source=source, model=model, reach=answer is not None, **more))
    assert listing.times == (answer is not None)
    assert not [secret for secret in _SECRETS if secret in str(told)]
    assert told["ok"] is all(each["level"] != "error" for each in told["findings"])
    return told


def _found(told: dict[str, Any], what: str) -> list[tuple[str, str, str | None]]:
    return [(each["level"], each["said"], each["remedy"]) for each in told["findings"] if each["what"] == what]


async def test_a_tier_that_is_well() -> None:
    """What is bound and healthy has no finding but good ones, and says where it would go and with what."""
    told = await _test("openai", "gpt-5.4", assistant="bot")
    assert {each["level"] for each in told["findings"]} == {"ok"}
    assert told["resolves"] == {
        "kind": "openai",
        "model": "gpt-5.4",
        "model_from": "binding",
        "url": "https://api.openai.com/v1/chat/completions",
        "headers": ["Authorization"],
        "credential": "set",
        "proxy": False,
        "tier": "primary",
    }
    assert {each["state"] for each in told["breakers"]} == {"closed"}
    assert (told["reached"], told["reset_worthwhile"]) == (None, None)


async def test_a_source_that_is_not_there() -> None:
    """An unknown source is the one finding, with the one that was probably meant."""
    told = await _test("opneai", "gpt-5.4")
    assert (told["ok"], told["resolves"]) == (False, None)
    assert _found(told, "source") == [
        ("error", "`opneai` does not stand under `sources`.", "did you mean `openai`?")
    ]  # fmt: skip
    assert len(told["findings"]) == 1


@pytest.mark.parametrize(
    ("source", "level", "said"),
    [
        ("openai", "ok", "A key is set"),
        ("far", "ok", "`api-key` is sent"),
        ("local", "ok", "a server of one's own"),
        ("bare", "warning", "No key is set."),
    ],
)
async def test_a_credential_is_set_or_not(source: str, level: str, said: str) -> None:
    """Whether something is sent that proves who asks, never what."""
    ((found, words, _),) = _found(await _test(source, "m"), "credential")
    assert found == level
    assert said in words


@pytest.mark.parametrize(
    ("source", "model", "level", "said"),
    [
        ("local", "small", "ok", "`bot fallback-1`"),
        ("openai", "embed-3", "ok", "`bot embeddings/primary`"),
        ("far", "*", "ok", "passed through"),
        ("local", "smal", "warning", "did you mean `small`"),
        ("local", "gpt-5.4", "warning", "bound at `openai`"),
        ("local", "unheard-of", "warning", "nothing here knows it"),
        ("local", " padded ", "error", "not a model name"),
        ("local", "", "error", "not a model name"),
    ],
)
async def test_a_model_is_known_plausible_or_none(source: str, model: str, level: str, said: str) -> None:
    """Known is what is bound; what resembles it is asked about; what no source could mean is an error."""
    ((found, words, remedy),) = _found(await _test(source, model), "model")
    assert found == level
    assert said in f"{words} {remedy}"


async def test_without_a_model_it_is_the_sources_default() -> None:
    """Told as what it is, and everything else of it as if it had been named; by name it is the same binding."""
    told = await _test("own", None, assistant="unnamed")
    assert (told["model"], told["ok"]) == (None, True)
    resolves = told["resolves"]
    assert (resolves["model"], resolves["model_from"], resolves["tier"]) == ("usual", "source", "primary")
    assert "/openai/deployments/usual/chat/completions" in resolves["url"]
    default, known = _found(told, "model")
    assert default == ("ok", "No model is named, so it is the source's default, `usual`.", None)
    assert known[1] == "The model is bound there already: `unnamed primary`."
    assert {(each["assistant"], each["tier"]) for each in told["breakers"]} == {("unnamed", "primary")}
    named = await _test("own", "usual", assistant="unnamed")
    assert named["resolves"] == resolves | {"model_from": "binding"}
    assert _found(named, "chain") == _found(told, "chain") == [("ok", "It is primary of unnamed.", None)]
    again = await _test("own", None, assistant="unnamed", tier="fallback-1")
    assert "the same tier as primary" in str(_found(again, "chain"))
    told = await _test("own", None, Listed(200, frozenset({"usual"}), None))
    assert told["reached"]["listed"]


async def test_no_model_and_no_default_is_an_error() -> None:
    """With the remedy, and nothing is made up in its place."""
    told = await _test("openai", None, assistant="bot")
    assert (told["ok"], told["resolves"], told["breakers"]) == (False, None, [])
    assert _found(told, "model") == [
        (
            "error",
            "No model is named, and the source has no default.",
            "name one, or set `sources.openai.default_model`",
        )
    ]


async def test_the_url_and_its_doubts() -> None:
    """A chat request's URL, an embeddings request's for that chain, and a base URL that lacks its path."""
    assert len(_found(await _test("far", "m"), "url")) == 1
    (good, doubt) = _found(await _test("local", "m"), "url")
    assert "http://127.0.0.1:1/chat/completions" in good[1]
    assert (doubt[0], doubt[2]) == ("warning", "end `sources.local.base_url` where the API begins")
    _, both = _found(await _test("bare", "m"), "url")
    assert both[1].startswith("Chat completions and Responses both go there")
    told = await _test("openai", "embed-3", assistant="bot", tier="embeddings/primary")
    assert told["resolves"]["url"] == "https://api.openai.com/v1/embeddings"
    assert told["resolves"]["headers"] == ["Authorization"]
    assert (await _test("local", "m"))["resolves"]["headers"] == ["X-Team"]


@pytest.mark.parametrize(
    ("source", "model", "tier", "expected"),
    [
        ("local", "small", None, ["It is fallback-1 of bot."]),
        ("far", "big", None, ["As fallback-2 of bot it would pass", "nothing of that is declared"]),
        ("local", "tiny", None, ["a smaller context than the primary", "lacks what the primary declares"]),
        ("local", "tiny", "fallback-1", ["a smaller context than the primary", "lacks what the primary declares"]),
        ("openai", "gpt-5.4", "fallback-2", ["the same tier as primary"]),
        ("local", "small", "primary", ["assistants.bot.fallbacks.0: the same tier as primary"]),
        ("far", "big", "primary", ["As primary of bot it would pass"]),
        ("far", "e", "embeddings/fallback-1", ["another model than primary's"]),
        ("openai", "embed-4", "embeddings/primary", ["As embeddings/primary of bot it would pass"]),
    ],
)
async def test_the_checks_of_a_chain(source: str, model: str, tier: str | None, expected: list[str]) -> None:
    """What `homeport check` would say if the binding stood there, and nothing of what stands there anyway."""
    told = await _test(source, model, assistant="bot", tier=tier)
    found = _found(told, "chain")
    assert len(found) == len(expected), found
    for (_, said, _), part in zip(found, expected, strict=True):
        assert part in said


async def test_one_fallback_too_many_is_told() -> None:
    """The limit on fallbacks holds on trial as it does in a file."""
    config = _config()
    narrow = config.model_copy(update={"limits": config.limits.model_copy(update={"max_fallbacks": 1})})
    bindings, listing = bind(narrow, "r", str), _Asked(Diagnosis(Cause.LOCAL, "x"))
    test = BindingTest(lambda: narrow, lambda: bindings, lambda _: CLOSED, listing, float)
    told = await test.run(BindingOrder(source="far", model="big", assistant="bot"))
    assert "2 fallbacks, and 1 are allowed" in str(_found(told, "chain"))
    assert not told["ok"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"assistant": "nobody"}, 404),
        ({"tier": "primary"}, 400),
        ({"assistant": "bot", "tier": "fallback-7"}, 400),
        ({"assistant": "bot", "tier": "secondary"}, 400),
        ({"assistant": "bot", "tier": "images/primary"}, 400),
        ({"assistant": "other", "tier": "embeddings/primary"}, 400),
    ],
)
async def test_a_place_that_there_is_not_is_refused(asked: dict[str, Any], status: int) -> None:
    """An assistant or a tier that does not exist is no finding but a call to correct."""
    with pytest.raises(Refused) as refused:
        await _test("local", "small", **asked)
    assert refused.value.status == status


_NAMES = frozenset({"gpt-5.4", "a", "b"})
_GOOD = Listed(200, _NAMES, None)
_MISSING = replace(_DISABLED, reason="model_not_found", fault="config")


@pytest.mark.parametrize(
    ("answer", "view", "worthwhile"),
    [
        (None, _DISABLED, None),
        (_GOOD, _DISABLED, True),
        (Listed(200, None, None), _DISABLED, True),
        (Listed(401, None, Diagnosis(Cause.KEY_INVALID, "invalid_api_key")), _DISABLED, False),
        (Listed(403, None, Diagnosis(Cause.ACCESS_DENIED, "http_403")), _DISABLED, False),
        (Listed(403, None, Diagnosis(Cause.ACCESS_DENIED, "http_403")), _MISSING, None),
        (Listed(404, None, Diagnosis(Cause.PATH_MISSING, "http_404")), _DISABLED, None),
        (Listed(503, None, Diagnosis(Cause.SERVER, "http_503")), _DISABLED, None),
        (Listed(307, None, Diagnosis(Cause.REDIRECT, "http_307")), _DISABLED, False),
        (Diagnosis(Cause.NETWORK, "connect_error"), _DISABLED, False),
        (_GOOD, _MISSING, True),
        (Listed(200, frozenset({"a"}), None), _MISSING, False),
        (Listed(200, None, None), _MISSING, None),
        (_GOOD, CLOSED, None),
        (_GOOD, View(Word.OPEN, "http_503", 1.0, 9.0), None),
    ],
)
async def test_would_a_reset_help(answer: Listed | Diagnosis | None, view: View, worthwhile: bool | None) -> None:
    """Only of a disabled tier is anything said, and only what the source has shown: mended, not mended, not seen."""
    told = await _test("openai", "gpt-5.4", answer, {"gpt-5.4": view})
    assert told["reset_worthwhile"] is worthwhile
    found = _found(told, "reset")
    assert bool(found) is (view.word is Word.DISABLED)
    for _, _, remedy in found:
        assert remedy is not None
        assert "homeport reset openai gpt-5.4" in remedy


@pytest.mark.parametrize(
    ("answer", "level", "said"),
    [
        (_GOOD, "ok", "with 200"),
        (Diagnosis(Cause.NETWORK, "dns_error"), "error", "cannot be resolved"),
        (Diagnosis(Cause.ADDRESS_REFUSED, "address_refused"), "error", "which it may not have"),
        (Diagnosis(Cause.NETWORK, "tls_error"), "error", "TLS failed"),
        (Diagnosis(Cause.NETWORK, "bad_http"), "error", "the connection broke"),
        (Diagnosis(Cause.TIMEOUT_TOTAL, "total"), "error", "within 5 s"),
        (Listed(401, None, Diagnosis(Cause.KEY_INVALID, "invalid_api_key")), "error", "refuses the credential"),
        (Listed(401, None, Diagnosis(Cause.ACCESS_DENIED, "http_401")), "error", "does not take the credential"),
        (Listed(403, None, Diagnosis(Cause.ACCESS_DENIED, "http_403")), "warning", "may not list models"),
        (Listed(429, None, Diagnosis(Cause.RATE_LIMITED, "http_429")), "warning", "is reachable"),
        (Listed(308, None, Diagnosis(Cause.REDIRECT, "http_308")), "error", "never followed"),
    ],
)
async def test_what_reaching_it_has_shown(answer: Listed | Diagnosis, level: str, said: str) -> None:
    """Each way in which a source can answer, or not, is one finding with a remedy."""
    told = await _test("openai", "gpt-5.4", answer)
    ((found, words, remedy),) = _found(told, "reach")
    assert found == level
    assert said in words
    assert (remedy is None) is (level == "ok")


async def test_what_the_listing_says_of_the_model() -> None:
    """Listed is known, not listed is a doubt, no listing is no knowledge; of the names none is repeated."""
    told = await _test("local", "a", _GOOD)
    assert told["reached"] == {"status": 200, "detail": None, "listed": True, "models": 3}
    assert [level for level, _, _ in _found(told, "listing") + _found(told, "model")] == ["ok", "ok"]
    told = await _test("local", "gpt", _GOOD)
    assert (told["reached"]["listed"], _found(told, "listing")[0][0]) == (False, "warning")
    assert "gpt-5.4" not in str(_found(told, "listing"))
    told = await _test("local", "a", Listed(404, None, Diagnosis(Cause.PATH_MISSING, "http_404")))
    assert (told["reached"]["listed"], _found(told, "listing")[0][0]) == (None, "warning")
    assert (await _test("far", "*", _GOOD))["reached"]["listed"] is None


async def test_breakers_are_told_as_they_are() -> None:
    """Each word once, with since when and why; an isolation as what keeps requests off."""
    isolated = View(Word.ISOLATED, "operator", 100.0, 4000.0)
    told = await _test("openai", "gpt-5.4", views={"gpt-5.4": isolated})
    ((level, said, remedy),) = _found(told, "enabled")
    assert (level, remedy) == ("warning", "homeport release openai gpt-5.4")
    assert "01:06:40 UTC" in said
    told = await _test("openai", "gpt-5.4", views={"gpt-5.4": _DISABLED}, assistant="bot")
    ((level, said, _),) = _found(told, "breaker")
    assert level == "error"
    assert "disabled (invalid_api_key) since 00:01:40 UTC" in said
    told = await _test("local", "tiny", views={"tiny": View(Word.OPEN, "http_503", 1.0, 16.0)}, assistant="bot")
    assert {each["assistant"] for each in told["breakers"]} == {"other"}, "health is shared by all that use it"
    assert _found(told, "breaker")[0][0] == "warning"
    assert "no tier is bound" in _found(await _test("far", "new"), "breaker")[0][1]


def test_the_catalog_is_what_is_configured() -> None:
    """Every source, bound or not, with the models bound at it, what is declared of them and by whom they are used."""
    config = _config()

    def look(guard: Guard) -> View:
        return View(Word.ISOLATED, until=math.inf) if guard.target.split("|")[2] == "tiny" else CLOSED

    told = catalog(config, bind(config, "r1", str), look)
    assert told["revision"] == "r1"
    openai, local, far, bare, own = told["sources"]
    assert (openai["credential"], far["credential"]) == ("set", "none")
    assert [each["model"] for each in openai["models"]] == ["gpt-5.4", "embed-3"]
    assert openai["models"][1]["used_by"] == [{"assistant": "bot", "tier": "embeddings/primary"}]
    assert (openai["models"][0]["context"], openai["models"][0]["supports"]) == (1000, ["tools"])
    assert (openai["default_model"], own["default_model"]) == (None, "usual")
    assert [(each["model"], each["context"]) for each in own["models"]] == [("usual", 5000)]
    assert (bare["models"], bare["used_by"], bare["enabled"]) == ([], [], True)
    assert local["enabled"]
    assert not catalog(config, bind(config, "r1", str), lambda _: View(Word.ISOLATED))["sources"][1]["enabled"]
    assert "SECRET" not in str(told)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"object":"list","data":[{"id":"a"},{"id":"b","x":1}]}', {"a", "b"}),
        (b'{"data":[]}', set()),
        (b'{"data":[{"id":7},{"name":"x"},"y",null,{"id":""}]}', set()),
        (b'{"data":{"id":"a"}}', None),
        (b'{"models":[{"name":"a"}]}', None),
        (b'{"models":[{"slug":"a","visibility":"list"},{"slug":"b"},{"slug":7},"c"]}', {"a", "b"}),
        (b'{"models":[]}', None),
        (b'{"models":{"slug":"a"}}', None),
        (b"[]", None),
        (b"", None),
        (b"<html>", None),
        (b'{"data":[{"id":"a"}', None),
    ],
)
def test_a_listing_is_read_or_is_none(body: bytes, names: set[str] | None) -> None:
    """OpenAI's gives its ids, an account's its slugs; anything else is no listing rather than an empty one."""
    assert models(body) == names

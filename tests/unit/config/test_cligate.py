"""From CliGate: whose word holds, what becomes of each credential, and that nothing goes missing in silence."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import cligate, cligate_file, load
from proxy.config.cligate import Imported
from proxy.config.cligate_tiers import Key
from proxy.config.schema import Binding, Config
from proxy.config.words import KINDS

_A = {"type": "api-key", "id": "key_a", "model": "gpt-5.4"}
_B = {"type": "api-key", "id": "key_b", "model": "gpt-5.4-mini"}
_ALL_ON = dict.fromkeys(
    ["chatgptAccount", "claudeAccount", "azureOpenaiApiKeyBridge", "openaiApiKeyBridge", "anthropicApiKey"], True
)
_KEYS = [Key.read({"id": id_, "type": "openai", "apiKey": "sk-secret"}) for id_ in ("key_a", "key_b")]
_NOBODY: dict[str, Any] = {
    "bindingConfigured": False,
    "boundModelSource": None,
    "boundCredential": None,
    "fallbacks": [],
}
"""What CliGate writes where nobody has chosen anything."""


def _chain(keys: list[Key] | None = _KEYS, **block: Any) -> Imported:
    return cligate.chain({"enabled": True, **block}, keys)


def _config(imported: Imported) -> Config:
    """What is written, loaded with every variable set that it names."""
    text = cligate_file.text(imported)
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "sk-set")
    config = load.parse(text, "f", variables, Path())
    assert isinstance(config, Config), [text, *map(str, config)]
    return config


def _tiers(imported: Imported) -> list[tuple[str, str, str] | None]:
    """Kind, model and whether it is in the configuration of each tier, the primary first."""
    kinds = {source.name: source.kind for source in imported.sources}
    return [
        (kinds[tier.source], tier.model, "no" if tier.problem else "yes") if tier else None
        for tier in (imported.primary, *imported.fallbacks)
    ]


# -- whose word holds


def test_the_newest_field_wins() -> None:
    """boundModelSource over boundCredential over the switches; what gave way is told."""
    newest = _chain(boundModelSource=_A, boundCredential=_B, sources=_ALL_ON)
    assert _tiers(newest) == [("openai", "gpt-5.4", "yes")]
    assert any(note.startswith("boundCredential is dropped, because boundModelSource is set") for note in newest.notes)
    older = _chain(boundCredential=_B, sources=_ALL_ON)
    assert _tiers(older) == [("openai", "gpt-5.4-mini", "yes")]
    oldest = _chain(None, sources={**_ALL_ON, "anthropicApiKey": False})
    assert _tiers(oldest)[0] == ("openai", "gpt-5.4", "yes")


def test_two_fields_that_agree_are_no_news() -> None:
    """CliGate writes both names with one value; that is not worth a word."""
    assert _chain(boundModelSource=_A, boundCredential=_A, bindingConfigured=True).notes == ()


def test_switches_become_a_chain_in_their_historical_order() -> None:
    """Anthropic key, OpenAI bridge, Azure bridge, Claude account, ChatGPT account: a primary and three fallbacks."""
    imported = _chain(None, sources=_ALL_ON)
    kinds = [tier and tier[0] for tier in _tiers(imported)]
    assert kinds == ["anthropic", "openai", "azure-openai", "claude-account"]
    assert "1 of 4 fallbacks left out: a chain has at most 3" in imported.notes
    later = _chain(None, sources={**_ALL_ON, "anthropicApiKey": False})
    assert [tier and tier[0] for tier in _tiers(later)] == [
        "openai",
        "azure-openai",
        "claude-account",
        "chatgpt-account",
    ]


@pytest.mark.parametrize(
    "on",
    [set(each) for n in range(6) for each in itertools.combinations(_ALL_ON, n)],
    ids=lambda on: "+".join(sorted(on)) or "none",
)
def test_any_switches_keep_their_order(on: set[str]) -> None:
    """Whichever are on, the first in the historical order is the primary and the others follow."""
    order = ["anthropicApiKey", "openaiApiKeyBridge", "azureOpenaiApiKeyBridge", "claudeAccount", "chatgptAccount"]
    kinds = ["anthropic", "openai", "azure-openai", "claude-account", "chatgpt-account"]
    expected = [kind for name, kind in zip(order, kinds, strict=True) if name in on]
    imported = _chain(None, **_NOBODY, sources={name: name in on for name in order})
    assert [tier[0] for tier in _tiers(imported) if tier] == expected[:4]
    assert imported.cleared is False


def test_switches_that_are_not_written_are_what_cligate_takes_them_for() -> None:
    """API keys on, accounts off, and a word on each that was not written; without any switches nothing is chosen."""
    imported = _chain(None, sources={"anthropicApiKey": False})
    assert [tier and tier[0] for tier in _tiers(imported)] == ["openai", "azure-openai"]
    assert "sources.openaiApiKeyBridge is not written, which CliGate takes for on" in imported.notes
    nothing = _chain(None)
    assert (nothing.primary, nothing.fallbacks, nothing.cleared) == (None, (), False)
    assert nothing.notes == ("no binding was ever chosen in CliGate, and none is made up here",)
    keyless = _chain([], sources={"anthropicApiKey": False, "openaiApiKeyBridge": False})
    assert keyless.notes == ("sources.azureOpenaiApiKeyBridge left out: CliGate has no such key that is switched on",)


def test_a_switch_takes_the_key_that_cligate_would_take() -> None:
    """The least used one that is switched on; a switch without a key is passed over, as there, and told."""
    keys = [
        Key.read({"id": "busy", "type": "openai", "totalRequests": 9}),
        Key.read({"id": "off", "type": "openai", "enabled": False}),
        Key.read({"id": "calm", "type": "openai", "totalRequests": 2, "baseUrl": "https://eu.example.com/v1"}),
    ]
    imported = _chain(keys, sources=_ALL_ON)
    assert [tier and tier[0] for tier in _tiers(imported)] == ["openai", "claude-account", "chatgpt-account"]
    assert imported.sources[0].whose == "key calm"
    assert imported.primary is not None
    assert imported.primary.note.startswith("of 2 keys the least used one")
    assert "sources.anthropicApiKey left out: CliGate has no such key that is switched on" in imported.notes
    assert _config(imported).sources["openai"].base_url == "https://eu.example.com/v1"


@pytest.mark.parametrize(
    "block",
    [
        {"boundModelSource": None, "boundCredential": None, "fallbacks": []},
        {"boundModelSource": None},
        {"boundCredential": None},
        {},
        {"boundModelSource": None, "boundCredential": _B},
    ],
    ids=["as CliGate writes it", "newest alone", "older alone", "neither", "an older one left"],
)
def test_a_cleared_binding_stays_cleared(block: dict[str, Any]) -> None:
    """bindingConfigured with nothing bound is `primary: null`, whatever switches are on or was bound before."""
    imported = _chain(bindingConfigured=True, sources=_ALL_ON, **block)
    assert (imported.primary, imported.cleared, imported.fallbacks) == (None, True, ())
    assert "    primary: null  # cleared in CliGate, and so it stays\n" in cligate_file.text(imported)
    assert _config(imported).assistants["assistant-agent"].primary is None


def test_a_cleared_primary_keeps_its_fallbacks() -> None:
    """Fallbacks stay fallbacks: none moves up, whether or not CliGate noted that somebody had configured them."""
    for configured in (True, False):
        imported = _chain(**{**_NOBODY, "bindingConfigured": configured, "fallbacks": [_A, _B]}, sources=_ALL_ON)
        assert imported.cleared
        assert _tiers(imported) == [None, ("openai", "gpt-5.4", "yes"), ("openai", "gpt-5.4-mini", "yes")]
        bot = _config(imported).assistants["assistant-agent"]
        assert (bot.primary, [each.model for each in bot.fallbacks]) == (None, ["gpt-5.4", "gpt-5.4-mini"])


def test_nulls_that_cligate_wrote_by_itself_are_nobodys_choice() -> None:
    """Where nothing was configured, nulls do not stand against the older field or the switches."""
    assert _tiers(_chain(**{**_NOBODY, "boundCredential": _B}, sources=_ALL_ON))[0] == ("openai", "gpt-5.4-mini", "yes")
    assert _tiers(_chain(**_NOBODY, sources=_ALL_ON))[0] == ("openai", "gpt-5.4", "yes")
    for nothing in ("x", 7, [None, "x"], [{"type": "magic", "id": "x"}]):
        assert _tiers(_chain(**{**_NOBODY, "fallbacks": nothing}, sources=_ALL_ON))[0] == ("openai", "gpt-5.4", "yes")


def test_a_binding_that_cannot_be_read_is_not_replaced() -> None:
    """What CliGate could not read is left out with a word; no older field and no switch takes its place."""
    for bound in ({"type": "magic", "id": "x"}, {"type": "api-key"}, "key_a", 7, {"type": "api-key", "id": " "}, True):
        imported = _chain(boundModelSource=bound, boundCredential=_B, sources=_ALL_ON)
        assert (imported.primary, imported.cleared) == (None, False)
        assert any(note.startswith("the primary left out: ") for note in imported.notes)
        assert not any("no binding was ever chosen" in note for note in imported.notes)


# -- what becomes of each credential and model


def test_models_are_kept_and_texts_trimmed() -> None:
    """A model is written as it was, whatever it looks like; CliGate's own is written out where none was named."""
    imported = _chain(
        boundModelSource={"type": " api-key ", "id": " key_a ", "model": " vendor/model:free "},
        fallbacks=[{"type": "api-key", "id": "key_b"}],
    )
    bot = _config(imported).assistants["assistant-agent"]
    assert bot.primary is not None
    assert [each.model for each in (bot.primary, *bot.fallbacks)] == ["vendor/model:free", "gpt-5.4"]
    assert imported.fallbacks[0].note == "CliGate named no model and took gpt-5.4"


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("", "no model is named, and which one CliGate takes depends on its mappings: name one"),
        ("*", 'a model "*" would pass the caller\'s own through'),
        ("a\nb", "its model cannot be used: not a model name"),
        ("x" * 300, "its model cannot be used: not a model name"),
    ],
)
def test_a_model_that_cannot_be_meant_is_not_guessed(model: str, problem: str) -> None:
    """The tier is a comment with its reason."""
    keys = [Key.read({"id": "key_a", "type": "qwen"})]
    imported = _chain(keys, boundModelSource={"type": "api-key", "id": "key_a", "model": model})
    assert imported.primary is not None
    assert imported.primary.problem == problem
    assert _config(imported).assistants["assistant-agent"].primary is None


@pytest.mark.parametrize(
    ("provider", "kind"),
    [
        ("openai", "openai"),
        ("azure-openai", "azure-openai"),
        ("anthropic", "anthropic"),
        *((each, "openai-compatible") for each in ("deepseek", "minimax", "moonshot", "zhipu", "qwen", "openrouter")),
        ("gemini", ""),
        ("vertex-ai", ""),
        ("something-new", ""),
    ],
)
def test_every_provider_is_served_or_said_not_to_be(provider: str, kind: str) -> None:
    """A kind that this version serves makes a source; any other a comment that says so, in the file and beside it."""
    where = "https://r.openai.azure.com" if provider == "azure-openai" else ""
    keys = [Key.read({"id": "key_a", "type": provider, "baseUrl": where})]
    imported = _chain(keys, boundModelSource={"type": "api-key", "id": "key_a", "model": "m"})
    config, text = _config(imported), cligate_file.text(imported)
    assert _tiers(imported) == [(kind, "m", "yes" if kind in KINDS else "no")]
    bound = config.assistants["assistant-agent"].primary
    assert (bound is None) == (kind not in KINDS)
    if bound is not None:
        source = config.sources[bound.source]
        assert (source.kind, source.base_url.startswith("https://")) == (kind, True)
        assert source.api_key is not None
    else:
        reason = "Homeport has no kind of source for this provider"
        assert f"    # {reason}.\n#    primary: {{source: …, model: m}}\n" in text
        assert f"primary is not in the configuration: {reason}" in cligate_file.notes(imported)


@pytest.mark.parametrize("kind", ["claude-account", "chatgpt-account"])
def test_accounts_are_named_for_their_owner(kind: str) -> None:
    """An account's login stays in CliGate; the comment says whose it is, and no variable is asked for."""
    imported = _chain(boundModelSource={"type": kind, "id": "me@example.com", "model": "m"})
    text = cligate_file.text(imported)
    assert f"  # CliGate's {kind} me@example.com.\n#  {kind}: {{kind: {kind}}}\n" in text
    reason = f"a {kind}'s login is not carried over: give the source an `oauth` of its own"
    assert f"    # {reason}.\n#    primary: {{source: {kind}, model: m}}\n" in text
    assert kind in KINDS
    assert _config(imported).sources == {}
    assert not any(note.startswith("set ") for note in cligate_file.notes(imported))


def test_keys_that_cannot_be_followed_are_said() -> None:
    """Without api-keys.json nobody knows whose key it is; with it, a key may be gone or switched off."""
    blind = _chain(None, boundModelSource=_A)
    gone = _chain([], boundModelSource=_A)
    off = _chain([Key.read({"id": "key_a", "type": "openai", "enabled": False})], boundModelSource=_A)
    problems = [each.primary.problem for each in (blind, gone, off) if each.primary is not None]
    assert problems == [
        "the provider of CliGate's key key_a is not known: api-keys.json tells it, import with --keys",
        "the provider of CliGate's key key_a is not known: CliGate has no such key",
        "CliGate's key key_a is switched off there",
    ]
    for each in (blind, gone, off):
        assert _config(each).assistants["assistant-agent"].primary is None


def test_fallbacks_are_those_that_cligate_would_use() -> None:
    """Each credential once, the primary not again, at most three, and a word on every one that is left out."""
    entries = [_B, {**_B, "model": "other"}, None, _A, {"type": "claude-account", "id": "me"}]
    entries += [{"type": "api-key", "id": "key_a", "model": "third"}, {"type": "chatgpt-account", "id": "me"}]
    imported = _chain(boundModelSource=_A, fallbacks=entries)
    assert [each.model for each in imported.fallbacks] == ["gpt-5.4-mini", "claude-sonnet-4-6", "third"]
    assert list(imported.notes) == [
        "fallback 2 left out: CliGate takes a credential as a fallback only once",
        "fallback 3 left out: no {type, id} of a credential, so CliGate does not use it either",
        "fallback 4 left out: it is the primary once more",
        "1 of 7 fallbacks left out: a chain has at most 3",
    ]


def test_an_azure_deployment_is_the_model() -> None:
    """In CliGate the deployment answers, whatever the binding names; the API version is the key's, or CliGate's own."""
    key = {"id": "key_a", "type": "azure-openai", "deploymentName": "prod", "baseUrl": "https://r.openai.azure.com/"}
    for said, version in (({}, "2024-10-21"), ({"apiVersion": "2025-01-01-preview"}, "2025-01-01-preview")):
        imported = _chain([Key.read(key | said)], boundModelSource=_A)
        assert imported.primary is not None
        assert imported.primary.note == "in CliGate the deployment prod answers, whatever the model"
        config = _config(imported)
        bound = config.assistants["assistant-agent"].primary
        assert bound is not None
        assert bound.model == "prod"
        source = config.sources[bound.source]
        assert (source.base_url, source.api_version) == ("https://r.openai.azure.com", version)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({}, "no base URL is known of this azure-openai key: set it"),
        ({"baseUrl": "nowhere"}, "the base URL of this azure-openai key cannot be used: set another"),
        (
            {"baseUrl": "https://r.openai.azure.com", "apiVersion": "{sk}"},
            "the API version of this azure-openai key cannot be used: set another",
        ),
    ],
)
def test_an_azure_key_that_says_too_little_is_a_comment(said: dict[str, str], problem: str) -> None:
    """A resource has an address of its own, which nobody can guess."""
    imported = _chain([Key.read({"id": "key_a", "type": "azure-openai", **said})], boundModelSource=_A)
    assert imported.primary is not None
    assert imported.primary.problem == problem
    assert _config(imported).sources == {}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("", "https://api.anthropic.com/v1"),
        ("https://gateway.example.com/", "https://gateway.example.com/v1"),
        ("https://gateway.example.com/v1", "https://gateway.example.com/v1"),
    ],
)
def test_anthropics_base_url_gets_the_version_that_cligate_adds(theirs: str, ours: str) -> None:
    """CliGate keeps it without; here it ends where the API begins."""
    imported = _chain([Key.read({"id": "key_a", "type": "anthropic", "baseUrl": theirs})], boundModelSource=_A)
    assert [source.base_url for source in _config(imported).sources.values()] == [ours]


# -- when a tier counts as dead


@pytest.mark.parametrize(
    ("written", "breaker", "clamped"),
    [
        ({"failureThreshold": 4, "probeIntervalMs": 180_000}, (4, "3m"), 0),
        ({"failureThreshold": 100, "probeIntervalMs": 99}, (50, "1s"), 2),
        ({"failureThreshold": 0, "probeIntervalMs": 10_000_000}, (1, "60m"), 2),
        ({"failureThreshold": "7", "probeIntervalMs": 90_500.9}, (7, "90500ms"), 0),
        ({"failureThreshold": -(10**30), "probeIntervalMs": "45000"}, (1, "45s"), 1),
        ({"failureThreshold": None}, (None, None), 0),
        ({"failureThreshold": "many", "probeIntervalMs": True}, (None, None), 2),
        (None, (None, None), 0),
        ("x", (None, None), 0),
    ],
)
def test_threshold_and_interval_are_clamped_not_refused(
    written: object, breaker: tuple[int | None, str | None], clamped: int
) -> None:
    """What is out of bounds is the nearest that is within, with a note; CliGate's interval does not grow."""
    imported = _chain(boundModelSource=_A, circuitBreaker=written)
    threshold, cooldown = breaker
    expected = {"failure_threshold": threshold, "cooldown": cooldown, "cooldown_max": cooldown}
    assert dict(imported.breaker) == {name: value for name, value in expected.items() if value is not None}
    assert len([note for note in imported.notes if note.startswith("circuitBreaker.")]) == clamped
    config = _config(imported)
    assert config.breaker is None or config.breaker.cooldown == config.breaker.cooldown_max


def test_an_assistant_that_was_switched_off_is_said() -> None:
    """Homeport has no such switch, so the operator has to know."""
    assert "the assistant was switched off in CliGate; Homeport has no such switch" in _chain(enabled=False).notes


# -- what is written

_SETTINGS = {
    "haikuKiloModel": "x",
    "assistantAgent": {
        "enabled": True,
        "bindingConfigured": True,
        "boundModelSource": _A,
        "boundCredential": _A,
        "fallbacks": [{"type": "claude-account", "id": "me@example.com"}, {"type": "api-key", "id": "key_d"}],
        "circuitBreaker": {"failureThreshold": 3, "probeIntervalMs": 300_000},
        "sources": _ALL_ON,
    },
}
_FILE = {
    "keys": [
        {"id": "key_a", "type": "openai", "name": "Mine", "apiKey": "sk-canary-0123456789", "enabled": True},
        {"id": "key_d", "type": "deepseek", "apiKey": "sk-canary-0123456789"},
    ]
}
_TEXT = """\
# From CliGate's settings by `homeport import cligate`: its assistant's chain, and when a tier of it counts as dead.
# Lines that begin with # and a space explain; the others that begin with # are what this version cannot serve.

version: 1
identity: {default: assistant-agent}

sources:
  # CliGate's key key_a.
  openai: {kind: openai, api_key: ${OPENAI_API_KEY}}
  # CliGate's claude-account me@example.com.
#  claude-account: {kind: claude-account}
  # CliGate's key key_d.
#  deepseek: {kind: openai-compatible, base_url: "https://api.deepseek.com", api_key: ${DEEPSEEK_API_KEY}}

assistants:
  assistant-agent:
    primary: {source: openai, model: gpt-5.4}
    fallbacks:
      # CliGate named no model and took claude-sonnet-4-6.
      # a claude-account's login is not carried over: give the source an `oauth` of its own.
#      - {source: claude-account, model: claude-sonnet-4-6}
      # no model is named, and which one CliGate takes depends on its mappings: name one.
#      - {source: deepseek, model: …}

# CliGate waits the same time again after each probe that fails, so both are one.
breaker: {failure_threshold: 3, cooldown: 5m, cooldown_max: 5m}
"""


def _written(directory: Path, settings: object = _SETTINGS, keys: object = _FILE) -> Path:
    if keys is not None:
        (directory / "api-keys.json").write_bytes(orjson.dumps(keys))
    file = directory / "settings.json"
    file.write_bytes(orjson.dumps(settings))
    return file


def test_the_whole_of_it(tmp_path: Path) -> None:
    """settings.json and the api-keys.json beside it become this text and these notes, and no secret is in either."""
    imported = cligate_file.read(_written(tmp_path), None)
    assert isinstance(imported, Imported)
    assert cligate_file.text(imported) == _TEXT
    assert cligate_file.notes(imported) == [
        "fallback-1: CliGate named no model and took claude-sonnet-4-6",
        "fallback-1 is not in the configuration: "
        "a claude-account's login is not carried over: give the source an `oauth` of its own",
        "fallback-2 is not in the configuration: "
        "no model is named, and which one CliGate takes depends on its mappings: name one",
        "set OPENAI_API_KEY to CliGate's key key_a",
    ]
    assert "canary" not in repr(imported)


def test_what_is_left_as_a_comment_can_be_taken_up() -> None:
    """With the # taken away, what was a comment stands where it belongs: the text still has one meaning."""
    imported = _chain(None, sources=_ALL_ON)
    text = cligate_file.text(imported)
    text = text.replace("{kind: claude-account", "{kind: openai")
    text = text.replace("{kind: azure-openai", "{kind: azure-openai, base_url: https://r.openai.azure.com")
    config = load.parse(
        re.sub(r"^#(?=  )", "", text, flags=re.MULTILINE),
        "f",
        dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY"), "k"),
        Path(),
    )
    assert isinstance(config, Config), config
    bot = config.assistants["assistant-agent"]
    assert isinstance(bot.primary, Binding)
    assert [each.source for each in (bot.primary, *bot.fallbacks)] == list(config.sources)


def test_keys_may_stand_elsewhere_or_nowhere(tmp_path: Path) -> None:
    """`--keys` names another file, which then must be there; without any, the keys' providers are not known."""
    file = _written(tmp_path, keys=None)
    blind = cligate_file.read(file, None)
    assert isinstance(blind, Imported)
    assert _tiers(blind)[0] == ("", "gpt-5.4", "no")
    (tmp_path / "k.json").write_bytes(orjson.dumps(_FILE))
    told = cligate_file.read(file, tmp_path / "k.json")
    assert isinstance(told, Imported)
    assert _tiers(told)[0] == ("openai", "gpt-5.4", "yes")
    missing = cligate_file.read(file, tmp_path / "absent.json")
    assert str(missing).removeprefix(f"{tmp_path}/") == (
        "absent.json: cannot be read: No such file or directory; name the file that CliGate wrote"
    )


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"{", "settings.json:1:2: not JSON; name the file that CliGate wrote"),
        (b"[]", "settings.json:1:1: expected an object; name the file that CliGate wrote"),
        (b"\xff", "settings.json:1:1: not UTF-8; save the file as UTF-8"),
        (b"{}", "settings.json: no `assistantAgent` block; name the settings.json of CliGate's directory, ~/.cligate"),
        (
            b'{"assistantAgent": 1}',
            "settings.json: `assistantAgent` is not an object; "
            "name the settings.json of CliGate's directory, ~/.cligate",
        ),
    ],
)
def test_another_file_is_a_fault_with_its_remedy(tmp_path: Path, raw: bytes, fault: str) -> None:
    """What is not CliGate's is not taken for an empty one."""
    (tmp_path / "settings.json").write_bytes(raw)
    read = cligate_file.read(tmp_path / "settings.json", None)
    assert str(read).removeprefix(f"{tmp_path}/") == fault


def test_a_url_that_holds_a_secret_is_not_repeated() -> None:
    """Credentials in a base URL get into neither the configuration nor a note; the tier says what to do."""
    key = Key.read({"id": "key_a", "type": "openai", "baseUrl": "https://user:sk-canary@x.example.com/v1"})
    imported = _chain([key], boundModelSource=_A)
    assert imported.primary is not None
    assert imported.primary.problem == "the base URL of this openai key cannot be used: set another"
    assert "canary" not in cligate_file.text(imported) + "".join(cligate_file.notes(imported))


_NASTY = st.sampled_from(
    ["key_a", "a\n- b: c", "${HOME}", "${", "a${b", "}, x: {", "# no", "\u202e", '"', "'", "a: b", "é", "\x00"]
)
_TEXTS = _NASTY | st.text(max_size=12)
_BOUND = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["api-key", "claude-account", "chatgpt-account"]), "id": _TEXTS},
        optional={"model": _TEXTS},
    ),
    st.dictionaries(_TEXTS, _TEXTS, max_size=2),
    _TEXTS,
)
_BLOCKS = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.booleans(),
        "bindingConfigured": st.booleans() | st.none(),
        "boundModelSource": _BOUND,
        "boundCredential": _BOUND,
        "fallbacks": st.lists(_BOUND, max_size=6) | st.none() | _TEXTS,
        "circuitBreaker": st.none()
        | st.fixed_dictionaries(
            {}, optional=dict.fromkeys(["failureThreshold", "probeIntervalMs"], st.integers() | st.floats() | _TEXTS)
        ),
        "sources": st.none() | st.dictionaries(st.sampled_from([*_ALL_ON, "other"]), st.booleans() | st.none()),
    },
)
_ENTRIES = st.fixed_dictionaries(
    {
        "id": _TEXTS,
        "type": st.sampled_from(["openai", "deepseek", "azure-openai", "gemini"]) | _TEXTS,
        "apiKey": st.just("sk-canary"),
    },
    optional={
        "baseUrl": _TEXTS | st.sampled_from(["https://x.example.com/v1", "https://u:sk-canary@h/", "https://h/${X}"]),
        "enabled": st.booleans(),
        "totalRequests": st.integers() | _TEXTS,
        "deploymentName": _TEXTS,
        "apiVersion": _TEXTS,
    },
)


@given(_BLOCKS, st.none() | st.lists(_ENTRIES, max_size=4))
def test_whatever_cligate_holds_the_result_is_good(block: dict[str, Any], entries: list[dict[str, Any]] | None) -> None:
    """Any block and any keys: what is written passes every check, holds no secret, and has each tier that it can."""
    imported = cligate.chain(block, None if entries is None else [Key.read(each) for each in entries])
    config = _config(imported)
    bot = config.assistants["assistant-agent"]
    served = [tier for tier in (imported.primary, *imported.fallbacks) if tier is not None and not tier.problem]
    bound = [each for each in (bot.primary, *bot.fallbacks) if each is not None]
    assert [(each.source, each.model) for each in bound] == [(tier.source, tier.model) for tier in served]
    assert (bot.primary is None) == (imported.primary is None or bool(imported.primary.problem))
    said = cligate_file.text(imported) + "".join(cligate_file.notes(imported))
    assert "sk-canary" not in said
    if block.get("bindingConfigured") is True and block.get("boundModelSource") is None:
        older = block.get("boundCredential") if "boundModelSource" not in block else None
        assert imported.cleared == (older is None)

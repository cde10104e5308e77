"""CliGate's credentials as sources of Homeport's, and its bindings as tiers.

1. Of an entry of api-keys.json no secret is read on: its `apiKey` is dropped before anything looks at it.
2. A provider or a model that is not said is not guessed: such a tier has a problem, and stands in no configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.config import words
from proxy.config.addresses import base_url
from proxy.config.fault import Wrong
from proxy.providers import kinds

MOST_FALLBACKS = 3
_ACCOUNTS = ("claude-account", "chatgpt-account")
_PROVIDERS = {
    "openai": ("openai", ""),
    "azure-openai": ("azure-openai", ""),
    "anthropic": ("anthropic", ""),
    "claude-account": ("claude-account", ""),
    "chatgpt-account": ("chatgpt-account", ""),
    "deepseek": ("openai-compatible", "https://api.deepseek.com"),
    "minimax": ("openai-compatible", "https://api.minimax.io/v1"),
    "moonshot": ("openai-compatible", "https://api.moonshot.ai/v1"),
    "zhipu": ("openai-compatible", "https://open.bigmodel.cn/api/paas/v4"),
    "qwen": ("openai-compatible", "https://dashscope.aliyuncs.com/compatible-mode/v1"),
    "openrouter": ("openai-compatible", "https://openrouter.ai/api/v1"),
}
"""CliGate's types of provider: the kind of source that serves each here, and the URL that CliGate takes by itself."""
_AZURE_VERSION = "2024-10-21"
"""Which CliGate takes where a key names none."""
_MODELS = {
    "openai": "gpt-5.4",
    "azure-openai": "gpt-5.4",
    "chatgpt-account": "gpt-5.4",
    "anthropic": "claude-sonnet-4-6",
    "claude-account": "claude-sonnet-4-6",
}
"""The model that CliGate takes where a binding names none. For the other providers that depends on its mappings."""


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of api-keys.json, without its secret."""

    id: str
    type: str
    base_url: str
    enabled: bool
    requests: float
    deployment: str
    api_version: str

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Key:
        """Take over what is needed; the secret is not."""

        def text(name: str) -> str:
            value = entry.get(name)
            return value.strip() if isinstance(value, str) else ""

        requests = entry.get("totalRequests")
        counted = float(requests) if isinstance(requests, int | float) else 0.0
        enabled = entry.get("enabled") is not False
        return cls(
            text("id"), text("type"), text("baseUrl"), enabled, counted, text("deploymentName"), text("apiVersion")
        )


@dataclass(frozen=True, slots=True)
class ImportedSource:
    """A source of Homeport's that stands for a credential of CliGate's."""

    name: str
    provider: str
    """CliGate's type of provider."""
    kind: str
    """Empty where nothing of Homeport's serves it."""
    base_url: str
    variable: str
    """The environment's variable for its key; empty for an account."""
    api_version: str
    whose: str
    """The credential as CliGate names it."""


@dataclass(frozen=True, slots=True)
class ImportedTier:
    """A place in the chain."""

    source: str
    model: str
    problem: str = ""
    """Why it cannot stand in the configuration; empty where it can."""
    note: str = ""
    """What is worth knowing of it."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A credential that is known by its sort alone."""

    name: str
    type: str
    provider: str


class Tiers:
    """Credentials into sources, bindings into tiers."""

    def __init__(self, keys: Sequence[Key] | None) -> None:
        self.sources: dict[tuple[str, str], ImportedSource] = {}
        self.notes: list[str] = []
        self._keys = keys

    def fallbacks(self, entries: Sequence[Any], primary: ImportedTier | None) -> tuple[ImportedTier, ...]:
        tiers: list[ImportedTier] = []
        seen: set[str] = set()
        for place, entry in enumerate(entries, start=1):
            if len(tiers) == MOST_FALLBACKS:
                left = len(entries) - place + 1
                self.notes.append(f"{left} of {len(entries)} fallbacks left out: a chain has at most {MOST_FALLBACKS}")
                break
            tier = self.tier(f"fallback {place}", entry)
            if tier is None:
                continue
            if tier.source in seen:
                self.notes.append(f"fallback {place} left out: CliGate takes a credential as a fallback only once")
            elif primary is not None and (tier.source, tier.model) == (primary.source, primary.model):
                self.notes.append(f"fallback {place} left out: it is the primary once more")
            else:
                seen.add(tier.source)
                tiers.append(tier)
        return tuple(tiers)

    def tier(self, place: str, entry: object) -> ImportedTier | None:
        """A binding as a tier; None, and a note, for what CliGate itself could not read."""
        if isinstance(entry, Switch):
            return self._of_switch(entry)
        if not isinstance(entry, dict) or not readable(entry):
            self.notes.append(f"{place} left out: no {{type, id}} of a credential, so CliGate does not use it either")
            return None
        kind, id_, model = _text(entry, "type"), _text(entry, "id"), _text(entry, "model")
        if kind in _ACCOUNTS:
            return self._tier(self._source(kind, f"{kind} {id_}", None), model, "")
        found = next((key for key in self._keys or () if key.id == id_), None)
        if found is None:
            where = (
                "CliGate has no such key" if self._keys is not None else "api-keys.json tells it, import with --keys"
            )
            problem = f"the provider of CliGate's key {id_} is not known: {where}"
            return ImportedTier(self._source("", f"key {id_}", None).name, model, problem)
        problem = "" if found.enabled else f"CliGate's key {id_} is switched off there"
        model, note = _deployed(found, model)
        return self._tier(self._source(found.type, f"key {id_}", found), model, problem, note)

    def _of_switch(self, switch: Switch) -> ImportedTier:
        provider = switch.provider
        if switch.type != "api-key":
            return self._tier(self._source(provider, f"{switch.type} in use", None), "", "")
        if self._keys is None:
            return self._tier(self._source(provider, f"key of type {provider}", None), "", "")
        fitting = [key for key in self._keys if key.type == provider and key.enabled]
        least = min(fitting, key=lambda key: key.requests)
        note = f"of {len(fitting)} keys the least used one, which CliGate would take" if len(fitting) > 1 else ""
        model, said = _deployed(least, "")
        note = "; ".join(filter(None, [note, said]))
        return self._tier(self._source(provider, f"key {least.id}", least), model, "", note)

    def _tier(self, source: ImportedSource, model: str, problem: str, note: str = "") -> ImportedTier:
        if not model and source.provider in _MODELS:
            model = _MODELS[source.provider]
            note = "; ".join(filter(None, [note, f"CliGate named no model and took {model}"]))
        return ImportedTier(source.name, model, problem or _unserved(source) or _unusable(model), note)

    def _source(self, provider: str, whose: str, key: Key | None) -> ImportedSource:
        made = self.sources.get((provider, whose))
        if made is None:
            kind, usual = _PROVIDERS.get(provider, ("", ""))
            name = self._name(provider if provider in _PROVIDERS else "source")
            variable = "" if provider in _ACCOUNTS else f"{name}-api-key".upper().replace("-", "_")
            url = _url(kind, key.base_url) if key and key.base_url else usual
            version = (key.api_version if key else "") or _AZURE_VERSION if kind == "azure-openai" else ""
            made = self.sources[provider, whose] = ImportedSource(name, provider, kind, url, variable, version, whose)
        return made

    def _name(self, wanted: str) -> str:
        taken = {source.name for source in self.sources.values()}
        number = 1
        while (name := wanted if number == 1 else f"{wanted}-{number}") in taken:
            number += 1
        return name


def readable(entry: object) -> bool:
    """Does CliGate take it for a binding?"""
    if not isinstance(entry, dict):
        return False
    return _text(entry, "type") in ("api-key", *_ACCOUNTS) and _text(entry, "id") != ""


def _unserved(source: ImportedSource) -> str:
    if not source.kind:
        return "Homeport has no kind of source for this provider"
    if source.kind in _ACCOUNTS:
        return f"a {source.kind}'s login is not carried over: give the source an `oauth` of its own"
    if not source.base_url and kinds.KINDS[source.kind].base_url is None:
        return f"no base URL is known of this {source.provider} key: set it"
    if not usable(source.base_url):
        return f"the base URL of this {source.provider} key cannot be used: set another"
    try:
        words.api_version(source.api_version or _AZURE_VERSION)
    except Wrong:
        return f"the API version of this {source.provider} key cannot be used: set another"
    return ""


def usable(url: str) -> bool:
    """Can a source have this base URL? Nothing is one, where the kind has its own."""
    try:
        base_url(url or "https://one.of.its.own")
    except Wrong:
        return False
    return True


def _url(kind: str, url: str) -> str:
    """CliGate's base URL as one of Homeport's: for Anthropic it leaves out the version, which it adds by itself."""
    return f"{url.rstrip('/')}/v1" if kind == "anthropic" and not url.rstrip("/").endswith("/v1") else url


def _deployed(key: Key, model: str) -> tuple[str, str]:
    """The model that a tier at this key names here, and what is worth knowing of that."""
    if key.type != "azure-openai" or not key.deployment:
        return model, ""
    return key.deployment, f"in CliGate the deployment {key.deployment} answers, whatever the model"


def _unusable(model: str) -> str:
    if not model:
        return "no model is named, and which one CliGate takes depends on its mappings: name one"
    try:
        words.model(model)
    except Wrong as wrong:
        return f"its model cannot be used: {wrong.problem}"
    return 'a model "*" would pass the caller\'s own through' if model == "*" else ""


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value.strip() if isinstance(value, str) else ""

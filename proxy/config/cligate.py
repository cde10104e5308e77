"""What CliGate's files say of its assistant: the chain it was given, and when a tier of it counts as dead.

1. CliGate's own order of reading holds: `boundModelSource`, else the older `boundCredential`, else the oldest switches
   under `sources`. Whoever has cleared the binding has cleared it: no older field and no switch fills it again.
2. Whatever does not arrive as it was leaves a note; nothing is guessed, and a fallback never moves up for a primary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.config.cligate_tiers import ImportedSource, ImportedTier, Key, Switch, Tiers, readable
from proxy.config.migrations import Edit, Fill, Move, Step, migrate

_BOUND = ("boundModelSource", "boundCredential")
_SWITCHES = {
    "anthropicApiKey": ("api-key", "anthropic"),
    "openaiApiKeyBridge": ("api-key", "openai"),
    "azureOpenaiApiKeyBridge": ("api-key", "azure-openai"),
    "claudeAccount": ("claude-account", "claude-account"),
    "chatgptAccount": ("chatgpt-account", "chatgpt-account"),
}
"""In the order in which CliGate tried them: what each one switches on, and the provider."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A chain of CliGate's in Homeport's terms."""

    primary: ImportedTier | None
    cleared: bool
    """There is no primary because somebody cleared it."""
    fallbacks: tuple[ImportedTier, ...]
    sources: tuple[ImportedSource, ...]
    breaker: Mapping[str, Any]
    notes: tuple[str, ...]
    """What else does not arrive as it was."""


# -- CliGate's older forms, led to its newest


def _switched(block: Mapping[str, Any]) -> Iterator[Edit]:
    switches = block.get("sources")
    if not isinstance(switches, dict) or {*_BOUND, "fallbacks"} & set(block):
        return
    chain = [Switch(name, *what) for name, what in _SWITCHES.items() if _is_on(name, switches.get(name))]
    if chain:
        yield Fill(("boundCredential",), chain[0])
        yield Fill(("fallbacks",), chain[1:])


def _is_on(name: str, value: object) -> bool:
    """CliGate takes a switch of an API key for on unless it is off, and one of an account for off unless it is on."""
    return value is True if name.endswith("Account") else value is not False


def _renamed(_: Mapping[str, Any]) -> Iterator[Edit]:
    yield Move(("boundCredential",), ("boundModelSource",))


STEPS = (
    Step(1, "switches", "the switches under `sources`, in the order in which CliGate tried them", _switched),
    Step(2, "model-source", "boundCredential is the older name of boundModelSource", _renamed),
)


def _chosen(block: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody has chosen: without the nulls and empty lists that CliGate writes where nobody has."""
    listed = block.get("fallbacks")
    fallbacks = listed if isinstance(listed, list) and any(map(readable, listed)) else []
    configured = block.get("bindingConfigured") is True
    kept = {name: block[name] for name in _BOUND if name in block and (configured or block[name] is not None)}
    if configured or fallbacks:
        kept = kept or {_BOUND[0]: None}
        kept["fallbacks"] = fallbacks
    return {**kept, "sources": block.get("sources")}


def chain(block: Mapping[str, Any], keys: Sequence[Key] | None) -> Imported:
    """Read an `assistantAgent` block; `keys` are those of api-keys.json, None where there is none."""
    chosen = _chosen(block)
    absent = _without_keys(chosen["sources"], keys)
    if absent:
        chosen["sources"] = {**chosen["sources"], **dict.fromkeys(absent, False)}
    migrated = migrate(chosen, 0, STEPS)
    reading = Tiers(keys)
    told = [str(change) for change in migrated.changes if change.kind == "superseded" and _differ(block)]
    filled = any(change.kind == "filled" for change in migrated.changes)
    if filled:
        told.append(f"the chain comes from {STEPS[0].rule}")
        unsaid = [name for name in _SWITCHES if name not in chosen["sources"] and _is_on(name, None)]
        told += [f"sources.{name} is not written, which CliGate takes for on" for name in unsaid]
    if set(chosen) == {"sources"}:
        told += [f"sources.{name} left out: CliGate has no such key that is switched on" for name in absent]
        told += [] if filled or absent else ["no binding was ever chosen in CliGate, and none is made up here"]
    bound = migrated.data.get("boundModelSource")
    primary = None if bound is None else reading.tier("the primary", bound)
    fallbacks = reading.fallbacks(migrated.data.get("fallbacks") or [], primary)
    breaker, clamped = _breaker(block.get("circuitBreaker"))
    cleared = "boundModelSource" in migrated.data and bound is None
    if block.get("enabled") is not True:
        told.append("the assistant was switched off in CliGate; Homeport has no such switch")
    return Imported(
        primary, cleared, fallbacks, tuple(reading.sources.values()), breaker, (*told, *reading.notes, *clamped)
    )


def _without_keys(switches: object, keys: Sequence[Key] | None) -> list[str]:
    """The switches that are on for a provider of which CliGate has no key; it passes over them."""
    if keys is None or not isinstance(switches, dict):
        return []
    types = {key.type for key in keys if key.enabled}
    return [
        name
        for name, (sort, provider) in _SWITCHES.items()
        if sort == "api-key" and _is_on(name, switches.get(name)) and provider not in types
    ]


def _differ(block: Mapping[str, Any]) -> bool:
    return block.get("boundModelSource") != block.get("boundCredential")


def _breaker(written: object) -> tuple[dict[str, Any], list[str]]:
    """Threshold and cooldown within Homeport's bounds, and notes of what was not."""
    given = written if isinstance(written, dict) else {}
    breaker: dict[str, Any] = {}
    notes: list[str] = []
    threshold = _clamped(given, "failureThreshold", (1, 50), "1 to 50", notes)
    if threshold is not None:
        breaker["failure_threshold"] = threshold
    interval = _clamped(given, "probeIntervalMs", (1000, 3_600_000), "1s to 1h", notes)
    if interval is not None:
        # CliGate waits the same time again after each probe that fails.
        breaker["cooldown"] = breaker["cooldown_max"] = _duration(interval)
    return breaker, notes


def _clamped(given: Mapping[str, Any], name: str, bounds: tuple[int, int], said: str, notes: list[str]) -> int | None:
    if given.get(name) is None:
        return None
    value = _number(given[name])
    if value is None:
        notes.append(f"circuitBreaker.{name} is no number: Homeport's default holds")
        return None
    within = min(max(value, bounds[0]), bounds[1])
    if within != value:
        notes.append(f"circuitBreaker.{name} is out of Homeport's bounds, {said}: the nearest one holds")
    return within


def _number(value: object) -> int | None:
    """As CliGate reads it: text of a number is one, and fractions are dropped."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return math.floor(number) if math.isfinite(number) else None


def _duration(milliseconds: int) -> str:
    for unit, length in (("m", 60_000), ("s", 1000)):
        if milliseconds % length == 0:
            return f"{milliseconds // length}{unit}"
    return f"{milliseconds}ms"

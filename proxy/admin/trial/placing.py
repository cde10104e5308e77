"""A binding put into an assistant's chain on trial: what the configuration's own checks would say of it there.

1. Nothing is edited: the checks look at a copy.
2. What is declared of the same model at the same source anywhere is taken to hold for it here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from proxy.admin.trial.findings import Finding, What, error, ok, warning
from proxy.config import checks, schema
from proxy.config.fault import dotted
from proxy.config.words import listed


class BadPlace(Exception):
    """There is no such tier."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the binding stands, or would stand."""

    assistant: str
    tier: str
    """With its chain's key before it, if it is not the assistant's own: embeddings/primary."""
    chain: str | None
    """That key."""
    stands: bool
    """It is what is configured there."""
    config: schema.Config
    """With the binding in its place."""
    binding: schema.Binding


def place(config: schema.Config, assistant: str | None, tier: str | None, source: str, model: str) -> Placed | None:
    """The binding in its tier; without one in the tier that it is already, or behind the last fallback.

    None without an assistant. Raises BadPlace.
    """
    if assistant is None:
        return None
    own = config.assistants[assistant]
    key, _, name = (tier or "").rpartition("/")
    if key and key not in own.chains:
        raise BadPlace(f"{assistant} has no chain for {key[:80]!r}.")
    chain: schema.Chain = own.chains[key] if key else own  # type: ignore[index]  # its keys are known words
    tiers = _tiers(chain)
    if not name:
        name = next((each for each, bound in tiers.items() if _is(config, bound, source, model)), "")
    following = f"fallback-{len(chain.fallbacks) + 1}"
    name = name or following
    label = f"{key}/{name}" if key else name
    if name in tiers and _is(config, tiers[name], source, model):
        return Placed(assistant, label, key or None, True, config, tiers[name])
    if name not in (*tiers, "primary", following):
        known = listed([*tiers, following])
        raise BadPlace(f"{assistant} has no such tier: there are {known}, of which the last would be new.")
    binding = _like(config, source, model)
    changed = _put(chain, name, binding)
    if key:
        changed = own.model_copy(update={"chains": {**own.chains, key: changed}})
    trial = config.model_copy(update={"assistants": {**config.assistants, assistant: changed}})
    return Placed(assistant, label, key or None, False, trial, binding)


def chain_findings(config: schema.Config, placed: Placed | None) -> Iterator[Finding]:
    """What the checks say of a placed binding."""
    if placed is None:
        return
    where = f"{placed.tier} of {placed.assistant}"
    if placed.stands:
        yield ok(What.CHAIN, f"It is {where}.")
    else:
        known = set(checks.find(config))
        new = [each for each in checks.find(placed.config) if each not in known]
        for each in new:
            yield error(What.CHAIN, f"As {where}: {dotted(each.loc)}: {each.problem}.", each.remedy)
        if not new:
            yield ok(What.CHAIN, f"As {where} it would pass the checks of a chain.")
    yield from _undeclared(placed)


def _undeclared(placed: Placed) -> Iterator[Finding]:
    own = placed.config.assistants[placed.assistant]
    primary = (own.chains[placed.chain] if placed.chain else own).primary  # type: ignore[index]
    if primary is None or primary is placed.binding:
        return
    missing = [
        name
        for name in ("context", "supports")
        if getattr(primary, name) is not None and getattr(placed.binding, name) is None
    ]
    if missing:
        said = f"The primary declares {listed(missing)}, and nothing of that is declared of this binding."
        yield warning(What.CHAIN, said, "declare it, so that requests it cannot serve are not sent to it")


def _tiers(chain: schema.Chain) -> dict[str, schema.Binding]:
    primary = {} if chain.primary is None else {"primary": chain.primary}
    return primary | {f"fallback-{number}": each for number, each in enumerate(chain.fallbacks, start=1)}


def _is(config: schema.Config, binding: schema.Binding, source: str, model: str) -> bool:
    return (binding.source, config.model_of(binding)) == (source, model)


def _put(chain: schema.Chain, name: str, binding: schema.Binding) -> Any:
    if name == "primary":
        return chain.model_copy(update={"primary": binding})
    place = int(name.rpartition("-")[2]) - 1
    return chain.model_copy(update={"fallbacks": (*chain.fallbacks[:place], binding, *chain.fallbacks[place + 1 :])})


def _like(config: schema.Config, source: str, model: str) -> schema.Binding:
    """The binding, with what is declared of it elsewhere. A name that no model can have is for others to tell."""
    same = [
        each
        for assistant in config.assistants.values()
        for chain in (assistant, *assistant.chains.values())
        for each in _tiers(chain).values()
        if _is(config, each, source, model)
    ]
    return schema.Binding.model_construct(
        source=source,
        model=model,
        params=schema.Params(),
        context=next((each.context for each in same if each.context is not None), None),
        supports=next((each.supports for each in same if each.supports is not None), None),
    )

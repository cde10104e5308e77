"""`GET /api/catalog`: the sources that a binding can name, and the models that are known for them: those bound.

1. Nothing is asked of a source. A credential is set or none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.breaker.permit import Guard
from proxy.breaker.state import View, Word
from proxy.config import schema
from proxy.routing.bindings import Bindings, Tier

_NAMED = 100
"""Tiers that `used_by` names; `uses` counts them all."""
_Used = tuple[str, str, Tier]
"""An assistant, what its tier is called (embeddings/primary), and the tier."""


def catalog(config: schema.Config, bindings: Bindings, look: Callable[[Guard], View]) -> dict[str, Any]:
    """The answer's document. `look` gives a breaker's word."""
    used = list(bindings.tiers())
    return {
        "revision": bindings.revision,
        "sources": [
            _source(name, source, [each for each in used if each[2].binding.source == name], look)
            for name, source in config.sources.items()
        ],
    }


def _source(name: str, source: schema.Source, used: list[_Used], look: Callable[[Guard], View]) -> dict[str, Any]:
    models = dict.fromkeys(tier.binding.model for _, _, tier in used)
    return {
        "name": name,
        "kind": source.kind,
        "base_url": source.base_url,
        "enabled": _enabled(used, look),
        "credential": "set" if source.credential else "none",
        "default_model": source.default_model,
        "used_by": _tiers(used),
        "uses": len(used),
        "models": [_model(model, [each for each in used if each[2].binding.model == model]) for model in models],
    }


def _enabled(used: list[_Used], look: Callable[[Guard], View]) -> bool:
    """False when an operator has isolated every tier that it serves."""
    words = {look(guard).word for _, _, tier in used for guard in tier.guards.values()}
    return words != {Word.ISOLATED}


def _model(model: str, used: list[_Used]) -> dict[str, Any]:
    bound = [tier.binding for _, _, tier in used]
    return {
        "model": model,
        "context": next((each.context for each in bound if each.context is not None), None),
        "supports": next((sorted(each.supports) for each in bound if each.supports is not None), None),
        "used_by": _tiers(used),
        "uses": len(used),
    }


def _tiers(used: list[_Used]) -> list[dict[str, str]]:
    return [{"assistant": assistant, "tier": tier} for assistant, tier, _ in used[:_NAMED]]

"""The chain table: what a tier is bound to, who named its model, and whose health it shares."""

from __future__ import annotations

from pathlib import Path

from proxy.config import load
from proxy.config.schema import Config
from proxy.routing.bindings import Bindings, Tier, bind

_FILE = """
version: 1
sources:
  s: {kind: openai, api_key: k, default_model: %s}
assistants:
  named: {primary: {source: s, model: one}}
  unnamed: {primary: {source: s}, chains: {embeddings: {primary: {source: s, model: null}}}}
"""


def _bindings(default: str) -> Bindings:
    config = load.parse(_FILE % default, "f", {}, Path())
    assert isinstance(config, Config), config
    return bind(config, "r", lambda secret: "digest")


def _primary(bindings: Bindings, assistant: str) -> Tier:
    return bindings.routes[assistant].own.tiers[0]


def test_a_binding_without_a_model_is_bound_to_its_sources_default() -> None:
    """As if it were named there, and told apart from that; in every chain."""
    bindings = _bindings("one")
    named, unnamed = _primary(bindings, "named"), _primary(bindings, "unnamed")
    assert unnamed.binding == named.binding
    assert (named.model_from, unnamed.model_from) == ("binding", "source")
    (vectors,) = bindings.routes["unnamed"].chains["embeddings"].tiers
    assert (vectors.binding.model, vectors.model_from) == ("one", "source")


def test_health_is_the_models_whoever_names_it() -> None:
    """One target while the default is what another binding names; another default is another one, with fresh state."""
    before, after = _bindings("one"), _bindings("two")
    assert _primary(before, "unnamed").guards == _primary(before, "named").guards
    shared = before.targets[_primary(before, "named").guards["chat_completions"].target]
    assert (shared.model, shared.assistants) == ("one", ("named", "unnamed"))
    assert _primary(after, "named").guards == _primary(before, "named").guards
    moved = _primary(after, "unnamed").guards["chat_completions"].target
    assert moved not in before.targets
    assert (after.targets[moved].model, after.targets[moved].assistants) == ("two", ("unnamed",))

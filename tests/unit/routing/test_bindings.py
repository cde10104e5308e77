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


_TIERS = (
    "{source: s}",
    "{source: s, model: one}",
    "{source: s, model: two}",
    "{source: s, context: 1000}",
    "{source: s, supports: [tools]}",
    "{source: s, supports: []}",
    "{source: s, params: {drop: [user]}}",
    "{source: s, params: {set: {user: a}}}",
    "{source: s, params: {set: {user: b}}}",
    "{source: s, params: {cap: {n: 1}}}",
    "{source: other, model: one}",
)
_SAID = (
    *(f"primary: {tier}" for tier in _TIERS),
    *(f"fallbacks: [{tier}]" for tier in _TIERS),
    *(f"primary: {tier}, breaker: {{scope: assistant}}" for tier in _TIERS),
    *(f"chains: {{embeddings: {{primary: {tier}}}}}" for tier in _TIERS if "two" not in tier),
    "primary: {source: s, model: one}, fallbacks: [{source: s, model: two}]",
    "primary: {source: s, model: two}, fallbacks: [{source: s, model: one}]",
    "primary: {source: s}, timeouts: {total: 7}",
    "primary: {source: s}, timeouts: {total: 8, attempt: 1}",
)


def _said(said: tuple[str, ...]) -> Bindings:
    sources = "s: {kind: openai, api_key: k, default_model: one}, other: {kind: openai, api_key: k2}"
    lines = "".join(f"  a{each}: {{{what}}}\n" for each, what in enumerate(said))
    config = load.parse(f"version: 1\nsources: {{{sources}}}\nassistants:\n{lines}", "f", {}, Path())
    assert isinstance(config, Config), config
    return bind(config, "r", lambda secret: f"digest of {secret}")


def test_what_assistants_say_alike_is_one_object_and_nothing_else_is() -> None:
    """Each assistant's route is what it would be were it alone; and twins share everything below it."""
    several = _said((*_SAID, *_SAID))
    for each, what in enumerate(_SAID):
        # Of its own name, which its breakers may bear.
        alone = _said((*["primary: null"] * each, what)).routes[f"a{each}"]
        assert several.routes[f"a{each}"] == alone
        twin = several.routes[f"a{each + len(_SAID)}"]
        own = "scope" in what or "params" in what
        assert (twin.own is several.routes[f"a{each}"].own) is not (own and "chains" not in what)
        assert twin.timeouts is several.routes[f"a{each}"].timeouts
        for key, chain in twin.chains.items():
            assert (chain is several.routes[f"a{each}"].chains[key]) is not own

"""What the parts of a configuration say of each other: each contradiction, where it stands and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import load
from proxy.config.schema import Config

_SOURCES = """\
version: 1
sources:
  one: {kind: openai, api_key: k}
  two: {kind: openai-compatible, base_url: http://127.0.0.1:1/v1}
"""
"""Four lines, so that what a test adds begins in the fifth."""
_KEY = "0" * 64
_EMBEDDINGS = """\
assistants:
  a: {chains: {embeddings: {primary: {source: one, model: e}, fallbacks: [{source: two, model: %s}]}}}
"""

_DEFAULT = "  three: {kind: openai, default_model: d}\n"
_NO_MODEL = "no model is named, and `one` has no `default_model`; name one here, or as sources.one.default_model"


def _faults(text: str) -> list[str]:
    read = load.parse(_SOURCES + text, "f", {}, Path())
    assert isinstance(read, tuple)
    return [str(fault) for fault in read]


def _good(text: str) -> Config:
    read = load.parse(_SOURCES + text, "f", {}, Path())
    assert isinstance(read, Config), read
    return read


def _chain(*fallbacks: str, primary: str = "{source: one, model: m}") -> str:
    tiers = "".join(f"      - {each}\n" for each in fallbacks)
    return f"assistants:\n  a:\n    primary: {primary}\n    fallbacks:\n{tiers}"


_CASES = {
    "a key said twice, in the header of its kind": (
        "  three: {kind: anthropic, api_key: k, headers: {X-Api-Key: k}}",
        "f:5:61: sources.three.headers.X-Api-Key: an `x-api-key` beside `api_key`; keep one of them",
    ),
    "embeddings of a kind that has none": (
        "  three: {kind: anthropic}\nassistants: {a: {chains: {embeddings: {primary: {source: three, model: e}}}}}",
        "f:6:58: assistants.a.chains.embeddings.primary.source: a source of kind `anthropic` has no embeddings; "
        "name a source that has",
    ),
    "an API version of a kind that has none": (
        "  three: {kind: openai, api_version: '2024-10-21'}",
        "f:5:38: sources.three.api_version: only kind `azure-openai` has an api_version; "
        "leave it out, or correct `kind`",
    ),
    "a part of OpenAI's API, of a kind that has another": (
        "  three: {kind: anthropic, api: chat}",
        "f:5:33: sources.three.api: kind `anthropic` has an API of its own; leave `api` out, or correct `kind`",
    ),
    "a part that is none": (
        "  three: {kind: openai, api: messages}",
        "f:5:30: sources.three.api: expected the part of OpenAI's API that the source has; "
        "it can be `both`, `chat`, `responses`",
    ),
    "a preset beside a base URL": (
        "  three: {kind: openai-compatible, preset: groq, base_url: https://h/v1}",
        "f:5:60: sources.three.base_url: a base_url beside a preset, which is one; keep one of them",
    ),
    "a preset of another kind": (
        "  three: {kind: openai, preset: groq}",
        "f:5:10: sources.three.base_url: only kind `openai-compatible` has presets; "
        "leave `preset` out, or correct `kind`",
    ),
    "a preset that is none": (
        "  three: {kind: openai-compatible, preset: grok}",
        "f:5:44: sources.three.preset: no preset of that name; did you mean `groq`?",
    ),
    "an Azure resource without its address": (
        "  three: {kind: azure-openai}",
        "f:5:10: sources.three.base_url: kind `azure-openai` needs a base_url; "
        "add it, like base_url: https://my-resource.openai.azure.com",
    ),
    "no model anywhere": (
        _chain("{source: two, model: m}", primary="{source: one, context: 9}"),
        f"f:7:14: assistants.a.primary.model: {_NO_MODEL}",
    ),
    "a null in place of a model, and no default": (
        _chain("{source: one, model: null}"),
        f"f:9:30: assistants.a.fallbacks.0.model: {_NO_MODEL}",
    ),
    "a default model that can be none": (
        "  three: {kind: openai, default_model: ' m'}\nassistants: {a: {primary: {source: three}}}",
        "f:5:40: sources.three.default_model: not a model name; "
        'write it as its source does; "*" passes the caller\'s own through',
    ),
    "a default model under a mistaken key": (
        "  three: {kind: openai, default_modle: m}\nassistants: {a: {primary: {source: three}}}",
        "f:5:25: sources.three.default_modle: unknown key; did you mean `default_model`?",
    ),
    "a model under a mistaken key": (
        "assistants: {a: {primary: {source: one, modle: m}}}",
        "f:5:41: assistants.a.primary.modle: unknown key; did you mean `model`?",
    ),
    "a tier that is there already, by its source's default": (
        _DEFAULT + _chain("{source: two, model: m}", "{source: three, model: d}", primary="{source: three}"),
        "f:11:9: assistants.a.fallbacks.1: the same tier as primary: the same source, model and params; "
        "remove one of them",
    ),
    "two models in an embeddings chain, one of them a default": (
        _DEFAULT + "assistants:\n"
        "  a: {chains: {embeddings: {primary: {source: one, model: e}, fallbacks: [{source: three}]}}}",
        "f:7:75: assistants.a.chains.embeddings.fallbacks.0.model: another model than primary's: "
        "vectors of two models do not fit in one index; use one embedding model in the whole chain",
    ),
    "no model in an embeddings chain": (
        _EMBEDDINGS.replace("%s", "null"),
        "f:6:96: assistants.a.chains.embeddings.fallbacks.0.model: "
        + _NO_MODEL.replace("`one`", "`two`").replace("sources.one", "sources.two"),
    ),
    "an unknown source, and no model": (
        "assistants: {a: {primary: {source: ones}}}",
        "f:5:36: assistants.a.primary.source: `ones` does not stand under `sources`; did you mean `one`?",
    ),
    "an unknown source": (
        "assistants: {a: {primary: {source: ones, model: m}}}",
        "f:5:36: assistants.a.primary.source: `ones` does not stand under `sources`; did you mean `one`?",
    ),
    "an unknown source that resembles none": (
        "assistants: {a: {fallbacks: [{source: elsewhere, model: m}]}}",
        "f:5:39: assistants.a.fallbacks.0.source: `elsewhere` does not stand under `sources`; sources has `one`, `two`",
    ),
    "a tier that is there already": (
        _chain("{source: two, model: m}", "{source: one, model: m}"),
        "f:10:9: assistants.a.fallbacks.1: the same tier as primary: the same source, model and params; "
        "remove one of them",
    ),
    "two fallbacks of one kind": (
        _chain("{source: two, model: m, params: {drop: [a]}}", "{source: two, params: {drop: [a]}, model: m}"),
        "f:10:9: assistants.a.fallbacks.1: the same tier as fallback-1: the same source, model and params; "
        "remove one of them",
    ),
    "too many fallbacks": (
        _chain(*(f"{{source: two, model: m{n}}}" for n in range(4))),
        "f:12:9: assistants.a.fallbacks.3: 4 fallbacks, and 3 are allowed; remove some, or raise limits.max_fallbacks",
    ),
    "a smaller context": (
        _chain("{source: two, model: m, context: 8000}", primary="{source: one, model: m, context: 128000}"),
        "f:9:42: assistants.a.fallbacks.0.context: a smaller context than the primary declares (128000); "
        "choose a model that can take over, or correct what is declared",
    ),
    "an ability that is lacking": (
        _chain(
            "{source: two, model: m, supports: [tools]}", primary="{source: one, model: m, supports: [tools, images]}"
        ),
        "f:9:43: assistants.a.fallbacks.0.supports: lacks what the primary declares to support: `images`; "
        "choose a model that can take over, or correct what is declared",
    ),
    "two models in an embeddings chain": (
        _EMBEDDINGS % "x",
        "f:6:96: assistants.a.chains.embeddings.fallbacks.0.model: another model than primary's: "
        "vectors of two models do not fit in one index; use one embedding model in the whole chain",
    ),
    "a default that does not exist": (
        "identity: {default: b}\nassistants: {a: {}}",
        "f:5:21: identity.default: `b` does not stand under `assistants`; assistants has `a`",
    ),
    "a default without any assistant": (
        "identity: {default: b}",
        "f:5:21: identity.default: `b` does not stand under `assistants`; add it under `assistants`",
    ),
    "a client of an unknown assistant": (
        f"clients: [{{id: c, key_sha256: '{_KEY}', assistants: [b]}}]\nassistants: {{a: {{}}}}",
        "f:5:112: clients.0.assistants.0: `b` does not stand under `assistants`; assistants has `a`",
    ),
    "two clients of one id": (
        f"clients:\n- {{id: c, key_sha256: '{_KEY}'}}\n- {{id: c, key_sha256: '{'1' * 64}'}}",
        "f:7:8: clients.1.id: two clients of one id; give each its own",
    ),
    "two clients of one key": (
        f"clients:\n- {{id: c, key_sha256: '{'a' * 64}'}}\n- {{id: d, key_sha256: '{'A' * 64}'}}",
        "f:7:23: clients.1.key_sha256: two clients of one key; give each its own key",
    ),
    "listening beyond loopback": (
        "listen: 0.0.0.0:80",
        "f:5:9: listen: beyond loopback anybody could call; list `clients`, or write clients: open to let anybody call",
    ),
    "operators beyond loopback": (
        "admin: {listen: '[::]:80'}",
        "f:5:17: admin.listen: beyond loopback anybody could operate it; give admin a token, or listen on 127.0.0.1",
    ),
    "both listeners on one address": (
        "listen: 127.0.0.1:8081",
        "f:1:1: admin.listen: `listen` and `admin.listen` are one address; choose another port",
    ),
    "a body larger than all": (
        "limits: {body: 1GiB}",
        "f:5:16: limits.body: one body could be larger than all bodies together may be; "
        "make `buffered` at least as large as `body`",
    ),
    "a limit that never applies": (
        "assistants: {a: {timeouts: {hold: 20s, total: 10s}}}",
        "f:5:35: assistants.a.timeouts.hold: `hold` is longer than `total`, so it would never apply; "
        "shorten it, or raise `total`",
    ),
    "a first byte after the first token": (
        "assistants: {a: {timeouts: {first_byte: 20s, first_token: 10s}}}",
        "f:5:41: assistants.a.timeouts.first_byte: `first_byte` is longer than `first_token`, "
        "so a dead tier would only ever look slow; shorten it, or raise `first_token`",
    ),
    "an assistant's thresholds on shared health": (
        "assistants: {a: {breaker: {failure_threshold: 5}}}",
        "f:5:27: assistants.a.breaker: health is shared through the source, so an assistant cannot set its thresholds; "
        "add scope: assistant for breakers of its own, or move this to the source",
    ),
    "a cooldown over its own maximum": (
        "breaker: {cooldown: 10m}",
        "f:5:10: breaker: `cooldown` is longer than `cooldown_max` (which is 5m unless set); "
        "lower `cooldown`, or raise `cooldown_max` here as well",
    ),
    "an own cooldown over its maximum": (
        "assistants: {a: {primary: {source: one, model: m}, breaker: {scope: assistant, cooldown: 10m}}}",
        "f:5:61: assistants.a.breaker: `cooldown` is longer than `cooldown_max` (which is 5m unless set); "
        "lower `cooldown`, or raise `cooldown_max` here as well",
    ),
    "a file of certificates that is not there": (
        "  three: {kind: openai, ca_file: nowhere.pem}",
        "f:5:34: sources.three.ca_file: certificates cannot be read from here; name a PEM file that Homeport may read",
    ),
    "two credentials for one source": (
        "  three: {kind: openai, api_key: k, headers: {authorization: x}}",
        "f:5:62: sources.three.headers.authorization: an Authorization beside `api_key`; keep one of them",
    ),
    "the identity header passed on": (
        "  three: {kind: openai, forward_headers: [x-who]}\nidentity: {header: X-Who}",
        "f:5:43: sources.three.forward_headers.0: the identity header is Homeport's alone; leave it out",
    ),
}


@pytest.mark.parametrize(("text", "fault"), _CASES.values(), ids=_CASES.keys())
def test_a_contradiction_is_told_once_where_it_stands(text: str, fault: str) -> None:
    """One contradiction is one fault, with its line, its column and its remedy."""
    assert _faults(text) == [fault]


@pytest.mark.parametrize(
    "text",
    [
        "listen: 0.0.0.0:80\nclients: open",
        f"listen: 0.0.0.0:80\nclients: [{{id: c, key_sha256: '{_KEY}'}}]",
        "admin: {listen: 0.0.0.0:80, token: t}",
        "listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}",
        "limits: {body: 1GiB, buffered: 1GiB}",
        "breaker: {cooldown: 10m, cooldown_max: 10m}",
        "assistants: {a: {timeouts: {total: 10s}}}",
        _chain("{source: one, model: m, params: {drop: [x]}}"),
        _chain("{source: two, model: m}", primary="{source: one, model: m, context: 9, supports: [tools]}"),
        _chain("{source: two, model: m, context: 9, supports: []}", primary="{source: one, model: m}"),
        _chain(*(f"{{source: two, model: m{n}}}" for n in range(4))) + "limits: {max_fallbacks: 4}",
        _EMBEDDINGS % "e",
        _DEFAULT + _chain("{source: three, model: e}", "{source: three, model: null}"),
        _DEFAULT + _chain("{source: three, params: {drop: [x]}}", primary="{source: three}"),
        _DEFAULT + "assistants:\n"
        "  a: {chains: {embeddings: {primary: {source: one, model: d}, fallbacks: [{source: three}]}}}",
    ],
)
def test_what_goes_together_is_served(text: str) -> None:
    """The remedies that the faults name do help, and what is merely undeclared is no contradiction."""
    assert _good(text).version == 1


_TWINS = """\
version: 1
sources:
  one: {kind: openai, api_key: k}
  two: {kind: openai, base_url: https://api.openai.com/v1/, api_key: %s, breaker: {failure_threshold: %d}}
assistants:
  a: {primary: {source: one, model: m}%s}
  b: {primary: {source: two, model: %s}}
"""


def test_one_target_has_one_policy() -> None:
    """Two sources that are one place cannot have two opinions of when it is dead."""
    read = load.parse(_TWINS % ("k", 5, "", "m"), "f", {}, Path())
    assert isinstance(read, tuple)
    assert [str(fault) for fault in read] == [
        "f:4:82: sources.two.breaker: two policies on one shared target: `one` and `two` have the same URL and key; "
        "give both the same breaker values, or make them one source"
    ]


def test_a_default_model_makes_one_target_too() -> None:
    """What is shared is what is asked, whoever names it; and nothing is concluded from a model that is at fault."""
    text = (_TWINS % ("k", 5, "", "d")).replace("api_key: k}", "api_key: k, default_model: d}")
    shared = text.replace("{source: one, model: m}", "{source: one}")
    read = load.parse(shared, "f", {}, Path())
    assert isinstance(read, tuple)
    assert "two policies on one shared target" in str(*read)
    assert isinstance(load.parse(text, "f", {}, Path()), Config)
    read = load.parse(shared.replace("{source: one}", "{source: one, model: ''}"), "f", {}, Path())
    assert isinstance(read, tuple)
    assert [fault.path for fault in read] == ["assistants.a.primary.model"]
    unnamed = (_TWINS % ("k", 5, "", "null")).replace("{source: one, model: m}", "{source: one}")
    read = load.parse(unnamed, "f", {}, Path())
    assert isinstance(read, tuple)
    assert [fault.path for fault in read] == ["assistants.a.primary.model", "assistants.b.primary.model"]


@pytest.mark.parametrize(
    "values",
    [
        ("k", 3, "", "m"),
        ("other", 5, "", "m"),
        ("k", 5, "", "another"),
        ("k", 5, ", breaker: {scope: assistant}", "m"),
    ],
    ids=["one policy", "two keys", "two models", "an assistant's own"],
)
def test_separate_targets_have_separate_policies(values: tuple[str, int, str, str]) -> None:
    """Another key, another model or an assistant's own scope makes another target."""
    assert isinstance(load.parse(_TWINS % values, "f", {}, Path()), Config)

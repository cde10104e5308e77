"""The configuration as it is served: its defaults, what it resolves to, whose policy holds, that it is frozen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from pydantic import ValidationError

import proxy
from proxy import terms
from proxy.config import load, source_kinds
from proxy.config.addresses import Address
from proxy.config.schema import Config
from proxy.config.thresholds import Thresholds
from proxy.providers.kinds import KINDS
from proxy.providers.presets import PRESETS


def _config(text: str) -> Config:
    read = load.parse("version: 1\n" + text, "f", {}, Path("/base"))
    assert isinstance(read, Config), read
    return read


def test_the_defaults_are_the_documented_ones() -> None:
    """A file that sets nothing is served with what the documentation says."""
    config = _config("")
    assert (config.listen, config.admin.listen) == (Address("127.0.0.1", 8080), Address("127.0.0.1", 8081))
    assert (config.shared_store, config.clients, config.identity.header, config.identity.default) == (
        None,
        (),
        "X-Assistant-Id",
        None,
    )
    assert config.limits.model_dump() == {
        "body": 33_554_432,
        "in_flight": 1000,
        "buffered": 268_435_456,
        "max_fallbacks": 3,
        "notice": None,
        "drain": 30.0,
    }
    assert _config("assistants: {a: {}}").assistants["a"].timeouts.model_dump() == {
        "connect": 5.0,
        "first_byte": 30.0,
        "first_token": 300.0,
        "idle": 300.0,
        "total": 600.0,
        "hold": 15.0,
        "attempt": None,
    }


def test_the_kinds_that_may_be_written_are_those_that_there_are() -> None:
    """One table, and the words for it in the file."""
    assert get_args(source_kinds.Name) == tuple(KINDS)


def test_a_preset_is_a_base_url() -> None:
    """Every one of them is a good one, of a vendor by https or of this machine; and all are documented."""
    text = (Path(proxy.__file__).parents[1] / "docs" / "configuration.md").read_text()
    said = re.search(r"of a server on this machine: (.*?)\.\n", text, re.DOTALL)
    assert said is not None
    assert re.findall(r"`([a-z]+)`", said[1]) == list(PRESETS)
    for name, url in PRESETS.items():
        source = _config(f"sources: {{s: {{kind: openai-compatible, preset: {name}}}}}").sources["s"]
        assert source.base_url == url
        assert source.private is url.startswith("http://127.0.0.1:")
        assert source.private or url.startswith("https://")


@pytest.mark.parametrize(
    ("source", "base_url", "chat", "credential"),
    [
        ("{kind: openai}", "https://api.openai.com/v1", "/chat/completions", "Authorization"),
        ("{kind: anthropic}", "https://api.anthropic.com/v1", "/messages", "x-api-key"),
        ("{kind: anthropic, base_url: http://h/v1/}", "http://h/v1", "/messages", "x-api-key"),
        ("{kind: azure-openai, base_url: https://r/}", "https://r", "/openai/v1/chat/completions", "api-key"),
        (
            "{kind: azure-openai, base_url: https://r/openai/v1/, api_version: 2024-10-21}",
            "https://r",
            "/openai/deployments/my%20m/chat/completions?api-version=2024-10-21",
            "api-key",
        ),
        ("{kind: azure-openai, base_url: https://r/a/openai}", "https://r/a", "/openai/v1/chat/completions", "api-key"),
    ],
)
def test_a_kind_knows_where_its_requests_go(source: str, base_url: str, chat: str, credential: str) -> None:
    """The base URL it has by itself, what it adds to one, and the header that carries the key."""
    read = _config(f"sources: {{s: {source}}}").sources["s"]
    assert read.base_url == base_url
    assert read.speaks.path(terms.CHAT, "my m") == chat
    assert read.credential_header == credential


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("{kind: openai-compatible, base_url: http://h/v1}", "/responses"),
        ("{kind: openai-compatible, base_url: http://h/v1, api: both}", "/responses"),
        ("{kind: openai-compatible, base_url: http://h/v1, api: chat}", "/chat/completions"),
        ("{kind: azure-openai, base_url: https://r, api: chat}", "/openai/v1/chat/completions"),
        ("{kind: anthropic}", "/messages"),
    ],
)
def test_a_source_knows_how_it_is_asked_for_responses(source: str, path: str) -> None:
    """As they are, or by what it has instead."""
    speaks = _config(f"sources: {{s: {source}}}").sources["s"].speaks
    assert speaks.path(terms.RESPONSES, "m") == path
    assert speaks.rewrites(terms.RESPONSES) is (path != "/responses")


def test_a_source_may_have_responses_alone() -> None:
    """It is asked for chats by them, and for nothing else; embeddings there are a fault."""
    speaks = _config("sources: {s: {kind: openai, api: responses}}").sources["s"].speaks
    assert [speaks.path(each, "m") for each in (terms.CHAT, terms.RESPONSES)] == ["/responses", "/responses"]
    assert [speaks.rewrites(each) for each in (terms.CHAT, terms.RESPONSES)] == [True, False]
    assert [speaks.serves(each) for each in terms.ENDPOINTS] == [True, False, True, False]


def test_null_stands_for_the_default() -> None:
    """A key whose value was taken out again does no harm; a cleared primary stays cleared."""
    text = "clients:\nlimits: {body: null}\nassistants: {a: {primary: null, fallbacks: , timeouts: null, chains: ~}}"
    config = _config(text)
    assert (config.clients, config.limits.body) == ((), 33_554_432)
    assert config.assistants["a"].primary is None
    assert config == _config("assistants: {a: {}}")


def test_a_source_knows_where_it_is() -> None:
    """Kind openai has its own address; another is kept as written, without the closing slash."""
    text = """
sources:
  a: {kind: openai}
  b: {kind: openai, base_url: http://b/}
  c: {kind: openai-compatible, base_url: http://c/v1}
"""
    sources = _config(text).sources
    assert {name: source.base_url for name, source in sources.items()} == {
        "a": "https://api.openai.com/v1",
        "b": "http://b",
        "c": "http://c/v1",
    }


def test_a_source_says_whether_it_may_be_private() -> None:
    """By its own host, by its forward proxy's where it has one, or in so many words."""
    sources = _config(
        """
sources:
  local: {kind: openai-compatible, base_url: "http://127.0.0.1:1/v1"}
  far: {kind: openai-compatible, base_url: "https://llm.example.com/v1"}
  own: {kind: openai-compatible, base_url: "https://llm.example.com/v1", private_network: true}
  said: {kind: openai-compatible, base_url: "https://llm.example.com/v1", private_network: "true"}
  through: {kind: openai-compatible, base_url: "https://llm.example.com/v1", proxy: "http://u:p@10.0.0.1:3128"}
  out: {kind: openai-compatible, base_url: "http://127.0.0.1:1/v1", proxy: "http://proxy.example.com:3128"}
"""
    ).sources
    assert {name: source.private for name, source in sources.items()} == {
        "local": True,
        "far": False,
        "own": True,
        "said": True,
        "through": True,
        "out": False,
    }


def test_a_binding_resolves_to_what_routing_knows() -> None:
    """Everything that a binding declares arrives; whole numbers stay whole."""
    text = """
sources: {s: {kind: openai}}
assistants:
  a:
    primary:
      source: s
      model: "*"
      params: {drop: [user], set: {store: false, tags: [1, {a: null}]}, cap: {max_tokens: 4096, temperature: 0.5}}
      context: 128000
      supports: [tools, json_schema]
"""
    primary = _config(text).assistants["a"].primary
    assert primary is not None
    binding = primary.resolve("openai", "*")
    params = terms.Params(
        ("user",), {"store": False, "tags": [1, {"a": None}]}, {"max_tokens": 4096, "temperature": 0.5}
    )
    assert binding == terms.Binding("s", "openai", "*", params, 128_000, frozenset({"tools", "json_schema"}))
    assert isinstance(binding.params.cap["max_tokens"], int)


@pytest.mark.parametrize(
    ("written", "model"),
    [
        ("", "d"),
        (", model: null", "d"),
        (", model: own", "own"),
        (', model: "*"', "*"),
    ],
)
def test_a_binding_means_its_own_model_or_its_sources_default(written: str, model: str) -> None:
    """What is written stays as it is written: the default is never put into the binding."""
    text = f"sources: {{s: {{kind: openai, default_model: d}}}}\nassistants: {{a: {{primary: {{source: s{written}}}}}}}"
    config = _config(text)
    primary = config.assistants["a"].primary
    assert primary is not None
    assert config.model_of(primary) == model
    assert primary.model == (None if model == "d" else model)
    assert ("model" in primary.model_fields_set) is bool(written)


def test_a_default_may_pass_the_callers_own_model_through() -> None:
    """Only where the source says so: no model is never taken for any model."""
    text = 'sources: {s: {kind: openai, default_model: "*"}}\nassistants: {a: {primary: {source: s}}}'
    config = _config(text)
    primary = config.assistants["a"].primary
    assert primary is not None
    assert config.model_of(primary) == "*"
    source = config.sources["s"].model_copy(update={"default_model": None})
    assert config.model_copy(update={"sources": {"s": source}}).model_of(primary) is None


def test_fault_rules_name_causes() -> None:
    """A source's own rules arrive as causes that routing knows."""
    config = _config("sources: {s: {kind: openai, faults: [{status: 418, phrase: teapot, cause: quota}]}}")
    (rule,) = config.sources["s"].faults
    assert (rule.status, rule.code, rule.type, rule.phrase, rule.cause) == (
        418,
        None,
        None,
        "teapot",
        terms.Cause.QUOTA,
    )


_LAYERS = """
breaker: {failure_threshold: 5, cooldown: 20s}
sources:
  plain: {kind: openai}
  strict: {kind: openai-compatible, base_url: http://s, breaker: {failure_threshold: 1, failure_rate: 25%}}
assistants:
  shared: {primary: {source: strict, model: m}}
  own: {primary: {source: strict, model: m}, breaker: {scope: assistant, failure_threshold: 9, cooldown_max: 30s}}
"""


def test_policies_come_in_layers() -> None:
    """The top's values hold until the source says otherwise, and an assistant's own scope has the last word."""
    config = _config(_LAYERS)
    assert config.policy("shared", "plain") == Thresholds(failure_threshold=5, cooldown=20.0)
    assert config.policy("shared", "strict") == Thresholds(failure_threshold=1, failure_rate=0.25, cooldown=20.0)
    own = config.policy("own", "strict")
    assert own == Thresholds(9, 0.25, cooldown=20.0, cooldown_max=30.0, own=True)
    assert _config("sources: {s: {kind: openai}}\nassistants: {a: {}}").policy("a", "s") == Thresholds(
        3, 0.5, 20, 15.0, 300.0, False
    )


def test_a_configuration_is_frozen() -> None:
    """Neither a value nor a mapping of a served configuration can be changed."""
    config = _config(_LAYERS)
    with pytest.raises(ValidationError):
        config.store = cast("Any", "memory")
    with pytest.raises(TypeError):
        cast("Any", config.assistants)["new"] = config.assistants["own"]
    with pytest.raises(TypeError):
        cast("Any", config.sources["plain"].headers)["X"] = "y"


def test_relative_certificates_start_at_the_configuration(tmp_path: Path) -> None:
    """A path means the same wherever the command is started from."""
    text = "version: 1\nsources: {s: {kind: openai, ca_file: ca.pem}}"
    (tmp_path / "ca.pem").write_text("no certificate")
    read = load.parse(text, "f", {}, tmp_path)
    assert isinstance(read, tuple)
    assert [fault.path for fault in read] == ["sources.s.ca_file"]
    assert Config.model_validate(
        {"version": 1, "sources": {"s": {"kind": "openai", "ca_file": "ca.pem"}}}, context=tmp_path
    ).sources["s"].ca_file == str(tmp_path / "ca.pem")


def test_a_shared_store_keeps_its_password() -> None:
    """The URL of a Redis is taken as it is written, and no repr shows it; its namespace is Homeport's own."""
    url = "rediss://homeport:hunter2@redis.internal:6380/1?ssl_ca_certs=%2Fetc%2Fca.pem"
    config = _config(f'store: "{url}&namespace=blue"')
    shared = config.shared_store
    assert shared is not None
    assert (shared.url, shared.namespace) == (url, "blue")
    assert "hunter2" not in repr(config) + repr(shared)
    plain = _config("store: unix:///run/redis.sock").shared_store
    assert plain is not None
    assert (plain.url, plain.namespace) == ("unix:///run/redis.sock", "homeport")


@pytest.mark.parametrize("store", ["redis://", "postgres://x", "redis", "5"])
def test_other_stores_are_refused(store: str) -> None:
    """With the remedy."""
    read = load.parse(f"version: 1\nstore: {store}", "f", {}, Path("/base"))
    assert isinstance(read, tuple)
    assert "write it like redis://127.0.0.1:6379/0" in str(read[0])


_FINGERPRINT = """
import sys; from pathlib import Path; from proxy.config import load
sys.stdout.write(load.parse(sys.argv[1], "test", {}, Path()).fingerprint)
"""


def _fingerprint(key: str, model: str, seed: str) -> str:
    text = (
        f"version: 1\nsources: {{s: {{kind: openai, api_key: {key}}}}}\nassistants: "
        f"{{bot: {{primary: {{source: s, model: {model}, supports: [tools, images, json_schema]}}}}}}"
    )
    env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(proxy.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-c", _FINGERPRINT, text], env=env, capture_output=True, text=True, check=True
    ).stdout


def test_a_fingerprint_names_what_is_configured() -> None:
    """Equal in every process that serves the same, another for another configuration, and made without its secrets."""
    first = _fingerprint("secret-1", "m", "1")
    assert re.fullmatch("[0-9a-f]{12}", first)
    assert _fingerprint("secret-2", "m", "2") == first
    assert _fingerprint("secret-1", "n", "1") != first

"""What `homeport init` writes and what `homeport schema` prints: they agree with each other and with the loader."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from proxy.config import load, starter, yaml_map
from proxy.config.schema import Config


def _everything() -> str:
    """The starter with each `#key` uncommented; `# prose` stays a comment."""
    return re.sub(r"^#(?=(  )*(- )?[a-z])(?! )|^#(?=  )", "", starter.starter(), flags=re.MULTILINE)


def _document(text: str) -> Any:
    root, faults = yaml_map.compose(text, "f", lambda value: value)
    assert root is not None
    assert faults == []
    return yaml_map.plain(root)


def _complaints(text: str) -> list[str]:
    schema = starter.json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    return [error.json_path for error in validator.iter_errors(_document(text))]


def test_the_starter_is_ready_to_serve() -> None:
    """Written, given a key, served: without an edit and without a notice."""
    config = load.parse(starter.starter(), "f", {"OPENAI_API_KEY": "sk-a"}, Path())
    assert isinstance(config, Config), config
    assert load.notices(config) == ()
    assert config.identity.default in config.assistants


def test_the_starter_asks_for_the_key() -> None:
    """Without the key, its one fault is that."""
    read = load.parse(starter.starter(), "f", {}, Path())
    assert isinstance(read, tuple)
    assert [fault.path for fault in read] == ["sources.openai.api_key"]


def test_every_optional_part_of_the_starter_is_valid() -> None:
    """All of it uncommented loads, and says the defaults that it claims to say."""
    config = load.parse(_everything(), "f", {"OPENAI_API_KEY": "sk-a"}, Path())
    assert isinstance(config, Config), config
    assert list(config.sources) == ["openai", "claude", "azure", "local"]
    assert len(config.clients) == 1
    bot = config.assistants["support-bot"]
    assert (len(bot.fallbacks), list(bot.chains)) == (3, ["embeddings"])
    plain = load.parse(starter.starter(), "f", {"OPENAI_API_KEY": "sk-a"}, Path())
    assert isinstance(plain, Config)
    assert config.limits == plain.limits
    assert bot.timeouts == plain.assistants["support-bot"].timeouts
    assert config.policy("support-bot", "openai") == plain.policy("support-bot", "openai")


def test_the_schema_is_a_schema() -> None:
    """Editors can read it."""
    jsonschema.Draft202012Validator.check_schema(starter.json_schema())


@pytest.mark.parametrize("text", [starter.starter(), _everything()], ids=["as written", "uncommented"])
def test_the_schema_accepts_the_starter(text: str) -> None:
    """An editor has nothing to say of what `homeport init` wrote."""
    assert _complaints(text) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("version: 2", "$.version"),
        ("version: 1\nlisten: 8080", "$.listen"),
        ("version: 1\nclints: open", "$"),
        ("version: 1\nlimits: {body: 32Mib}", "$.limits.body"),
        ("version: 1\nsources: {s: {kind: claude}}", "$.sources.s.kind"),
        ("version: 1\nassistants: {a: {timeouts: {hold: long}}}", "$.assistants.a.timeouts.hold"),
        ("version: 1\nassistants: {a: {primary: {model: m}}}", "$.assistants.a.primary"),
        ("version: 1\nbreaker: {failure_rate: 50}", "$.breaker"),
    ],
)
def test_the_schema_sees_what_is_wrong(text: str, path: str) -> None:
    """What the loader refuses by its form, an editor marks too."""
    assert _complaints(text) == [path]
    assert isinstance(load.parse(text, "f", {}, Path()), tuple)


@pytest.mark.parametrize(
    "text", ["version: 1\nlisten: ${L}\nlimits: {body: ${B}, drain: 5}", "version: 1\nclients: open"]
)
def test_the_schema_lets_references_stand(text: str) -> None:
    """A reference is accepted where something else will be."""
    assert _complaints(text) == []

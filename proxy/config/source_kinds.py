"""What a source's kind asks of its other fields: its base URL, its preset, its API and the version of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, WithJsonSchema

from proxy.config import words
from proxy.config.addresses import base_url
from proxy.config.fault import Wrong
from proxy.providers.kinds import KINDS
from proxy.providers.presets import PRESETS

Name = Literal["openai", "openai-compatible", "azure-openai", "anthropic", "claude-account", "chatgpt-account"]
Preset = Annotated[str, AfterValidator(words.preset), WithJsonSchema({"enum": list(PRESETS)})]


def url(value: str, said: Mapping[str, Any]) -> str:
    """The base URL that holds for a source of which `said` is known so far; empty is what its kind has by itself."""
    if not {"kind", "preset"} <= said.keys():
        # One of them is itself at fault, which is told of there.
        return base_url(value) if value else ""
    kind, preset = KINDS[said["kind"]], said["preset"]
    if preset is not None:
        if value:
            raise Wrong("a base_url beside a preset, which is one", "keep one of them")
        if said["kind"] != "openai-compatible":
            raise Wrong("only kind `openai-compatible` has presets", "leave `preset` out, or correct `kind`")
        return PRESETS[preset]
    if value:
        given = base_url(value)
        # Azure's portal shows the address with and without them; the dialect adds them by itself.
        added = next((end for end in kind.own_paths if given.endswith(end)), "")
        return given.removesuffix(added)
    if kind.base_url is None:
        raise Wrong(f"kind `{said['kind']}` needs a base_url", f"add it, like base_url: {kind.example}")
    return kind.base_url


def _api(value: str, info: ValidationInfo) -> str:
    """The part of OpenAI's API that a source has, of a kind that has that API."""
    if value != "both" and "kind" in info.data and not KINDS[info.data["kind"]].partly:
        raise Wrong(f"kind `{info.data['kind']}` has an API of its own", "leave `api` out, or correct `kind`")
    return value


def _version(value: str, info: ValidationInfo) -> str:
    """The API version, of a kind that has one."""
    if "kind" in info.data and not KINDS[info.data["kind"]].versioned:
        raise Wrong("only kind `azure-openai` has an api_version", "leave it out, or correct `kind`")
    return value


ApiVersion = Annotated[str, AfterValidator(words.api_version), AfterValidator(_version)]
Api = Annotated[Literal["both", "chat", "responses"], BeforeValidator(words.api), AfterValidator(_api)]

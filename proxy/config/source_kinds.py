"""What a source's kind asks of its other fields: its base URL, its API version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.config.addresses import base_url
from proxy.config.fault import Wrong
from proxy.providers.kinds import KINDS, Kind


def url(value: str, said: Mapping[str, Any]) -> str:
    """The base URL that holds for a source of which `said` is known so far; empty is what its kind has by itself."""
    kind = _kind(said)
    if value:
        given = base_url(value)
        # Azure's portal shows the address with and without them; the dialect adds them by itself.
        added = next((end for end in kind.own_paths if given.endswith(end)), "") if kind else ""
        return given.removesuffix(added)
    if kind is None:
        # The kind itself is at fault, which is told of there.
        return ""
    if kind.base_url is None:
        raise Wrong(f"kind `{said['kind']}` needs a base_url", f"add it, like base_url: {kind.example}")
    return kind.base_url


def version(value: str | None, said: Mapping[str, Any]) -> str | None:
    """The API version, of a kind that has one."""
    kind = _kind(said)
    if value is not None and kind is not None and not kind.versioned:
        raise Wrong("only kind `azure-openai` has an api_version", "leave it out, or correct `kind`")
    return value


def _kind(said: Mapping[str, Any]) -> Kind | None:
    return KINDS.get(said.get("kind", ""))

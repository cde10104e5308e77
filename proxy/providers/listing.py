"""A source's listing of models as OpenAI writes it, and what asking for it has shown.

1. It is `{"data": [{"id": …}, …]}`, and for a ChatGPT account `{"models": [{"slug": …}, …]}`.
2. It is read leniently: an entry without an id is left out, and what is no listing at all is None, not an empty one.
3. The names are the source's own words: they are compared with, counted, and never repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from proxy.providers import lenient
from proxy.terms import Diagnosis


@dataclass(frozen=True, slots=True)
class Listed:
    """A source's answer to the question for its models."""

    status: int
    models: frozenset[str] | None = field(repr=False)
    """None: it gave no listing, or one that is too long to be read."""
    diagnosis: Diagnosis | None
    """What a status other than 200 means."""


def models(body: bytes) -> frozenset[str] | None:
    """The ids of a listing; None for anything else."""
    try:
        document = lenient.loads(body)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    if isinstance(entries := document.get("data"), list):
        return _named(entries, "id")
    entries = document.get("models")
    return (_named(entries, "slug") or None) if isinstance(entries, list) else None


def _named(entries: list[Any], by: str) -> frozenset[str]:
    named = (each.get(by) for each in entries if isinstance(each, dict))
    return frozenset(each for each in named if isinstance(each, str) and each)

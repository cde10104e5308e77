"""What Claude's models take of what only tunes: sampling, and how hard to think.

1. A model is known by its name, as Anthropic writes it; gateways put their own words around it.
2. Sampling is gone for good in newer models, so those that have it are a closed list, and so are those without every
   effort. A model that stands in no list is a newer one: it takes all efforts and no sampling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})


@dataclass(frozen=True, slots=True)
class Takes:
    """What a model can be told."""

    sampling: bool
    """temperature, top_p."""
    efforts: frozenset[str]
    no_thought: bool = True
    """Thinking can be switched off."""


_NEWER = Takes(sampling=False, efforts=EFFORTS)
_LISTS: tuple[tuple[re.Pattern[str], Takes], ...] = (
    (re.compile(r"claude-(?:instant|[23])(?![0-9])"), Takes(sampling=True, efforts=frozenset())),
    (re.compile(r"claude-opus-4-5(?![0-9])"), Takes(sampling=True, efforts=frozenset({"low", "medium", "high"}))),
    (
        re.compile(r"claude-(?:opus|sonnet)-4-6(?![0-9])"),
        Takes(sampling=True, efforts=frozenset({"low", "medium", "high", "max"})),
    ),
    # Version 4 itself has a date or nothing behind it.
    (
        re.compile(r"claude-(?:opus|sonnet|haiku)-4(?:-[015])?(?![0-9])(?!-[0-9](?![0-9]))"),
        Takes(sampling=True, efforts=frozenset()),
    ),
    # They always think.
    (re.compile(r"claude-(?:fable|mythos)\b"), Takes(sampling=False, efforts=EFFORTS, no_thought=False)),
)


def takes(model: str) -> Takes:
    """What `model` can be told."""
    return next((found for pattern, found in _LISTS if pattern.search(model)), _NEWER)

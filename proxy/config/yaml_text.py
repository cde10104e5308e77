"""Values written as YAML on one line, so that the loader reads the same values back.

1. Text stays text: whatever the loader could take for something else stands in quotes.
2. What is written is one line, and `${` means a reference; `plain_text` writes a `${` that is none.
"""

from __future__ import annotations

import json
import re
from typing import Any

_BARE = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*(:[0-9]+)?|[0-9]+(ms|[smh])|\$\{[A-Za-z_][A-Za-z0-9_]*\}", re.ASCII)
_OPEN = re.compile(r"\$\{(?![A-Za-z0-9_:./ -]*\})", re.ASCII)
"""A `${` that does not end as a reference; the loader would look for its `}` beyond the quotes."""
_WORDS = frozenset(("null", "true", "false"))


def flow(value: Any) -> str:
    """A value of plain data, mappings and lists in `{…}` and `[…]`."""
    match value:
        case dict():
            return "{" + ", ".join(f"{text(key)}: {flow(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(flow, value)) + "]"
        case str():
            return text(value)
        case _:
            return json.dumps(value)


def text(value: str) -> str:
    """Text, in quotes unless it is a plain word."""
    if _BARE.fullmatch(value) and value not in _WORDS:
        return value
    quoted = _OPEN.sub(r"$\\u007b", json.dumps(value, ensure_ascii=False))
    # JSON leaves these as they are; YAML wants them escaped, or folds them.
    return re.sub(r"[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]", lambda match: f"\\u{ord(match.group()):04x}", quoted)


def plain_text(value: str) -> str:
    """Text from elsewhere, where a `${` has no meaning."""
    # As the loader reads it: `$${` keeps what follows as it is, up to the next `}`.
    return text(re.sub(r"\$\{(?:[^}]*\})?", lambda match: f"${match.group()}", value))

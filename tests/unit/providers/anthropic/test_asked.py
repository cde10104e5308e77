"""The check itself: what Anthropic's SDK could not send is seen."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsBase

from tests.unit.providers.anthropic.asked import fits

_GOOD: dict[str, Any] = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}


def test_a_good_request_fits() -> None:
    """Nothing is said of what is well."""
    assert fits(_GOOD, MessageCreateParamsBase)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": 1},
        {"max_tokens": "1"},
        {"stop_sequences": "x"},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "detail": "y"}]}]},
        {"tool_choice": {"type": "required"}},
        {"tools": [{"name": "f"}]},
        {"output_config": {"effort": "minimal"}},
    ],
)
def test_a_wrong_one_does_not(wrong: dict[str, Any]) -> None:
    """An unknown key, a wrong type, a missing field: at any depth."""
    assert not fits(_GOOD | wrong, MessageCreateParamsBase)

"""What an upstream calls things is told, unless it says back what it was sent in confidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest

from proxy.upstream.client import Connecting
from proxy.upstream.oauth.account import Account
from proxy.upstream.source import Source

_KEY = "sk-made-up-for-this-test-0123456789"
_SOURCE = Source(
    "http://127.0.0.1:1/v1",
    (("Authorization", f"Bearer {_KEY}"), ("X-Version", "2024-06")),
    frozenset(),
    Connecting(proxy="http://someone:pass%20word-of-a-proxy@127.0.0.1:2"),
)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("gpt-4o", "gpt-4o"),
        ("", ""),
        (_KEY, None),
        (f"req_{_KEY[3:15]}", None),
        (f"req_{_KEY[3:14]}", f"req_{_KEY[3:14]}"),  # a character less is a word that says nothing
        (_KEY[-12:], None),
        ("2024-06", None),
        ("model-2024-06", "model-2024-06"),
        ("someone", None),
        ("pass%20word-of", None),
        ("pass word-of-", None),
        ("x" * 120 + _KEY, "x" * 120 + _KEY[:8]),
        ("x" * 116 + _KEY, None),
        ("x" * 100_000, "x" * 128),
    ],
)
def test_a_name_is_told_but_for_secrets(said: str, told: str | None) -> None:
    assert _SOURCE.named(said) == told
    assert [_SOURCE.model(said) for _ in range(2)] == [told, told]


@pytest.mark.parametrize("before", range(20))
@pytest.mark.parametrize("after", [0, 1, 7, 30])
def test_a_piece_is_found_wherever_it_stands(before: int, after: int) -> None:
    for start in range(len(_KEY) - 11):
        piece = _KEY[start : start + 12]
        assert _SOURCE.named("_" * before + piece + "_" * after) is None
        said = "_" * before + piece[:11] + "_" * after
        assert _SOURCE.named(said) == said


class _Login:
    """An account whose tokens change."""

    def __init__(self, token: str) -> None:
        self.token = token

    def secrets(self) -> Iterator[str]:
        yield self.token


def test_an_accounts_newest_tokens_are_told_no_more_than_its_first() -> None:
    """What is no secret any more may be a word again."""
    login = _Login("first-made-up-token")
    source = replace(_SOURCE, account=cast(Account, login))
    # A model is looked at once, as long as the secrets stay.
    for said in (source.named, source.model, source.model):
        assert said("x first-made-up") is None
        assert said("x other-made-up") == "x other-made-up"
    login.token = "other-made-up-token"
    for said in (source.named, source.model, source.model):
        assert said("x other-made-up") is None
        assert said("x first-made-up") == "x first-made-up"


def test_a_source_shows_no_secret() -> None:
    assert _KEY not in repr(_SOURCE)

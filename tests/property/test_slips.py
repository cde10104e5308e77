"""A slip of the pen in a configuration: the faults that it makes tell none of the secrets beside it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from proxy.config import load
from tests.e2e.canaries import PIECE, Canaries

_FILE = """\
version: 1
admin: {{token: {0}}}
store: redis://user:{1}@127.0.0.1:6379/0
sources:
  first:
    kind: openai
    api_key: {2}
    headers:
      X-Team: "{3}"
      X-Other: {4}
    proxy: http://u:{5}@127.0.0.1:3128
  second: {{kind: openai, api_key: "${{KEY}}", headers: {{X-A: '{6}'}}}}
assistants:
  bot:
    primary: {{source: first, model: big}}
    fallbacks: [{{source: second, model: small}}]
"""
_TYPED = "\n: {},'\"#x"


def _slips(text: str) -> Iterator[str]:
    """Every character left out, every two in the wrong order, and one typed too many or in place of another."""
    for at in range(len(text)):
        before, after = text[:at], text[at + 1 :]
        yield before + after
        if after:
            yield before + after[0] + text[at] + after[1:]
        for typed in _TYPED:
            yield before + typed + text[at:]
            yield before + typed + after


def _faults(text: str, key: str) -> str:
    found = load.parse(text, "homeport.yaml", {"KEY": key}, Path())
    return "\n".join(map(str, found)) if isinstance(found, tuple) else ""


@functools.cache
def _told() -> tuple[Canaries, dict[str, str]]:
    canaries = Canaries(seed=3)
    written = [canaries.plant(str(number)) for number in range(7)]
    key = canaries.plant("key")
    text = _FILE.format(*written)
    assert _faults(text, key) == ""
    return canaries, {faults: slip for slip in _slips(text) if (faults := _faults(slip, key))}


def test_no_slip_of_the_pen_makes_a_fault_tell_a_secret() -> None:
    """A colon or its space left out makes a key of a secret, a bracket too many a list: each is told without it."""
    canaries, told = _told()
    assert len(told) > 500
    assert len({faults.rpartition(": ")[2] for faults in told}) > 20
    for faults, slip in told.items():
        assert canaries.heard(faults) == [], slip


def test_keys_that_are_words_are_told_whole() -> None:
    """What an operator mistyped is to be found by name; of what may be a secret its beginning is enough."""
    for key in ("first_bite", "X-Stainless-Retry-Count", "support-bot-eu-west-1", "a.b/c", "ключ"):
        assert key in _faults(f"version: 1\nadmin: {{{key}: 1}}\n", "")
    for key in ("sk-proj-4fXk29dk20dkw1", "token:4fXk29dk20dk", "token 4fXk29dk20dk", "0123456789abcdef" * 2):
        told = _faults(f"version: 1\nadmin: {{{key}: 1}}\n", "")
        assert "unknown key" in told
        assert key[-PIECE:] not in told

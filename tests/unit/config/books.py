"""Configurations and books of revisions for tests, made the way they are made in earnest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from proxy.config import edits, ledger, load
from proxy.config.edits import Edits
from proxy.config.ledger import Author, Ledger
from proxy.config.schema import Config

SOURCES = {
    "one": {"kind": "openai", "api_key": "the-key-of-one"},
    "two": {"kind": "openai-compatible", "base_url": "http://127.0.0.1:1/v1"},
    "three": {"kind": "openai-compatible", "base_url": "http://127.0.0.1:3/v1", "default_model": "d"},
}


def bound(source: str, model: str = "m", **more: object) -> dict[str, object]:
    """A tier."""
    return {"source": source, "model": model, **more}


def file(assistants: Mapping[str, object], **more: object) -> Config:
    """What a file says, read; it has to be without fault."""
    document = {"version": 1, "sources": SOURCES, "assistants": assistants, **more}
    read = load.parse(orjson.dumps(document).decode(), "f", {}, Path())
    assert isinstance(read, Config), read
    return read


def laid(config: Config, over: Edits) -> Config:
    """The file with edits on it; they have to go together."""
    made = edits.laid_over(config, over, "edits")
    assert isinstance(made, Config), made
    return made


def author(at: float = 1.0, by: str = "operator", origin: str = "api") -> Author:
    """Somebody."""
    return Author(at, by, origin)


def begun(config: Config, at: float = 1.0) -> Ledger:
    """The book of a replica that has started with this file."""
    return ledger.filed(Ledger(), config, config.fingerprint, Author(at, "file", "file"))


def primaries(count: int, start: int = 0) -> Ledger:
    """A book of so many edits of one assistant's primary, which is bound to `m1`, `m2`, …"""
    config = file({"bot": {"primary": bound("one", "m0")}})
    book, before = begun(config), config
    for number in range(start + 1, start + count + 1):
        over: dict[str, dict[str, Any]] = {"bot": {"primary": bound("one", f"m{number}")}}
        after = laid(config, over)
        book, before = ledger.edited(book, before, after, over, author(float(number))), after
    return book

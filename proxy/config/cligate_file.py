"""CliGate's settings.json and api-keys.json read, and its chain written as a configuration of Homeport's.

1. What is written passes the checks, once the variables that it names are set. What this version cannot serve stands in
   it as a comment, with the reason above it.
2. No secret is written or said: a key is a reference to a variable. Text from the files never gets out of its line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from proxy.config import cligate, load
from proxy.config.cligate import Imported
from proxy.config.cligate_tiers import ImportedSource, ImportedTier, Key, usable
from proxy.config.fault import Fault
from proxy.config.yaml_text import flow, plain_text

ASSISTANT = "assistant-agent"
KEYS = "api-keys.json"

_HEAD = """\
# From CliGate's settings by `homeport import cligate`: its assistant's chain, and when a tier of it counts as dead.
# Lines that begin with # and a space explain; the others that begin with # are what this version cannot serve.
"""


def read(settings: Path, keys: Path | None) -> Imported | Fault:
    """Read settings.json and, for whose key is whose, `keys` or the api-keys.json beside it, if there is one."""
    document = _json(settings)
    if isinstance(document, Fault):
        return document
    block = document.get("assistantAgent")
    if not isinstance(block, dict):
        problem = "no `assistantAgent` block" if block is None else "`assistantAgent` is not an object"
        return Fault(str(settings), 0, 0, "", problem, "name the settings.json of CliGate's directory, ~/.cligate")
    beside = settings.with_name(KEYS)
    if keys is None and not beside.exists():
        return cligate.chain(block, None)
    found = _json(keys or beside)
    if isinstance(found, Fault):
        return found
    entries = found.get("keys")
    listed = [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
    return cligate.chain(block, [Key.read(each) for each in listed])


def _json(file: Path) -> dict[str, Any] | Fault:
    text = load.read_text(file, "name the file that CliGate wrote")
    if isinstance(text, Fault):
        return text
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return Fault(str(file), error.lineno, error.colno, "", "not JSON", "name the file that CliGate wrote")
    if not isinstance(document, dict):
        return Fault(str(file), 1, 1, "", "expected an object", "name the file that CliGate wrote")
    return document


def notes(imported: Imported) -> list[str]:
    """Everything that does not arrive as it was, and what is left to do; one line each."""
    told = [_line(note) for note in imported.notes]
    tiers = [("primary", imported.primary), *((f"fallback-{n}", t) for n, t in enumerate(imported.fallbacks, start=1))]
    for place, tier in tiers:
        if tier is not None:
            told += [f"{place}: {_line(tier.note)}"] if tier.note else []
            told += [f"{place} is not in the configuration: {_line(tier.problem)}"] if tier.problem else []
    told += [f"set {each.variable} to CliGate's {_line(each.whose)}" for each in _used(imported)]
    return told


def text(imported: Imported) -> str:
    """The configuration, as YAML."""
    return "".join(f"{line}\n" if line else "\n" for line in _lines(imported))


def _lines(imported: Imported) -> Iterator[str]:
    yield from _HEAD.splitlines()
    for note in imported.notes:
        yield f"# Note: {_line(note)}."
    yield from ("", "version: 1", f"identity: {{default: {ASSISTANT}}}", "")
    used = _used(imported)
    yield "sources:" if any(source.kind for source in imported.sources) else "sources: {}"
    for source in imported.sources:
        yield from _source(source, live=source in used)
    yield from ("", "assistants:", f"  {ASSISTANT}:")
    if imported.cleared:
        yield "    primary: null  # cleared in CliGate, and so it stays"
    elif imported.primary is not None:
        yield from _tier(imported, imported.primary, "    ", "primary: ")
    yield "    fallbacks:" if imported.fallbacks else "    fallbacks: []"
    for tier in imported.fallbacks:
        yield from _tier(imported, tier, "      ", "- ")
    if imported.breaker:
        yield from ("", "# CliGate waits the same time again after each probe that fails, so both are one.")
        yield f"breaker: {flow(dict(imported.breaker))}"


def _used(imported: Imported) -> list[ImportedSource]:
    tiers = [each for each in (imported.primary, *imported.fallbacks) if each is not None and not each.problem]
    return [source for source in imported.sources if source.name in {tier.source for tier in tiers}]


def _source(source: ImportedSource, *, live: bool) -> Iterator[str]:
    if not source.kind:
        return
    yield f"  # CliGate's {_line(source.whose)}."
    written = {"kind": source.kind}
    # A URL that cannot be used may hold a secret; it is told of at the tier, and not repeated.
    if source.base_url and (live or usable(source.base_url)):
        written["base_url"] = source.base_url
    if source.variable:
        written["api_key"] = f"${{{source.variable}}}"
    if source.api_version:
        written["api_version"] = source.api_version
    fields = ", ".join(
        f"{name}: {flow(value) if name == 'api_key' else plain_text(value)}" for name, value in written.items()
    )
    line = f"  {source.name}: {{{fields}}}"
    yield line if live else f"#{_line(line)}"


def _tier(imported: Imported, tier: ImportedTier, indent: str, lead: str) -> Iterator[str]:
    for said in (tier.note, tier.problem):
        if said:
            yield f"{indent}# {_line(said)}."
    known = any(source.name == tier.source and source.kind for source in imported.sources)
    source, model = tier.source if known else "…", plain_text(tier.model) if tier.model else "…"
    line = f"{indent}{lead}{{source: {source}, model: {model}}}"
    yield f"#{_line(line)}" if tier.problem else line


def _line(said: str) -> str:
    """Text that may hold anything, as a part of one line of a comment."""
    return "".join(each if each.isprintable() else "?" for each in said)

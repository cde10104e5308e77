"""The audit of a story: its sentences tell the steps that happened, in their order, and the end that the caller met.

1. Sentences are compared with what upstreams and callers know, as far as that is in words that can be found in them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.long.audit_answers import Met
from tests.long.evidence import View
from tests.long.findings import Findings
from tests.long.records import Record, Step

_BLAMED = frozenset({"open", "parked", "disabled"})
"""Skips whose sentence names the requests that led to them."""


def compare(record: Record, view: View, met: Sequence[Met], findings: Findings) -> None:
    """One sentence for the question, one for each step, one for the end."""
    story = record.document.get("story")
    if story is None:
        return
    where = view.marker
    counted = findings.check("story", len(story) == len(record.steps) + 2, where, f"{len(story)} sentences: {story}")
    if not counted:
        return
    asked, *steps, end = story
    right = view.assistant in asked and view.endpoint in asked and ("streamed" in asked) is view.stream
    findings.check("story", right, where, asked)
    by_step = {id(each.step): each for each in met}
    for step, sentence in zip(record.steps, steps, strict=True):
        right = _skipped(step, sentence) if step.skipped is not None else _tried(by_step[id(step)], sentence)
        findings.check("story", sentence.startswith(step.tier) and right, where, sentence)
    findings.check("story", all(word in end for word in _end(record, view, met)), where, end)


def _skipped(step: Step, sentence: str) -> bool:
    words = ["was not tried"]
    if step.skipped != "unbound":
        words.append(f"({step.source}/{step.model})")
    if step.breaker is not None and step.skipped in _BLAMED:
        words += [*step.breaker.tripped_by, f"({step.breaker.reason})"]
    return all(word in sentence for word in words)


def _tried(met: Met, sentence: str) -> bool:
    words = [f"({met.step.source}/{met.step.model})", "was tried", met.words.detail]
    if met.row is not None and met.row.well:
        words.append("served")
    elif met.call is not None and met.call.status is not None:
        words.append(f"HTTP {met.call.status}")
    maybe = "may have billed" in sentence
    return all(word in sentence for word in words) and maybe is (met.step.billed == "maybe")


def _end(record: Record, view: View, met: Sequence[Met]) -> list[str]:
    """Words of the last sentence, by what the caller knows."""
    last = met[-1] if met else None
    if last is not None and last.words.detail == "caller_stalled":
        return ["took in no more"]
    if view.left or record.outcome == "cancelled":
        return ["left"]
    if last is not None and last.row is not None and last.row.cuts:
        return [last.step.tier, "error event" if view.stream else "connection"]
    if view.whole and last is not None:
        return [f"HTTP {view.status}", last.step.tier]
    if view.held:
        return ["error event"]
    return [f"HTTP {view.status}"]

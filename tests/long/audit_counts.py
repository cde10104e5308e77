"""The audit of sums: records, counters, log lines, callers and upstreams agree on how often what happened.

1. A replica's counters and log lines are compared with the records of that replica alone; a killed one has no counters
   left to ask.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Set
from itertools import pairwise
from typing import Any

from tests.long import layout
from tests.long.evidence import Evidence
from tests.long.faults_script import BY_NAME
from tests.long.findings import Findings
from tests.long.records import Document, Record

_SAMPLE = re.compile(r"homeport_(\w+?)_total\{(.*)\}")
_COUNTED = {
    "requests": ("assistant", "endpoint", "stream", "outcome", "code"),
    "attempts": ("assistant", "tier", "outcome"),
    "tier_skipped": ("assistant", "tier", "reason"),
    "fallbacks": ("assistant", "from_tier", "to_tier", "reason"),
    "chain_exhausted": ("assistant", "reason"),
    "upstream_status": ("source", "code"),
}
"""Counters that are compared, and their labels."""
_Counts = Counter[tuple[str, ...]]


def compare(evidence: Evidence, lost: Set[str], findings: Findings) -> None:
    """All sums."""
    _identities(evidence, lost, findings)
    gone = {killed.replica for killed in evidence.killed}
    for replica, samples in evidence.counters.items():
        mine = [record for record in evidence.records if record.replica == replica]
        _counters(replica, _exposed(samples), _counted(mine), findings)
    for replica, lines in evidence.lines.items():
        mine = [record for record in evidence.records if record.replica == replica]
        _log(replica, mine, lines, replica in gone, findings)


def _identities(evidence: Evidence, lost: Set[str], findings: Findings) -> None:
    records = evidence.records
    ends = Counter(record.tier or record.outcome for record in records)
    findings.figures.update({f"by_{end}": count for end, count in sorted(ends.items())})
    requests = len(evidence.views) - len(lost)
    findings.check("sum", ends.total() == requests, "all", f"{ends} are {ends.total()} ends of {requests} requests")

    answered = [record for record in records if record.outcome in ("success", "fallback_success")]
    told = Counter(record.tier for record in answered)
    known = {record.marker for record in records}
    heard = Counter(
        layout.PLACES.get((source, model))
        for view in evidence.views
        if view.whole and view.marker in known
        for source, model, _ in (word.split("/") for word in view.words)
    )
    findings.check("sum", told == heard, "all", f"{told} served by the records, {heard} by the callers")

    attempts = sum(step.source in layout.REACHED for record in records for step in record.attempts)
    again = sum(step.retried for record in records for step in record.attempts if step.source in layout.REACHED)
    refused = sum(
        step.detail == "connect_error" and step.source in layout.REACHED
        for record in records
        for step in record.attempts
    )
    unsent = sum(step.retried and step.detail == "connect_error" for record in records for step in record.attempts)
    calls = sum(call.marker not in lost for call in evidence.calls)
    happened = f"{calls} calls, and {attempts} attempts of which {again} were sent again and {refused} refused"
    findings.check("sum", calls == attempts + again - refused - unsent, "all", happened)
    whole = sum(call.whole and call.marker not in lost for call in evidence.calls)
    served = sum(step.outcome == "served" for record in records for step in record.attempts)
    findings.check("sum", whole == served, "all", f"{whole} whole answers were sent, and {served} served")

    fallbacks = sum(record.outcome == "fallback_success" for record in records)
    below = sum(count for tier, count in told.items() if tier != "primary")
    early = sum(record.outcome == "success" and len(record.steps) > 1 for record in records)
    findings.check("sum", fallbacks == below, "all", f"{fallbacks} fell back and {below} were served below")
    findings.figures.update(fallbacks=fallbacks, early_at_home=early)
    never = {call.row for call in evidence.calls} - BY_NAME.keys()
    findings.check("sum", not never, "all", f"{never} stand in no script")


# -- counters


def _exposed(samples: dict[str, float] | Any) -> dict[str, _Counts]:
    """The counters that are compared, by their labels' values; zeroes left out."""
    exposed: dict[str, _Counts] = {name: Counter() for name in _COUNTED}
    for sample, value in samples.items():
        match = _SAMPLE.fullmatch(sample)
        if match is None or match[1] not in exposed or not value:
            continue
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
        exposed[match[1]][tuple(labels[label] for label in _COUNTED[match[1]])] += int(value)
    return exposed


def _counted(records: list[Record]) -> dict[str, _Counts]:
    """The same, from records."""
    counted: dict[str, _Counts] = {name: Counter() for name in _COUNTED}
    for record in records:
        assistant = record.assistant or "_unknown"
        stream = "true" if record.stream else "false"
        counted["requests"][assistant, record.endpoint, stream, record.outcome, str(record.code)] += 1
        for step in record.steps:
            name = "attempts" if step.skipped is None else "tier_skipped"
            counted[name][assistant, step.tier, step.word] += 1
            if step.skipped is None:
                counted["upstream_status"][step.source, str(step.status or "none")] += 1
        for before, after in pairwise(record.steps):
            if _below(assistant, before.tier, after.tier):
                counted["fallbacks"][assistant, before.tier, after.tier, before.word] += 1
        if record.outcome == "exhausted":
            counted["chain_exhausted"][assistant, record.steps[-1].word] += 1
    return counted


def _below(assistant: str, tier: str, other: str) -> bool:
    """`other` is the next tier of the chain; a tier that is asked once more, since no other could be, is no move."""
    tiers = ["primary", *(each.name for each in layout.BY_NAME[assistant].tiers if each.name != "primary")]
    return tiers.index(other) == tiers.index(tier) + 1


def _counters(replica: str, exposed: dict[str, _Counts], counted: dict[str, _Counts], findings: Findings) -> None:
    for name in _COUNTED:
        for labels in exposed[name].keys() | counted[name].keys():
            got, told = exposed[name][labels], counted[name][labels]
            text = f"{name}{labels} counts {got}, and the records {told}"
            findings.check("counter", got == told, replica, text)


# -- log lines


def _log(replica: str, records: list[Record], lines: Any, killed: bool, findings: Findings) -> None:
    """A line for each record and a record for each line, with the same facts. A killed replica may lack either."""
    told = {line["request_id"]: line for line in lines}
    kept = {record.request_id: record for record in records}
    if not killed:
        for request_id in told.keys() ^ kept.keys():
            text = f"{request_id} is {'in the log' if request_id in told else 'on record'} alone"
            findings.check("log", False, replica, text)
    for request_id in told.keys() & kept.keys():
        line, record = _told(told[request_id]), _told(kept[request_id].document)
        odd = {name for name in line.keys() | record.keys() if line.get(name) != record.get(name)}
        findings.check("log", not odd, replica, f"{request_id}: the line and the record differ in {sorted(odd)}")


def _told(document: Document) -> dict[str, Any]:
    """What both tell: all but the moment's form, the story, and what is null."""
    kept = {key: value for key, value in document.items() if key not in ("at", "event", "story") and value is not None}
    steps = [{key: value for key, value in step.items() if value is not None} for step in document["steps"]]
    return kept | {"steps": steps}

"""The truth audit: every decision record against the upstreams' own log and what the caller saw. A pure function.

1. What an upstream did is known from its log, and what that means from the fault script, by hand; the proxy is not
   asked.
2. Every attempt in a record happened, and every call that happened is in a record: same marker, order and number.
3. Only a replica that was killed may have lost records, of requests that were not over a moment before; they are
   counted.
"""

from __future__ import annotations

from collections import defaultdict, deque

from tests.long import audit_answers, audit_causes, audit_counts, audit_story, layout
from tests.long.evidence import Evidence, View
from tests.long.faults_script import BY_NAME, UNREACHED
from tests.long.findings import Findings
from tests.long.records import Record, Step
from tests.long.script_rows import Row, Words
from tests.long.scripted_upstream import Call

SLACK = 0.05
"""Seconds by which two clocks of one machine, and the moments of looking at them, may differ."""
LOST = 1.0
"""Seconds before its end in which a killed replica's records may be gone: twice what it keeps to itself."""


def audit(evidence: Evidence) -> Findings:
    """Compare all of it."""
    findings = Findings()
    records: dict[str, Record] = {}
    for record in evidence.records:
        marker = record.marker or ""
        findings.check("double", marker not in records, marker, f"{record.request_id} is there a second time")
        records[marker] = record
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(evidence.calls, key=lambda call: call.begun):
        calls[call.marker].append(call)
    lost = _lost(evidence, records, findings)
    views = {view.marker: view for view in evidence.views}
    for marker in calls.keys() - views.keys() | records.keys() - views.keys():
        findings.check("caller", False, marker, "nobody asked for it")
    for marker, record in records.items():
        if marker in views:
            _request(evidence, record, calls[marker], views[marker], findings)
    findings.figures.update(
        requests=len(evidence.views),
        records=len(records),
        attempts=sum(len(record.attempts) for record in records.values()),
        skips=sum(len(record.steps) - len(record.attempts) for record in records.values()),
        calls=len(evidence.calls),
        lost_with_the_killed=len(lost),
        calls_of_the_lost=sum(len(calls[marker]) for marker in lost),
    )
    audit_causes.compare(evidence, findings)
    audit_counts.compare(evidence, lost, findings)
    return findings


def _lost(evidence: Evidence, records: dict[str, Record], findings: Findings) -> set[str]:
    """Requests without a record, which is right only of a replica that was killed."""
    ends = {killed.replica: killed.at for killed in evidence.killed}
    lost = set()
    for view in evidence.views:
        if view.marker in records:
            continue
        excused = view.replica in ends and view.ended >= ends[view.replica] - LOST
        if findings.check("record", excused, view.marker, f"there is no record of {view}"):
            lost.add(view.marker)
            before = round((ends[view.replica] - view.ended) * 1000)
            findings.figures["lost_ms_before_the_kill"] = max(findings.figures["lost_ms_before_the_kill"], before)
    return lost


def _request(evidence: Evidence, record: Record, calls: list[Call], view: View, findings: Findings) -> None:
    met = _attempts(evidence, record, calls, findings)
    if met is None:
        return
    assistant = layout.BY_NAME[view.assistant]
    if audit_answers.chain(record, assistant, view, met, findings):
        audit_answers.end(record, assistant, view, met, findings)
        killed = view.replica in {killed.replica for killed in evidence.killed}
        audit_answers.caller(record, view, met, findings, killed=killed)
        if view.status is not None or view.left:
            audit_story.compare(record, view, met, findings)


def _attempts(
    evidence: Evidence, record: Record, calls: list[Call], findings: Findings
) -> list[audit_answers.Met] | None:
    """What each attempt really met, in order; None when record and log do not tell of the same calls."""
    where, left = record.marker or "", deque(calls)
    met: list[audit_answers.Met] = []
    for step in record.attempts:
        if step.source in layout.UNREACHED:
            words = UNREACHED[layout.UNREACHED[step.source]]
            met.append(audit_answers.Met(step, None, None, words))
            _class(step, words, None, findings, where)
            continue
        if _refused_in_an_outage(evidence, step, left):
            words = UNREACHED["refused"]
            met.append(audit_answers.Met(step, None, None, words))
            # A pooled connection that ended just then may have carried some of it.
            billed = ("no", "maybe") if step.retried else ("no",)
            _class(step, words, None, findings, where, billed)
            continue
        call = _next(step, left, findings, where)
        if call is None:
            return None
        row = BY_NAME[call.row]
        words = row.of(step.tier)
        met.append(audit_answers.Met(step, call, row, words))
        _class(step, words, row, findings, where)
        _facts(step, call, row, findings, where)
    text = f"{[(call.source, call.model, call.row) for call in left]} happened, and {record.request_id} says nothing"
    return met if findings.check("attempt", not left, where, text) else None


def _next(step: Step, left: deque[Call], findings: Findings, where: str) -> Call | None:
    """The call that this attempt was; two of them where it says that it was sent again."""
    call: Call | None = None
    for again in (False, True) if step.retried else (False,):
        call = left.popleft() if left and (left[0].source, left[0].model) == (step.source, step.model) else None
        told = f"{step.tier} at {step.source}/{step.model} ({step.word}) did not happen there{' twice' * again}"
        if not findings.check("attempt", call is not None, where, told):
            return None
        assert call is not None
        when = f"{step.tier} from {step.started:.3f} to {step.ended:.3f}, and {call.row} began at {call.begun:.3f}"
        findings.check("time", step.started - SLACK <= call.begun <= step.ended + SLACK, where, when)
        if step.retried and not again:
            dropped = BY_NAME[call.row].drops and call.reused
            findings.check("retry", dropped, where, f"{step.tier} was sent again after {call}")
    return call


def _refused_in_an_outage(evidence: Evidence, step: Step, left: deque[Call]) -> bool:
    if left and (left[0].source, left[0].model) == (step.source, step.model):
        return False
    return any(
        outage.source == step.source
        and outage.began - SLACK <= step.ended
        and (outage.ended is None or step.started <= outage.ended + SLACK)
        for outage in evidence.outages
    )


def _class(
    step: Step, words: Words, row: Row | None, findings: Findings, where: str, billed: tuple[str, ...] | None = None
) -> None:
    name = row.name if row is not None else "unreached"
    right, told = (words.outcome, words.detail), (step.outcome, step.detail)
    findings.check("class", told == right, where, f"{step.tier} met {name}, which is {right}, and is called {told}")
    bills = billed or (words.billed,)
    findings.check("billed", step.billed in bills, where, f"{step.tier}, {name}: {step.billed}, not {bills}")
    findings.check("heard", step.heard in words.heard, where, f"{step.tier}, {name}: {step.heard}, not {words.heard}")


def _facts(step: Step, call: Call, row: Row, findings: Findings, where: str) -> None:
    """Numbers and ids that both accounts have."""
    findings.check("status", step.status == call.status, where, f"{step.tier}: {step.status}, not {call.status}")
    told = None if call.status is None else call.upstream_id
    findings.check("upstream_id", step.upstream_id == told, where, f"{step.tier}: {step.upstream_id}, not {told}")
    asked = f"{step.tier}, {row.name}: {step.retry_after}, not {row.retry_after}"
    findings.check("retry_after", step.retry_after == row.retry_after, where, asked)

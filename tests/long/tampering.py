"""Ways to make evidence untrue: what a fleet would leave behind if it did not tell what happened.

1. Each changes one fact about one request, and says which request it was and what the audit must call it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.long import layout
from tests.long.evidence import Evidence
from tests.long.records import Record, Step, read

Change = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Tampered:
    """Evidence in which one thing is not true."""

    evidence: Evidence
    where: str
    """The request's marker, or the replica."""
    what: str
    """The kind of fact in which the audit must find a disagreement there."""


def _pick(evidence: Evidence, fits: Callable[[Record], bool]) -> Record:
    return next(record for record in evidence.records if fits(record))


def _changed(evidence: Evidence, record: Record, what: str, change: Change) -> Tampered:
    document = copy.deepcopy(dict(record.document))
    change(document)
    new = read(document)
    told = [new if each is record else each for each in evidence.records]
    return Tampered(replace(evidence, records=told), record.marker or "", what)


def _fell_back(record: Record) -> bool:
    """A tried primary, and a fallback that served, which is the last step."""
    first, last = record.steps[0], record.steps[-1]
    return (
        record.outcome == "fallback_success"
        and first.skipped is None
        and first.source in layout.REACHED
        and (last.outcome == "served")
    )


def _tripped(state: str) -> Callable[[Record], bool]:
    def fits(record: Record) -> bool:
        return _skip(record, state) is not None

    return fits


def _skip(record: Record, state: str) -> Step | None:
    skips = (step for step in record.steps if step.skipped == state and step.breaker and step.breaker.tripped_by)
    return next(skips, None)


# -- records


def dropped_attempt(evidence: Evidence) -> Tampered:
    """An attempt that happened is not told of."""
    record = _pick(evidence, _fell_back)
    return _changed(evidence, record, "attempt", lambda document: document["steps"].pop(0))


def invented_attempt(evidence: Evidence) -> Tampered:
    """One is told of that did not happen."""
    record = _pick(evidence, _fell_back)
    return _changed(evidence, record, "attempt", lambda document: document["steps"].insert(0, document["steps"][0]))


def swapped_tier(evidence: Evidence) -> Tampered:
    """Primary and fallback change places: the wrong one is said to have served."""
    record = _pick(evidence, lambda each: _fell_back(each) and len(each.steps) == 2)

    def change(document: dict[str, Any]) -> None:
        first, last = document["steps"]
        for name in ("tier", "source", "model"):
            first[name], last[name] = last[name], first[name]
        document["steps"] = [last, first]
        document.update({name: last[name] for name in ("tier", "source", "model")})

    return _changed(evidence, record, "class", change)


def swapped_server(evidence: Evidence) -> Tampered:
    """The steps are true, and yet the record says that the primary's words were read."""
    record = _pick(evidence, _fell_back)

    def change(document: dict[str, Any]) -> None:
        document.update({name: document["steps"][0][name] for name in ("tier", "source", "model")})

    return _changed(evidence, record, "served", change)


def other_order(evidence: Evidence) -> Tampered:
    """Two attempts are told in the wrong order."""
    record = _pick(evidence, lambda each: _fell_back(each) and len(each.attempts) == len(each.steps))
    return _changed(evidence, record, "attempt", lambda document: document["steps"].reverse())


def dropped_skip(evidence: Evidence) -> Tampered:
    """A tier that was passed over is not told of."""
    record = _pick(evidence, lambda each: each.steps[0].skipped == "open" and len(each.steps) > 1)
    return _changed(evidence, record, "walk", lambda document: document["steps"].pop(0))


def _attempt_fact(name: str, value: object, what: str) -> Callable[[Evidence], Tampered]:
    def tamper(evidence: Evidence) -> Tampered:
        record = _pick(evidence, _fell_back)

        def change(document: dict[str, Any]) -> None:
            assert document["steps"][0][name] != value
            document["steps"][0][name] = value

        return _changed(evidence, record, what, change)

    return tamper


def _record_fact(name: str, value: object, what: str) -> Callable[[Evidence], Tampered]:
    def tamper(evidence: Evidence) -> Tampered:
        record = _pick(evidence, _fell_back)
        return _changed(evidence, record, what, lambda document: document.__setitem__(name, value))

    return tamper


def other_story(evidence: Evidence) -> Tampered:
    """Two sentences change places."""
    record = _pick(evidence, _fell_back)

    def change(document: dict[str, Any]) -> None:
        document["story"][1:3] = reversed(document["story"][1:3])

    return _changed(evidence, record, "story", change)


def lost_record(evidence: Evidence) -> Tampered:
    """A record is not there, though its replica lived on."""
    gone = {killed.replica for killed in evidence.killed}
    record = _pick(evidence, lambda each: each.replica not in gone)
    told = [each for each in evidence.records if each is not record]
    return Tampered(replace(evidence, records=told), record.marker or "", "record")


def double_record(evidence: Evidence) -> Tampered:
    """A record is there twice."""
    record = evidence.records[0]
    return Tampered(replace(evidence, records=[*evidence.records, record]), record.marker or "", "double")


# -- causes


def _forged(state: str, other: Callable[[Record, Step, Record], bool]) -> Callable[[Evidence], Tampered]:
    """Another request is blamed for a skip."""

    def tamper(evidence: Evidence) -> Tampered:
        skips = ((record, _skip(record, state)) for record in evidence.records)
        record, step, blamed = next(
            (record, step, each)
            for record, step in skips
            if step is not None
            for each in evidence.records
            if other(record, step, each)
        )
        place = record.steps.index(step)

        def change(document: dict[str, Any]) -> None:
            document["steps"][place]["breaker"]["tripped_by"][0] = blamed.request_id

        tampered = _changed(evidence, record, "tripped_by", change)
        return replace(tampered, where=f"{record.marker} {step.tier}")

    return tamper


def _served_elsewhere(record: Record, step: Step, other: Record) -> bool:
    return other.outcome == "success" and other.ended < record.at and other.assistant == record.assistant


def _failed_at_another_model(record: Record, step: Step, other: Record) -> bool:
    return (
        other.ended < record.at
        and any(
            each.heard == "bad" and (each.source, each.model) != (step.source, step.model) for each in other.attempts
        )
        and not any((each.source, each.model) == (step.source, step.model) for each in other.attempts)
    )


def _failed_later(record: Record, step: Step, other: Record) -> bool:
    same = (other.endpoint, other.assistant) == (record.endpoint, record.assistant)
    target = step.source, step.model
    failed = any(each.heard == "bad" and (each.source, each.model) == target for each in other.attempts)
    return same and failed and other.at > record.ended + 1


def unknown_cause(evidence: Evidence) -> Tampered:
    """Nobody bears the id that is blamed."""
    record = _pick(evidence, _tripped("open"))
    step = _skip(record, "open")
    assert step is not None
    place = record.steps.index(step)

    def change(document: dict[str, Any]) -> None:
        document["steps"][place]["breaker"]["tripped_by"] = ["req_0000000000000001"]

    return replace(_changed(evidence, record, "tripped_by", change), where=f"{record.marker} {step.tier}")


def no_cause(evidence: Evidence) -> Tampered:
    """A tier was passed over, and nobody is blamed."""
    record = _pick(evidence, _tripped("disabled"))
    step = _skip(record, "disabled")
    assert step is not None
    place = record.steps.index(step)

    def change(document: dict[str, Any]) -> None:
        document["steps"][place]["breaker"]["tripped_by"] = []

    return replace(_changed(evidence, record, "cause", change), where=f"{record.marker} {step.tier}")


def unheard_of_isolation(evidence: Evidence) -> Tampered:
    """A tier is said to be isolated, and no operator did it."""
    record = _pick(evidence, lambda each: any(step.skipped == "isolated" for step in each.steps))
    acts = [act for act in evidence.acts if act.action != "isolate"]
    return Tampered(replace(evidence, acts=acts), record.marker or "", "cause")


# -- what else the fleet tells


def wrong_counter(evidence: Evidence) -> Tampered:
    """A counter counts one too many."""
    replica = next(iter(evidence.counters))
    samples = dict(evidence.counters[replica])
    name = next(name for name, value in samples.items() if name.startswith("homeport_attempts_total{") and value)
    samples[name] += 1
    return Tampered(replace(evidence, counters={**evidence.counters, replica: samples}), replica, "counter")


def wrong_line(evidence: Evidence) -> Tampered:
    """A log line tells another outcome than the record."""
    replica = next(iter(evidence.counters))
    first, *others = evidence.lines[replica]
    lines = [{**first, "outcome": "rejected"}, *others]
    return Tampered(replace(evidence, lines={**evidence.lines, replica: lines}), replica, "log")


def missing_line(evidence: Evidence) -> Tampered:
    """A request is not in the log."""
    replica = next(iter(evidence.counters))
    return Tampered(replace(evidence, lines={**evidence.lines, replica: evidence.lines[replica][1:]}), replica, "log")


# -- what the others know


def secret_call(evidence: Evidence) -> Tampered:
    """An upstream was asked once more than is told."""
    known = {record.marker for record in evidence.records}
    call = next(call for call in evidence.calls if call.marker in known)
    again = replace(call, nth=call.nth + 1, begun=call.begun + 60)
    return Tampered(replace(evidence, calls=[*evidence.calls, again]), call.marker, "attempt")


def other_words(evidence: Evidence) -> Tampered:
    """The caller read another upstream's words."""
    view = next(view for view in evidence.views if view.whole and view.words)
    read_instead = replace(view, words=frozenset({f"north/other/{view.marker}"}))
    views = [read_instead if each is view else each for each in evidence.views]
    return Tampered(replace(evidence, views=views), view.marker, "words")


WAYS: dict[str, Callable[[Evidence], Tampered]] = {
    "dropped attempt": dropped_attempt,
    "invented attempt": invented_attempt,
    "swapped tier": swapped_tier,
    "swapped server": swapped_server,
    "other order": other_order,
    "dropped skip": dropped_skip,
    "other class": _attempt_fact("outcome", "unsupported", "class"),
    "other detail": _attempt_fact("detail", "http_999", "class"),
    "other bill": _attempt_fact("billed", "yes", "billed"),
    "other status": _attempt_fact("status", 299, "status"),
    "other upstream id": _attempt_fact("upstream_request_id", "up-nowhere-1", "upstream_id"),
    "other end": _record_fact("outcome", "success", "outcome"),
    "other code": _record_fact("code", 502, "outcome"),
    "other reason": _record_fact("reason", "primary=open", "reason"),
    "other id": _record_fact("request_id", "req_0", "caller"),
    "other story": other_story,
    "lost record": lost_record,
    "double record": double_record,
    "cause that served": _forged("open", _served_elsewhere),
    "cause elsewhere": _forged("open", _failed_at_another_model),
    "cause that came later": _forged("open", _failed_later),
    "cause of a park": _forged("parked", _served_elsewhere),
    "unknown cause": unknown_cause,
    "no cause": no_cause,
    "unheard-of isolation": unheard_of_isolation,
    "wrong counter": wrong_counter,
    "wrong line": wrong_line,
    "missing line": missing_line,
    "secret call": secret_call,
    "other words": other_words,
}

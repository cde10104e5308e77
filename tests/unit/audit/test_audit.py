"""The audit itself: it agrees with a true account, and whatever is not true in one it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.long import records
from tests.long.audit import audit
from tests.long.evidence import Act, Evidence, Killed
from tests.long.findings import Findings
from tests.long.records import read
from tests.long.scripted_upstream import Outage
from tests.long.tampering import WAYS, Tampered
from tests.unit.audit.by_hand import AT, REPLICA, attempt, breaker, calls, outage, record, skip, view

_NOT_HERE = {
    "cause elsewhere",
    "cause of a park",
    "cause that came later",
    "cause that served",
    "no cause",
    "other story",
    "unheard-of isolation",
}
"""Ways to tamper that need more to have happened."""


def _one(told: dict[str, Any], *rows: str, **facts: Any) -> Evidence:
    """One request alone."""
    return Evidence([read(told)], calls(told, *rows), [], [view(told, **facts)])


def _kinds(evidence: Evidence) -> set[str]:
    return audit(evidence).kinds()


# -- what is true


def test_a_true_account_agrees_in_everything() -> None:
    """No disagreement, and the figures are the run's."""
    _, evidence = outage()
    findings = audit(evidence)
    assert findings.found == []
    assert findings.agreement == 100.0
    figures = {name: findings.figures[name] for name in ("requests", "records", "attempts", "skips", "calls")}
    assert figures == {"requests": 4, "records": 4, "attempts": 7, "skips": 1, "calls": 7}
    assert "agreement 100.00 %" in findings.report()


def test_a_record_has_all_fields_or_is_said_to_lack_them() -> None:
    """Also within its steps and what their breakers said."""
    (_, _, _, told), _ = outage()
    assert records.missing(told) == []
    del told["usage"], told["steps"][0]["breaker"]["since"], told["steps"][1]["billed"]
    assert records.missing(told) == ["record.usage", "breaker.since", "step.billed"]


def test_agreement_is_never_rounded_up() -> None:
    """One disagreement among a million facts is not 100.00 %, and nothing compared is no agreement."""
    findings = Findings()
    assert findings.agreement == 0.0
    findings.compared["class"] = 999_999
    findings.check("class", False, "n-00001", "no")
    assert f"{findings.agreement:.2f}" == "99.99"


# -- what is not


@pytest.mark.parametrize("name", sorted(WAYS.keys() - _NOT_HERE))
def test_what_was_tampered_with_is_found(name: str) -> None:
    """Where it is, and as what it is."""
    tamper: Callable[[Evidence], Tampered] = WAYS[name]
    tampered = tamper(outage()[1])
    findings = audit(tampered.evidence)
    assert (tampered.what, tampered.where) in {(finding.what, finding.where) for finding in findings.found}
    assert findings.agreement < 100


def test_a_cause_must_have_come_before() -> None:
    """A failure that ended after the breaker had opened did not open it."""
    told, evidence = outage()
    told[3]["steps"][0]["breaker"]["since"] = AT + 3.05
    assert _kinds(replace(evidence, records=[read(each) for each in told], lines={})) == {"tripped_by"}


def test_what_an_operator_reset_is_held_against_no_tier() -> None:
    """Unless the reset came too late, or the store was away, so that not every replica knew of it."""
    told, evidence = outage()
    told[3]["at"] += 10
    evidence = replace(
        evidence,
        records=[read(each) for each in told],
        calls=[replace(call, begun=call.begun + 10 * (call.marker == "n-00004")) for call in evidence.calls],
        lines={},
    )
    reset = Act("reset", "north", "big", AT + 5, AT + 5.1, 200)
    assert _kinds(evidence) == set()
    assert _kinds(replace(evidence, acts=[reset])) == {"reset"}
    assert _kinds(replace(evidence, acts=[replace(reset, status=503)])) == set()
    assert _kinds(replace(evidence, acts=[replace(reset, model="other")])) == set()
    assert _kinds(replace(evidence, acts=[replace(reset, sent=AT + 13, done=AT + 13)])) == set()
    assert _kinds(replace(evidence, acts=[reset], troubles=[(AT + 6, AT + 13)])) == set()


def test_a_key_is_one_for_all_models_of_its_source() -> None:
    """An invalid one disables what it was not met at; at a source without a key nothing does."""
    for source, kinds in (("east", set()), ("north", {"tripped_by"})):
        met = record(
            1,
            1,
            [attempt("primary", "key_invalid", source=source, model="fast"), attempt("fallback-1", "well", at=0.2)],
        )
        seen = breaker("disabled", "invalid_api_key", 1.2, [met["request_id"]])
        step = skip("primary", "disabled", seen) | {"source": source, "model": "other"}
        told = record(2, 2, [step, attempt("fallback-1", "well")])
        evidence = Evidence([read(met), read(told)], [], [], [])
        assert _kinds(evidence) & {"tripped_by"} == kinds


# -- a replica that was killed


def test_only_a_killed_replica_may_lose_records_and_only_its_last() -> None:
    """They are counted; one that was answered long before, or by another replica, is missed."""
    _, evidence = outage()
    alone = replace(evidence, records=evidence.records[:3], lines={}, counters={})
    end = alone.views[3].ended
    findings = audit(replace(alone, killed=[Killed(REPLICA, end + 0.3)]))
    assert findings.found == []
    assert (findings.figures["lost_with_the_killed"], findings.figures["calls_of_the_lost"]) == (1, 1)
    assert findings.figures["lost_ms_before_the_kill"] == 300
    assert "record" in _kinds(replace(alone, killed=[Killed(REPLICA, end + 3)]))
    assert "record" in _kinds(replace(alone, killed=[Killed("another", end + 0.3)]))
    assert "record" in _kinds(alone)


def test_what_a_lost_request_did_may_still_be_blamed() -> None:
    """Its id names the replica that took its record along."""
    _, evidence = outage()
    alone = replace(evidence, records=evidence.records[1:], lines={}, counters={})
    findings = audit(replace(alone, killed=[Killed(REPLICA, AT)]))
    assert findings.found == []
    assert findings.figures["tripped_by_the_lost"] == 1


# -- calls


def test_a_request_that_was_sent_again_is_two_calls() -> None:
    """The first of them on a connection that had served before and ended without a byte."""
    told = record(1, 1, [attempt("primary", "well", retried=True)], outcome="success")
    (call,) = calls(told, "well")
    dropped = replace(call, row="stale", whole=False, status=None)
    evidence = replace(_one(told, "well"), calls=[dropped, replace(call, nth=2)])
    assert _kinds(evidence) == set()
    assert "attempt" in _kinds(_one(told, "well"))
    assert _kinds(replace(evidence, calls=[replace(dropped, reused=False), call])) == {"retry"}
    untold = record(1, 1, [attempt("primary", "well")], outcome="success")
    assert "attempt" in _kinds(replace(evidence, records=[read(untold)]))


def test_an_attempt_that_could_not_arrive_needs_no_call() -> None:
    """While its source accepts no connection, and only then."""
    refused = attempt("primary", "refused")
    told = record(1, 1, [refused, attempt("fallback-1", "well", at=0.2)])
    arrived = record(1, 1, told["steps"][1:])
    evidence = Evidence([read(told)], calls(arrived, "well"), [], [view(told)])
    assert "attempt" in _kinds(evidence)
    assert _kinds(replace(evidence, outages=[Outage("north", AT, AT + 2)])) == set()
    assert "attempt" in _kinds(replace(evidence, outages=[Outage("north", AT - 9, AT - 7)]))
    assert "attempt" in _kinds(replace(evidence, outages=[Outage("south", AT, AT + 2)]))


# -- the walk and its end


def test_a_fault_of_the_request_ends_the_walk_at_the_primary() -> None:
    """The caller reads it as it was said; a walk that goes on is none."""
    fault = attempt("primary", "400")
    end = {"outcome": "client_error", "code": 400}
    told = record(1, 1, [fault], **end)
    said = {"said": "north/big/n-00001", "tier": "primary", "source": "north", "model": "big"}
    assert _kinds(_one(told, "400", **said)) == set()
    assert "words" in _kinds(_one(told, "400", **said | {"said": None}))
    went_on = record(1, 1, [fault, attempt("fallback-1", "well", at=0.2)])
    assert "walk" in _kinds(_one(went_on, "400", "well"))


def test_a_chain_of_which_no_tier_serves_is_refused() -> None:
    """With 503, or 429 if all were rate-limited; after every tier, and not before."""
    for row, code in (("503", 503), ("429", 429)):
        steps = [attempt(tier, row, at=place / 5) for place, tier in enumerate(("primary", "fallback-1", "fallback-2"))]
        end: dict[str, Any] = {"outcome": "exhausted", "code": code, "refusal": "all_tiers_failed"}
        assert _kinds(_one(record(1, 1, steps, **end), row, row, row)) == set()
        assert _kinds(_one(record(1, 1, steps, **end | {"code": 932 - code}), row, row, row)) == {"outcome"}
        assert "walk" in _kinds(_one(record(1, 1, steps[:2], **end), row, row))


def test_a_tier_is_asked_once_more_only_where_none_may_be_tried() -> None:
    """Then it was open, and that it is asked again is no move down the chain."""
    cause = record(1, 1, [attempt("primary", "503"), attempt("fallback-1", "well", at=0.2)])
    seen = breaker("open", "server_is_overloaded", 1.2, [cause["request_id"]])
    shut = [skip(tier, "open", seen) for tier in ("primary", "fallback-1", "fallback-2")]
    again = attempt("primary", "well", probe="half_open")
    told = record(2, 2, [*shut, again], outcome="success", reason="primary=open")
    evidence = _one(told, "well", reason=None)
    assert _kinds(evidence) & {"walk", "outcome", "served", "caller", "reason"} == set()
    counted = 'homeport_fallbacks_total{assistant="bot",from_tier="fallback-2",reason="open",to_tier="primary"}'
    texts = [each.text for each in audit(replace(evidence, counters={REPLICA: {counted: 1.0}})).found]
    assert "fallbacks('bot', 'fallback-2', 'primary', 'open') counts 1, and the records 0" in texts
    tried = [attempt("fallback-1", "503", at=0.001), *shut[2:], again]
    assert "walk" in _kinds(_one(record(2, 2, [shut[0], *tried]), "503", "well"))


def test_the_caller_is_told_what_the_record_says() -> None:
    """Every header, and a cut answer only as such."""
    told = record(1, 1, [attempt("primary", "well")], outcome="success")
    assert _kinds(_one(told, "well")) == set()
    for facts in (
        {"status": 201},
        {"request_id": "req_other"},
        {"named": "desk"},
        {"tier": "fallback-1"},
        {"model": "small"},
        {"attempts": 2},
        {"upstream_id": "up-1"},
        {"whole": False},
        {"status": None, "broke": "ServerDisconnectedError"},
    ):
        assert _kinds(_one(told, "well", **facts)) & {"caller", "sum"}, facts


def test_a_held_answer_names_its_tier_later() -> None:
    """What the comment says counts; a refusal names nobody."""
    told = record(1, 1, [attempt("primary", "well")], outcome="success")
    assert _kinds(_one(told, "well", held=True)) == set()
    assert "caller" in _kinds(_one(told, "well", held=True, tier=None, source=None, model=None))
    assert "caller" in _kinds(_one(told, "well", held=True, tier="fallback-1"))

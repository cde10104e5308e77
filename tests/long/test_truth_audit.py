"""The truth audit: thousands of requests through a fleet in trouble, and every record of them is true.

Upstreams fail in every way of the fault script; Redis is killed, frozen and emptied; a replica is killed and replaced.
Then all that the fleet tells of itself is compared with what upstreams and callers know. That the audit can fail is
shown by records that were tampered with, and by a replica that was told to call failures wrongly.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio

from tests.integration.redis_server import running
from tests.long import records
from tests.long.audit import audit
from tests.long.audited_fleet import Fleet
from tests.long.callers import Callers, plans
from tests.long.evidence import Evidence
from tests.long.faults_script import BY_NAME, ROWS
from tests.long.findings import Findings
from tests.long.misfortunes import ASIDE, EMPTIED, Run, befall
from tests.long.scripted_upstream import Script, upstreams
from tests.long.tampering import WAYS, Tampered

pytestmark = pytest.mark.asyncio(loop_scope="module")

_REQUESTS, _SEED = 4500, 7
_FEW = 300
_LIMIT = 400.0
"""Seconds for the long run; it takes less than half."""


@dataclass(frozen=True, slots=True)
class Audited:
    """A run that is over."""

    evidence: Evidence
    findings: Findings
    script: Script
    befell: Mapping[str, float]
    found: Mapping[str, tuple[str, str]]
    """By an id that was looked up at a replica: the request's own id, and the one that was found."""


@contextlib.asynccontextmanager
async def _fleet(
    folder: Path, script: Script, store: str, replicas: int, faults: Sequence[Mapping[str, object]] = ()
) -> AsyncIterator[tuple[Run, Fleet]]:
    async with upstreams(script) as (reached, urls), contextlib.AsyncExitStack() as stack:
        fleet = Fleet(folder, urls, store, faults)
        stack.push_async_callback(fleet.close)
        callers = Callers()
        stack.push_async_callback(callers.close)
        for _ in range(replicas):
            await fleet.add()
        yield Run(fleet, callers, reached), fleet


async def _driven(run: Run, count: int) -> None:
    """All requests, with operators at work."""
    operators = asyncio.create_task(run.fleet.operators(Random(_SEED)))
    try:
        await run.drive(plans(count, _SEED), count)
        assert not operators.done(), "the operators went home"
    finally:
        operators.cancel()
        await asyncio.gather(operators, return_exceptions=True)


async def _evidence(run: Run, fleet: Fleet) -> Evidence:
    gone = {killed.replica for killed in fleet.killed}
    await fleet.collect({view.marker for view in run.views if view.replica not in gone})
    documents = [*fleet.documents.values(), *fleet.twice]
    return Evidence(
        records=[records.read(document) for document in documents],
        calls=run.upstreams["north"].calls,
        outages=run.upstreams["north"].outages,
        views=run.views,
        killed=fleet.killed,
        acts=fleet.acts,
        troubles=run.troubles,
        counters=await fleet.counters(),
        lines=fleet.lines(),
    )


async def _looked_up(fleet: Fleet, known: Sequence[records.Record], chance: Random) -> dict[str, tuple[str, str]]:
    """Some records by every id they bear, each asked of any replica."""
    found = {}
    for record in chance.sample(known, min(40, len(known))):
        upstream_ids = [step.upstream_id for step in record.attempts]
        for wanted in filter(None, (record.request_id, record.marker, *upstream_ids)):
            found[wanted] = record.request_id, await fleet.find(chance.choice(fleet.members), wanted)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def audited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Audited]:
    """The long run: three replicas, one Redis, and all that befalls them."""
    script, folder = Script(_SEED), tmp_path_factory.mktemp("audit")
    with running("--appendonly", "yes", "--appendfsync", "no") as redis:
        async with asyncio.timeout(_LIMIT), _fleet(folder, script, redis.url, replicas=3) as (run, fleet):
            befalling = asyncio.create_task(befall(run, redis))
            try:
                await _driven(run, _REQUESTS)
                await befalling
            finally:
                befalling.cancel()
            emptied = run.done[EMPTIED]
            evidence = await _evidence(run, fleet)
            since = [record for record in evidence.records if record.at > emptied]
            found = await _looked_up(fleet, since, Random(_SEED))
            await fleet.collect_from(f"{redis.url}/{ASIDE}")
            evidence.records = [records.read(each) for each in (*fleet.documents.values(), *fleet.twice)]
    yield Audited(evidence, audit(evidence), script, run.done, found)


async def test_every_record_is_true(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    """Every attempt, class, skip, cause and count is as upstreams, callers and operators know it."""
    with capsys.disabled():
        # The figures are what the run is for. Of what runs side by side, stderr alone is seen.
        print(f"\n{audited.findings.report()}", file=sys.stderr)  # noqa: T201
    assert audited.findings.found == []
    assert audited.findings.agreement == 100
    assert audited.findings.figures["requests"] == _REQUESTS


async def test_the_api_promises_no_field_that_a_record_lacks(audited: Audited) -> None:
    """Whatever became of a request, its record has all fields."""
    lacking = {name for record in audited.evidence.records for name in records.missing(record.document)}
    assert lacking == set()


async def test_a_record_is_found_by_every_id(audited: Audited) -> None:
    """The request's own, the caller's and the upstream's, whichever replica is asked."""
    assert len(audited.found) > 80
    assert {wanted: pair for wanted, pair in audited.found.items() if pair[0] != pair[1]} == {}


async def test_the_run_met_all_of_it(audited: Audited) -> None:
    """Every row was played to primaries and to fallbacks, every skip and every end happened, and every misfortune."""
    assert len(audited.befell) == 8
    played = audited.script.played
    unplayed = [
        (row.name, form, place)
        for row in ROWS
        for form in ("json", "stream")
        for place in ("primary", "fallback")
        if row.only in (None, form) and not played[row.name, form, place]
    ]
    assert unplayed == []
    called = {call.row for call in audited.evidence.calls}
    assert called == BY_NAME.keys()
    steps = [step for record in audited.evidence.records for step in record.steps]
    words = {"open", "half_open", "parked", "disabled", "isolated"}
    assert {step.skipped for step in steps} == words | {
        None,
        "unbound",
        "unsupported",
        "too_small_context",
        "deadline",
    }
    assert {step.probe for step in steps} == {None, "half_open", "early", "trickle"}
    assert {True, False} == {step.breaker.local for step in steps if step.breaker is not None and step.skipped in words}
    assert any(step.retried for step in steps)
    ends = {"success", "fallback_success", "client_error", "exhausted", "cancelled", "stream_broken"}
    assert {record.outcome for record in audited.evidence.records} == ends


# -- the audit can fail


@pytest.mark.parametrize("tamper", WAYS.values(), ids=WAYS.keys())
async def test_what_is_not_true_is_found(audited: Audited, tamper: Callable[[Evidence], Tampered]) -> None:
    """One fact that was tampered with costs the 100.00 %, and is found where it is."""
    tampered = tamper(audited.evidence)
    findings = audit(tampered.evidence)
    assert findings.agreement < 100
    assert (tampered.what, tampered.where) in {(finding.what, finding.where) for finding in findings.found}


_WRONG = (
    {"status": 429, "cause": "server"},
    {"code": "server_is_overloaded", "cause": "client_fault"},
    {"status": 401, "cause": "rate_limited"},
)
"""What a replica is told of errors, each of it untrue."""
_BELIED = (
    "429 429_1s 429_6s 429_250ms 429_none_left 429_too_large 429_in_200 no_quota no_credit gemini_limit gemini_daily "
    "limited_event cut_limited 503 503_2s key_invalid key_deactivated scope"
)
"""Rows that it calls wrongly then."""


async def test_a_broken_classifier_is_found(tmp_path: Path) -> None:
    """A replica that calls some failures by another class is caught at each of them, and at nothing else."""
    async with _fleet(tmp_path, Script(_SEED), "memory", replicas=1, faults=_WRONG) as (run, fleet):
        await _driven(run, _FEW)
        findings = audit(evidence := await _evidence(run, fleet))
    wrong = {finding.where for finding in findings.found if finding.what == "class"}
    met = {call.marker for call in evidence.calls if call.row in _BELIED.split()}
    assert len(met) > 5
    assert wrong == met
    assert findings.agreement < 100

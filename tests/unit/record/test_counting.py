"""What decisions are counted in is found once for all that are alike: the sums are those of finding it each time."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from proxy.record.kinds import Kinds
from proxy.record.lines import Look
from proxy.record.metrics import Metrics
from proxy.routing.bindings import Bindings
from proxy.routing.decision import Decision
from tests.unit.record.decisions import decision
from tests.unit.record.now import now
from tests.unit.record.stories import DECISIONS


def _metrics() -> Metrics:
    return Metrics(now(Bindings({}, "1")))


def _counted(metrics: Metrics) -> list[str]:
    """All but what the process says of itself."""
    metrics.settle()
    return [line for line in metrics.exposition().decode().splitlines() if "process_" not in line]


@given(st.lists(DECISIONS, min_size=1, max_size=8))
def test_what_is_known_from_others_like_it_changes_no_count(decisions: list[Decision]) -> None:
    """Series, their order, their values and when each tier was last used."""
    knowing, finding = _metrics(), _metrics()
    kinds = Kinds(knowing.counts)
    for each in decisions:
        # The first of its kind twice, so that something is known of it.
        for _ in range(2):
            kinds.of(each).add(each)
            finding.counts(each, Look()).add(each)
    assert _counted(knowing) == _counted(finding)
    for assistant in ("", "bot", "other"):
        for tier in ("primary", "embeddings/primary", "fallback-1"):
            assert knowing.lately.of(assistant, tier) == finding.lately.of(assistant, tier)


async def test_what_is_counted_meanwhile_is_in_the_next_scrape() -> None:
    """A scrape settles a part at a time, and others have their turns between: nothing is lost, or counted twice."""
    metrics = _metrics()
    kinds = Kinds(metrics.counts)
    names = [f"bot-{number}" for number in range(500)]
    for name in names:
        each = decision(assistant=name)
        kinds.of(each).add(each)
    scrape = asyncio.create_task(metrics.exposed())
    # What was counted first is in its series by now, what was last is not.
    await asyncio.sleep(0)
    for name in (names[0], names[-1]):
        each = decision(assistant=name)
        kinds.of(each).add(each)
    await scrape
    exposed = (await metrics.exposed()).decode()
    for number, name in enumerate(names):
        counted = 2 if number in (0, len(names) - 1) else 1
        assert f'homeport_response_body_bytes_total{{assistant="{name}"}} {20.0 * counted}\n' in exposed
        assert f'homeport_request_duration_seconds_count{{assistant="{name}",stream="false"}} {counted}.0\n' in exposed

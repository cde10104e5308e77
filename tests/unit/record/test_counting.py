"""What decisions are counted in is found once for all that are alike: the sums are those of finding it each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.record.kinds import Kinds
from proxy.record.metrics import Metrics
from proxy.routing.bindings import Bindings
from proxy.routing.decision import Decision
from tests.unit.record.now import now
from tests.unit.record.stories import DECISIONS


def _metrics() -> Metrics:
    return Metrics(now(Bindings({}, "1")))


def _counted(metrics: Metrics) -> list[str]:
    """All but what the process says of itself."""
    return [line for line in metrics.exposition().decode().splitlines() if "process_" not in line]


@given(st.lists(DECISIONS, min_size=1, max_size=8))
def test_what_is_known_from_others_like_it_changes_no_count(decisions: list[Decision]) -> None:
    """Series, their order, their values and when each tier was last used."""
    knowing, finding = _metrics(), _metrics()
    kinds = Kinds(knowing.counts)
    for each in decisions:
        # The first of its kind twice, so that something is known of it.
        for _ in range(2):
            kinds.of(each).counts.add(each)
            finding.counts(each).add(each)
    assert _counted(knowing) == _counted(finding)
    for assistant in ("", "bot", "other"):
        for tier in ("primary", "embeddings/primary", "fallback-1"):
            assert knowing.lately.of(assistant, tier) == finding.lately.of(assistant, tier)

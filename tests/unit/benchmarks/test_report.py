"""What is made of figures: ratios round by round, and whether a bound was met."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.benchmarks.report import Measure, bound, figure, rows
from tests.benchmarks.rounds import Samples
from tests.benchmarks.sections import sections
from tests.unit.benchmarks.rows import HOMEPORT, NGINX, row


def _samples(**measures: dict[str, list[float]]) -> Samples:
    samples: Samples = defaultdict(lambda: defaultdict(list))
    for key, figures in measures.items():
        samples[key].update(figures)
    return samples


def test_ratios_are_taken_round_by_round() -> None:
    """A busy round is busy for both; who was not run has no row, and without the other side there is no ratio."""
    measure = Measure("cpu", "µs", NGINX, 2.0)
    both, alone = rows(_samples(cpu={NGINX: [10, 100], HOMEPORT: [20, 300]}), [measure])
    assert (alone.candidate, alone.values, alone.ratios) == (HOMEPORT, (20, 300), (2.0, 3.0))
    assert (both.candidate, both.met) == (NGINX, None)
    (single,) = rows(_samples(cpu={HOMEPORT: [20, 300]}), [measure])
    assert (single.ratios, single.met) == ((), None)


@pytest.mark.parametrize(("worst", "met"), [(False, True), (True, False)])
def test_a_bound_is_for_the_median_or_for_the_worst_round(worst: bool, met: bool) -> None:
    """Whichever the measure says; and it holds for who owes it alone."""
    judged = row(1, 2, 9, must=2, absolute=True, worst=worst)
    assert (judged.met, bound(judged)) == (met, f"≤ 2 {'met' if met else 'MISSED'}")
    assert row(1, 2, 9, who=NGINX, must=2, absolute=True, worst=worst).met is None


def test_a_bound_on_a_ratio_looks_at_no_value() -> None:
    """300 µs are not over 2 ×."""
    judged = row(300, ratios=(1.5,), must=2.0, against=NGINX)
    assert (judged.met, bound(judged)) == (True, "≤ 2.0 × met")


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (1234, "1234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (-0.5, "-0.50")]
)
def test_figures_have_three_digits_that_count(value: float, shown: str) -> None:
    """More would be of the machine."""
    assert figure(value) == shown


def test_every_bound_can_be_missed() -> None:
    """It belongs to a candidate that is shown, and to a value or a ratio that is there; no two titles are the same."""
    for section in sections(()):
        titles = [measure.title for measure in section.measures]
        assert len(set(titles)) == len(titles), section.name
        for measure in section.measures:
            if measure.must is not None:
                assert measure.owes in measure.shown, measure
                assert measure.absolute == (measure.against is None), measure
            if measure.against is not None:
                assert measure.against in measure.shown, measure

"""Series are shown as Prometheus' own client shows them, and with hundreds of assistants they stay few and cheap."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.breaker.keeper import Keeper
from proxy.config import load, schema
from proxy.record.families import Family, Spreads, Values
from proxy.record.lines import Look
from proxy.record.metrics import Metrics
from proxy.routing.bindings import bind
from proxy.routing.decision import Attempted, Decision
from proxy.terms import Usage
from tests.benchmarks.scrape import ASSISTANTS, count
from tests.benchmarks.settings import TIERS, config
from tests.unit.record.decisions import decision
from tests.unit.record.now import now

_BOUNDS = (0.005, 0.1, 1, 30)
_LABELS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_VALUES = st.floats(0, 100) | st.sampled_from(_BOUNDS)


def _samples(text: str) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
    return {
        (sample.name, frozenset(sample.labels.items()), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def _lines(text: str) -> list[str]:
    return sorted(line for line in text.split("\n") if line and "_created" not in line)


@given(st.lists(st.tuples(_LABELS, _VALUES), max_size=30))
def test_what_is_shown_is_what_the_official_client_shows(observed: list[tuple[str, float]]) -> None:
    """A counter, a gauge and a histogram of the same events: names, labels with any characters, buckets, sums."""
    registry = CollectorRegistry()
    theirs = (
        Counter("a_total", "A.", ["label"], registry=registry),
        Gauge("b", "B.", ["label"], registry=registry),
        Histogram("c", "C.", ["label"], buckets=_BOUNDS, registry=registry),
    )
    ours = (
        Values("counter", "a_total", "A.", ["label"]),
        Values("gauge", "b", "B.", ["label"]),
        Spreads("c", "C.", _BOUNDS, ["label"]),
    )
    for label, value in observed:
        theirs[0].labels(label).inc(value)
        theirs[1].labels(label).set(value)
        theirs[2].labels(label).observe(value)
        ours[0](label).inc(value)
        ours[1](label).set(value)
        ours[2](label).observe(value)
    text = "".join(line for each in ours for line in each.lines())
    # To the letter, as far as numbers are not so large that they are written otherwise.
    assert _lines(text) == _lines(generate_latest(registry).decode())
    assert _samples(text) == _samples(generate_latest(registry).decode())
    assert text.count("# TYPE") == text.count("# HELP") == 3


def test_a_family_without_labels_and_a_text_with_line_ends() -> None:
    """The two shapes that the others are not."""
    assert Family("gauge", "a", "one\ntwo \\ three").head == "# HELP a one\\ntwo \\\\ three\n# TYPE a gauge\n"
    assert Family("gauge", "a", "").start() == "a "
    spreads = Spreads("c", "C.", (1.0,), ())
    spreads().observe(1.0)
    assert list(spreads.lines())[1:] == [
        'c_bucket{le="1.0"} 1.0\n',
        'c_bucket{le="+Inf"} 1.0\n',
        "c_count 1.0\n",
        "c_sum 1.0\n",
    ]


# -- at full size


def _full() -> Metrics:
    made = load.parse(config(8080, 8081, 9000, ASSISTANTS), "test", {}, Path())
    assert isinstance(made, schema.Config), made
    bindings = bind(made, "1", lambda secret: "digest")
    keeper = Keeper(time.monotonic, lambda: "token", random.random, lambda target, move: None, None)
    for guard in bindings.guards:
        keeper.watch(guard)
    return Metrics(now(bindings, look=keeper.look))


def _use_all(metrics: Metrics) -> None:
    for each in _decisions():
        metrics.counts(each, Look()).add(each)
    metrics.settle()


def _decisions() -> Iterator[Decision]:
    """A document and a stream for every assistant, from each of its tiers."""
    for number in range(ASSISTANTS):
        for tier in range(TIERS):
            name = "primary" if tier == 0 else f"fallback-{tier}"
            served = Attempted(
                name,
                f"s{(number + tier) % 8}",
                f"model-{tier}",
                "served",
                "",
                "good",
                0.0,
                1.0,
                "yes",
                None,
                200,
                0.1,
                0.2,
            )
            for stream in (False, True):
                yield decision(
                    assistant=f"assistant-{number}",
                    stream=stream,
                    steps=(served,),
                    served=served,
                    outcome="fallback_success" if tier else "success",
                    usage=Usage(1, 2, 3),
                )


def test_series_at_boot_stay_within_their_budget() -> None:
    """At most 10,000 with 200 assistants of 4 tiers that share some dozens of targets."""
    assert count(_full().exposition()) <= 10_000


def test_series_in_full_use_are_as_many_as_the_runbook_says() -> None:
    """All assistants asked for documents and streams, all tiers serving: the figure by which Prometheus is sized."""
    metrics = _full()
    _use_all(metrics)
    found = count(metrics.exposition())
    assert found <= 29_000
    # And no more however often they are asked.
    _use_all(metrics)
    assert count(metrics.exposition()) == found


def test_showing_all_of_them_is_cheap_and_brings_on_no_collection() -> None:
    """What holds the event loop is CPU time and garbage collections: little of the one, none of the other."""
    metrics = _full()
    _use_all(metrics)
    metrics.exposition()
    collected: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            collected.append(info["generation"])

    gc.collect()
    gc.callbacks.append(note)
    try:
        began = time.thread_time()
        metrics.exposition()
        spent = time.thread_time() - began
    finally:
        gc.callbacks.remove(note)
    assert 2 not in collected
    # Ten times what it takes.
    assert spent < 0.4

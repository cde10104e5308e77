"""The platform: the replicas themselves, their link to the shared store, and what they are short of."""

from __future__ import annotations

from grafana.parts import Board, Choice, Lines, Number, Query, Row, Table, Unit
from grafana.queries import quantile, rate

_I = 'instance=~"$instance"'

BOARD = Board(
    "homeport-platform",
    "Homeport / Platform",
    "Replicas, shared store, propagation, event loop, saturation.",
    [Choice("instance", "Replica", "label_values(homeport_build_info, instance)")],
    [
        Row(
            "Now",
            [
                Number("Replicas", "Replicas that answer.", Unit.COUNT, Query(f"count(homeport_build_info{{{_I}}})")),
                Number(
                    "Not answering",
                    "Replicas that Prometheus knows and cannot scrape.",
                    Unit.COUNT,
                    Query('count(up{job="homeport"} == 0) or vector(0)'),
                    bad=1,
                ),
                Number(
                    "Without Redis",
                    "Replicas that have lost the shared store and decide alone.",
                    Unit.COUNT,
                    Query(f"count(homeport_redis_up{{{_I}}} == 0) or vector(0)"),
                    bad=1,
                ),
                Number(
                    "Tiers they disagree about",
                    "Tiers that replicas see in different states. More than a moment of it is a fault, unless they "
                    "share no store.",
                    Unit.COUNT,
                    Query(
                        "count(count by (assistant, tier) (max by (assistant, tier, state) (homeport_breaker_state)"
                        " == 1) > 1) or vector(0)"
                    ),
                    warn=1,
                ),
                Number(
                    "Overhead, p99",
                    "What Homeport itself adds to a request, waiting for upstreams and slow callers left out.",
                    Unit.SECONDS,
                    Query(quantile(0.99, "homeport_overhead_seconds", _I)),
                    warn=0.05,
                    bad=0.25,
                ),
                Number(
                    "Event loop late, p99",
                    "How late timers ring: what every request may have waited at each step.",
                    Unit.SECONDS,
                    Query(quantile(0.99, "homeport_event_loop_lag_seconds", _I)),
                    warn=0.05,
                    bad=0.1,
                ),
            ],
        ),
        Row(
            "The shared store",
            [
                Lines(
                    "Redis, as each replica sees it",
                    "1: it answers. 0: the replica decides alone.",
                    Unit.COUNT,
                    [Query(f"max by (instance) (homeport_redis_up{{{_I}}})", "{{instance}}")],
                    most=1,
                ),
                Lines(
                    "Time without it",
                    "Share of the time that each replica spent on its own state.",
                    Unit.SHARE,
                    [
                        Query(
                            rate(f"homeport_redis_degraded_seconds_total{{{_I}}}", "instance"),
                            "{{instance}}",
                        )
                    ],
                ),
                Lines(
                    "Operations that failed",
                    "By operation and what was wrong.",
                    Unit.PER_SECOND,
                    [Query(rate(f"homeport_redis_errors_total{{{_I}}}", "op, error"), "{{op}} {{error}}")],
                ),
                Lines(
                    "Time of operations, p99",
                    "One operation in a hundred takes at least so long.",
                    Unit.SECONDS,
                    [Query(quantile(0.99, "homeport_redis_operation_seconds", _I, "op"), "{{op}}")],
                ),
                Lines(
                    "Propagation",
                    "From another replica's change until its push was read. Nothing while nothing changes.",
                    Unit.SECONDS,
                    [
                        Query(quantile(q, "homeport_state_propagation_seconds", _I), f"p{q * 100:.0f}")
                        for q in (0.5, 0.99)
                    ],
                ),
                Lines(
                    "Age of the last poll",
                    "How long ago each replica last heard from Redis all that it holds.",
                    Unit.SECONDS,
                    [
                        Query(
                            f"time() - max by (instance) (homeport_state_last_sync_timestamp_seconds{{{_I}}} > 0)",
                            "{{instance}}",
                        )
                    ],
                ),
            ],
        ),
        Row(
            "Saturation",
            [
                Lines(
                    "CPU",
                    "Of one core. A replica uses one at most.",
                    Unit.SHARE,
                    [
                        Query(
                            rate(f"process_cpu_seconds_total{{{_I}}}", "instance"),
                            "{{instance}}",
                        )
                    ],
                ),
                Lines(
                    "Memory",
                    "Resident.",
                    Unit.BYTES,
                    [Query(f"max by (instance) (process_resident_memory_bytes{{{_I}}})", "{{instance}}")],
                ),
                Lines(
                    "File descriptors",
                    "Share of those that the process may open.",
                    Unit.SHARE,
                    [Query(f"max by (instance) (process_open_fds{{{_I}}} / process_max_fds{{{_I}}})", "{{instance}}")],
                ),
                Lines(
                    "In flight by replica",
                    "Against `limits.in_flight`, 1000 unless set.",
                    Unit.COUNT,
                    [Query(f"sum by (instance) (homeport_requests_in_flight{{{_I}}})", "{{instance}}")],
                ),
                Lines(
                    "Event loop late, p99 by replica",
                    "One timer in a hundred rings at least so late.",
                    Unit.SECONDS,
                    [Query(quantile(0.99, "homeport_event_loop_lag_seconds", _I, "instance"), "{{instance}}")],
                ),
                Lines(
                    "Overhead",
                    "What Homeport itself adds to a request.",
                    Unit.SECONDS,
                    [Query(quantile(q, "homeport_overhead_seconds", _I), f"p{q * 100:.0f}") for q in (0.5, 0.99)],
                ),
                Lines(
                    "Time of a scrape",
                    "How long Prometheus waits for each replica's metrics.",
                    Unit.SECONDS,
                    [Query(f'max by (instance) (scrape_duration_seconds{{job="homeport",{_I}}})', "{{instance}}")],
                ),
                Lines(
                    "Series",
                    "Samples of each scrape.",
                    Unit.COUNT,
                    [Query(f'max by (instance) (scrape_samples_scraped{{job="homeport",{_I}}})', "{{instance}}")],
                ),
                Table(
                    "Versions",
                    "What runs where.",
                    Unit.COUNT,
                    Query(f"max by (instance, version, python) (homeport_build_info{{{_I}}})"),
                    "",
                    width=8,
                ),
            ],
        ),
    ],
)

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
            "Records and configuration",
            [
                Number(
                    "Different revisions",
                    "Configurations that replicas serve at this moment. A change is everywhere within two seconds; "
                    "more than one for longer than a rollout means that the replicas' files are not the same.",
                    Unit.COUNT,
                    Query(f"count(count by (revision) (homeport_config_revision_info{{{_I}}}))"),
                    bad=2,
                    width=8,
                ),
                Number(
                    "Files not in force",
                    "Replicas whose file, as last read, has faults: they serve what they served before.",
                    Unit.COUNT,
                    Query(f"count(homeport_config_last_reload_success{{{_I}}} == 0) or vector(0)"),
                    bad=1,
                    width=8,
                ),
                Number(
                    "Edits against the file",
                    "Fields that an operator has edited and of which the file says otherwise. The edits hold until "
                    "somebody settles it.",
                    Unit.COUNT,
                    Query(f"max(homeport_config_differences{{{_I}}})"),
                    warn=1,
                    width=8,
                ),
                Table(
                    "Revisions",
                    "What each replica serves. Behind the dot stands the fingerprint of what is in force; where it is "
                    "not how the file's begins, an operator has edited something.",
                    Unit.COUNT,
                    Query(f"max by (instance, revision, file) (homeport_config_revision_info{{{_I}}})"),
                    "",
                ),
                Table(
                    "File last read",
                    "When each replica last read its file again, whatever came of it. One that is missing never did "
                    "since it started.",
                    Unit.SINCE,
                    Query(f"max by (instance) (homeport_config_last_reload_timestamp_seconds{{{_I}}} > 0) * 1000"),
                    "last read",
                ),
                Lines(
                    "Readings of the file",
                    "Of all replicas, by what came of them. `invalid`: what was in force stayed in force.",
                    Unit.COUNT,
                    [
                        Query(
                            f"sum by (result) (increase(homeport_config_reloads_total{{{_I}}}[$__rate_interval]))",
                            "{{result}}",
                        )
                    ],
                ),
                Lines(
                    "Records dropped",
                    "By reason. `too_large` is kept nowhere; all others in the replica that made them, where the "
                    "fleet does not find them.",
                    Unit.RECORDS_PER_SECOND,
                    [Query(rate(f"homeport_decisions_dropped_total{{{_I}}}", "reason"), "{{reason}}")],
                ),
                Lines(
                    "Records that wait",
                    "For the shared journal, by replica. A few are on their way at any time; growing ones are dropped "
                    "in the end.",
                    Unit.COUNT,
                    [Query(f"max by (instance) (homeport_decisions_pending{{{_I}}})", "{{instance}}")],
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

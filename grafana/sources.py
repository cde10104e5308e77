"""Sources and the targets behind them: what upstreams answer, how fast, and what their breakers make of it."""

from __future__ import annotations

from grafana.parts import Board, Choice, Lines, Query, Row, States, Table, Unit
from grafana.queries import codes, quantile, rate

_S = 'source=~"$source"'
_BOUND = "* on (job, instance, assistant, tier) group_left (source, model) homeport_tier_info{" + _S + "}"

BOARD = Board(
    "homeport-sources",
    "Homeport / Sources",
    "Where models are served: states, statuses, times, connections, probes.",
    [Choice("source", "Source", "label_values(homeport_tier_info, source)")],
    [
        Row(
            "Targets",
            [
                States(
                    "Target states",
                    "A target is a source and a model, shared by every tier that is bound to it: the worst state that "
                    "any replica sees.",
                    Query(f"max by (source, model) (({codes()}) {_BOUND})", "{{source}}/{{model}}"),
                ),
                Lines(
                    "Breaker transitions",
                    "Changes of state and their causes, each counted by the replica that made it. The first of its "
                    "kind since a replica's start is missing, as nothing was counted before it.",
                    Unit.COUNT,
                    [
                        Query(
                            "sum by (source, model, to_state, cause) "
                            f"(increase(homeport_breaker_transitions_total{{{_S}}}[$__rate_interval]))",
                            "{{source}}/{{model}} {{to_state}}: {{cause}}",
                        )
                    ],
                ),
                Lines(
                    "Probes",
                    "Requests that asked whether a target is back, by what they found. lost_race: another request was "
                    "the probe.",
                    Unit.PER_SECOND,
                    [
                        Query(
                            rate(f"homeport_probes_total{{{_S}}}", "source, model, result"),
                            "{{source}}/{{model}} {{result}}",
                        )
                    ],
                ),
                Lines(
                    "Failures in the current run",
                    "How near a closed target is to opening: it takes `failure_threshold`, 3 unless set.",
                    Unit.COUNT,
                    [Query(f"max by (source, model) (homeport_breaker_failures{{{_S}}})", "{{source}}/{{model}}")],
                ),
                Table(
                    "Asked again at",
                    "When a target that is not closed may be tried. Those that wait for an operator are not in it.",
                    Unit.SINCE,
                    Query(
                        "max by (source, model) "
                        f"(homeport_breaker_open_until_timestamp_seconds{{{_S}}} > 0 < +Inf) * 1000"
                    ),
                    "asked again",
                    width=12,
                ),
                Table(
                    "Waiting for an operator",
                    "Targets that do not come home by themselves: mend what `homeport status` names, then reset or "
                    "release.",
                    Unit.COUNT,
                    Query(
                        "max by (source, model, state) "
                        f'((homeport_breaker_state{{state=~"disabled|isolated"}} == 1) {_BOUND})'
                    ),
                    "",
                    width=12,
                ),
            ],
        ),
        Row(
            "Answers",
            [
                Lines(
                    "Statuses",
                    "HTTP statuses of attempts; none: no answer came.",
                    Unit.PER_SECOND,
                    [Query(rate(f"homeport_upstream_status_total{{{_S}}}", "source, code"), "{{source}} {{code}}")],
                ),
                Lines(
                    "Attempts that did not serve",
                    "By source and outcome.",
                    Unit.PER_SECOND,
                    [
                        Query(
                            "sum by (source, outcome) "
                            f'(rate(homeport_attempts_total{{outcome!="served"}}[$__rate_interval]) {_BOUND})',
                            "{{source}} {{outcome}}",
                        )
                    ],
                ),
                Lines(
                    "Answers without usage",
                    "Whole answers that did not say how many tokens they cost, so that tokens are counted too low. A "
                    "stream says so only to who asks for it.",
                    Unit.PER_SECOND,
                    [
                        Query(
                            f"sum by (source) (rate(homeport_usage_missing_total[$__rate_interval]) {_BOUND})",
                            "{{source}}",
                        )
                    ],
                ),
            ],
        ),
        Row(
            "Accounts",
            [
                Table(
                    "Access token ends",
                    "Of each source with an account, the latest that any replica has. It is refreshed at some 80 % of "
                    "its life.",
                    Unit.SINCE,
                    Query(
                        "max by (credential) "
                        '(homeport_credential_expiry_timestamp_seconds{credential=~"$source"}) * 1000'
                    ),
                    "ends",
                ),
                Lines(
                    "Refreshes",
                    "taken: another replica has got it. failed: not for now; refused: not until somebody logs in anew.",
                    Unit.COUNT,
                    [
                        Query(
                            "sum by (credential, result) "
                            '(increase(homeport_credential_refreshes_total{credential=~"$source"}[$__rate_interval]))',
                            "{{credential}} {{result}}",
                        )
                    ],
                    width=12,
                ),
            ],
        ),
        Row(
            "Times and connections",
            [
                Lines(
                    "Time to first token, p95",
                    "One stream in twenty waits at least so long for its first content.",
                    Unit.SECONDS,
                    [
                        Query(
                            quantile(0.95, "homeport_upstream_time_to_first_token_seconds", _S, "source, model"),
                            "{{source}}/{{model}}",
                        )
                    ],
                ),
                Lines(
                    "Duration of attempts, p95",
                    "One attempt in twenty takes at least so long, to its last byte.",
                    Unit.SECONDS,
                    [
                        Query(
                            quantile(0.95, "homeport_upstream_duration_seconds", _S, "source, model"),
                            "{{source}}/{{model}}",
                        )
                    ],
                ),
                Lines(
                    "Time to connect, p95",
                    "New connections, with DNS and TLS.",
                    Unit.SECONDS,
                    [Query(quantile(0.95, "homeport_upstream_connect_seconds", _S, "source"), "{{source}}")],
                ),
                Lines(
                    "Connections",
                    "In use, and kept for the next request; all replicas together.",
                    Unit.COUNT,
                    [
                        Query(
                            f'sum by (source, state) (homeport_upstream_connections{{{_S},state!="waiting"}})',
                            "{{source}} {{state}}",
                        )
                    ],
                    width=12,
                ),
                Lines(
                    "Requests that wait for a connection",
                    "All of `max_connections` are in use. Should be none.",
                    Unit.COUNT,
                    [Query(f'sum by (source) (homeport_upstream_connections{{{_S},state="waiting"}})', "{{source}}")],
                    width=12,
                ),
            ],
        ),
    ],
)

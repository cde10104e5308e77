"""The overview: what all callers see, who serves them, and how often that is not the primary."""

from __future__ import annotations

from grafana.parts import Board, Choice, Lines, Number, Query, Row, Table, Unit
from grafana.queries import quantile, rate, share

_A = 'assistant=~"$assistant"'
_SERVED = f'homeport_requests_total{{{_A},outcome=~"success|fallback_success"}}'
_FALLEN = f'homeport_requests_total{{{_A},outcome="fallback_success"}}'
_FAILED = f'homeport_requests_total{{{_A},outcome=~"exhausted|stream_broken"}}'
_ALL = f'homeport_requests_total{{{_A},outcome=~"success|fallback_success|exhausted|stream_broken"}}'


BOARD = Board(
    "homeport-overview",
    "Homeport / Overview",
    "Requests, errors and durations by assistant, who serves, and how much of it fallbacks serve.",
    [Choice("assistant", "Assistant", "label_values(homeport_tier_info, assistant)")],
    [
        Row(
            "Now",
            [
                Number(
                    "Requests",
                    "Requests that ended, a second.",
                    Unit.PER_SECOND,
                    Query(rate(f"homeport_requests_total{{{_A}}}")),
                ),
                Number(
                    "Errors",
                    "Share of the requests that got no answer or a broken one. What callers did wrong is not in it.",
                    Unit.SHARE,
                    Query(share(_FAILED, _ALL)),
                    warn=0.005,
                    bad=0.05,
                ),
                Number(
                    "Served by fallbacks",
                    "Share of the answers that a tier after the primary gave.",
                    Unit.SHARE,
                    Query(share(_FALLEN, _SERVED)),
                    warn=0.05,
                    bad=0.5,
                ),
                Number(
                    "Tiers not closed",
                    "Tiers that at least one replica keeps requests off, or asks again.",
                    Unit.COUNT,
                    Query(
                        f'count(max by (assistant, tier) (homeport_breaker_state{{{_A},state!="closed"}}) == 1)'
                        " or vector(0)"
                    ),
                    warn=1,
                ),
                Number(
                    "In flight",
                    "Requests being served.",
                    Unit.COUNT,
                    Query(f"sum(homeport_requests_in_flight{{{_A}}})"),
                ),
                Number("Replicas", "Replicas that answer.", Unit.COUNT, Query("count(homeport_build_info)")),
            ],
        ),
        Row(
            "Callers",
            [
                Lines(
                    "Requests by assistant",
                    "Requests that ended, whatever their outcome. `_unknown`: they named no assistant that there is.",
                    Unit.PER_SECOND,
                    [Query(rate(f"homeport_requests_total{{{_A}}}", "assistant"), "{{assistant}}")],
                ),
                Lines(
                    "Errors by assistant",
                    "Share of each assistant's requests that got no answer or a broken one.",
                    Unit.SHARE,
                    [Query(share(_FAILED, _ALL, "assistant"), "{{assistant}}")],
                ),
                Lines(
                    "Requests by outcome",
                    "success: by the primary. fallback_success: by a later tier. exhausted: nobody served. "
                    "stream_broken: broke off. client_error: a fault of the request. rejected: refused before any "
                    "tier. cancelled: the caller left.",
                    Unit.PER_SECOND,
                    [Query(rate(f"homeport_requests_total{{{_A}}}", "outcome"), "{{outcome}}")],
                    stacked=True,
                ),
                Lines(
                    "Time to first byte, p95",
                    "One stream in twenty waits at least so long for its first byte, all tiers together.",
                    Unit.SECONDS,
                    [
                        Query(
                            quantile(
                                0.95, "homeport_request_time_to_first_byte_seconds", f'{_A},stream="true"', "assistant"
                            ),
                            "{{assistant}}",
                        )
                    ],
                ),
                Lines(
                    "Duration, p95",
                    "One request in twenty of each assistant takes at least so long, from arrival to the last byte.",
                    Unit.SECONDS,
                    [Query(quantile(0.95, "homeport_request_duration_seconds", _A, "assistant"), "{{assistant}}")],
                ),
                Lines(
                    "Refused by Homeport",
                    "Requests refused before any tier: callers that were not let in, and what is over limits.",
                    Unit.PER_SECOND,
                    [
                        Query(rate("homeport_auth_failures_total", "reason"), "{{reason}}"),
                        Query(rate("homeport_rate_limited_total", "scope"), "over limits ({{scope}})"),
                    ],
                ),
            ],
        ),
        Row(
            "Who serves",
            [
                Lines(
                    "Answers by tier",
                    "Which tiers give the answers.",
                    Unit.PER_SECOND,
                    [Query(rate(f'homeport_attempts_total{{{_A},outcome="served"}}', "tier"), "{{tier}}")],
                    stacked=True,
                ),
                Lines(
                    "Served by fallbacks, by assistant",
                    "Share of each assistant's answers that a tier after the primary gave.",
                    Unit.SHARE,
                    [Query(share(_FALLEN, _SERVED, "assistant"), "{{assistant}}")],
                    most=1,
                ),
                Lines(
                    "Moves to the next tier, by reason",
                    "Why tiers were left: what an attempt met, or why it was not tried.",
                    Unit.PER_SECOND,
                    [Query(rate(f"homeport_fallbacks_total{{{_A}}}", "reason"), "{{reason}}")],
                    stacked=True,
                ),
                Table(
                    "Tiers that are not closed",
                    "Each tier that at least one replica sees in another state than closed, and in which.",
                    Unit.COUNT,
                    Query(f'max by (assistant, tier, state) (homeport_breaker_state{{{_A},state!="closed"}}) == 1'),
                    "",
                ),
                Table(
                    "Requests that nobody served, by reason",
                    "The reason is that of the chain's last tier. Requests a second.",
                    Unit.PER_SECOND,
                    Query(f"{rate(f'homeport_chain_exhausted_total{{{_A}}}', 'assistant, reason')} > 0"),
                    "requests a second",
                ),
            ],
        ),
    ],
)

"""One assistant: its chain's states over time, what its tiers were asked and gave, and how long that took."""

from __future__ import annotations

from grafana.parts import Board, Choice, Lines, Query, Row, States, Table, Unit, Way
from grafana.queries import codes, quantile, rate

_A = 'assistant="$assistant"'
_TTFT = "homeport_upstream_time_to_first_token_seconds_bucket"
_TIERS = f'homeport_tier_info{{{_A},tier!~".+/.+"}}'
"""Those of the chain for what can be streamed: no two of them are bound to the same."""

BOARD = Board(
    "homeport-assistant",
    "Homeport / Assistant",
    "One assistant's chain: tier states, attempts by outcome, time to first token by tier.",
    [Choice("assistant", "Assistant", "label_values(homeport_tier_info, assistant)", many=False)],
    [
        Row(
            "Tiers",
            [
                States(
                    "Tier states",
                    "The worst state that any replica sees of each tier.",
                    Query(f"max by (tier) ({codes(_A)})", "{{tier}}"),
                ),
                Table(
                    "The chain",
                    "What each tier is bound to.",
                    Unit.COUNT,
                    Query(f"max by (tier, source, model, kind) (homeport_tier_info{{{_A}}})"),
                    "",
                ),
                Table(
                    "Last served",
                    "When each tier last gave an answer. A tier that is missing never did since its replicas started.",
                    Unit.SINCE,
                    Query(f"max by (tier) (homeport_tier_last_success_timestamp_seconds{{{_A}}} > 0) * 1000"),
                    "last served",
                    width=6,
                ),
                Table(
                    "Last failed",
                    "When each tier last failed. A tier that is missing never did since its replicas started.",
                    Unit.SINCE,
                    Query(f"max by (tier) (homeport_tier_last_failure_timestamp_seconds{{{_A}}} > 0) * 1000"),
                    "last failed",
                    width=6,
                ),
            ],
        ),
        Row(
            "Requests",
            [
                Lines(
                    "Requests by outcome",
                    "success: by the primary. fallback_success: by a later tier. exhausted: nobody served. "
                    "stream_broken: broke off. client_error: a fault of the request. cancelled: the caller left.",
                    Unit.PER_SECOND,
                    [Query(rate(f"homeport_requests_total{{{_A}}}", "outcome"), "{{outcome}}")],
                    stacked=True,
                ),
                Lines(
                    "Time to first byte of streams",
                    "Until the caller's first byte, all tiers together.",
                    Unit.SECONDS,
                    [
                        Query(
                            quantile(q, "homeport_request_time_to_first_byte_seconds", f'{_A},stream="true"'),
                            f"p{q * 100:.0f}",
                        )
                        for q in (0.5, 0.95, 0.99)
                    ],
                ),
                Lines(
                    "Duration",
                    "From arrival to the last byte.",
                    Unit.SECONDS,
                    [
                        Query(quantile(q, "homeport_request_duration_seconds", _A), f"p{q * 100:.0f}")
                        for q in (0.5, 0.95, 0.99)
                    ],
                ),
                Lines(
                    "In flight",
                    "Requests being served, and whose upstream has them now.",
                    Unit.COUNT,
                    [
                        Query(f"sum(homeport_requests_in_flight{{{_A}}})", "in flight"),
                        Query(f"sum by (tier) (homeport_tier_in_flight{{{_A}}})", "at {{tier}}"),
                    ],
                ),
                Lines(
                    "Body bytes",
                    "Of requests and of answers.",
                    Unit.BYTES_PER_SECOND,
                    [
                        Query(rate(f"homeport_request_body_bytes_total{{{_A}}}"), "from callers"),
                        Query(rate(f"homeport_response_body_bytes_total{{{_A}}}"), "to callers"),
                    ],
                ),
                Lines(
                    "Tokens",
                    "As the upstreams billed them, where they said so.",
                    Unit.TOKENS_PER_SECOND,
                    [Query(rate(f"homeport_tokens_total{{{_A}}}", "tier, kind"), "{{tier}} {{kind}}")],
                ),
            ],
        ),
        Row(
            "Attempts",
            [
                Lines(
                    "Answers by tier",
                    "Which tier served.",
                    Unit.PER_SECOND,
                    [Query(rate(f'homeport_attempts_total{{{_A},outcome="served"}}', "tier"), "{{tier}}")],
                    stacked=True,
                ),
                Lines(
                    "Attempts that did not serve",
                    "By tier and outcome, as docs/failures.md explains them.",
                    Unit.PER_SECOND,
                    [
                        Query(
                            rate(f'homeport_attempts_total{{{_A},outcome!="served"}}', "tier, outcome"),
                            "{{tier}} {{outcome}}",
                        )
                    ],
                    stacked=True,
                ),
                Lines(
                    "Tiers not tried",
                    "By tier and reason: the breaker's state, or why the tier did not fit the request.",
                    Unit.PER_SECOND,
                    [Query(rate(f"homeport_tier_skipped_total{{{_A}}}", "tier, reason"), "{{tier}} {{reason}}")],
                    stacked=True,
                ),
                Lines(
                    "Time to first token by tier, p95",
                    "One stream in twenty of the tier's source and model waits at least so long, whoever asks it.",
                    Unit.SECONDS,
                    [
                        Query(
                            "histogram_quantile(0.95, sum by (tier, le) ("
                            f"rate({_TTFT}[$__rate_interval])"
                            f" * on (job, instance, source, model) group_left (tier) {_TIERS}))",
                            "{{tier}}",
                        )
                    ],
                    width=12,
                ),
                Lines(
                    "Answers that broke off or fell silent",
                    "Truncated: no end of the answer came. Stalled: silence over its limit, before the first sign of "
                    "life or amid the stream.",
                    Unit.PER_SECOND,
                    [
                        Query(rate(f"homeport_stream_truncated_total{{{_A}}}", "tier"), "{{tier}} truncated"),
                        Query(
                            rate(f"homeport_stream_stalls_total{{{_A}}}", "tier, phase"), "{{tier}} stalled {{phase}}"
                        ),
                    ],
                    width=12,
                ),
                Lines(
                    "Left of the upstream's windows",
                    "How many more requests and tokens each tier's upstream takes, as it said with its last answer to "
                    "any replica.",
                    Unit.COUNT,
                    [
                        Query(
                            f"min by (tier, kind) (homeport_upstream_ratelimit_remaining{{{_A}}})", "{{tier}} {{kind}}"
                        )
                    ],
                    width=12,
                ),
                Lines(
                    "Moves to the next tier",
                    "From which tier to which, and why.",
                    Unit.PER_SECOND,
                    [
                        Query(
                            rate(f"homeport_fallbacks_total{{{_A}}}", "from_tier, to_tier, reason"),
                            "{{from_tier}} → {{to_tier}}: {{reason}}",
                        )
                    ],
                    stacked=True,
                    width=12,
                ),
            ],
        ),
    ],
    [
        Way("This assistant", "assistants/${assistant:percentencode}"),
        Way("Its decisions", "decisions?assistant=${assistant:percentencode}"),
    ],
)

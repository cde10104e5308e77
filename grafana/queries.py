"""The shapes of PromQL that dashboards share: rates, shares, quantiles and states, over all replicas."""

from __future__ import annotations

STATES = ("closed", "half_open", "open", "parked", "disabled", "isolated")
"""From the best to the worst; a state's code is its place, from 1."""


def rate(series: str, by: str = "") -> str:
    """So many a second."""
    return f"sum{f' by ({by})' if by else ''} (rate({series}[$__rate_interval]))"


def share(part: str, whole: str, by: str = "") -> str:
    """A part of what there was; nothing where there was nothing."""
    return f"{rate(part, by)} / ({rate(whole, by)} > 0)"


def quantile(q: float, name: str, matchers: str = "", by: str = "") -> str:
    """Of a histogram."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, {rate(f'{name}_bucket{{{matchers}}}', labels)})"


def codes(matchers: str = "") -> str:
    """Breaker states as numbers: of each tier's states one has its code, and the others 0."""
    also = f"{matchers}," if matchers else ""
    return " or ".join(
        f'{code} * homeport_breaker_state{{{also}state="{state}"}}' for code, state in enumerate(STATES, 1)
    )

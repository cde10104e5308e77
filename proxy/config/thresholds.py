"""When a tier counts as dead: what may be written of it, and what holds where several levels say something.

1. A later level wins, value by value; what no level says is the default.
2. Whose state it is never changes by a value: only `scope` gives an assistant breakers of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from proxy.config import words
from proxy.config.fields import Cooldown, Million, Rate, Whole
from proxy.config.part import Part
from proxy.config.quantities import within


class Breaker(Part):
    """When a tier counts as dead; what is left out comes from the level above."""

    failure_threshold: Annotated[Whole, AfterValidator(within(1, 50, "1 to 50"))] | None = None
    """Failures in a run. Default 3."""
    failure_rate: Rate | None = None
    """Share of failures among the outcomes. Default 50%."""
    minimum_calls: Million | None = None
    """Calls before the rate alone can trip. Default 20."""
    cooldown: Cooldown | None = None
    """Until the first probe. Default 15s."""
    cooldown_max: Cooldown | None = None
    """It doubles up to this. Default 5m."""


class OwnBreaker(Breaker):
    """An assistant's own breakers, apart from the health that it would share."""

    scope: Annotated[Literal["assistant"], BeforeValidator(words.scope)] | None = None
    """Has to be `assistant`."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The breaker values that hold for one assistant's use of one source; times in seconds."""

    failure_threshold: int = 3
    failure_rate: float = 0.5
    minimum_calls: int = 20
    cooldown: float = 15.0
    cooldown_max: float = 300.0
    own: bool = False
    """The assistant asked for breakers of its own."""


def merge(*layers: Breaker | None) -> Thresholds:
    """The defaults and what each layer changes; a later layer wins."""
    merged: dict[str, Any] = {}
    for layer in layers:
        if layer is not None:
            said = ((name, getattr(layer, name)) for name in Breaker.model_fields)
            merged |= {name: value for name, value in said if value is not None}
    return Thresholds(**merged, own=any(isinstance(layer, OwnBreaker) for layer in layers))

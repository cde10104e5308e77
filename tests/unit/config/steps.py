"""Two steps of migration made for the tests: from a form -1 that never was, over 0, to the one that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.config.fault import Wrong
from proxy.config.migrations import Edit, Fill, Move, Step


def milliseconds(value: object) -> str:
    """A number of milliseconds, as a duration is written."""
    if not isinstance(value, int):
        raise Wrong("expected milliseconds", "write it in digits")
    return f"{value}ms"


def _names(_: Mapping[str, Any]) -> Iterator[Edit]:
    yield Move(("listen_on",), ("listen",))
    yield Move(("bots",), ("assistants",))


def _places(data: Mapping[str, Any]) -> Iterator[Edit]:
    bots = data.get("assistants")
    for bot in bots if isinstance(bots, dict) else ():
        yield Move(("assistants", bot, "main"), ("assistants", bot, "primary"))
        yield Move(("assistants", bot, "wait"), ("assistants", bot, "timeouts", "total"), milliseconds)
        yield Fill(("assistants", bot, "timeouts", "hold"), "2s")
    yield Fill(("breaker", "cooldown"), "20s")
    yield Move(("gateway", "sources"), ("sources",))


NAMES = Step(0, "names", "names are the ones that the documents use", _names)
PLACES = Step(1, "places", "limits stand together, and probes come later", _places)
STEPS = (NAMES, PLACES)

"""The tables in docs/ that are made from the code, so that they cannot say anything else.

`python -m tests.house.tables` writes them into the documents; a test fails while one is out of date.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

from proxy.breaker import machine
from proxy.breaker.state import Acquire, Act, Event, Heard, Hears, Operate, Policy, State, Word
from proxy.providers.fault_table import ROWS
from proxy.routing.verdict import judge
from proxy.terms import Cause, Diagnosis, Failed

_DOCS = Path(__file__).parents[2] / "docs"
_POLICY = Policy()
_NOW = 1000.0
_LATER = _NOW + 2 * machine.WAIT_MAX
_BAD = Heard(0, Hears.BAD, _NOW, "req")
_TRIP = (_BAD,) * _POLICY.failure_threshold


def _after(*events: Event, then: float = _NOW) -> State:
    """A fresh target after these events; the last one comes at `then`."""
    state = State()
    for event in events:
        state = machine.step(state, _POLICY, event, then if event is events[-1] else _NOW).state
    return state


_STATES = {
    Word.CLOSED: _after(*_TRIP[1:]),
    Word.OPEN: _after(*_TRIP),
    Word.HALF_OPEN: _after(*_TRIP, Acquire("probe"), then=_LATER),
    Word.PARKED: _after(Heard(0, Hears.RATE_LIMIT, _NOW, "req", retry_after=60.0)),
    Word.DISABLED: _after(Heard(0, Hears.DISABLE, _NOW, "req")),
    Word.ISOLATED: _after(Operate(Act.ISOLATE)),
}
_EVENTS: dict[str, Hears | Act | None] = {
    "a request asks": None,
    "good": Hears.GOOD,
    "bad": Hears.BAD,
    "neutral": Hears.NEUTRAL,
    "rate limit": Hears.RATE_LIMIT,
    "quota": Hears.QUOTA,
    "permanent fault": Hears.DISABLE,
    "reset": Act.RESET,
    "isolate": Act.ISOLATE,
    "release": Act.RELEASE,
}


def _became(word: Word, what: Hears | Act | None) -> str:
    state = _STATES[word]
    token = "probe" if word is Word.HALF_OPEN else None
    event: Event
    if what is None:
        event = Acquire("token")
    elif isinstance(what, Act):
        event = Operate(what, math.inf)
    else:
        event = Heard(state.epoch, what, _LATER, "req", token=token, fault="auth", retry_after=60.0)
    after = machine.view(machine.step(state, _POLICY, event, _LATER).state, _LATER).word
    return "·" if after is word else f"**{after.value}**"


def breaker() -> str:
    """What each event makes of each word, asked of the machine itself."""
    lines = ["| | " + " | ".join(_EVENTS) + " |", "|---" * (len(_EVENTS) + 1) + "|"]
    lines += [f"| {word} | " + " | ".join(_became(word, what) for what in _EVENTS.values()) + " |" for word in Word]
    return "\n".join(lines)


def failures() -> str:
    """What each cause means, and the rows of the fault table that lead to it."""
    lines = [
        "| cause | attempt's outcome | next tier? | the breaker hears | provider errors read so |",
        "|---" * 5 + "|",
    ]
    for cause in Cause:
        outcome = Failed(Diagnosis(cause, "x"))
        ruling = judge(outcome, fallback=False, fair=True, silent=False)
        later = judge(outcome, fallback=True, fair=True, silent=False)
        label = ruling.label if ruling.label == later.label else f"{ruling.label}; {later.label} from a fallback"
        onward = ruling.onward if ruling.onward is later.onward else f"{ruling.onward}; {later.onward} from a fallback"
        rows = ", ".join(f"`{row.name}`" for row in ROWS if row.cause is cause)
        lines.append(f"| `{cause}` | {label} | {onward} | {ruling.verdict.hears} | {rows} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[], str]] = {"breaker": breaker, "failures": failures}


def placed(name: str, table: str) -> tuple[Path, str, str]:
    """A document, its text, and its text with the table in its place."""
    path = _DOCS / f"{name}.md"
    text = path.read_text()
    mark = re.compile(rf"(<!-- table {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    assert mark.search(text), f"docs/{name}.md has no place for its table"
    return path, text, mark.sub(lambda found: found[1] + table + "\n" + found[2], text)


if __name__ == "__main__":
    for each, make in TABLES.items():
        document, _, new = placed(each, make())
        document.write_text(new)

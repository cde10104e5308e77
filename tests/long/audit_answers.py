"""The audit of one request: is the walk that the record tells of a walk down its chain, and did the caller get its end?

1. What each attempt met comes from the upstreams' log; the rules of the walk are written here again, from what callers
   were promised, and not taken from the proxy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.long.evidence import View
from tests.long.findings import Findings
from tests.long.layout import HURRY, Assistant, Tier
from tests.long.records import Record, Step
from tests.long.script_rows import Row, Words
from tests.long.scripted_upstream import Call

_BREAKER_WORDS = frozenset({"open", "half_open", "parked", "disabled", "isolated"})
_ANSWERED = frozenset({"success", "fallback_success"})


@dataclass(frozen=True, slots=True)
class Met:
    """One attempt, and what it met. No call and no row where no request could arrive."""

    step: Step
    call: Call | None
    row: Row | None
    words: Words

    @property
    def ends(self) -> bool:
        """No tier after it is to be tried."""
        return self.words.onward == "stop"


# -- the walk


def chain(record: Record, assistant: Assistant, view: View, met: Sequence[Met], findings: Findings) -> bool:
    """Each tier in its place, skipped or tried as it had to be, and none after the end. True: it is such a walk."""
    where, steps = view.marker, list(record.steps)
    early = steps.pop() if len({step.tier for step in steps}) < len(steps) else None
    expected = (["primary"] if assistant.cleared else []) + [tier.name for tier in assistant.tiers]
    names = [step.tier for step in steps]
    right = names == expected[: len(names)] and bool(names)
    if not findings.check("walk", right, where, f"{names} is no walk down {expected}"):
        return False
    ended = [each.ends for each in met]
    text = f"it went on after its end, or ended before: {[(each.step.tier, each.words.onward) for each in met]}"
    over = not any(ended[:-1]) and (bool(ended and ended[-1]) or len(names) == len(expected))
    walked = findings.check("walk", over, where, text)
    if early is not None:
        asleep = {step.tier for step in steps if step.skipped == "open"}
        lawful = all(step.skipped is not None for step in steps) and early.tier in asleep
        walked &= findings.check("walk", lawful, where, f"{early.tier} was asked early after {names}")
    words = {id(each.step): each.words for each in met}
    outgrown: int | None = None
    for step in record.steps:
        tier = assistant.tier(step.tier)
        if tier is None:
            unbound = assistant.cleared and step.skipped == "unbound"
            walked &= findings.check("walk", unbound, where, f"{step.tier} is bound to nothing: {step.word}")
            continue
        bound = (step.source, step.model) == tier.binding
        walked &= findings.check("walk", bound, where, f"{step.tier} is {tier.binding}, not {step.source}/{step.model}")
        _fit(step, tier, outgrown, record, view, findings)
        if step.skipped is None and words[id(step)].onward == "larger":
            outgrown = max(outgrown or 0, tier.context or 0)
    return walked


def _fit(step: Step, tier: Tier, outgrown: int | None, record: Record, view: View, findings: Findings) -> None:
    """Was the tier tried or skipped for a reason that lies in the request?"""
    needed: str | None = None
    if outgrown is not None and (tier.context or 0) <= outgrown:
        needed = "too_small_context"
    elif view.tools and tier.supports is not None and "tools" not in tier.supports:
        needed = "unsupported"
    if needed is not None:
        findings.check("skip", step.skipped == needed, view.marker, f"{step.tier}: {step.word}, not {needed}")
    elif step.skipped == "deadline":
        spent = (record.ended if step.at is None else step.at) - record.at
        text = f"{step.tier} was skipped after {spent:.2f} s of {HURRY} s"
        findings.check("skip", view.assistant == "hurried" and spent > 0.9 * HURRY, view.marker, text)
    elif step.skipped is not None:
        findings.check("skip", step.skipped in _BREAKER_WORDS, view.marker, f"{step.tier}: {step.skipped}")


# -- its end


def end(record: Record, assistant: Assistant, view: View, met: Sequence[Met], findings: Findings) -> None:
    """The request's outcome, its code, who served it, and what was told of the answer."""
    outcome, code, refusal = _expected(record, assistant, met)
    codes = {200} if view.held else {code} if code is not None else {429, 503}
    told = f"{record.outcome} {record.code} {record.refusal}"
    right = record.outcome == outcome and record.code in codes and record.refusal == refusal
    findings.check("outcome", right, view.marker, f"{told}, not {outcome} {sorted(codes)} {refusal}")
    if view.held and outcome in ("client_error", "exhausted") and code is not None:
        would_be = (view.error or {}).get("status")
        findings.check("caller", would_be == code, view.marker, f"the error says that it is a {would_be}, not {code}")
    last = met[-1] if met and met[-1].row is not None and met[-1].words.passed_on == 200 else None
    where = (record.tier, record.source, record.model)
    served = (last.step.tier, last.step.source, last.step.model) if last else (None, None, None)
    findings.check("served", where == served, view.marker, f"{where}, not {served}")
    if last is None or last.row is None or last.call is None or last.row.large or last.row.left:
        return
    said = f"{record.served_model}, not {last.call.model}"
    findings.check("served_model", record.served_model == last.call.model, view.marker, said)
    if not record.stream:
        usage = f"{record.usage}, not {last.call.usage}"
        findings.check("usage", record.usage == last.call.usage, view.marker, usage)


def _expected(record: Record, assistant: Assistant, met: Sequence[Met]) -> tuple[str, int | None, str | None]:
    """Outcome, code (None: 429 or 503) and refusal."""
    last = met[-1] if met else None
    if last is not None and last.row is not None and last.ends:
        if last.row.well:
            return ("success" if last.step.tier == "primary" else "fallback_success"), 200, None
        if last.row.cuts:
            return "stream_broken", 200, None
        if last.row.left:
            return "cancelled", last.words.passed_on or 499, None
        return "client_error", last.words.passed_on, None
    for each in met:
        if each.row is not None and each.row.at_fault:
            return "client_error", each.words.passed_on, None
    alone = len(assistant.tiers) == 1 and not assistant.cleared
    if alone and last is not None and last.words.passed_on is not None:
        return "exhausted", last.words.passed_on, None
    limited = [step.outcome == "rate_limited" for step in record.steps if step.skipped is None]
    if limited and all(limited) and len(limited) == len(record.steps):
        return "exhausted", 429, "all_tiers_failed"
    parked = any(step.skipped == "parked" for step in record.steps)
    return "exhausted", None if parked else 503, "all_tiers_failed"


# -- the caller


def caller(record: Record, view: View, met: Sequence[Met], findings: Findings, *, killed: bool) -> None:
    """What the caller got is what the record says that it got. `killed`: its replica was."""
    where = view.marker
    if view.status is None:
        if view.left:
            findings.check("caller", record.code == 499, where, f"it left before an answer, and {record.code} is told")
        else:
            findings.check("caller", killed, where, f"it got no answer ({view.broke}), and {record.code} is told")
        return
    spoke = _spoke(record, met)
    tier, source, model = (spoke.step.tier, spoke.step.source, spoke.step.model) if spoke else ("none",) * 3
    expected: dict[str, object] = {"status": record.code, "request_id": record.request_id, "named": record.assistant}
    if view.held and view.tier is None:
        findings.check("caller", record.tier is None, where, f"{record.tier} answered, and no comment named it")
    else:
        told = spoke.call.upstream_id if spoke and spoke.call and spoke.call.status else None
        expected |= {"tier": tier, "source": source, "model": model, "upstream_id": told}
        expected |= {"attempts": len(record.attempts)}
        _reason(record, view, findings)
    for name, value in expected.items():
        got = getattr(view, name)
        findings.check("caller", got == value, where, f"{name}: the caller got {got}, and the record says {value}")
    _words(record, view, spoke, findings)
    answered = record.outcome in _ANSWERED
    findings.check(
        "caller", view.whole is answered, where, f"whole: {view.whole}, and the record says {record.outcome}"
    )
    if record.refusal is not None or (record.outcome == "stream_broken" and record.stream):
        code = record.refusal or "stream_broken"
        got = (view.error or {}).get("code")
        findings.check("caller", got == code, where, f"the error that it read is {got}, not {code}")


def _spoke(record: Record, met: Sequence[Met]) -> Met | None:
    """Whose answer the caller reads, whole, cut or passed on."""
    if record.tier is not None:
        return next((each for each in met if each.step.tier == record.tier), None)
    if record.refusal is not None or record.outcome == "cancelled":
        return None
    if met and met[-1].ends:
        return met[-1]
    at_fault = [each for each in met if each.row is not None and each.row.at_fault]
    return at_fault[0] if at_fault else met[-1] if met else None


def _reason(record: Record, view: View, findings: Findings) -> None:
    told, got = record.reason or "", view.reason or ""
    if record.tier == "primary" and not got:
        # It served, so nothing was to be explained; a cut came later.
        return
    cut = record.outcome in ("stream_broken", "cancelled")
    right = told.startswith(got) if cut else told == got
    findings.check("reason", right, view.marker, f"the caller read {got!r}, and the record says {told!r}")


def _words(record: Record, view: View, spoke: Met | None, findings: Findings) -> None:
    """The upstream that the record names is the one whose words were read."""
    name = f"{spoke.step.source}/{spoke.step.model}/{view.marker}" if spoke else None
    if record.tier is not None:
        read_all = record.outcome in _ANSWERED
        right = view.words == {name} if read_all else view.words <= {name}
    else:
        right = not view.words
    findings.check("words", right, view.marker, f"the caller read {sorted(view.words)}, and {name} spoke")
    if not view.held:
        findings.check("words", view.said == name, view.marker, f"the answer came from {view.said}, not {name}")

"""A decision in plain sentences, for a person who was not there: the facts of decision.py, and no others.

1. One sentence for the question, one for each step, one for what the caller got: short enough to paste into a ticket.
2. Every word of the closed lists has a phrase here; words of upstreams are quoted only where decision.py keeps them.
3. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from proxy.breaker.state import View, Word
from proxy.routing.decision import Attempted, Decision, Skipped, Step, lasted

_FOUND: Mapping[str, str] = {
    "header": "named in its header",
    "key": "the only one that the client's key may use",
    "model": "named as the model",
    "default": "the default",
}
MET: Mapping[str, str] = {
    "network": "the connection failed",
    "timeout_connect": "no connection came about in time",
    "timeout_first_byte": "it gave no sign of life in time",
    "timeout_idle": "it fell silent",
    "timeout_total": "the time for the answer ran out",
    "slow": "it was alive but said nothing in time",
    "transient": "the upstream failed",
    "rate_limited": "the upstream asked for a rest",
    "quota": "the account's quota is used up",
    "auth": "the credential was refused",
    "config": "what is configured does not work there",
    "context_length": "the request is too long for its model",
    "content_policy": "the upstream's content policy refused the request",
    "client_fault": "the upstream says that the request is at fault",
    "unsupported": "it cannot serve such a request",
    "stream_broken": "the answer broke off",
    "local": "this replica had no connection to spare",
    "cancelled": "the caller left before it was done",
}
"""What an attempt met, by its outcome; `served` has a sentence of its own."""
HEARD: Mapping[str, str] = {
    "good": "",
    "neutral": "its breaker heard nothing of it",
    "bad": "its breaker counted a failure",
    # A lone short one only moves the request on, and what the breaker made of it is not among these facts.
    "rate_limit": "its breaker noted it, and parks the tier if the rest is long or asked for again at once",
    "quota": "its breaker parked it",
    "disable": "its breaker disabled it until an operator mends it",
    "disable_twice": "its breaker counted a failure, and disables it if that is met again",
}
_PROBES: Mapping[str, str] = {
    "half_open": "as the one request that asks whether it is back",
    "early": "ahead of its time, since no other tier could be",
    "trickle": "as the one request that may ask whether its rest is over",
}
_REMEDIES: Mapping[str, str] = {
    "oauth_invalid_grant": "log its account in anew and give its source the new token",
    "oauth_no_refresh_token": "give its account a refresh token",
    "oauth_invalid_client": "correct the account's `client_id` and `client_secret`",
    "oauth_unauthorized_client": "let the account's client use this `grant`, at its vendor",
    "oauth_invalid_scope": "correct the account's `scope`",
}


def remedy(reason: str) -> str:
    """What mends a permanent fault of this reason, as far as that can be known."""
    if reason.startswith("oauth_"):
        return _REMEDIES.get(reason, "log its account in anew, or correct what its `oauth` says")
    return "mend what it met"


UNFIT: Mapping[str, str] = {
    "too_small_context": "its declared context window is no larger than one that was too small already",
    "deadline": "too little of the request's time was left",
}
_UNCARRIED: Mapping[str, str] = {
    "model": "the request names no model, and neither does its binding",
    "unknown_field": "the request has a field that is not known here, and so cannot be put to its kind of source",
}
"""Objections of dialects that are no field's name."""


@dataclass(frozen=True, slots=True)
class _Tense:
    skipped: str
    is_: str
    had: str


_PAST = _Tense("was not tried", "was", "had")
_NOW = _Tense("would not be tried", "is", "has")


def explain(decision: Decision) -> list[str]:
    """The story, a sentence each."""
    tiers = [_tier(step, decision.unix, _PAST) for step in decision.steps]
    return [_asked(decision), *tiers, _got(decision)]


def foresee(steps: Sequence[Step], unix: Callable[[float], float]) -> list[str]:
    """What these steps of a dry run say of now. `unix` turns their times into Unix time."""
    return [_tier(step, unix, _NOW) for step in steps]


def clock(unix: float) -> str:
    """A Unix time as a person reads it: `11:24:02`."""
    return datetime.fromtimestamp(unix, UTC).strftime("%H:%M:%S")


def _asked(decision: Decision) -> str:
    when = datetime.fromtimestamp(decision.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if decision.assistant is None:
        who = "a caller of no known assistant"
    else:
        how = _FOUND.get(decision.identified_by or "", "")
        who = f"the assistant {decision.assistant}{f' ({how})' if how else ''}"
    client = f", by client {decision.client}," if decision.client else ""
    return f"{when}: {who}{client} {_what(decision)}."


def _what(decision: Decision) -> str:
    if decision.endpoint != "other":
        return f"asked for {decision.endpoint}{', streamed' if decision.stream else ''}"
    if decision.refusal == "endpoint_not_enabled":
        return "asked for something that is not served"
    return "asked for the list of models" if decision.outcome == "success" else "called"


def _tier(step: Step, unix: Callable[[float], float], tense: _Tense) -> str:
    if isinstance(step, Skipped) and step.breaker is None:
        return f"{step.tier} {tense.skipped}: an operator has left it empty."
    if isinstance(step, Attempted):
        what = (_attempted(step) if tense is _PAST else _would(step)) + _untold(step)
    else:
        what = _skipped(step, unix, tense)
    return f"{step.tier} ({step.source}/{step.model}) {what}."


def _skipped(step: Skipped, unix: Callable[[float], float], tense: _Tense) -> str:
    seen = step.breaker
    if seen is not None and step.denied:
        return f"{tense.skipped}: {_denied(seen, unix, tense)}"
    if step.uncarried:
        field = f"the request's {step.uncarried} cannot be put to its kind of source"
        return f"{tense.skipped}: {_UNCARRIED.get(step.uncarried, field)}"
    if step.reason == "unsupported":
        return f"{tense.skipped}: the request needs {_list(step.missing)}, which it does not have"
    return f"{tense.skipped}: {UNFIT.get(step.reason, step.reason)}"


def _denied(seen: View, unix: Callable[[float], float], tense: _Tense) -> str:
    since = "" if seen.since is None else f" since {clock(unix(seen.since))}"
    why = f" ({seen.reason})" if seen.reason else ""
    until = "" if seen.until is None else f", until {clock(unix(seen.until))}"
    match seen.word:
        case Word.OPEN:
            again = "" if seen.until is None else f"; it may be asked again from {clock(unix(seen.until))}"
            said = f"its breaker {tense.is_} open{since}{why}{_by(seen)}{again}"
        case Word.HALF_OPEN:
            said = f"its breaker {tense.is_} half-open{why}: another request {tense.is_} asking whether it is back"
        case Word.PARKED:
            said = f"its upstream {tense.had} asked for a rest{why}{since}{until}{_by(seen)}"
        case Word.DISABLED:
            said = f"it {tense.is_} disabled{since}{why}{_by(seen)}; it stays so until an operator mends and resets it"
            if seen.reason.startswith("oauth_"):
                said += f": {remedy(seen.reason)}, then reset it"
        case Word.ISOLATED:
            said = f"an operator {tense.had} isolated it{since}{until or ', until it is released'}"
        case Word.CLOSED:
            said = f"its breaker {tense.is_} closed"
        case _:
            assert_never(seen.word)
    return f"{said} (this replica's own view)" if seen.local else said


def _by(seen: View) -> str:
    return f", tripped by {_list(seen.tripped_by)}" if seen.tripped_by else ""


def _attempted(step: Attempted) -> str:
    probe = f", {_PROBES[step.probe]}" if step.probe else ""
    if step.outcome == "served":
        return f"was tried{probe and probe + ','} and served{_milestones(step)}"
    notes = [step.detail] if step.detail else []
    notes += [f"HTTP {step.status}"] if step.status else []
    notes.append(f"after {lasted(step.ended - step.started)}")
    met = f"{MET.get(step.outcome, step.outcome)} ({', '.join(notes)})"
    heard = HEARD.get(step.heard, step.heard)
    billed = "the upstream may have billed it" if step.billed == "maybe" else ""
    return f"was tried{probe}: " + "; ".join(part for part in (met, heard, billed) if part)


def _would(step: Attempted) -> str:
    probe = f", {_PROBES[step.probe]}" if step.probe else ""
    end = "and if it answers, it serves" if step.outcome == "served" else "and is assumed to fail"
    return f"would be tried{probe}, {end}"


def _untold(step: Attempted) -> str:
    return f"; not told to it: {', '.join(step.dropped)}" if step.dropped else ""


def _milestones(step: Attempted) -> str:
    parts = []
    if step.connected is not None and not step.reused:
        parts.append(f"connected in {lasted(step.connected - step.started)}")
    if step.first_token is not None:
        parts.append(f"first token after {lasted(step.first_token - step.started)}")
    parts.append(f"done after {lasted(step.ended - step.started)}")
    return f": {', '.join(parts)}"


def _got(decision: Decision) -> str:
    took, served = lasted(decision.duration), decision.served
    match decision.outcome:
        case "cancelled" if served is not None and served.detail == "caller_stalled":
            return f"The caller took in no more of the answer, and was given up after {took}."
        case "cancelled":
            begun = "with the answer under way" if served is not None else "before an answer"
            return f"The caller left after {took}, {begun}."
        case "rejected":
            return f"Homeport refused it: HTTP {decision.code} {decision.refusal}."
        case "client_error" if decision.refusal is not None:
            return f"No tier can be asked it: the caller got {_sent(decision)} after {took}."
        case "client_error":
            return f"The caller got the upstream's own answer, {_sent(decision)}, after {took}."
        case "exhausted" if decision.refusal is None:
            return f"The caller got the only upstream's own answer, {_sent(decision)}, after {took}."
        case "exhausted":
            return f"No tier served it: the caller got {_sent(decision)} after {took}."
        case "stream_broken" if served is not None:
            end = "an error event" if decision.stream else "the connection's end"
            return f"The caller got the beginning of an answer from {served.tier}, then {end}, after {took}."
        case _:
            by = f" from {served.tier}" if served is not None else ""
            return f"The caller got HTTP {decision.code}{by} after {took}{_usage(decision)}."


def _sent(decision: Decision) -> str:
    """An error, as it was sent: a stream that was opened while it waited has its status already."""
    refusal = f" {decision.refusal}" if decision.refusal else ""
    return f"an error event{refusal} in its stream" if decision.code == 200 else f"HTTP {decision.code}{refusal}"


def _usage(decision: Decision) -> str:
    model = f"; the upstream calls the model {decision.served_model}" if decision.served_model else ""
    usage = decision.usage
    return f"; {usage.input} tokens in, {usage.output} out{model}" if usage is not None else model


def _list(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""

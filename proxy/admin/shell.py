"""The operators' API from a shell: ask a running replica, and say its answer in plain words.

1. What goes wrong is one line with its remedy; the token is in none.
2. The token goes to the replica alone: through no forward proxy that the environment names.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

_LIMIT = 10.0
_REFUSALS = (
    "invalid_request",
    "assistant_not_found",
    "binding_not_found",
    "decision_not_found",
    "store_away",
    "request_too_large",
    "overloaded",
)
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class NoAnswer(Exception):
    """The replica did not say what it was asked."""

    def __init__(self, why: str, code: str = "") -> None:
        """`code`: of the API's own refusal, if it is one."""
        super().__init__(why)
        self.code = code


def ask(base: str, path: str, token: str, order: Mapping[str, object] | None = None) -> dict[str, Any]:
    """What the operators' listener `base`, an http URL, answers at `path`, to an order if there is one.

    Raises NoAnswer.
    """
    if not base.startswith(("http://", "https://")):
        raise NoAnswer(f"{base} is no URL: write it like http://127.0.0.1:8081")
    if not token.isprintable():
        # The client would quote it.
        raise NoAnswer("the token has a character that no header can carry: is it the one that Homeport was given?")
    try:
        bearer = f"Bearer {token.encode().decode('latin-1')}"
        body = None if order is None else orjson.dumps(order)
        request = urllib.request.Request(base + path, body, {"Authorization": bearer})  # noqa: S310
        with _DIRECT.open(request, timeout=_LIMIT) as answer:
            document: dict[str, Any] = orjson.loads(answer.read())
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise NoAnswer(
                "it wants the operators' token: set HOMEPORT_ADMIN_TOKEN to it, or name its configuration with "
                "-c; a replica without admin.token printed one when it started"
            ) from None
        if (said := _said(error.read())) is not None:
            raise NoAnswer(*said) from None
        raise NoAnswer(f"{base} answered HTTP {error.code}: is it the operators' listener (`admin.listen`)?") from None
    except http.client.InvalidURL:
        raise NoAnswer(f"{base} is no URL: write it like http://127.0.0.1:8081") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        # What another server said instead of HTTP is nothing for a terminal.
        why = "it is no HTTP" if isinstance(error, http.client.HTTPException) else getattr(error, "reason", error)
        raise NoAnswer(f"no answer from {base} ({why}): is Homeport running there? --admin names another") from None
    return document


def _said(body: bytes) -> tuple[str, str] | None:
    """The message and the code of an error of the operators' API."""
    try:
        error = orjson.loads(body)["error"]
        return (str(error["message"]), error["code"]) if error["code"] in _REFUSALS else None
    except (ValueError, KeyError, TypeError):
        return None


def status(told: dict[str, Any], now: float) -> str:
    """`/api/status` in a few lines."""
    lines = [
        f"homeport {told['version']}, replica {told['replica']}, up {_for(told['uptime_seconds'])}, "
        f"{told['in_flight']} requests in flight{', draining' if told['draining'] else ''}",
        f"store: {_store(told['store'], now)}",
    ]
    if not told["breakers"]:
        lines.append("breakers: all closed")
    lines += [f"breaker: {_breaker(each, now)}" for each in told["breakers"]]
    return "\n".join(lines)


def story(told: dict[str, Any]) -> str:
    """A record's story, or what would happen now."""
    lines = [str(line) for line in told["story"]]
    if also := told.get("also"):
        lines.append(f"The same id was given to {', '.join(also)} too.")
    return "\n".join(lines)


def decisions(told: dict[str, Any]) -> str:
    """Records, a line each."""
    lines = [_decision(each) for each in told["decisions"]]
    if not told["complete"]:
        lines.append(f"Only this replica's own: the shared journal is away ({told['why']}).")
    if told["next"]:
        lines.append(f"More: --cursor {told['next']}")
    return "\n".join(lines or ["Nothing found."])


def _decision(each: dict[str, Any]) -> str:
    when = datetime.fromtimestamp(each["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
    by = f"{each['tier']} {each['source']}/{each['model']}" if each["tier"] else each["refusal"] or "nobody"
    why = f" because {each['reason']}" if each["reason"] else ""
    who, took = each["assistant"] or "-", f"{each['duration_ms']:.0f} ms"
    return f"{when} {each['request_id']} {who} {each['code']} {each['outcome']} by {by} in {took}{why}"


def binding(told: dict[str, Any]) -> str:
    """`/api/bindings/test`, a line for each finding."""
    lines = []
    for each in told["findings"]:
        remedy = f" → {each['remedy']}" if each["remedy"] else ""
        lines.append(f"{each['level']:<7} {each['what']}: {each['said']}{remedy}")
    return "\n".join(lines)


def _store(store: dict[str, Any], now: float) -> str:
    if not store["shared"]:
        return "memory; this replica's breakers are its own"
    synced = "never" if store["last_sync_at"] is None else f"{_for(now - store['last_sync_at'])} ago"
    if not store["up"]:
        away = f"{store['kind']}, AWAY for {_for(now - store['since'])} ({store['why']})"
        return f"{away}: each replica decides alone; last sync {synced}"
    delays = store["propagation_seconds"]
    heard = (
        f"; changes known here after {_ms(delays['p50'])} (p50), {_ms(delays['p99'])} (p99)" if delays["count"] else ""
    )
    return (
        f"{store['kind']}, up for {_for(now - store['since'])}, {store['replicas']} replicas; last sync {synced}{heard}"
    )


def _breaker(each: dict[str, Any], now: float) -> str:
    where = f"{each['assistant']} {each['tier']} ({each['source']}/{each['model']}, {each['endpoint']})"
    word = each["state"] if each["state"] != "closed" else f"closed, {each['failures']} failures"
    why = f" ({each['reason']})" if each["reason"] else ""
    since = "" if each["since"] is None else f" for {_for(now - each['since'])}"
    until = "" if each["until"] is None else f", may be tried in {_for(each['until'] - now)}"
    by = f", tripped by {' '.join(each['tripped_by'])}" if each["tripped_by"] else ""
    return f"{where}: {word}{why}{since}{until}{by}{', as this replica alone sees it' if each['local'] else ''}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _for(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 120 else f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"

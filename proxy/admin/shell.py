"""The operators' API from a shell: ask a running replica, and say its answer in plain words.

1. What goes wrong is one line with its remedy; the token is in none.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

import orjson

_LIMIT = 10.0


class NoAnswer(Exception):
    """The replica did not say what it was asked."""


def ask(base: str, path: str, token: str) -> dict[str, Any]:
    """The document at `path` of the operators' listener `base`, an http URL. Raises NoAnswer."""
    if not base.startswith(("http://", "https://")):
        raise NoAnswer(f"{base} is no URL: write it like http://127.0.0.1:8081")
    request = urllib.request.Request(base + path, headers={"Authorization": f"Bearer {token}"})  # noqa: S310  # above
    try:
        with urllib.request.urlopen(request, timeout=_LIMIT) as answer:  # noqa: S310
            document: dict[str, Any] = orjson.loads(answer.read())
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise NoAnswer(
                "it wants the operators' token: set HOMEPORT_ADMIN_TOKEN to it, or name its configuration with "
                "-c; a replica without admin.token printed one when it started"
            ) from None
        raise NoAnswer(f"{base} answered HTTP {error.code}: is it the operators' listener (`admin.listen`)?") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise NoAnswer(f"no answer from {base} ({why}): is Homeport running there? --admin names another") from None
    return document


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

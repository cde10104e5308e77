"""What can be wrong with a fleet, and what each panel and alert has to say about it.

1. `shows` is the truth that a query must tell while the fault lasts; whatever is in neither `shows` nor `may` must say
   what it said while all was well.
2. `may` is for what follows from the fault without being it, now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from proxy.demo import moods
from proxy.demo.moods import Mood
from tests.integration.prometheus_server import Result
from tests.integration.watched import CONNECTIONS, IN_FLIGHT, KEEP, PACE, Watched, labelled, matching

Shows = Callable[[Result], bool]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, for as long as a block."""

    name: str
    strikes: Callable[[Watched], AbstractAsyncContextManager[None]]
    shows: Mapping[str, Shows]
    may: frozenset[str] = frozenset()
    lasts: bool = False
    """It is not over when it has been seen: the next one follows from it, or there is none."""


# -- what goes wrong


def _mood(mood: Mood, *, both: bool = False) -> Callable[[Watched], AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def strike(fleet: Watched) -> AsyncIterator[None]:
        moody = [fleet.first, fleet.second] if both else [fleet.first]
        for each in moody:
            each.mood = mood
        try:
            yield
        finally:
            for each in moody:
                each.mood = moods.WELL
            # What waits for an operator, for a request or for longer than a test does is mended by hand.
            for source, model in (("first", "bot"), ("second", "small"), ("second", "calm")):
                await fleet.operate("reset", source, model)

    return strike


def _one_in(share: int, mood: Mood) -> Callable[[Watched], AbstractAsyncContextManager[None]]:
    """Too few in a row, and too small a share, to open a breaker."""

    @contextlib.asynccontextmanager
    async def strike(fleet: Watched) -> AsyncIterator[None]:
        async def go_on() -> None:
            for turn in itertools.count():
                fleet.first.queue.append(moods.WELL if turn % share else mood)
                await fleet.first.until(lambda: not fleet.first.queue)

        going = asyncio.create_task(go_on())
        try:
            yield
        finally:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            fleet.first.queue.clear()

    return strike


@contextlib.asynccontextmanager
async def _redis_frozen(fleet: Watched) -> AsyncIterator[None]:
    fleet.wire.hold()
    try:
        yield
    finally:
        fleet.wire.mend()


@contextlib.asynccontextmanager
async def _redis_slow(fleet: Watched) -> AsyncIterator[None]:
    fleet.wire.delay = 0.06
    try:
        yield
    finally:
        fleet.wire.mend()


@contextlib.asynccontextmanager
async def _one_alone(fleet: Watched) -> AsyncIterator[None]:
    """Callers use one replica, the primary dies, and the replicas cannot tell each other."""
    everybody = fleet.replicas
    fleet.wire.hold()
    fleet.replicas = everybody[:1]
    fleet.first.mood = moods.status(503)
    try:
        yield
    finally:
        fleet.first.mood = moods.WELL
        fleet.replicas = everybody
        fleet.wire.mend()


@contextlib.asynccontextmanager
async def _isolated(fleet: Watched) -> AsyncIterator[None]:
    await fleet.operate("isolate", "first", "bot")
    try:
        yield
    finally:
        await fleet.operate("release", "first", "bot")


@contextlib.asynccontextmanager
async def _wrong_key(fleet: Watched) -> AsyncIterator[None]:
    """Somebody else keeps trying a key that is none."""

    async def guess() -> None:
        while True:
            await fleet.ask("bot", key="not-the-key")
            await asyncio.sleep(0.1)

    guessing = asyncio.create_task(guess())
    try:
        yield
    finally:
        guessing.cancel()
        await asyncio.gather(guessing, return_exceptions=True)


@contextlib.asynccontextmanager
async def _no_new_token(fleet: Watched) -> AsyncIterator[None]:
    """It is time for the account's next token, and its endpoint is down. `_logged_out` ends it."""
    fleet.login.server.down = True
    await fleet.login.age(left=_LEFT)
    yield


@contextlib.asynccontextmanager
async def _logged_out(fleet: Watched) -> AsyncIterator[None]:
    """The endpoint is back, and takes the refresh token no more; the access token ends. Then somebody logs in anew."""
    await fleet.login.age(left=0)
    fleet.login.server.end_session()
    fleet.login.server.down = False
    try:
        yield
    finally:
        fleet.login.anew()


@contextlib.asynccontextmanager
async def _hanging(fleet: Watched) -> AsyncIterator[None]:
    """The upstream takes requests and says nothing: connections fill, then replicas."""
    fleet.first.mood = moods.hang()
    try:
        yield
    finally:
        fleet.first.mood = moods.WELL
        # Those that hang end as failures, which open the breaker.
        await fleet.first.stop()
        await fleet.first.start()
        await asyncio.sleep(1)
        await fleet.operate("reset", "first", "bot")


@contextlib.asynccontextmanager
async def _no_pushes(fleet: Watched) -> AsyncIterator[None]:
    fleet.wire.cut_pushes()
    try:
        yield
    finally:
        fleet.wire.mend()


@contextlib.asynccontextmanager
async def _no_usage(fleet: Watched) -> AsyncIterator[None]:
    fleet.usage = False
    try:
        yield
    finally:
        fleet.usage = True


@contextlib.asynccontextmanager
async def _silence(fleet: Watched) -> AsyncIterator[None]:
    fleet.callers = False
    try:
        yield
    finally:
        fleet.callers = True


@contextlib.asynccontextmanager
async def _short_of_cpu(fleet: Watched) -> AsyncIterator[None]:
    """A replica whose process gets to run only now and then."""
    process = fleet.fleet.replicas[0].process

    async def hold() -> None:
        while True:
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.4)
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.6)

    holding = asyncio.create_task(hold())
    try:
        yield
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        process.send_signal(signal.SIGCONT)


@contextlib.asynccontextmanager
async def _new_connections(fleet: Watched) -> AsyncIterator[None]:
    """The upstream drops its connections again and again."""

    async def drop() -> None:
        while True:
            await fleet.first.stop()
            await fleet.first.start()
            await asyncio.sleep(0.5)

    dropping = asyncio.create_task(drop())
    try:
        yield
    finally:
        dropping.cancel()
        await asyncio.gather(dropping, return_exceptions=True)
        await fleet.first.start()


def _file(change: Callable[[str], str], *, everywhere: bool) -> Callable[[Watched], AbstractAsyncContextManager[None]]:
    """The file of one replica, or of all, says something else for a while."""

    @contextlib.asynccontextmanager
    async def strike(fleet: Watched) -> AsyncIterator[None]:
        files = fleet.files if everywhere else fleet.files[:1]
        before = {file: file.read_text() for file in files}
        for file, text in before.items():
            changed = change(text)
            assert changed != text
            file.write_text(changed)
        try:
            yield
        finally:
            for file, text in before.items():
                file.write_text(text)

    return strike


@contextlib.asynccontextmanager
async def _edited(fleet: Watched) -> AsyncIterator[None]:
    """An operator sets what the file says too, to something that no caller meets."""
    await fleet.call("PUT", "/api/assistants/bot", {"timeouts": {"idle": "3s"}})
    try:
        yield
    finally:
        await fleet.call("POST", "/api/assistants/bot/differences", {"field": "timeouts", "choose": "file"})


@contextlib.asynccontextmanager
async def _killed(fleet: Watched) -> AsyncIterator[None]:
    """One replica is gone, for good; callers use the others."""
    gone, fleet.replicas = fleet.replicas[-1], fleet.replicas[:-1]
    await fleet.fleet.end(gone, signal.SIGKILL)
    yield


@contextlib.asynccontextmanager
async def _all_killed(fleet: Watched) -> AsyncIterator[None]:
    for replica in list(fleet.fleet.replicas):
        await fleet.fleet.end(replica, signal.SIGKILL)
    yield


# -- what is to be seen of it

_BOT = PACE * 2
"""bot's requests a second."""
_LEFT = 600.0
"""Seconds that an account's token still holds when it is time for the next one."""


def _near(wanted: float, **labels: str) -> Shows:
    """A figure, give or take a third."""

    def shows(result: Result) -> bool:
        value = labelled(result, **labels)
        return value is not None and wanted * 0.66 <= value <= wanted * 1.5

    return shows


def _is(wanted: float, **labels: str) -> Shows:
    return lambda result: labelled(result, **labels) == wanted


def _over(least: float, **labels: str) -> Shows:
    """At least one of the series with these labels is over it."""
    return lambda result: any(value > least for value in matching(result, **labels))


def _none(**labels: str) -> Shows:
    """Nothing, or nothing but zeros."""
    return lambda result: not any(matching(result, **labels))


def _firing(**labels: str) -> Shows:
    return _over(0, alertstate="firing", **labels)


def _lately(**labels: str) -> Shows:
    """A moment of the last few seconds, in milliseconds."""

    def shows(result: Result) -> bool:
        value = labelled(result, **labels)
        return value is not None and abs(time.time() - value / 1000) < 10

    return shows


def _ends(*, within: float) -> Shows:
    """The access token of the account ends within so many seconds, or has ended if that is 0."""

    def shows(result: Result) -> bool:
        value = labelled(result, credential="first")
        left = math.inf if value is None else value / 1000 - time.time()
        return left <= 0 if within == 0 else 0 < left <= within

    return shows


def _read_lately(replicas: int) -> Shows:
    """So many of them have read their files in the last few seconds."""
    return lambda result: sum(abs(time.time() - value / 1000) < 10 for value in result.values()) == replicas


def _served(*, revisions: int, files: int, edited: bool) -> Shows:
    """So many different configurations by so many different files, on three replicas; `edited`: not the files alone."""

    def shows(result: Result) -> bool:
        found = [(labels["revision"], labels["file"]) for labels in map(dict, result)]
        as_filed = [file.startswith(revision.partition(".")[2]) for revision, file in found]
        counts = (len(found), len({revision for revision, _ in found}), len({file for _, file in found}))
        return counts == (3, revisions, files) and set(as_filed) == {not edited}

    return shows


def _by_fallbacks(reason: str) -> dict[str, Shows]:
    """Bot's primary serves nothing, and its fallback all."""
    return {
        "overview/Served by fallbacks/A": _near(0.5),
        "overview/Served by fallbacks, by assistant/A": _near(1, assistant="bot"),
        "overview/Requests by outcome/A": _near(_BOT, outcome="fallback_success"),
        "overview/Answers by tier/A": _near(_BOT, tier="fallback-1"),
        "overview/Moves to the next tier, by reason/A": _near(_BOT, reason=reason),
        "assistant/Requests by outcome/A": _near(_BOT, outcome="fallback_success"),
        "assistant/Answers by tier/A": _near(_BOT, tier="fallback-1"),
        "assistant/Moves to the next tier/A": _near(_BOT, from_tier="primary", to_tier="fallback-1", reason=reason),
        "assistant/Tiers not tried/A": _near(_BOT, tier="primary", reason=reason),
        "assistant/Time to first token by tier, p95/A": _none(tier="primary"),
        "assistant/Tokens/A": _none(tier="primary"),
        "sources/Time to first token, p95/A": _none(source="first"),
        "sources/Statuses/A": _none(source="first", code="200"),
        "HomeportFallbackRateHigh": _firing(assistant="bot"),
        "HomeportPrimaryNotServing": _firing(assistant="bot"),
    }


def _kept_off(state: str, code: int) -> dict[str, Shows]:
    """Bot's primary is in this state for every replica; no other tier is."""
    return {
        **_by_fallbacks(state),
        "overview/Tiers not closed/A": _is(1),
        "overview/Tiers that are not closed/A": _is(1, assistant="bot", tier="primary", state=state),
        "assistant/Tier states/A": _is(code, tier="primary"),
        "sources/Target states/A": _is(code, source="first", model="bot"),
    }


_DISABLED: dict[str, Shows] = {
    **_kept_off("disabled", 5),
    "HomeportTierDisabled": _firing(source="first", model="bot"),
    "sources/Waiting for an operator/A": _is(1, source="first", model="bot", state="disabled"),
}
# A breaker that moves is a change that is told: these follow, as long as it goes on.
_MOVES = frozenset(
    {
        "sources/Breaker transitions/A",
        "sources/Probes/A",
        "sources/Failures in the current run/A",
        "sources/Asked again at/A",
        "sources/Attempts that did not serve/A",
        "assistant/Attempts that did not serve/A",
        "assistant/Last failed/A",
        "assistant/Last served/A",
        "assistant/Left of the upstream's windows/A",
        "sources/Duration of attempts, p95/A",
        "sources/Connections/A",
        "platform/Propagation/A",
        "platform/Propagation/B",
        "platform/Time of operations, p99/A",
        # Without the minutes that the alert waits, replicas that are scraped one after the other may look divided.
        "platform/Tiers they disagree about/A",
        "HomeportStateDivergence",
    }
)
_REDIS_AWAY: dict[str, Shows] = {
    "platform/Without Redis/A": _is(3),
    "platform/Redis, as each replica sees it/A": _none(),
    "platform/Time without it/A": _over(0.9),
    "platform/Operations that failed/A": _over(0.1, error="timeout"),
    "platform/Age of the last poll/A": _over(4),
    "HomeportRedisDown": lambda result: len(result) == 3,
    "platform/Records that wait/A": _over(KEEP * 0.8),
    "platform/Records dropped/A": _over(1, reason="store"),
    "HomeportRecordsDropped": _firing(reason="store"),
}
_QUIET: dict[str, Shows] = {
    "overview/Requests/A": _none(),
    "overview/Requests by assistant/A": _none(),
    "overview/Requests by outcome/A": _none(),
    "overview/Answers by tier/A": _none(),
    "overview/Time to first byte, p95/A": _none(),
    "overview/Duration, p95/A": _none(),
    "assistant/Requests by outcome/A": _none(),
    "assistant/Answers by tier/A": _none(),
    "assistant/Time to first byte of streams/A": _none(),
    "assistant/Time to first byte of streams/B": _none(),
    "assistant/Time to first byte of streams/C": _none(),
    "assistant/Duration/A": _none(),
    "assistant/Duration/B": _none(),
    "assistant/Duration/C": _none(),
    "assistant/Body bytes/A": _none(),
    "assistant/Body bytes/B": _none(),
    "assistant/Tokens/A": _none(),
    "assistant/Time to first token by tier, p95/A": _none(),
    "platform/Overhead, p99/A": _none(),
    "platform/Overhead/A": _none(),
    "platform/Overhead/B": _none(),
    "platform/Records that wait/A": _none(),
    "sources/Statuses/A": _none(code="200"),
    "sources/Time to first token, p95/A": _none(),
    "sources/Duration of attempts, p95/A": _none(),
}
_FULL: dict[str, Shows] = {
    "overview/In flight/A": _near(3 * IN_FLIGHT),
    "overview/Refused by Homeport/B": _over(1, scope="global"),
    "assistant/In flight/A": _near(3 * IN_FLIGHT),
    "assistant/In flight/B": _near(3 * IN_FLIGHT, tier="primary"),
    "platform/In flight by replica/A": _over(0.66 * IN_FLIGHT),
    "sources/Connections/A": _near(3 * CONNECTIONS, source="first", state="in_use"),
    "sources/Requests that wait for a connection/A": _near(3 * (IN_FLIGHT - CONNECTIONS), source="first"),
    "HomeportOverloaded": _firing(),
    "HomeportConnectionsUsedUp": _firing(source="first"),
}

FAULTS = (
    Fault("nothing", lambda _: contextlib.nullcontext(), {}),
    Fault(
        "the primary is dead",
        _mood(moods.status(503)),
        {
            **_kept_off("open", 3),
            "HomeportTierOpen": _firing(source="first", model="bot"),
            "assistant/Last failed/A": _lately(tier="primary"),
            "assistant/Last served/A": _lately(tier="fallback-1"),
            "assistant/Attempts that did not serve/A": _over(0.1, tier="primary", outcome="transient"),
            "sources/Attempts that did not serve/A": _over(0.1, source="first", outcome="transient"),
            "sources/Breaker transitions/A": _over(0.5, source="first", to_state="open", cause="probe_bad"),
            "sources/Probes/A": _over(0.1, source="first", result="bad"),
            "sources/Asked again at/A": _lately(source="first", model="bot"),
            "platform/Propagation/A": _over(0),
            "platform/Propagation/B": _over(0),
        },
        _MOVES,
    ),
    Fault(
        "the token is refused, and the next one too",
        _mood(moods.status(401)),
        {**_DISABLED, "sources/Refreshes/A": _near(1, credential="first", result="refreshed")},
        _MOVES,
    ),
    Fault(
        "an account gets no new token",
        _no_new_token,
        {
            "sources/Access token ends/A": _ends(within=_LEFT),
            "sources/Refreshes/A": _over(0, credential="first", result="failed"),
            "HomeportCredentialExpiring": _firing(credential="first"),
        },
        # Whose turn it is to refresh is asked of Redis.
        frozenset({"platform/Time of operations, p99/A"}),
        lasts=True,
    ),
    Fault(
        "an account's login has ended",
        _logged_out,
        {
            **_DISABLED,
            "sources/Access token ends/A": _ends(within=0),
            "sources/Refreshes/A": _over(0, credential="first", result="refused"),
            "HomeportCredentialExpiring": _firing(credential="first"),
        },
        _MOVES,
    ),
    Fault(
        "the primary is rate-limited",
        _mood(moods.status(429, retry_after=60)),
        {**_kept_off("parked", 4), "HomeportTierParked": _firing(source="first", model="bot")},
        _MOVES,
    ),
    Fault(
        "an operator isolates the primary",
        _isolated,
        {
            **_kept_off("isolated", 6),
            "HomeportTierIsolated": _firing(source="first", model="bot"),
            "sources/Waiting for an operator/A": _is(1, source="first", model="bot", state="isolated"),
        },
        _MOVES,
    ),
    Fault(
        "nobody serves",
        _mood(moods.status(503), both=True),
        {
            "overview/Errors/A": _near(1),
            "overview/Errors by assistant/A": lambda result: sorted(result.values()) == [1, 1],
            "overview/Requests by outcome/A": _near(2 * _BOT, outcome="exhausted"),
            "overview/Requests that nobody served, by reason/A": _over(_BOT / 2, assistant="bot", reason="open"),
            "overview/Answers by tier/A": _none(),
            "overview/Tiers not closed/A": _is(3),
            "overview/Tiers that are not closed/A": _is(1, assistant="bot", tier="fallback-1", state="open"),
            "overview/Moves to the next tier, by reason/A": _near(_BOT, reason="open"),
            "assistant/Requests by outcome/A": _near(_BOT, outcome="exhausted"),
            "assistant/Answers by tier/A": _none(),
            "assistant/Tier states/A": lambda result: set(result.values()) == {3},
            "assistant/Tiers not tried/A": _near(_BOT, tier="fallback-1", reason="open"),
            "assistant/Moves to the next tier/A": _near(_BOT, from_tier="primary", reason="open"),
            "assistant/Time to first token by tier, p95/A": _none(),
            "assistant/Tokens/A": _none(),
            "assistant/Last failed/A": _lately(tier="fallback-1"),
            "sources/Target states/A": lambda result: set(result.values()) == {3},
            "sources/Statuses/A": _none(code="200"),
            "sources/Time to first token, p95/A": _none(),
            "HomeportAssistantExhausted": _firing(assistant="bot"),
            "HomeportErrorBudgetBurnFast": _firing(assistant="bot"),
            "HomeportErrorBudgetBurnSlow": _firing(assistant="calm"),
            "HomeportTierOpen": _firing(source="second", model="calm"),
        },
        _MOVES | {"assistant/Body bytes/B", "overview/Time to first byte, p95/A", "overview/Duration, p95/A"},
    ),
    Fault(
        "one answer in nine comes late",
        _one_in(9, moods.delay(11)),
        {
            "overview/Time to first byte, p95/A": _over(10, assistant="bot"),
            "overview/Duration, p95/A": _over(10, assistant="bot"),
            "assistant/Time to first byte of streams/B": _over(10),
            "assistant/Time to first byte of streams/C": _over(10),
            "assistant/Duration/B": _over(10),
            "assistant/Duration/C": _over(10),
            "assistant/Time to first token by tier, p95/A": _over(10, tier="primary"),
            "sources/Time to first token, p95/A": _over(10, source="first", model="bot"),
            "sources/Duration of attempts, p95/A": _over(10, source="first", model="bot"),
            "overview/In flight/A": _over(12),
            "assistant/In flight/A": _over(12),
            "assistant/In flight/B": _over(12),
            "sources/Connections/A": _over(12, source="first", state="in_use"),
            "HomeportTimeToFirstByteHigh": _firing(assistant="bot"),
        },
        frozenset({"platform/In flight by replica/A"}),
    ),
    Fault(
        "every answer takes half a second",
        _mood(moods.delay(0.5)),
        {
            "assistant/Duration/A": _near(0.75),
            "assistant/Time to first byte of streams/A": _near(0.75),
        },
        frozenset(
            {
                "overview/Time to first byte, p95/A",
                "overview/Duration, p95/A",
                "overview/In flight/A",
                "assistant/In flight/A",
                "assistant/In flight/B",
                "assistant/Time to first byte of streams/B",
                "assistant/Time to first byte of streams/C",
                "assistant/Duration/B",
                "assistant/Duration/C",
                "assistant/Time to first token by tier, p95/A",
                "sources/Time to first token, p95/A",
                "sources/Duration of attempts, p95/A",
                "sources/Connections/A",
            }
        ),
    ),
    Fault(
        "one answer in four breaks off",
        _one_in(4, moods.truncate()),
        {
            "assistant/Answers that broke off or fell silent/A": _near(_BOT / 4, tier="primary"),
            "assistant/Attempts that did not serve/A": _near(_BOT / 4, tier="primary", outcome="stream_broken"),
            "sources/Attempts that did not serve/A": _near(_BOT / 4, source="first", outcome="stream_broken"),
            "overview/Served by fallbacks/A": _near(0.125),
            "overview/Served by fallbacks, by assistant/A": _near(0.25, assistant="bot"),
            "overview/Requests by outcome/A": _near(_BOT / 4, outcome="fallback_success"),
            "overview/Answers by tier/A": _near(_BOT / 4, tier="fallback-1"),
            "overview/Moves to the next tier, by reason/A": _near(_BOT / 4, reason="stream_broken"),
            "assistant/Requests by outcome/A": _near(_BOT / 4, outcome="fallback_success"),
            "assistant/Answers by tier/A": _near(_BOT / 4, tier="fallback-1"),
            "assistant/Moves to the next tier/A": _near(_BOT / 4, from_tier="primary", reason="stream_broken"),
            "sources/Statuses/A": _near(_BOT * 1.25, source="second", code="200"),
            "sources/Failures in the current run/A": _over(0, source="first", model="bot"),
            "HomeportStreamTruncation": _firing(assistant="bot", tier="primary"),
        },
        _MOVES
        | {
            "HomeportFallbackRateHigh",
            "assistant/Tokens/A",
            "assistant/Time to first token by tier, p95/A",
            "sources/Time to first token, p95/A",
        },
    ),
    Fault(
        "streams fall silent",
        _one_in(9, moods.hang_mid_stream()),
        {"assistant/Answers that broke off or fell silent/B": _over(0.1, tier="primary", phase="mid_stream")},
        _MOVES
        | {
            "HomeportFallbackRateHigh",
            "HomeportStreamTruncation",
            "HomeportErrorBudgetBurnFast",
            "HomeportErrorBudgetBurnSlow",
            "overview/Errors/A",
            "overview/Errors by assistant/A",
            "overview/Requests by outcome/A",
            "overview/Served by fallbacks, by assistant/A",
            "overview/Answers by tier/A",
            "overview/Moves to the next tier, by reason/A",
            "overview/In flight/A",
            "overview/Duration, p95/A",
            "assistant/In flight/A",
            "assistant/In flight/B",
            "assistant/Requests by outcome/A",
            "assistant/Answers by tier/A",
            "assistant/Answers that broke off or fell silent/A",
            "assistant/Moves to the next tier/A",
            "assistant/Duration/B",
            "assistant/Duration/C",
            "assistant/Time to first byte of streams/B",
            "assistant/Time to first byte of streams/C",
            "overview/Time to first byte, p95/A",
            "assistant/Tokens/A",
            "assistant/Time to first token by tier, p95/A",
            "sources/Time to first token, p95/A",
            "sources/Statuses/A",
        },
    ),
    Fault(
        "requests are wrong",
        _mood(moods.status(400)),
        {
            "overview/Requests by outcome/A": _near(_BOT, outcome="client_error"),
            "overview/Answers by tier/A": _near(_BOT, tier="primary"),
            "assistant/Requests by outcome/A": _near(_BOT, outcome="client_error"),
            "assistant/Answers by tier/A": _none(),
            "assistant/Attempts that did not serve/A": _near(_BOT, tier="primary", outcome="client_fault"),
            "assistant/Tokens/A": _none(),
            "assistant/Time to first token by tier, p95/A": _none(),
            "assistant/Body bytes/B": lambda result: 0 < sum(result.values()) < 10_000,
            "sources/Statuses/A": _near(_BOT, source="first", code="400"),
            "sources/Attempts that did not serve/A": _near(_BOT, source="first", outcome="client_fault"),
            "sources/Time to first token, p95/A": _none(source="first"),
        },
    ),
    Fault("Redis is frozen", _redis_frozen, _REDIS_AWAY, frozenset({"platform/Time of operations, p99/A"})),
    Fault("Redis is slow", _redis_slow, {"platform/Time of operations, p99/A": _over(0.1, op="sync")}),
    Fault(
        "Redis gives no pushes",
        _no_pushes,
        {
            "platform/Operations that failed/A": _over(1, op="subscribe", error="refused"),
            "HomeportPushesLost": lambda result: len(result) == 3,
        },
        frozenset({"platform/Time of operations, p99/A"}),
    ),
    Fault(
        "one replica finds out alone",
        _one_alone,
        {**_kept_off("open", 3), **_REDIS_AWAY, "platform/Tiers they disagree about/A": _is(1)},
        (_MOVES | {"HomeportTierOpen"}) - {"HomeportStateDivergence"},
    ),
    Fault(
        "somebody tries a wrong key",
        _wrong_key,
        {
            "overview/Refused by Homeport/A": _near(10, reason="invalid_api_key"),
            "overview/Requests/A": _near(2 * _BOT + 10),
            "overview/Requests by assistant/A": _near(10, assistant="_unknown"),
            "overview/Requests by outcome/A": _near(10, outcome="rejected"),
            "HomeportCallersRefused": _firing(reason="invalid_api_key"),
        },
    ),
    Fault(
        "an upstream hangs and everything fills",
        _hanging,
        _FULL,
        frozenset(_QUIET) | {"overview/Requests/A", "sources/Asked again at/A"},
    ),
    Fault(
        "streams are not asked what they cost",
        _no_usage,
        {
            "sources/Answers without usage/A": _near(_BOT / 2, source="first"),
            "assistant/Tokens/A": lambda result: 0 < sum(result.values()) < 250,
        },
    ),
    Fault(
        "an upstream's window is nearly used up",
        _mood(replace(moods.WELL, headers=(("x-ratelimit-remaining-requests", "7"),))),
        {"assistant/Left of the upstream's windows/A": _near(7, tier="primary", kind="requests")},
    ),
    Fault(
        "nobody asks",
        _silence,
        {**_QUIET, "platform/Time of operations, p99/A": _none(op="record")},
        frozenset({"sources/Connections/A", "platform/CPU/A"}),
    ),
    Fault(
        "a replica is short of CPU",
        _short_of_cpu,
        {
            "platform/Event loop late, p99/A": _over(0.2),
            "platform/Event loop late, p99 by replica/A": _over(0.2),
            "HomeportEventLoopLate": lambda result: len(result) == 1,
        },
        frozenset(
            {
                "platform/In flight by replica/A",
                "overview/In flight/A",
                "assistant/In flight/A",
                "assistant/In flight/B",
                "platform/Time of operations, p99/A",
                "platform/Operations that failed/A",
                "platform/Time of a scrape/A",
                "platform/Age of the last poll/A",
                "platform/Overhead, p99/A",
                "platform/Overhead/B",
                "overview/Duration, p95/A",
                "overview/Time to first byte, p95/A",
                "assistant/Duration/B",
                "assistant/Duration/C",
                "assistant/Time to first byte of streams/B",
                "assistant/Time to first byte of streams/C",
                "assistant/Time to first token by tier, p95/A",
                "sources/Time to first token, p95/A",
                "sources/Duration of attempts, p95/A",
                "platform/Without Redis/A",
                "platform/Redis, as each replica sees it/A",
                "platform/Time without it/A",
                "HomeportRedisDown",
                "HomeportReplicaDown",
                "platform/Not answering/A",
                "platform/Replicas/A",
                "overview/Replicas/A",
            }
        ),
    ),
    Fault(
        "the upstream drops its connections",
        _new_connections,
        {"sources/Time to connect, p95/A": _over(0, source="first")},
        _MOVES
        | {
            "HomeportStreamTruncation",
            "HomeportFallbackRateHigh",
            "overview/Requests by outcome/A",
            "overview/Served by fallbacks, by assistant/A",
            "overview/Answers by tier/A",
            "overview/Moves to the next tier, by reason/A",
            "assistant/Requests by outcome/A",
            "assistant/Answers by tier/A",
            "assistant/Answers that broke off or fell silent/A",
            "assistant/Moves to the next tier/A",
            "assistant/Time to first token by tier, p95/A",
            "sources/Time to first token, p95/A",
            "sources/Statuses/A",
        },
    ),
    Fault(
        "a file with a fault reaches every replica",
        _file(lambda text: f"{text}asistants: {{}}\n", everywhere=True),
        {
            "platform/Files not in force/A": _is(3),
            "platform/File last read/A": _read_lately(3),
            "platform/Readings of the file/A": _over(0.5, result="invalid"),
            "HomeportReloadFailed": lambda result: len(result) == 3,
        },
    ),
    Fault(
        "one replica has another file",
        _file(lambda text: text.replace('"idle":"2s"', '"idle":"3s"'), everywhere=False),
        {
            "platform/Different revisions/A": _is(2),
            "platform/Revisions/A": _served(revisions=2, files=2, edited=False),
            "platform/File last read/A": _read_lately(1),
            "platform/Readings of the file/A": _over(0.5, result="ok"),
            "HomeportConfigRevisionMismatch": _firing(),
        },
    ),
    Fault(
        "an operator edits what the file says",
        _edited,
        {
            "platform/Edits against the file/A": _is(1),
            "platform/Revisions/A": _served(revisions=1, files=1, edited=True),
        },
        # For the two seconds until it is everywhere.
        frozenset({"platform/Different revisions/A", "HomeportConfigRevisionMismatch"}),
    ),
    Fault(
        "a replica is killed",
        _killed,
        {
            "overview/Replicas/A": _is(2),
            "platform/Replicas/A": _is(2),
            "platform/Not answering/A": _is(1),
            "platform/Redis, as each replica sees it/A": lambda result: len(result) == 2,
            "platform/Age of the last poll/A": lambda result: len(result) == 2,
            "platform/Event loop late, p99 by replica/A": lambda result: len(result) == 2,
            "platform/CPU/A": lambda result: len(result) == 2,
            "platform/Memory/A": lambda result: len(result) == 2,
            "platform/File descriptors/A": lambda result: len(result) == 2,
            "platform/Versions/A": lambda result: len(result) == 2,
            "platform/Revisions/A": lambda result: len(result) == 2,
            "platform/File last read/A": lambda result: len(result) < 3,
            "platform/Records that wait/A": lambda result: len(result) == 2,
            "platform/Series/A": lambda result: 0 in result.values(),
            "HomeportReplicaDown": lambda result: len(result) == 1,
        },
        frozenset({"sources/Connections/A", "platform/Time of a scrape/A"}),
        lasts=True,
    ),
)
"""In this order."""

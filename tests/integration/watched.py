"""A fleet with callers and a Prometheus: what every panel and every alert says while all is well, and what changes.

1. Callers keep their pace whatever happens, so that a figure that moves was moved by a fault.
2. `bot` has the tiers first/bot and second/small, `calm` has second/calm alone: what befalls the upstream `first` is
   bot's trouble and nobody else's.
3. `first` has an account, whose tokens live for longer than any test: they are refreshed when a fault makes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from proxy.demo.simulator import Simulator
from tests.deploy.boards import Target, filled, load, panels, targets
from tests.deploy.promql import rules
from tests.e2e.caller import chain, source
from tests.e2e.replica import Replica
from tests.integration.fleet import Fleet
from tests.integration.login import Login
from tests.integration.oauth_server import oauth_server
from tests.integration.prometheus_server import RATE_INTERVAL, Labels, PrometheusServer, Result, scraping
from tests.integration.redis_server import RedisServer
from tests.integration.wire import Wire, wired

PACE = 10.0
"""Requests a second of each kind (JSON, streams) and of each assistant."""
IN_FLIGHT, CONNECTIONS = 30, 20
"""limits.in_flight, and max_connections of `first`."""
KEEP = 100
"""decisions.keep: few enough for the records of some seconds to be too many."""
_KEY = "the-key-of-a-caller"
_TOKEN = "the-operators-token-of-a-test"
_SAMPLES = 8
"""Looks at a healthy fleet that make a baseline."""


class Watched:
    """All of it, running."""

    def __init__(
        self,
        fleet: Fleet,
        files: Sequence[Path],
        wire: Wire,
        prometheus: PrometheusServer,
        login: Login,
        session: aiohttp.ClientSession,
    ) -> None:
        self.fleet, self.wire, self.prometheus, self.login = fleet, wire, prometheus, login
        self.files = files
        """The replicas' configurations, in no order."""
        self.first, self.second = fleet.first, fleet.second
        self.usage = True
        """Whether callers of streams ask what they cost."""
        self.callers = True
        """Whether anybody asks at all."""
        self.replicas = list(fleet.replicas)
        """Those that are asked."""
        self._session = session

    async def ask(
        self, assistant: str, *, stream: bool = False, replica: Replica | None = None, key: str = _KEY
    ) -> int:
        """One request, read to its end however that is; its status, 0 where the connection broke."""
        body: dict[str, Any] = {"model": "any", "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
        if stream and self.usage:
            body["stream_options"] = {"include_usage": True}
        headers = {"X-Assistant-Id": assistant, "Authorization": f"Bearer {key}"}
        url = f"{(replica or self.replicas[0]).api}/v1/chat/completions"
        try:
            async with self._session.post(url, json=body, headers=headers) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    async def operate(self, action: str, source: str, model: str) -> None:
        """As `homeport isolate`, `release`, `reset`."""
        await self.call("POST", "/api/breakers", {"action": action, "source": source, "model": model})

    async def call(self, method: str, path: str, body: dict[str, Any]) -> None:
        """One call of the operators' API, upon whichever revision is the newest."""
        headers = {"Authorization": f"Bearer {_TOKEN}", "If-Match": "*"}
        url = self.replicas[0].admin + path
        async with self._session.request(method, url, json=body, headers=headers) as response:
            assert response.status == 200, await response.text()

    async def keep_asking(self) -> None:
        """At the pace, to the replicas in turn, until cancelled."""
        under_way: set[asyncio.Task[int]] = set()
        loop = asyncio.get_running_loop()
        try:
            began = loop.time()
            for turn in itertools.count():
                if self.callers:
                    replica = self.replicas[turn % len(self.replicas)]
                    for assistant, stream in itertools.product(("bot", "calm"), (False, True)):
                        task = loop.create_task(self.ask(assistant, stream=stream, replica=replica))
                        under_way.add(task)
                        task.add_done_callback(under_way.discard)
                await asyncio.sleep(max(0.0, began + (turn + 1) / PACE - loop.time()))
        finally:
            for each in under_way:
                each.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    # -- what is seen

    async def look(self) -> Look:
        """Every query of every panel, and every alert, now."""
        found: Look = {}
        for target in targets():
            found[target.name] = await self.prometheus.query(as_grafana(target))
        for name in alerts():
            found[name] = await self.prometheus.query(f'ALERTS{{alertname="{name}"}}')
        return found

    async def baseline(self) -> Baseline:
        """What they say while nothing is wrong: everything that is seen over some seconds."""
        made = Baseline()
        for _ in range(_SAMPLES):
            made.add(await self.look())
            await asyncio.sleep(0.5)
        return made


Look = dict[str, Result]


def as_grafana(target: Target) -> str:
    """A query with the variables as a reader may have set them."""
    everything = {"source": ".+", "instance": ".+", "interval": RATE_INTERVAL}
    assistant = "bot" if target.board == "homeport-assistant" else ".+"
    return filled(target.expr, assistant=assistant, **everything)


def alerts() -> Iterator[str]:
    """The names of all alerts."""
    for rule in rules():
        if "alert" in rule:
            yield rule["alert"]


def _units() -> dict[str, str]:
    return {
        f"{uid.removeprefix('homeport-')}/{panel['title']}/{target['refId']}": panel["fieldConfig"]["defaults"]["unit"]
        for uid, board in load().items()
        for panel in panels(board)
        for target in panel["targets"]
    }


UNITS = _units()
_NEW = 0.1
"""Requests a second of a kind that was not seen before."""
_NOISE = {"s": 0.15, "percentunit": 0.12, "reqps": 2.0, "tokens/s": 60.0, "Bps": 20_000.0, "bytes": 100e6, "none": 0.5}
"""How far a figure moves by itself, beyond what the baseline has seen, by its unit; of counts below."""
_COUNTS = {
    "In flight": 8.0,
    "In flight by replica": 6.0,
    "Connections": 12.0,
    "Series": 300.0,
    "Records that wait": KEEP * 0.3,
}
_UNSTEADY = {"platform/Age of the last poll/A": 2.0}
_OFTEN_ZERO = {"platform/Records that wait/A"}
"""What is zero or not by the moment of the scrape, and gone only when it is not told at all."""


@dataclass(slots=True)
class Baseline:
    """What was seen while all was well."""

    ranges: dict[str, dict[Labels, list[float]]] = field(default_factory=dict)
    always: dict[str, set[Labels]] = field(default_factory=dict)

    def add(self, look: Look) -> None:
        """One more look."""
        for name, result in look.items():
            here = {labels for labels, value in result.items() if value}
            self.always[name] = self.always.get(name, here) & here
            seen = self.ranges.setdefault(name, {})
            for labels, value in result.items():
                low, high = seen.get(labels, (value, value))
                seen[labels] = [min(low, value), max(high, value)]

    def changed(self, name: str, result: Result) -> str:
        """How one query's answer differs from all that was seen; empty if it does not."""
        title = name.split("/")[1] if "/" in name else name
        unit = UNITS.get(name, "none")
        noise = _COUNTS.get(title, 0.5) if unit == "short" else _UNSTEADY.get(name, _NOISE.get(unit, 0.0))
        seen = self.ranges[name]
        here = {labels for labels, value in result.items() if value or name in _OFTEN_ZERO}
        if gone := self.always[name] - here:
            return f"{_say(gone)} is gone"
        for labels, value in result.items():
            if unit == "dateTimeFromNow":
                # The moments themselves go on; what counts is what has one.
                if labels not in seen:
                    return f"{_say([labels])} is new"
                continue
            if labels not in seen and unit == "s":
                return f"{_say([labels])} is new: {value:g}"
            low, high = seen.get(labels, (0.0, 0.0))
            spread = (noise if high or unit != "reqps" else _NEW) + (high - low)
            if not low - spread <= value <= high + spread:
                return f"{_say([labels])} is {value:g}, was {low:g} to {high:g}"
        return ""

    def changes(self, look: Look) -> dict[str, str]:
        """How each query that differs does so."""
        return {name: how for name, result in look.items() if (how := self.changed(name, result))}


def _say(series: Any) -> str:
    return "; ".join(",".join(f"{name}={value}" for name, value in sorted(labels)) or "it" for labels in series)


def labelled(result: Result, /, **wanted: str) -> float | None:
    """The value of the one series with at least these labels; None if there is none."""
    found = matching(result, **wanted)
    assert len(found) <= 1, result
    return found[0] if found else None


def matching(result: Result, /, **wanted: str) -> list[float]:
    """The values of all series with at least these labels."""
    return [value for labels, value in result.items() if wanted.items() <= dict(labels).items()]


class _Fleet(Fleet):
    """With chains of unlike length."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._assistants = {
            "bot": chain("first/bot", "second/small", timeouts={"idle": "2s"}),
            "calm": chain("second/calm"),
        }


@contextlib.asynccontextmanager
async def watched(
    folder: Path, redis: RedisServer, *, namespaces: Sequence[str] = ("one",) * 3
) -> AsyncIterator[Watched]:
    """Replicas over a Redis behind a wire, two upstreams, callers, and a Prometheus that has seen some seconds.

    A replica for each of `namespaces`; those of one share their breakers.
    """
    config = {
        "admin": {"listen": "127.0.0.1:0", "token": _TOKEN},
        "clients": [{"id": "web", "key_sha256": hashlib.sha256(_KEY.encode()).hexdigest()}],
        "limits": {"in_flight": IN_FLIGHT},
        "decisions": {"keep": KEEP},
    }
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(Simulator("first"))
        second = await stack.enter_async_context(Simulator("second"))
        wire = await stack.enter_async_context(wired(redis.port))
        login = Login(await stack.enter_async_context(oauth_server()), folder / "token.json")
        sources = {
            "first": source(first, oauth=login.source, max_connections=CONNECTIONS),
            "second": source(second),
        }
        fleet = _Fleet(folder, wire.url, (), first, second, sources=sources, **config)
        stack.push_async_callback(fleet.close)
        await asyncio.gather(*(fleet.add(f"{wire.url}?namespace={each}") for each in namespaces))
        prometheus = await stack.enter_async_context(scraping(folder, [each.admin for each in fleet.replicas]))
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=30), connector=aiohttp.TCPConnector(limit=0)
        )
        stack.push_async_callback(session.close)
        files = [folder / f"replica-{number}" / "homeport.yaml" for number in range(len(namespaces))]
        made = Watched(fleet, files, wire, prometheus, login, session)
        asking = asyncio.create_task(made.keep_asking())

        async def stop() -> None:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

        stack.push_async_callback(stop)
        # Until a whole window of everything has been seen.
        await asyncio.sleep(10)
        yield made

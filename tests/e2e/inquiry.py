"""What operators ask of records, dry runs and live events: one replica's API, and a fleet over a real Redis.

1. Each call is asked with the operators' token, and gives status and document as they came.
2. A listener keeps all that a stream of events has said, in the order in which it came.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from yarl import URL

from tests.e2e.operated import Operated, operated
from tests.integration.redis_server import RedisServer

TOKEN = "tok-OPERATORS-e2e4"
PATIENCE = 30.0
"""Seconds for anything that is to happen; ten times what it needs."""
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream."""

    id: str
    kind: str
    data: dict[str, Any]


class Listener:
    """Follows `/api/events` of one replica."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.events: list[Event] = []
        self.comments: list[str] = []
        self.ended = False
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what has been heard is so."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(condition)

    def of(self, kind: str) -> list[Event]:
        """The events of one kind so far."""
        return [each for each in self.events if each.kind == kind]

    def requests(self) -> list[str]:
        """The ids of the requests whose decisions were told."""
        return [each.data["request_id"] for each in self.of("decision")]

    async def heard(self, *request_ids: str) -> None:
        """Wait until the decisions of these were told."""
        await self.until(lambda: set(request_ids) <= set(self.requests()))

    async def leave(self) -> None:
        """Follow no longer."""
        self._response.close()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            while line := (await self._response.content.readline()).decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if line == "\n":
                    if "data" in fields:
                        told = Event(fields.get("id", ""), fields["event"], orjson.loads(fields["data"]))
                        await self._note(self.events, told)
                    fields = {}
                elif name:
                    fields[name] = value
                else:
                    await self._note(self.comments, value)
        except aiohttp.ClientError:
            pass
        async with self._news:
            self.ended = True
            self._news.notify_all()

    async def _note(self, where: list[Any], what: object) -> None:
        async with self._news:
            where.append(what)
            self._news.notify_all()


class Operator:
    """Asks one replica, on connections that it keeps."""

    def __init__(self, of: Operated, session: aiohttp.ClientSession) -> None:
        self.of, self.replica, self._session = of, of.replica, session

    async def call(self, path: str, order: object = None, **query: object) -> tuple[int, Any]:
        """Status and document. `path` may hold percent-encoded characters; an order is sent as JSON."""
        url = URL(self.replica.admin + path, encoded=True).update_query({name: str(it) for name, it in query.items()})
        method, headers = "GET" if order is None else "POST", {"Authorization": f"Bearer {TOKEN}"}
        body = None if order is None else orjson.dumps(order)
        async with self._session.request(method, url, data=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def search(self, **query: object) -> dict[str, Any]:
        """One page."""
        code, told = await self.call("/api/decisions", **query)
        assert code == 200, told
        assert set(told) == {"decisions", "next", "complete", "why"}
        found: dict[str, Any] = told
        return found

    async def record(self, named: str) -> Record:
        """The one record with this id."""
        code, told = await self.call(f"/api/decisions/{named}")
        assert code == 200, told
        found: Record = told
        return found

    async def known(self, *request_ids: str) -> list[Record]:
        """These records, as soon as they can be read here."""
        async with asyncio.timeout(PATIENCE):
            for each in request_ids:
                while (await self.call(f"/api/decisions/{each}"))[0] != 200:  # noqa: ASYNC110  # another process
                    await asyncio.sleep(0.05)
        return [await self.record(each) for each in request_ids]

    async def foretold(self, assistant: str, **what: object) -> dict[str, Any]:
        """What a request would meet now."""
        code, told = await self.call(f"/api/assistants/{assistant}/explain", what)
        assert code == 200, told
        found: dict[str, Any] = told
        return found

    async def isolate(self, source: str, model: str, action: str = "isolate") -> None:
        """An operator's hand."""
        code, told = await self.call("/api/breakers", {"source": source, "model": model, "action": action})
        assert code == 200, told

    async def get(self, path: str = "/v1/models", assistant: str = "", request_id: str = "") -> str:
        """A small request to the API, which ends well or not; its id."""
        given = {"X-Assistant-Id": assistant, "X-Request-Id": request_id}
        headers = {name: value for name, value in given.items() if value}
        body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Where?"}]}) if assistant else None
        method = "POST" if assistant else "GET"
        async with self._session.request(method, self.replica.api + path, data=body, headers=headers) as answer:
            await answer.read()
            return answer.headers["x-request-id"]

    async def journal(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The journal's part of the status, once it is so."""
        async with asyncio.timeout(PATIENCE):
            while not condition(told := (await self.of.status())["journal"]):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)
        found: dict[str, Any] = told
        return found

    @contextlib.asynccontextmanager
    async def listening(self, *, last: str = "", **query: str) -> AsyncIterator[Listener]:
        """Follow the events, after the event `last` if it is given."""
        headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Last-Event-ID": last} if last else {})
        url = f"{self.replica.admin}/api/events"
        forever = aiohttp.ClientTimeout(total=None)
        async with self._session.get(url, headers=headers, params=query, timeout=forever) as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
            listener = Listener(response)
            await listener.until(lambda: "following" in listener.comments)
            try:
                yield listener
            finally:
                await listener.leave()


@contextlib.asynccontextmanager
async def operators(
    folder: Path, settings: dict[str, object], count: int = 1, redis: RedisServer | None = None
) -> AsyncIterator[list[Operator]]:
    """So many replicas of one configuration, that share the Redis if there is one, each with its operator."""
    shared = {} if redis is None else {"store": "${STORE}"}
    password = "" if redis is None or redis.password is None else f":{redis.password}@"
    env = {} if redis is None else {"STORE": f"redis://{password}127.0.0.1:{redis.port}/0?namespace=ours"}
    async with contextlib.AsyncExitStack() as stack:
        # The API's listeners are asked on connections that are kept, and a stream of events holds one for itself.
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

        async def one(number: int) -> Operator:
            place = folder / f"replica-{number}"
            place.mkdir()
            of = await stack.enter_async_context(operated(place, settings | shared, token=TOKEN, env=env))
            return Operator(of, session)

        everyone = await asyncio.gather(*(one(number) for number in range(count)))
        if redis is not None:
            await asyncio.gather(*(each.of.until(up=True, replicas=count) for each in everyone))
        yield everyone

"""Records are searched and read from any replica: by each filter, page by page while more arrive, and by any id."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import CHAT, chain
from tests.e2e.inquiry import Operator, Record, operators
from tests.e2e.operated import config
from tests.integration.redis_server import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

_REQUESTS = 1100
"""More than a chunk of the journal, and than two of the largest pages."""


class Kept:
    """Replicas with many records, and the ids of these by replica in the order in which they ended."""

    def __init__(self, everyone: list[Operator], first: Simulator) -> None:
        self.everyone, self.first = everyone, first
        self.ids: dict[int, list[str]] = defaultdict(list)
        self.trips: list[str] = []
        """Those of three failures of a primary, and of three requests that were spared it."""

    async def fill(self) -> None:
        """Each replica gets its share, one request after the other, of every kind."""
        share = _REQUESTS // len(self.everyone)
        self.first.mood = moods.WELL
        await asyncio.gather(*(self._some(number, share) for number in range(len(self.everyone))))
        at = self.everyone[0]
        for mood in [moods.status(503)] * 3 + [moods.WELL] * 3:
            self.first.queue.append(mood)
            self.trips.append(await at.get(CHAT, "trips"))
        self.ids[0] += self.trips
        self.first.queue.clear()

    async def settled(self) -> None:
        """Wait until everybody knows what everybody has recorded."""
        for at in self.everyone:
            await at.journal(lambda told: not told["pending"])

    async def _some(self, number: int, count: int) -> None:
        at = self.everyone[number]
        ways = itertools.cycle([("/v1/models", ""), ("/v1/files", ""), (CHAT, "well"), ("/v1/models", "")])
        for path, assistant in itertools.islice(ways, count):
            self.ids[number].append(await at.get(path, assistant))

    def all(self) -> set[str]:
        """Every id so far."""
        return {each for ids in self.ids.values() for each in ids}

    async def pages(self, query: dict[str, object], *, limit: int, fill: bool = False) -> list[Record]:
        """All that a search finds, each page asked of the next replica, while more requests arrive if wanted."""
        found: list[Record] = []
        cursor: str | None = None
        for turn in itertools.count():
            asked = query | ({"cursor": cursor} if cursor else {})
            page = await self.everyone[turn % len(self.everyone)].search(limit=limit, **asked)
            assert (page["complete"], page["why"]) == (True, None)
            assert len(page["decisions"]) <= limit
            found += page["decisions"]
            if (cursor := page["next"]) is None:
                return found
            if fill:
                await asyncio.gather(*(self._some(number, 3) for number in range(len(self.everyone))))
        raise AssertionError


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", "shared"])
async def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kept]:
    """One replica with a journal of its own, or three that share one."""
    folder, shared = tmp_path_factory.mktemp("search"), request.param == "shared"
    with running() as server:
        async with Simulator("first") as first, Simulator("second") as second:
            assistants = {name: chain(f"first/{name}", "second/small") for name in ("well", "trips", "named")}
            settings = config(first, second, breaker={"cooldown": "5m"}) | {"assistants": assistants}
            async with operators(folder, settings, 3 if shared else 1, server if shared else None) as everyone:
                kept = Kept(everyone, first)
                await kept.fill()
                yield kept


async def test_pages_tell_every_record_once_while_more_arrive(kept: Kept) -> None:
    """Newest first, from any replica, none lost and none twice; of one replica in the order in which they ended."""
    await kept.settled()
    before = kept.all()
    found = await kept.pages({}, limit=230, fill=True)
    ids = [each["request_id"] for each in found]
    assert len(ids) == len(set(ids))
    assert before <= set(ids)
    assert set(ids) <= kept.all()
    for number, at in enumerate(kept.everyone):
        replica = (await at.of.status())["replica"]
        own = [each["request_id"] for each in found if each["replica"] == replica]
        # What arrived after the first page is not told: it is newer than what comes.
        assert own == kept.ids[number][: len(own)][::-1]
    ended = [each["at"] + each["duration_ms"] / 1000 for each in found]
    assert all(newer > older - 1.5 for newer, older in itertools.pairwise(ended))


async def test_each_filter_and_all_together_find_what_they_say(kept: Kept) -> None:
    """Every search gives those of all records that meet it, in the same order, whatever the size of a page."""
    await kept.settled()
    everything = await kept.pages({}, limit=500)
    middle = sorted(each["at"] for each in everything)[len(everything) // 2]
    boot = everything[0]["request_id"][:14]

    def word(record: Record, wanted: str) -> bool:
        steps = record["steps"]
        words = {step.get("reason") or step["outcome"] for step in steps}
        met = {step.get("detail") or step["breaker"]["reason"] for step in steps}
        return wanted in words | met | {record["refusal"]}

    searches: list[tuple[dict[str, object], Callable[[Record], bool], int]] = [
        ({"assistant": "well"}, lambda each: each["assistant"] == "well", 200),
        ({"assistant": "trips"}, lambda each: each["assistant"] == "trips", 6),
        ({"tier": "primary"}, lambda each: each["tier"] == "primary", 200),
        ({"tier": "fallback-1"}, lambda each: each["tier"] == "fallback-1", 6),
        ({"tier": "none"}, lambda each: each["tier"] is None, 500),
        ({"outcome": "rejected"}, lambda each: each["outcome"] == "rejected", 200),
        ({"outcome": "fallback_success"}, lambda each: each["outcome"] == "fallback_success", 6),
        ({"reason": "open"}, lambda each: word(each, "open"), 3),
        ({"reason": "transient"}, lambda each: word(each, "transient"), 3),
        ({"reason": "server_is_overloaded"}, lambda each: word(each, "server_is_overloaded"), 6),
        ({"reason": "endpoint_not_enabled"}, lambda each: word(each, "endpoint_not_enabled"), 200),
        ({"id": boot}, lambda each: each["request_id"].startswith(boot), 300),
        ({"id": everything[5]["request_id"]}, lambda each: each["request_id"] == everything[5]["request_id"], 1),
        ({"after": middle}, lambda each: each["at"] >= middle, 200),
        ({"before": middle}, lambda each: each["at"] < middle, 200),
        (
            {"assistant": "well", "tier": "primary", "outcome": "success", "id": boot, "before": middle},
            lambda each: each["assistant"] == "well" and each["request_id"].startswith(boot) and each["at"] < middle,
            1,
        ),
        ({"assistant": "trips", "reason": "open", "outcome": "rejected"}, lambda _: False, 0),
        ({"assistant": "nobody"}, lambda _: False, 0),
    ]
    for query, meets, least in searches:
        wanted = [each["request_id"] for each in everything if meets(each)]
        assert len(wanted) >= least, query
        found = await kept.pages(query, limit=150)
        assert [each["request_id"] for each in found] == wanted, query
    few = await kept.pages({"assistant": "trips"}, limit=2)
    assert [each["request_id"] for each in few] == kept.trips[::-1]


async def test_a_record_is_found_by_every_id_that_it_bears(kept: Kept) -> None:
    """Ours, the upstream's, and the caller's own, which several may bear: any replica knows each."""
    ids = [await at.get(CHAT, "named", "their-own-id") for at in kept.everyone for _ in range(2)]
    odd = await kept.everyone[0].get(CHAT, "named", "their own/id?")
    for at in reversed(kept.everyone):
        *records, _ = await at.known(*ids, odd)
        for request_id, record in zip(ids, records, strict=True):
            assert (record["request_id"], record["also"]) == (request_id, [])
            upstream = record["steps"][0]["upstream_request_id"]
            assert upstream is not None
            assert (await at.record(upstream))["request_id"] == request_id
        named = await at.record("their-own-id")
        assert sorted([named["request_id"], *named["also"]]) == sorted(ids)
        assert named["at"] >= max(each["at"] for each in records) - 1.0
        assert (await at.record("their%20own%2Fid%3F"))["request_id"] == odd
        for unknown in ("req_0000000000000001", "their-own-i", "theirs%2F..%2Fid", "%00", "x" * 4000):
            code, told = await at.call(f"/api/decisions/{unknown}")
            assert (code, told["error"]["code"]) == (404, "decision_not_found"), unknown
            assert set(told["error"]) == {"message", "type", "param", "code"}


async def test_a_search_that_cannot_be_made_says_why(kept: Kept) -> None:
    """Each is 400, typed, and names the field."""
    at = kept.everyone[-1]
    faults: list[dict[str, object]] = [
        {"cursor": "nonsense"},
        {"cursor": "1-2-3.4"},
        {"cursor": "x" * 300},
        {"limit": 0},
        {"limit": 501},
        {"limit": "all"},
        {"after": "yesterday"},
        {"before": "soon"},
        {"id": ""},
        {"id": "x" * 129},
        {"assistent": "well"},
    ]
    for query in faults:
        code, told = await at.call("/api/decisions", **query)
        assert (code, told["error"]["code"], told["error"]["type"]) == (400, "invalid_request", "invalid_request"), (
            query
        )
        assert next(iter(query)) in told["error"]["message"], told
    code, told = await at.call("/api/decisions?limit=5&limit=6")
    assert (code, told["error"]["code"]) == (400, "invalid_request")

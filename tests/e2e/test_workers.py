"""Several workers behind one address: they answer as one, each can be seen by itself, and a death is made good."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import chain, source, written
from tests.e2e.crew import Crew, crew, gone
from tests.e2e.operated import homeport
from tests.e2e.test_wire import STREAMED, Answered, ask, post, read
from tests.integration.redis_server import RedisServer, running
from tests.unit.demo.raw import Raw, connect, texts

_SOON = 20.0
_OPEN = 'homeport_breaker_state{assistant="bot",state="open",tier="primary"} 1.0\n'
_ANYWHERE = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """What the workers share."""
    with running() as server:
        yield server


def _config(redis: RedisServer, *upstreams: Simulator, **more: object) -> str:
    return written(
        store=f"{redis.url}/0",
        sources={each.name: source(each) for each in upstreams},
        assistants={"bot": chain(*(f"{each.name}/m-1" for each in upstreams))},
        **more,
    )


@contextlib.asynccontextmanager
async def _streaming(fleet: Crew, number: int) -> AsyncIterator[Raw]:
    """A stream of that worker, begun."""
    async with contextlib.AsyncExitStack() as stack:
        with fleet.only(number):
            raw = await stack.enter_async_context(connect(fleet.api))
            raw.send(post(STREAMED))
            await raw.until(b"This ")
        yield raw


async def _ask(fleet: Crew, number: int) -> Answered:
    with fleet.only(number):
        return await ask(fleet, post())


async def _asked_until(fleet: Crew, done: asyncio.Future[Any]) -> list[int]:
    """The statuses of requests that are made until then, one after the other."""
    found = []
    while not done.done():
        found.append((await ask(fleet, post())).status)
        await asyncio.sleep(0.02)
    return found


def _of(answer: Answered, name: str) -> str:
    return answer.all(name)[0]


def _served(metrics: str) -> list[float]:
    lines = [line for line in metrics.splitlines() if line.startswith("homeport_requests_total{")]
    return [float(line.rpartition(" ")[2]) for line in lines]


async def test_workers_answer_as_one_and_end_as_one(
    tmp_path: Path, redis: RedisServer, first: Simulator, second: Simulator
) -> None:
    """One address; what one worker has met the other knows; each has its own name, metrics and folder. A stop drains
    each of them, also where it reaches supervisor and workers alike, and a second one ends the drains."""
    first.mood = moods.status(503)
    async with crew(tmp_path, _config(redis, first, second, limits={"drain": "5m"})) as fleet:
        (here,), (there,) = fleet.ready(1), fleet.ready(2)
        assert here["listen"] == there["listen"]
        assert len({here["listen"], here["admin"], there["admin"]}) == 3
        assert here["replica"].removesuffix("-1") == there["replica"].removesuffix("-2")

        met = [await _ask(fleet, 1) for _ in range(3)]
        async with asyncio.timeout(_SOON):
            while _OPEN not in await fleet.told(2, "/metrics"):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.02)
        skipped = await _ask(fleet, 2)
        assert {_of(each, "x-homeport-attempts") for each in met} == {"2"}
        assert _of(skipped, "x-homeport-reason").startswith("primary=open(")
        assert (skipped.status, len(first.requests), len(second.requests)) == (200, 3, 4)
        told = [await fleet.line("request", request_id=_of(each, "x-request-id")) for each in (*met, skipped)]
        assert [each["replica"] for each in told] == [here["replica"]] * 3 + [there["replica"]]
        assert [sum(_served(await fleet.told(number, "/metrics"))) for number in (1, 2)] == [3.0, 1.0]
        for folder in ("homeport-state", "homeport-state/worker-2"):
            assert orjson.loads((tmp_path / folder / "revisions.json").read_bytes())

        fleet.send(signal.SIGHUP)
        for each in (here, there):
            await fleet.line("reload", replica=each["replica"], result="unchanged")

        second.mood = moods.hang_mid_stream(2)
        async with _streaming(fleet, 2) as cut:
            second.mood = moods.pause(0.1)
            async with _streaming(fleet, 1) as kept:
                for pid in (fleet.process.pid, *fleet.pids.values()):
                    os.kill(pid, signal.SIGTERM)
                for each in (here, there):
                    await fleet.line("draining", replica=each["replica"], in_flight=1)
                for pid in fleet.pids.values():
                    os.kill(pid, signal.SIGTERM)
                refused = await ask(fleet, post())
                assert (refused.status, refused.code) == (503, "draining")
                whole = await kept.until(b"\r\n0\r\n\r\n")
                assert (len(texts(whole)) > 1, b"[DONE]" in whole) == (True, True)
            await fleet.line("stopped", replica=here["replica"])
            assert fleet.process.returncode is None
            async with asyncio.timeout(_SOON):
                assert await fleet.stop(signal.SIGTERM) == 0
            assert b'"code":"stream_broken"' in (await cut.rest())[0]
    assert [line["replica"] for line in fleet.lines if line["event"] == "cut"] == [there["replica"]]
    assert not [line for line in fleet.lines if line["event"] in ("stderr", "worker_ended")]


async def test_a_worker_that_dies_is_replaced_and_none_outlives_the_supervisor(
    tmp_path: Path, redis: RedisServer, first: Simulator
) -> None:
    """Of a killed worker only its own requests fail; its seat, with name, address and operators' token, is filled as
    soon as the file is good. A killed supervisor leaves what is in flight to its end, and no address taken. As long as
    all is well, callers are shared evenly."""
    async with crew(tmp_path, _config(redis, first)) as fleet:
        file = tmp_path / "homeport.yaml"
        good = file.read_text()
        await fleet.line("request", request_id=_of(await _ask(fleet, 2), "x-request-id"))
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(12):
                raw = await stack.enter_async_context(connect(fleet.api))
                raw.send(post())
                assert (await read(raw)).status == 200
            assert min([sum(_served(await fleet.told(number, "/metrics"))) for number in (1, 2)]) >= 4
        first.mood = moods.hang_mid_stream(2)
        async with _streaming(fleet, 2) as lost:
            first.mood = moods.pause(0.02)
            async with _streaming(fleet, 1) as kept:
                file.write_text(good + "nonsense: 1\n")
                os.kill(fleet.pids[2], signal.SIGKILL)
                assert b"[DONE]" not in (await lost.rest())[0]
                assert b"[DONE]" in await kept.until(b"\r\n0\r\n\r\n")
        tried = asyncio.ensure_future(fleet.line("worker_ended", why="exit code 2"))
        statuses = await _asked_until(fleet, tried)
        file.write_text(good)
        statuses += await _asked_until(fleet, asyncio.ensure_future(fleet.again(2)))
        assert set(statuses) == {200}

        before, after = ({**line, "at": ""} for line in fleet.ready(2))
        assert before == after
        ended = [line for line in fleet.lines if line["event"] == "worker_ended"]
        assert [(line["why"], line["again_in_s"]) for line in ended[:2]] == [("SIGKILL", 0.0), ("exit code 2", 0.5)]
        assert {line["replica"] for line in ended} == {after["replica"]}
        assert any("nonsense: unknown key" in line.get("text", "") for line in fleet.lines)
        answer = await _ask(fleet, 2)
        served = await fleet.line("request", request_id=_of(answer, "x-request-id"))
        assert served["replica"] == after["replica"]
        ids = [line["request_id"] for line in fleet.requests()]
        assert len(set(ids)) == len(ids)

        assert fleet.process.stdout is not None
        token = (await fleet.process.stdout.readline()).decode().split()[-1]
        for number in (1, 2):
            status = orjson.loads(await fleet.told(number, "/api/status", Authorization=f"Bearer {token}"))
            assert status["replica"] == fleet.ready(number)[0]["replica"]

        first.mood = moods.pause(0.1)
        pids = fleet.pids
        async with _streaming(fleet, 1) as raw:
            fleet.process.kill()
            for number in (1, 2):
                await fleet.line("orphaned", replica=fleet.ready(number)[0]["replica"])
            await gone([pids[2]])
            for address in (fleet.api, *(fleet.ready(number)[0]["admin"] for number in (1, 2))):
                with socket.socket() as taken:
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    taken.bind(("127.0.0.1", int(address.rpartition(":")[2])))
                    taken.listen()
            assert b"[DONE]" in await raw.until(b"\r\n0\r\n\r\n")
        await gone(pids.values())
        assert await fleet.process.stdout.read() == b""
    assert token not in "".join(map(str, fleet.lines))


async def test_what_cannot_be_served_is_told_once(tmp_path: Path, redis: RedisServer, first: Simulator) -> None:
    """The configuration's fault is exit 2, the machine's is exit 1, and no worker repeats it."""
    file = tmp_path / "homeport.yaml"
    shared = f"version: 1\n{_config(redis, first)}"
    file.write_text(shared.replace(f"{redis.url}/0", "memory"))
    alone, checked, number = await asyncio.gather(
        homeport("serve", "--workers", "2", *_ANYWHERE, cwd=tmp_path),
        homeport("check", "--workers", "2", cwd=tmp_path),
        homeport("serve", "--workers", "none", cwd=tmp_path),
    )
    assert (alone.code, alone.out, alone.err.count("\n")) == (2, "", 1)
    assert alone.err.startswith("--workers: with `store: memory` each worker would have breakers")
    assert alone.err.endswith("; set `store` to a Redis, which they share, or serve with one worker\n")
    assert checked == alone
    assert number.code == 2
    assert number.err.endswith(": expected a number from 1 to 128, or auto\n")

    file.write_text(shared)
    (tmp_path / "homeport-state").mkdir()
    (tmp_path / "homeport-state" / "revisions.json").write_text("no book")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        there = f"127.0.0.1:{taken.getsockname()[1]}"
        used, broken, stray = await asyncio.gather(
            homeport("serve", "--workers", "2", "--listen", there, "--admin", "127.0.0.1:0", cwd=tmp_path),
            homeport("serve", "--workers", "2", *_ANYWHERE, cwd=tmp_path),
            homeport("serve", "--as-worker", "2", *_ANYWHERE, cwd=tmp_path),
        )
    assert (used.code, used.out, used.err.count("\n")) == (1, "", 1)
    assert used.err.startswith(f"homeport: cannot listen on {there}: ")
    said = [line for line in broken.err.splitlines() if not line.startswith("{")]
    assert (broken.code, len(said)) == (1, 1)
    assert said[0].startswith("homeport: state_dir: ")
    assert (stray.code, stray.err) == (2, "--as-worker: no supervisor has started this; say --workers\n")

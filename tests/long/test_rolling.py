"""Behind a real load balancer: replicas are replaced and no caller notices; one that is killed takes only its own."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from tests.integration.redis_server import running
from tests.long.balanced import LASTS, NOTICE, balanced

_RATE, _STREAMS = 30.0, 5.0
"""JSON requests and streams a second; at any time some 40 streams are under way."""


async def test_a_rolling_restart_costs_nobody_anything(tmp_path: Path) -> None:
    """Each of three replicas gets a SIGTERM in turn, under load: no request fails, and no stream is cut."""
    with running() as redis:
        async with balanced(tmp_path, redis) as fleet:
            async with fleet.callers(_RATE, _STREAMS):
                await asyncio.sleep(LASTS)
                before = {place.identity for place in fleet.places}
                for each in before:
                    await fleet.served_by(each)
                for place in fleet.places:
                    code, took = await place.stop(signal.SIGTERM)
                    assert code == 0
                    # The streams that it had begun went on to their end, and nothing kept it longer.
                    assert NOTICE < took < NOTICE + LASTS + 5
                    await fleet.served_by(await place.start())
            bad = [answer for answer in fleet.answers if not answer.good]
            assert bad == [], f"{len(bad)} of {len(fleet.answers)}"
            after = {place.identity for place in fleet.places}
            assert not after & before
            assert set(fleet.by_replica()) == before | after
            assert sum(answer.stream for answer in fleet.answers) > 100
            # A third of all that was under way belonged to each; some streams outlived their replica's SIGTERM.
            assert all(len(place.started) == 2 for place in fleet.places)


async def test_a_replica_that_is_killed_takes_only_its_own(tmp_path: Path) -> None:
    """kill -9 amid streams: those it had are broken, and seen to be; every other request and stream is served whole."""
    with running() as redis:
        async with balanced(tmp_path, redis) as fleet:
            async with fleet.callers(_RATE, _STREAMS):
                await asyncio.sleep(LASTS)
                victim, lost = fleet.places[0], fleet.places[0].identity
                await fleet.served_by(lost)
                killed = time.monotonic()
                await victim.stop(signal.SIGKILL)
                await asyncio.sleep(LASTS)
                await fleet.served_by(await victim.start())
            bad = [answer for answer in fleet.answers if not answer.good]
            assert all(abs(answer.ended - killed) < 1 for answer in bad), bad
            cut = [answer for answer in bad if answer.status == 200]
            assert 5 <= len(cut) <= 30, cut
            assert {(answer.stream, answer.replica) for answer in cut} == {(True, lost)}
            # What it had taken and not begun to answer: HAProxy says 502 or hangs up, and asks nobody else.
            rest = [answer for answer in bad if answer not in cut]
            assert len(rest) <= 4, rest
            assert all(answer.status in (0, 502) and killed - 0.5 < answer.began < killed + 0.1 for answer in rest), (
                rest
            )
            others = [answer for answer in fleet.answers if answer.replica not in (lost, "")]
            assert all(answer.good for answer in others)
            assert sum(answer.stream for answer in others) > 60

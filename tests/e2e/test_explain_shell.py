"""`homeport explain` and `homeport decisions`: the story and the search from a shell, in words or as they are."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import orjson

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import CHAT
from tests.e2e.inquiry import TOKEN, Operator, operators
from tests.e2e.operated import Ran, config, homeport


async def _shell(at: Operator, *calls: str) -> list[Ran]:
    """These commands, at once."""
    env = {"HOMEPORT_ADMIN_TOKEN": TOKEN}
    ran = await asyncio.gather(*(homeport(*call.split("|"), "--admin", at.replica.admin, env=env) for call in calls))
    for each in ran:
        assert TOKEN not in each.out + each.err
    return ran


async def test_a_story_and_a_forecast_in_words(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """By our id or the caller's it is the record's story, by an assistant's name what would be now; `--json` is the
    API's document."""
    async with operators(tmp_path, config(first, second, breaker={"cooldown": "5m"})) as (at,):
        first.queue.extend([moods.status(503)] * 3)
        ids = [await at.get(CHAT, "bot", "their own/id") for _ in range(3)]
        record = await at.record(ids[-1])
        ours, theirs, now, well, told = await _shell(
            at,
            f"explain|{ids[-1]}",
            "explain|their own/id",
            "explain|bot",
            "explain|bot|--assume|primary=closed|--assume|second/small=parked for 60s|--stream|--needs|tools",
            "explain|bot|--assume|redis=away|--endpoint|responses|--json",
        )
        for each in (ours, theirs, now, well, told):
            assert (each.code, each.err) == (0, "")
        assert ours.out.splitlines() == record["story"]
        *story, also = theirs.out.splitlines()
        assert story == record["story"]
        assert also == f"The same id was given to {ids[1]}, {ids[0]} too."
        skipped, tried = now.out.splitlines()
        assert re.fullmatch(
            r"primary \(first/big\) would not be tried: its breaker is open since \d\d:\d\d:\d\d "
            rf"\(server_is_overloaded\), tripped by {ids[0]}, {ids[1]} and {ids[2]}; "
            r"it may be asked again from \d\d:\d\d:\d\d\.",
            skipped,
        )
        assert tried == "fallback-1 (second/small) would be tried, and if it answers, it serves."
        assert well.out.splitlines()[0] == "primary (first/big) would be tried, and if it answers, it serves."
        assert "second/small" in well.out.splitlines()[1]
        document = orjson.loads(told.out)
        assert (document["endpoint"], document["assume"]) == ("responses", {"redis": "away"})
        assert document["tier"] == "primary"


async def test_a_search_in_words(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """A line for each record, newest first, how to go on, and nothing said where there is nothing."""
    async with operators(tmp_path, config(first, second)) as (at,):
        served = await at.get(CHAT, "bot")
        first.queue.append(moods.status(503))
        fell = await at.get(CHAT, "bot")
        refused = await at.get("/v1/files")
        everything, few, none, raw = await _shell(
            at,
            "decisions",
            "decisions|--limit|2",
            "decisions|--before|1",
            "decisions|--reason|transient|--tier|fallback-1|--assistant|bot|--outcome|fallback_success|--id|req_|--json",
        )
        for each in (everything, few, none, raw):
            assert (each.code, each.err) == (0, "")
        lines = everything.out.splitlines()
        assert [line.split(" ")[2] for line in lines] == [refused, fell, served]
        when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        assert re.fullmatch(rf"{when} {refused} - 404 rejected by endpoint_not_enabled in \d+ ms", lines[0])
        assert re.fullmatch(
            rf"{when} {fell} bot 200 fallback_success by fallback-1 second/small in \d+ ms "
            r"because primary=transient\(server_is_overloaded,\d+ms\)",
            lines[1],
        )
        assert re.fullmatch(rf"{when} {served} bot 200 success by primary first/big in \d+ ms", lines[2])
        *two, more = few.out.splitlines()
        assert two == lines[:2]
        assert more.startswith("More: --cursor ")
        (rest,) = await _shell(at, f"decisions|--cursor|{more.rpartition(' ')[2]}")
        assert rest.out.splitlines() == lines[2:]
        assert none.out == "Nothing found.\n"
        document = orjson.loads(raw.out)
        assert [each["request_id"] for each in document["decisions"]] == [fell]
        assert document == await at.search(reason="transient")


async def test_what_the_shell_cannot_do(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """One line with its remedy on stderr, and the exit code that says whose fault it is."""
    async with operators(tmp_path, config(first, second)) as (at,):
        cases = [
            (1, "no longer kept", "explain|req_nobody"),
            (1, "half_open", "explain|bot|--assume|primary=gone"),
            (2, "TIER=STATE", "explain|bot|--assume|primary"),
            (1, "cursor", "decisions|--cursor|nonsense"),
            (1, "limit", "decisions|--limit|many"),
        ]
        runs = await _shell(at, *(call for _, _, call in cases))
        for (code, word, call), ran in zip(cases, runs, strict=True):
            assert (ran.code, ran.out) == (code, ""), (call, ran)
            assert len(ran.err.splitlines()) == 1, ran.err
            assert word in ran.err, call
        env = {"HOMEPORT_ADMIN_TOKEN": "wrong"}
        ran = await homeport("explain", "bot", "--admin", at.replica.admin, env=env)
        assert (ran.code, ran.out) == (1, "")
        assert "HOMEPORT_ADMIN_TOKEN" in ran.err

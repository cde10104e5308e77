"""What an operator is told of a replica: by `GET /api/status` to whoever has the token, and by `homeport status`."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from pathlib import Path

import aiohttp
import orjson
import pytest

from proxy import __version__
from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import ask, written
from tests.e2e.operated import config, homeport, operated

_TOKEN = "tok-OPERATORS-51c7"
_BREAKER = {
    "assistant",
    "tier",
    "endpoint",
    "source",
    "model",
    "state",
    "reason",
    "since",
    "until",
    "tripped_by",
    "failures",
    "local",
}


async def test_only_who_has_the_token_is_told(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Anything but the configured token is 401, typed, with the scheme to use; the token itself is told nowhere."""
    async with operated(tmp_path, config(first, second), token=_TOKEN) as operator:
        refused: list[dict[str, str]] = [
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Bearer {_TOKEN[:-1]}"},
            {"Authorization": f"Bearer {_TOKEN}x"},
            {"Authorization": "Bearer"},
            {"Authorization": f"Basic {_TOKEN}"},
            {"Authorization": _TOKEN},
            {"Authorization": "Bearer t\u00f6k"},
            {"api-key": _TOKEN},
        ]
        for headers in refused:
            status, back, document = await operator.ask(**headers)
            assert (status, back["www-authenticate"]) == (401, "Bearer")
            error = document["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert (error["type"], error["code"], error["param"]) == ("unauthorized", "unauthorized", None)
            assert "admin.token" in error["message"]
            assert _TOKEN not in f"{back}{document}"
        for given in (f"Bearer {_TOKEN}", f"bearer {_TOKEN}", f"Bearer  {_TOKEN}"):
            assert (await operator.ask(Authorization=given))[0] == 200
        assert (await operator.ask(method="POST", Authorization=f"Bearer {_TOKEN}"))[0] == 405
        elsewhere = f"{operator.replica.api}/api/status"
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {_TOKEN}"}) as session:
            async with session.get(elsewhere) as answer:
                assert answer.status == 404
            for free in ("metrics", "healthz", "readyz"):
                async with session.get(f"{operator.replica.admin}/{free}", headers={"Authorization": "x"}) as answer:
                    assert answer.status == 200
        assert _TOKEN not in str(await operator.status())
        assert _TOKEN not in await operator.scrape()
        told = await operator.told()
        assert _TOKEN not in told
        assert "token" not in told


async def test_a_token_is_made_up_for_a_run_that_has_none(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """It is announced once, on stdout alone, works, and is another one in another run."""
    tokens = []
    for _ in range(2):
        async with operated(tmp_path, config(first, second)) as operator:
            tokens.append(operator.token)
            assert re.fullmatch(r"[A-Za-z0-9_-]{32,}", operator.token)
            assert (await operator.ask())[0] == 401
            assert (await operator.status())["version"] == __version__
            assert operator.token not in await operator.scrape()
            assert operator.token not in await operator.told()
    assert tokens[0] != tokens[1]


async def test_the_document_of_a_replica_that_shares_nothing(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """Who it is, how long it is up, what it serves; and of breakers those alone where something is amiss."""
    began = time.time()
    settings = config(first, second, breaker={"cooldown": "5m"})
    async with operated(tmp_path, settings, token=_TOKEN) as operator:
        told = await operator.status()
        assert set(told) == {
            "version", "replica", "started_at", "uptime_seconds", "draining", "in_flight", "store", "journal",
            "breakers", "breakers_left_out", "revision", "configuration",
        }  # fmt: skip
        assert (told["version"], told["draining"], told["in_flight"]) == (__version__, False, 0)
        assert re.fullmatch(r"[0-9a-f]{10}", told["replica"])
        assert began <= told["started_at"] <= time.time()
        assert 0 <= told["uptime_seconds"] <= time.time() - began
        assert told["store"] == {"kind": "memory", "shared": False}
        assert told["breakers"] == []

        first.mood = moods.status(503)
        failed = [(await ask(operator.replica, "bot")).request_id]
        (suspect,) = (await operator.status())["breakers"]
        assert set(suspect) == _BREAKER
        assert (suspect["state"], suspect["failures"], suspect["reason"]) == ("closed", 1, None)
        assert (suspect["since"], suspect["until"], suspect["tripped_by"]) == (None, None, [])
        failed += [(await ask(operator.replica, "bot")).request_id for _ in range(2)]
        (opened,) = (await operator.status())["breakers"]
        assert set(opened) == _BREAKER
        now = time.time()
        assert opened["reason"] == "server_is_overloaded"
        assert began < opened["since"] <= now
        assert opened["until"] == pytest.approx(opened["since"] + 300)
        assert opened["tripped_by"] == failed
        where = {"assistant": "bot", "tier": "primary", "endpoint": "chat_completions", "source": "first"}
        assert where.items() <= opened.items()
        assert (opened["model"], opened["state"], opened["local"]) == ("big", "open", False)

        second.mood = moods.model_missing()
        await ask(operator.replica, "bot")
        disabled = next(each for each in (await operator.status())["breakers"] if each["tier"] == "fallback-1")
        assert (disabled["state"], disabled["until"]) == ("disabled", None)
        assert disabled["reason"]
        assert len(disabled["tripped_by"]) == 1


async def test_a_replica_that_drains_says_so(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """What is in flight is counted, and the operators' listener answers until it has ended."""
    first.mood = moods.hang()
    async with operated(tmp_path, config(first, second), token=_TOKEN) as operator:
        asked = asyncio.create_task(ask(operator.replica, "bot"))
        await first.until(lambda: len(first.requests) == 1)
        assert (await operator.status())["in_flight"] == 1
        operator.replica.process.terminate()
        await operator.replica.line("draining")
        told = await operator.status()
        assert (told["draining"], told["in_flight"]) == (True, 1)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert await operator.replica.process.wait() == 0


async def test_the_command_says_it_in_plain_words_or_as_it_is(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """One line each for replica, store and breakers; `--json` is the document. The token may come from either place."""
    first.mood = moods.status(503)
    async with operated(tmp_path, config(first, second), token=_TOKEN) as operator:
        admin = operator.replica.admin
        env = {"HOMEPORT_ADMIN_TOKEN": _TOKEN, "http_proxy": "http://127.0.0.1:1", "no_proxy": ""}
        plain = await homeport("status", "--admin", f"{admin}/", env=env)
        assert (plain.code, plain.err) == (0, "")
        who, store, breakers = plain.out.splitlines()
        assert re.fullmatch(
            rf"homeport {re.escape(__version__)}, replica [0-9a-f]{{10}}, up \d+\.\d s, 0 requests in flight", who
        )
        assert store == "store: memory; this replica's breakers are its own"
        assert breakers == "breakers: all closed"

        await ask(operator.replica, "bot")
        failed = await homeport("status", "--admin", admin, env=env)
        where = r"breaker: bot primary \(first/big, chat_completions\): "
        assert re.fullmatch(where + "closed, 1 failures", failed.out.splitlines()[-1])
        requests = [(await ask(operator.replica, "bot")).request_id for _ in range(2)]
        file = tmp_path / "elsewhere.yaml"
        address, token = admin.removeprefix("http://"), "${OPERATORS}"
        file.write_text(written(version=1, admin={"listen": address, "token": token}))
        opened = await homeport("status", "-c", file, env={"OPERATORS": _TOKEN})
        assert (opened.code, opened.err) == (0, "")
        line = opened.out.splitlines()[-1]
        assert re.match(
            where + r"open \(server_is_overloaded\) for \d+\.\d s, may be tried in \d+\.\d s, tripped by req_", line
        )
        assert line.endswith(" ".join(requests))

        told = await homeport("status", "--admin", admin, "--json", env=env)
        assert (told.code, told.err) == (0, "")
        document, asked = orjson.loads(told.out), await operator.status()
        for each in (document, asked):
            assert each.pop("uptime_seconds") >= 0
        for was, now in zip(document["breakers"], asked["breakers"], strict=True):
            assert was.pop("until") == pytest.approx(now.pop("until"))
        assert document == asked
        for ran in (plain, failed, opened, told):
            assert _TOKEN not in ran.out


async def test_the_command_says_what_is_wrong_and_what_to_do(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """Nobody there, another listener, another server, a wrong token, a bad file: one line with its remedy, no token."""
    (tmp_path / "bad.yaml").write_text("version: 1\nadmin: {listen: here}\n")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        first.mood = moods.garbage()
        async with operated(tmp_path, config(first, second), token=_TOKEN) as operator:
            api, admin = operator.replica.api, operator.replica.admin
            garbage = first.base_url.removesuffix("/v1")
            wrong = "tok-WRONG-7d20"
            cases = [
                (1, "--admin names another", ("--admin", nobody), _TOKEN),
                (1, "operators' listener", ("--admin", api), _TOKEN),
                (1, "--admin names another", ("--admin", garbage), _TOKEN),
                (1, "write it like http://", ("--admin", "http://127.0.0.1:port"), _TOKEN),
                (1, "write it like http://", ("--admin", admin.removeprefix("http://")), _TOKEN),
                (1, "HOMEPORT_ADMIN_TOKEN", ("--admin", admin), wrong),
                (1, "HOMEPORT_ADMIN_TOKEN", ("--admin", admin), ""),
                (1, "character", ("--admin", admin), f"{_TOKEN}\r\nX-More: {wrong}"),
                (2, "write it like", ("-c", tmp_path / "bad.yaml"), _TOKEN),
                (2, "homeport init", ("-c", tmp_path / "absent.yaml"), _TOKEN),
            ]
            runs = await asyncio.gather(
                *(homeport("status", *given, env={"HOMEPORT_ADMIN_TOKEN": token}) for _, _, given, token in cases)
            )
    for (code, remedy, given, _), ran in zip(cases, runs, strict=True):
        assert (ran.code, ran.out) == (code, ""), (given, ran)
        assert len(ran.err.splitlines()) == 1, ran.err
        assert remedy in ran.err, given
        assert _TOKEN not in ran.err
        assert wrong not in ran.err

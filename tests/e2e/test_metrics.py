"""What Prometheus scrapes from a running replica: names, labels and counts, from boot to the breaker's way home."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.conftest import Bot, Start
from tests.e2e.replica import Replica

_HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
_WORDS = ("closed", "open", "half_open", "parked", "disabled", "isolated")
_A, _AT, _SM = {"assistant"}, {"assistant", "tier"}, {"source", "model"}

_LABELS = {
    "homeport_decisions_dropped_total": {"reason"},
    "homeport_decisions_pending": set(),
    "homeport_credential_expiry_timestamp_seconds": {"credential"},
    "homeport_credential_refreshes_total": {"credential", "result"},
    "homeport_config_revision_info": {"revision", "file"},
    "homeport_config_differences": set(),
    "homeport_config_reloads_total": {"result"},
    "homeport_config_last_reload_timestamp_seconds": set(),
    "homeport_config_last_reload_success": set(),
    "homeport_build_info": {"version", "commit", "python"},
    "homeport_requests_total": _A | {"endpoint", "stream", "outcome", "code"},
    "homeport_request_duration_seconds": _A | {"stream"},
    "homeport_request_time_to_first_byte_seconds": _A | {"stream"},
    "homeport_requests_in_flight": _A,
    "homeport_request_body_bytes_total": _A,
    "homeport_response_body_bytes_total": _A,
    "homeport_overhead_seconds": set(),
    "homeport_attempts_total": _AT | {"outcome"},
    "homeport_upstream_status_total": {"source", "code"},
    "homeport_upstream_duration_seconds": _SM,
    "homeport_upstream_time_to_first_token_seconds": _SM,
    "homeport_upstream_connect_seconds": {"source"},
    "homeport_stream_stalls_total": _AT | {"phase"},
    "homeport_stream_truncated_total": _AT,
    "homeport_fallbacks_total": _A | {"from_tier", "to_tier", "reason"},
    "homeport_tier_skipped_total": _AT | {"reason"},
    "homeport_chain_exhausted_total": _A | {"reason"},
    "homeport_breaker_state": _AT | {"state"},
    "homeport_breaker_transitions_total": _SM | {"from_state", "to_state", "cause"},
    "homeport_breaker_open_until_timestamp_seconds": _SM,
    "homeport_breaker_failures": _SM,
    "homeport_probes_total": _SM | {"kind", "result"},
    "homeport_tier_info": _AT | _SM | {"kind"},
    "homeport_tier_in_flight": _AT,
    "homeport_upstream_ratelimit_remaining": _AT | {"kind"},
    "homeport_tier_last_used_timestamp_seconds": _AT,
    "homeport_tier_last_success_timestamp_seconds": _AT,
    "homeport_tier_last_failure_timestamp_seconds": _AT,
    "homeport_tokens_total": _AT | {"kind"},
    "homeport_usage_missing_total": _AT,
    "homeport_rate_limited_total": {"scope"} | _A,
    "homeport_auth_failures_total": {"reason"},
    "homeport_upstream_connections": {"source", "state"},
    "homeport_event_loop_lag_seconds": set(),
}
"""The contract: every name and its labels."""

_NOT_LET_IN = ("invalid_api_key", "assistant_forbidden", "origin_forbidden")
_PRIMARY = {"assistant": "bot", "tier": "primary"}
_SECOND = {"assistant": "bot", "tier": "fallback-1"}


class Scrape:
    """One look at a replica's metrics."""

    def __init__(self, text: str) -> None:
        self.samples: list[Sample] = []
        self.families: set[str] = set()
        for family in text_string_to_metric_families(text):
            total = family.type == "counter" and not family.name.endswith("_total")
            self.families.add(family.name + "_total" if total else family.name)
            self.samples += family.samples

    @classmethod
    async def of(cls, replica: Replica) -> Scrape:
        """Scrape it now."""
        async with aiohttp.ClientSession() as session, session.get(f"{replica.admin}/metrics") as response:
            assert response.status == 200
            assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            return cls(await response.text())

    @classmethod
    async def settled(cls, replica: Replica) -> Scrape:
        """Scrape it once nothing is in flight: an answer's end may reach its caller a moment before it is counted."""
        async with asyncio.timeout(10):
            while (await cls.of(replica)).total("homeport_requests_in_flight"):
                pass
        # What was in flight is read after the counters, so the look that saw nothing may have missed its count.
        return await cls.of(replica)

    def value(self, name: str, labels: Mapping[str, str] | None = None, **more: str) -> float | None:
        """The one sample with exactly these labels; None if there is none."""
        wanted = {**(labels or {}), **more}
        found = [sample.value for sample in self.samples if sample.name == name and sample.labels == wanted]
        assert len(found) <= 1
        return found[0] if found else None

    def total(self, name: str, **some: str) -> float:
        """The sum over the samples that have at least these labels."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and some.items() <= sample.labels.items()
        )

    def state(self, tier: str, assistant: str = "bot") -> str:
        """The state of a tier's breaker, once it was found to be one and only one."""
        by_word = {
            sample.labels["state"]: sample.value
            for sample in self.samples
            if sample.name == "homeport_breaker_state"
            and (sample.labels["assistant"], sample.labels["tier"]) == (assistant, tier)
        }
        assert sorted(by_word) == sorted(_WORDS)
        assert Counter(by_word.values()) == {0.0: 5, 1.0: 1}
        return next(word for word, value in by_word.items() if value)

    def series(self) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        """Every time series of Homeport's own."""
        return {
            (each.name, frozenset(each.labels.items())) for each in self.samples if each.name.startswith("homeport_")
        }


async def _chat(replica: Replica, *, stream: bool = False, **options: Any) -> None:
    """One chat request of bot's, read to its end, however that is."""
    client = replica.client("bot")
    try:
        if stream:
            async for _ in await client.chat.completions.create(model="m", messages=_HELLO, stream=True, **options):
                pass
        else:
            await client.chat.completions.create(model="m", messages=_HELLO, **options)
    except openai.APIError:
        pass


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client without habits."""
    async with aiohttp.ClientSession() as made:
        yield made


async def test_what_is_known_exists_from_boot(start: Start, first: Simulator, second: Simulator) -> None:
    """Before any request: state, bindings, last use and requests by outcome of every tier, all at rest."""
    replica = await start(
        f"""
sources:
  first: {{kind: openai-compatible, base_url: {first.base_url}, api_key: a}}
  second: {{kind: openai-compatible, base_url: {second.base_url}}}
assistants:
  bot:
    primary: {{source: first, model: big}}
    fallbacks: [{{source: second, model: small}}]
    chains: {{embeddings: {{primary: {{source: first, model: e-1}}}}}}
  cleared: {{primary: null, fallbacks: [{{source: second, model: small}}]}}
"""
    )
    seen = await Scrape.of(replica)
    assert {name for name in seen.families if name.startswith("homeport_")} == set(_LABELS)
    tiers = {
        ("bot", "primary"): ("first", "big"),
        ("bot", "fallback-1"): ("second", "small"),
        ("bot", "embeddings/primary"): ("first", "e-1"),
        ("cleared", "fallback-1"): ("second", "small"),
    }
    for (assistant, tier), (source, model) in tiers.items():
        place = {"assistant": assistant, "tier": tier}
        assert seen.state(tier, assistant) == "closed"
        bound = {"source": source, "model": model, "kind": "openai-compatible"}
        assert seen.value("homeport_tier_info", place, **bound) == 1
        assert seen.value("homeport_tier_last_used_timestamp_seconds", place) == 0
        assert seen.value("homeport_tier_last_failure_timestamp_seconds", place) == 0
        assert seen.value("homeport_breaker_open_until_timestamp_seconds", source=source, model=model) == 0
        assert seen.value("homeport_breaker_failures", source=source, model=model) == 0
    for assistant in ("bot", "cleared"):
        assert seen.value("homeport_requests_in_flight", assistant=assistant) == 0
        for stream in ("false", "true"):
            for outcome, code in (("success", "200"), ("fallback_success", "200"), ("exhausted", "503")):
                labels = {"assistant": assistant, "endpoint": "chat_completions", "stream": stream}
                assert seen.value("homeport_requests_total", labels, outcome=outcome, code=code) == 0
    assert seen.total("homeport_build_info") == 1
    assert seen.total("homeport_attempts_total") == 0
    assert {sample.name for sample in seen.samples} >= {"process_cpu_seconds_total", "process_open_fds"}


async def test_an_outage_is_counted_once_and_in_every_place(bot: Bot, first: Simulator) -> None:
    """Requests, attempts, fallbacks, the trip, the skips, the probe and the way home: each where the contract says."""
    replica = await bot(extra="breaker: {cooldown: 1s}\n")
    began = time.time()
    await _chat(replica)
    await _chat(replica, stream=True)
    seen = await Scrape.settled(replica)
    for stream in ("false", "true"):
        served = {"assistant": "bot", "endpoint": "chat_completions", "stream": stream}
        assert seen.value("homeport_requests_total", served, outcome="success", code="200") == 1
        for name in ("duration", "time_to_first_byte"):
            assert seen.value(f"homeport_request_{name}_seconds_count", assistant="bot", stream=stream) == 1
    assert seen.value("homeport_attempts_total", _PRIMARY, outcome="served") == 2
    assert seen.value("homeport_upstream_status_total", source="first", code="200") == 2
    assert seen.value("homeport_upstream_duration_seconds_count", source="first", model="big") == 2
    assert seen.value("homeport_upstream_time_to_first_token_seconds_count", source="first", model="big") == 1
    assert seen.value("homeport_upstream_connect_seconds_count", source="first") == 1
    assert seen.value("homeport_overhead_seconds_count") == 2
    assert (seen.value("homeport_request_body_bytes_total", assistant="bot") or 0) > 50
    assert (seen.value("homeport_response_body_bytes_total", assistant="bot") or 0) > 500
    assert (seen.value("homeport_tokens_total", _PRIMARY, kind="input") or 0) > 0
    assert (seen.value("homeport_tokens_total", _PRIMARY, kind="output") or 0) > 0
    for what in ("used", "success"):
        at = seen.value(f"homeport_tier_last_{what}_timestamp_seconds", _PRIMARY)
        assert at is not None
        assert began - 1 <= at <= time.time() + 1
    assert seen.value("homeport_tier_last_failure_timestamp_seconds", _PRIMARY) == 0
    assert seen.value("homeport_tier_last_used_timestamp_seconds", _SECOND) == 0
    assert seen.total("homeport_fallbacks_total") == 0

    first.mood = moods.status(503)
    for _ in range(2):
        await _chat(replica)
    seen = await Scrape.settled(replica)
    assert seen.state("primary") == "closed"
    assert seen.value("homeport_breaker_failures", source="first", model="big") == 2
    for _ in range(2):
        await _chat(replica)
    seen = await Scrape.settled(replica)
    assert (seen.state("primary"), seen.state("fallback-1")) == ("open", "closed")
    served = {"assistant": "bot", "endpoint": "chat_completions", "stream": "false"}
    assert seen.value("homeport_requests_total", served, outcome="fallback_success", code="200") == 4
    assert seen.value("homeport_attempts_total", _PRIMARY, outcome="transient") == 3
    assert seen.value("homeport_attempts_total", _SECOND, outcome="served") == 4
    assert seen.value("homeport_upstream_status_total", source="first", code="503") == 3
    moved = {"assistant": "bot", "from_tier": "primary", "to_tier": "fallback-1"}
    assert seen.value("homeport_fallbacks_total", moved, reason="transient") == 3
    assert seen.value("homeport_fallbacks_total", moved, reason="open") == 1
    assert seen.value("homeport_tier_skipped_total", _PRIMARY, reason="open") == 1
    target = {"source": "first", "model": "big"}
    tripped = {"from_state": "closed", "to_state": "open", "cause": "failures"}
    assert seen.value("homeport_breaker_transitions_total", target, **tripped) == 1
    until = seen.value("homeport_breaker_open_until_timestamp_seconds", target)
    assert until is not None
    assert began < until <= time.time() + 1.5
    failed_at = seen.value("homeport_tier_last_failure_timestamp_seconds", _PRIMARY)
    assert failed_at is not None
    assert began - 1 <= failed_at <= time.time() + 1

    first.mood = moods.WELL
    await _until_primary_serves(replica)
    seen = await Scrape.settled(replica)
    assert seen.state("primary") == "closed"
    for before, after, cause in (("open", "half_open", "cooldown_over"), ("half_open", "closed", "probe_good")):
        moves = {"from_state": before, "to_state": after, "cause": cause}
        assert seen.value("homeport_breaker_transitions_total", target, **moves) == 1
    assert seen.value("homeport_probes_total", target, kind="half_open", result="good") == 1
    assert seen.value("homeport_breaker_failures", target) == 0
    # The labels of everything that this story and its boot made.
    for sample in seen.samples:
        if sample.name.startswith("homeport_"):
            name = next(each for each in (sample.name, *_without_suffix(sample.name)) if each in _LABELS)
            assert set(sample.labels) - {"le"} == _LABELS[name], sample


def _without_suffix(name: str) -> list[str]:
    return [name.removesuffix(suffix) for suffix in ("_bucket", "_count", "_sum") if name.endswith(suffix)]


async def _until_primary_serves(replica: Replica) -> None:
    """Ask until the cooldown is over and the primary is asked again."""
    client = replica.client("bot")
    async with asyncio.timeout(20):
        while True:
            raw = await client.chat.completions.with_raw_response.create(model="m", messages=_HELLO)
            if raw.headers["x-homeport-tier"] == "primary":
                return
            await asyncio.sleep(0.1)


async def test_what_goes_wrong_has_its_own_word(bot: Bot, first: Simulator, second: Simulator) -> None:
    """Stalls, cuts, exhausted chains, rate limits and faults of a request: each with its label, none with another's."""
    replica = await bot("{first_byte: 300ms, idle: 300ms}", "breaker: {failure_threshold: 50}\n")
    first.queue.append(moods.hang())
    await _chat(replica, stream=True)
    first.queue.append(moods.hang_mid_stream())
    await _chat(replica, stream=True)
    first.queue.append(moods.cut_stream())
    await _chat(replica, stream=True)
    first.queue.append(moods.status(400))
    await _chat(replica)
    first.queue.append(moods.status(503))
    await second.stop()
    await _chat(replica)
    await second.start()
    seen = await Scrape.settled(replica)
    assert seen.value("homeport_stream_stalls_total", _PRIMARY, phase="first_byte") == 1
    assert seen.value("homeport_stream_stalls_total", _PRIMARY, phase="mid_stream") == 1
    assert seen.value("homeport_stream_truncated_total", _PRIMARY) == 1
    for outcome in ("timeout_first_byte", "timeout_idle", "stream_broken", "client_fault", "transient"):
        assert seen.value("homeport_attempts_total", _PRIMARY, outcome=outcome) == 1, outcome
    assert seen.value("homeport_attempts_total", _SECOND, outcome="network") == 1
    assert seen.value("homeport_upstream_status_total", source="second", code="none") == 1
    assert seen.value("homeport_chain_exhausted_total", assistant="bot", reason="network") == 1
    ended = {("true", "stream_broken", "200"): 2, ("true", "fallback_success", "200"): 1}
    ended |= {("false", "client_error", "400"): 1, ("false", "exhausted", "503"): 1}
    for (stream, outcome, code), count in ended.items():
        labels = {"assistant": "bot", "endpoint": "chat_completions", "stream": stream}
        assert seen.value("homeport_requests_total", labels, outcome=outcome, code=code) == count, outcome

    for _ in range(2):
        first.queue.append(moods.status(429))
        await _chat(replica)
    first.mood = moods.status(401)
    second.mood = moods.status(401)
    seen = await Scrape.settled(replica)
    assert seen.state("primary") == "parked"
    moves = "homeport_breaker_transitions_total"
    parked = {"from_state": "closed", "to_state": "parked", "cause": "rate_limited"}
    assert seen.value(moves, parked, source="first", model="big") == 1
    await _chat(replica)
    seen = await Scrape.settled(replica)
    assert seen.state("fallback-1") == "disabled"
    disabled = {"from_state": "closed", "to_state": "disabled", "cause": "auth"}
    assert seen.value(moves, disabled, source="second", model="small") == 1
    assert seen.value("homeport_tier_skipped_total", _PRIMARY, reason="parked") == 1


async def test_what_is_in_flight_is_seen_while_it_runs(bot: Bot, first: Simulator) -> None:
    """A scrape answers while requests are under way, counts them by assistant, and forgets them when they end."""
    replica = await bot()
    first.mood = moods.hang_mid_stream()
    client = replica.client("bot")
    running = [await client.chat.completions.create(model="m", messages=_HELLO, stream=True) for _ in range(3)]
    scrapes = await asyncio.gather(*(Scrape.of(replica) for _ in range(10)))
    assert {seen.value("homeport_requests_in_flight", assistant="bot") for seen in scrapes} == {3.0}
    assert {seen.value("homeport_tier_in_flight", _PRIMARY) for seen in scrapes} == {3.0}
    assert scrapes[0].value("homeport_tier_in_flight", _SECOND) is None
    assert scrapes[0].total("homeport_requests_total") == 0
    assert {seen.value("homeport_upstream_connections", source="first", state="in_use") for seen in scrapes} == {3.0}
    assert scrapes[0].value("homeport_upstream_connections", source="second", state="in_use") == 0
    for stream in running:
        await stream.close()
        await replica.line("request", request_id=stream.response.headers["x-request-id"], outcome="cancelled")
    seen = await Scrape.settled(replica)
    assert seen.value("homeport_requests_in_flight", assistant="bot") == 0
    assert seen.value("homeport_tier_in_flight", _PRIMARY) == 0
    assert seen.value("homeport_upstream_connections", source="first", state="in_use") == 0
    assert seen.total("homeport_requests_total", outcome="cancelled") == 3


async def test_what_is_left_of_an_upstreams_window_is_as_it_said_last(bot: Bot, first: Simulator) -> None:
    """By tier and kind, for the tiers whose upstream has said it, in an answer of any kind."""
    replica = await bot()
    name = "homeport_upstream_ratelimit_remaining"
    assert (await Scrape.of(replica)).total(name) == 0
    await _chat(replica)
    seen = await Scrape.settled(replica)
    assert seen.value(name, _PRIMARY, kind="requests") == 9999
    assert seen.value(name, _PRIMARY, kind="tokens") == 1999900
    assert seen.value(name, _SECOND, kind="requests") is None
    first.mood = moods.status(400)
    await _chat(replica, stream=True)
    assert (await Scrape.settled(replica)).total(name) == 9999 + 1999900


async def test_who_was_not_let_in_and_what_was_too_much(
    start: Start, first: Simulator, session: aiohttp.ClientSession
) -> None:
    """A wrong key, an assistant that a key may not use, a request too many, a source without a free connection."""
    key = hashlib.sha256(b"right").hexdigest()
    replica = await start(
        f"""
sources: {{first: {{kind: openai-compatible, base_url: {first.base_url}, max_connections: 1}}}}
clients: [{{id: web, key_sha256: {key}, assistants: [bot]}}]
limits: {{in_flight: 2}}
assistants:
  bot: {{primary: {{source: first, model: big}}}}
  other: {{primary: {{source: first, model: big}}}}
"""
    )
    codes = []
    for secret, assistant in (("wrong", "bot"), ("right", "other"), ("right", "bot")):
        named = {"Authorization": f"Bearer {secret}", "X-Assistant-Id": assistant}
        body = {"model": "m", "messages": _HELLO}
        async with session.post(f"{replica.api}/v1/chat/completions", json=body, headers=named) as response:
            codes.append(response.status)
    assert codes == [401, 403, 200]
    seen = await Scrape.settled(replica)
    refused = {reason: seen.value("homeport_auth_failures_total", reason=reason) for reason in _NOT_LET_IN}
    assert refused == {"invalid_api_key": 1, "assistant_forbidden": 1, "origin_forbidden": 0}
    assert seen.total("homeport_usage_missing_total") == 0

    first.mood = moods.hang()
    client = replica.client("bot", api_key="right")
    running = [asyncio.create_task(client.chat.completions.create(model="m", messages=_HELLO)) for _ in range(2)]
    async with asyncio.timeout(10):
        while (await Scrape.of(replica)).value("homeport_upstream_connections", source="first", state="waiting") != 1:
            pass
    with pytest.raises(openai.APIStatusError, match="in_flight"):
        await client.chat.completions.create(model="m", messages=_HELLO)
    seen = await Scrape.of(replica)
    assert seen.value("homeport_rate_limited_total", scope="global", assistant="_unknown") == 1
    for each in running:
        each.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_an_answer_without_usage_is_counted(bot: Bot) -> None:
    """A stream says what it cost only when it was asked to; what it did not say is counted as missing."""
    replica = await bot()
    await _chat(replica, stream=True)
    await _chat(replica, stream=True, stream_options={"include_usage": True})
    await _chat(replica)
    seen = await Scrape.settled(replica)
    assert seen.value("homeport_usage_missing_total", _PRIMARY) == 1


async def test_a_held_event_loop_is_seen(bot: Bot) -> None:
    """While the process is stopped its timers ring late, and the histogram says by how much."""
    lag, replica = "homeport_event_loop_lag_seconds", await bot()
    quiet = await Scrape.of(replica)
    async with asyncio.timeout(30):
        # On a busy machine a ring may be late by itself, but not each of them.
        while True:
            before, quiet = quiet, await Scrape.of(replica)
            rings, late = (quiet.total(f"{lag}_{each}") - before.total(f"{lag}_{each}") for each in ("count", "sum"))
            if rings and late < 0.25:
                break
    replica.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1.2)
    replica.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(10):
        while (await Scrape.of(replica)).total(f"{lag}_sum") < quiet.total(f"{lag}_sum") + 0.9:
            pass


async def test_a_caller_makes_no_series_of_its_own(bot: Bot, session: aiohttp.ClientSession) -> None:
    """Assistants, paths, methods and models that somebody made up never become label values."""
    replica = await bot()

    async def ask(number: int) -> None:
        made_up = f"made-up-{number}"
        tries: tuple[tuple[str, str, dict[str, str], Any], ...] = (
            ("POST", "/v1/chat/completions", {"X-Assistant-Id": made_up}, {"messages": _HELLO}),
            ("POST", "/v1/chat/completions", {}, {"messages": _HELLO, "model": made_up}),
            ("POST", "/v1/chat/completions", {"X-Assistant-Id": "bot"}, {"messages": _HELLO, "model": made_up}),
            ("POST", f"/v1/{made_up}", {}, {}),
            ("POST", f"/{made_up}", {}, {}),
            ("GET", f"/v1/models/{made_up}", {}, None),
            (f"MADE{number}", "/v1/chat/completions", {}, None),
            ("POST", "/v1/embeddings", {"X-Assistant-Id": "bot"}, {"input": "a", "model": made_up}),
        )
        for method, path, headers, body in tries:
            async with session.request(method, replica.api + path, json=body, headers=headers) as response:
                await response.read()

    await ask(1)
    before = await Scrape.settled(replica)
    for number in range(2, 12):
        await ask(number)
    after = await Scrape.settled(replica)
    assert after.series() == before.series()
    assert not [each for each in after.samples if "made" in " ".join(each.labels.values()).lower()]
    unknown = {"assistant": "_unknown", "stream": "false", "outcome": "rejected"}
    assert after.value("homeport_requests_total", unknown, endpoint="chat_completions", code="404") == 11
    assert after.value("homeport_requests_total", unknown, endpoint="other", code="404") == 33
    assert after.total("homeport_requests_total", assistant="bot", outcome="success") == 11


async def test_health_is_served_beside_metrics(bot: Bot, session: aiohttp.ClientSession) -> None:
    """The operators' listener has metrics and health and none of the API; the API's has health and no metrics."""
    replica = await bot()
    for base in (replica.admin, replica.api):
        for path, text in (("/healthz", "ok\n"), ("/readyz", "ready\n")):
            async with session.get(base + path) as response:
                assert (response.status, await response.text()) == (200, text)
    async with session.get(f"{replica.api}/metrics") as response:
        assert response.status == 404
    for path in ("/v1/models", "/v1/chat/completions", "/v1/"):
        async with session.get(replica.admin + path) as response:
            assert response.status == 404
    seen = await Scrape.settled(replica)
    assert seen.total("homeport_requests_total") == 1

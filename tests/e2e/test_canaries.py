"""A canary in every place that holds a secret: whatever happens, none is heard where it does not belong.

1. What may be told, and to whom, stands here as `but=…` with its reason; everything else is a leak.
"""

from __future__ import annotations

import asyncio
import base64
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest

from proxy.demo import moods
from proxy.demo.answers import Fault, event, whole
from proxy.demo.moods import Mood
from tests.e2e.betrayed import THRESHOLD, Betrayed, betrayed
from tests.e2e.canaries import PIECE, Canaries, Ears
from tests.integration.redis_server import running

_CHAT = b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {"id": "%b", "model": "%b", "choices": '
_CHUNK = b'[{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def _headers(key: str) -> tuple[tuple[str, str], ...]:
    named = ("x-request-id", "request-id", "apim-request-id", "server", "retry-after", "openai-organization")
    return (
        *((name, key) for name in named),
        ("Location", f"https://example.com/?key={key}"),
        ("Set-Cookie", f"key={key}"),
        ("WWW-Authenticate", f'Bearer realm="{key}"'),
    )


def failing(key: str, prompt: str) -> Iterator[Mood]:
    """Every way in which an upstream fails and repeats what it was sent; none of these disables it."""
    said = f"Incorrect API key provided: {key}. You said: {prompt}"
    fault = Fault(said, type=key, code=key, param=prompt)
    yield moods.status(500, fault, headers=_headers(key))
    yield moods.status(503, Fault(said, code="server_is_overloaded"), retry_after=0.1)
    yield Mood("429", instead=whole(429, f'{{"error": {{"message": "{said}", "code": "{key}"}}}}'.encode()))
    yield Mood("error-in-200", instead=whole(200, fault.body()))
    yield Mood("page", instead=whole(502, f"<html>{key} {prompt}</html>".encode(), kind="text/html"))
    yield Mood("not-json", instead=whole(200, f"{key} {prompt}".encode()))
    yield Mood("a-list", instead=whole(200, orjson.dumps([key, prompt])))
    yield Mood("a-type", instead=whole(500, key.encode(), kind=f"text/{key}"))
    yield moods.garbage(f"{key} {prompt}\r\n\r\n".encode())
    yield moods.garbage(f"HTTP/1.1 500 {key}\r\nContent-Length: {key}\r\n\r\n".encode())
    yield moods.garbage(f"HTTP/1.1 200 OK\r\n{key}\r\n {prompt}\r\n\r\n".encode())
    yield moods.garbage(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{key}\r\n{prompt}\r\n".encode())


def failing_streams(key: str, prompt: str) -> Iterator[Mood]:
    """Likewise, before a stream's first content."""
    fault = Fault(f"No {key} for {prompt}", type=key, code=key, param=prompt)
    yield moods.error_event(0, fault)
    yield Mood("garbage-event", at=0, insert=event(f"{{{key} {prompt}".encode()))
    yield Mood("named-event", at=0, insert=event(fault.body(), key), then=moods.Then.END)


async def callers(stage: Betrayed) -> None:
    """Callers are served, fall back, are refused and cut off by upstreams that repeat keys and prompts."""
    key, prompt = stage.first_key, stage.said("prompt")
    first, second, forward = stage.first, stage.second, stage.forward
    first.mood = second.mood = Mood(text=stage.said("answer"))
    await stage.call(status=200)
    await stage.call(status=200, stream="yes")
    _sent_as_meant(stage)

    for mood in (*failing(key, prompt), moods.reset(), moods.truncate()):
        first.queue.append(mood)
        await stage.call(status=200)
    for mood in (*failing_streams(key, prompt), moods.hang()):
        first.queue.append(mood)
        await stage.call(status=200, stream="yes")
    for stream in ("no", "yes"):
        for mood in list(failing(key, prompt))[:2]:
            first.queue.append(mood)
            second.queue.append(next(failing(stage.second_key, prompt)))
            await stage.call(status=503, stream=stream)

    # A name that an upstream gives to an answer goes into records: not if it is what it was sent. The answer itself,
    # its headers included, is the upstream's, and its caller gets it as it is.
    document = {"model": key, "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}
    first.queue.append(Mood(instead=whole(200, orjson.dumps(document), headers=_headers(key))))
    await stage.call(status=200, but={"env key"})
    first.queue.append(Mood(instead=_CHAT % (key.encode(), key.encode()) + _CHUNK))
    await stage.call(status=200, but={"env key"}, stream="yes")
    first.queue.append(moods.cut_stream())
    await stage.call(status=200, stream="yes")
    # So is what the upstream of a chain of one says of a request, an error or a redirect.
    for mood in (moods.status(400, Fault(stage.second_key, code="invalid_value")), moods.redirect(stage.second_key)):
        second.queue.append(mood)
        await stage.call(status=400 if mood.name == "400" else 307, but={"file key"}, X_Assistant_Id="alone")
    await stage.operate("POST", "/api/breakers", {"action": "reset", "source": "second", "model": "small"})

    await stage.call(status=401, Authorization=f"Bearer {stage.said('wrong client key')}")
    await stage.call(status=404, path="/v1/files")
    await stage.call(status=403, Origin=f"https://{stage.said('misplaced')}.example.com")
    for name in ("403", "401"):
        first.queue.append(moods.status(int(name), Fault(f"Incorrect API key provided: {key}", code="invalid_api_key")))
        await stage.call(status=200)
    await stage.call(status=200)
    await stage.operate("POST", "/api/breakers", {"action": "reset", "source": "first", "model": "big"})

    # Through a forward proxy, which asks for credentials of its own and repeats them.
    forward.mood = Mood(instead=whole(407, stage.proxy_password.encode(), headers=_headers(stage.proxy_password)))
    await stage.call(status=200, X_Assistant_Id="through")
    assert forward.requests[-1].header("proxy-authorization") is not None
    await forward.stop()
    await stage.call(status=200, X_Assistant_Id="through")
    await forward.start()


def _sent_as_meant(stage: Betrayed) -> None:
    """The secrets are where they belong, or nothing of this would prove anything. No other of a caller's goes up."""
    sent = stage.first.requests[-1]
    assert sent.header("authorization") == f"Bearer {stage.first_key}"
    assert (sent.header("x-team"), sent.header("x-written")) == (stage.team, stage.written_header)
    for name in ("prompt", "image", "tool arguments", "tool answer"):
        assert stage.said(name).encode() in sent.body
    told = {"env key", "env header", "written header", "prompt", "image", "tool arguments", "tool answer"}
    stage.ears.listen("what goes upstream", f"{sent.headers} {sent.query}".encode() + sent.body, but=told)


async def operators(stage: Betrayed) -> None:
    """Operators look at everything, change things rightly and wrongly, and read a file with secrets at its faults."""
    misplaced, key = stage.said("misplaced"), stage.first_key
    for path in (
        "status",
        "catalog",
        "assistants",
        "assistants/bot",
        "decisions?limit=500",
        "revisions",
        "openapi.json",
    ):
        await stage.operate("GET", f"/api/{path}")
    for path in ("/metrics", "/healthz", "/readyz"):
        await stage.operate("GET", path)
    for assume in ({}, {"primary": "failing"}, {"redis": "away"}):
        await stage.operate("POST", "/api/assistants/bot/explain", {"stream": True, "assume": assume})

    for mood in (moods.WELL, moods.status(401, Fault(key, code=key)), *failing(key, key), moods.redirect(key)):
        stage.first.queue.append(mood)
        await stage.operate("POST", "/api/bindings/test", {"source": "first", "model": "big", "reach": True})
    stage.forward.mood = Mood(instead=whole(407, stage.proxy_user.encode()))
    asked = {"source": "third", "model": "far", "reach": True, "assistant": "bot"}
    await stage.operate("POST", "/api/bindings/test", asked)

    # Who puts a secret where none belongs may be told so in its own words, and nobody else hears of it.
    told = {"misplaced"}
    wrong = (
        {"primary": {"source": misplaced, "model": "m"}},
        {"primary": {"source": "first", "model": "m", "api_key": misplaced}},
        {"fallbacks": misplaced},
        {"timeouts": {misplaced: misplaced, "total": misplaced}},
        {"breaker": {"scope": misplaced}},
    )
    for document in wrong:
        await stage.operate("PUT", "/api/assistants/bot", document, status=422, but=told, If_Match="*")
    await stage.operate("PUT", "/api/assistants/bot", {misplaced: 1}, status=400, but=told, If_Match="*")
    await stage.operate("PUT", "/api/assistants/bot", {"timeouts": {}}, status=412, If_Match=misplaced)
    await stage.operate("GET", f"/api/decisions/{misplaced}", status=404, but=told)
    await stage.operate("GET", f"/api/assistants/{misplaced}", status=404, but=told)
    await stage.operate("POST", "/api/bindings/test", {"source": misplaced, "model": "m"}, but=told)
    await stage.operate("GET", "/api/status", status=401, Authorization=f"Bearer {stage.said('wrong token')}")
    await _signs_in(stage)

    before = (await stage.operate("GET", "/api/revisions"))["number"]
    await stage.operate("PUT", "/api/assistants/bot", {"timeouts": {"idle": "9s"}}, If_Match="*", X_Operator="me")
    await stage.operate("POST", f"/api/revisions/{before}/restore")
    await _reads_bad_files(stage)


async def _signs_in(stage: Betrayed) -> None:
    wrong = {"token": stage.said("wrong token")}
    await stage.operate("POST", "/api/session", wrong, status=401, Authorization="")
    url = f"{stage.replica.admin}/api/session"
    async with stage.session.post(url, json={"token": stage.token}) as answer:
        assert answer.status == 200
        stage.canaries.know("session", answer.cookies["homeport-session"].value)
        # The cookie is where a session belongs.
        stage.ears.listen("signing in", repr(answer.headers) + await answer.text(), but={"session"})
    cookies = {"Cookie": f"homeport-session={stage.said('session')}"}
    async with stage.session.get(f"{stage.replica.admin}/api/status", headers=cookies) as answer:
        assert answer.status == 200
        stage.ears.listen("the operators' API", await answer.text())


async def _reads_bad_files(stage: Betrayed) -> None:
    good, broken = stage.file.read_text(), stage.said("broken file")
    at_fault = (
        good.replace("api_key: ${FIRST_KEY}", f"api_key:{broken}"),
        good.replace("api_key: ${FIRST_KEY}", f"api_key {broken}"),
        good.replace("kind: openai-compatible", f"kind: {broken}", 1),
        good.replace('X-Team: "${TEAM}"', f'"X-Team: {broken}"'),
        good.replace("X-Team:", f"X-Team {broken}:"),
        good.replace("store: ${STORE_URL}", f"store: http://user:{broken}@x/"),
        good.replace("base_url: ", f"base_url: http://user:{broken}@x/v1  #"),
        good.replace('token: "${ADMIN_TOKEN}"', f"token: [{broken}]"),
        good.replace('token: "${ADMIN_TOKEN}"', f"token {broken}"),
        good.replace("key_sha256: ", f"key_sha256: {broken}  #"),
        good.replace("proxy: http://", f"proxy: socks://{broken}"),
        good + f"limits: {{body: {broken}, {broken}: 1}}\n{broken}\n",
        good + f'more: "{broken}\n',
    )
    for text in at_fault:
        assert text != good
        stage.file.write_text(text)
        await stage.operate("POST", "/api/reload", status=422)
        await stage.operate("GET", "/api/status")
    # A command says it as a reload does: a few are enough.
    for text in at_fault[:3]:
        stage.file.write_text(text)
        await stage.command("check", stage.file, code=2)
    # A store's URL is first read whole when a replica starts.
    stage.file.write_text(good.replace("store: ${STORE_URL}", f"store: redis://user:{broken}/{broken}@x:{broken}/"))
    await stage.command("serve", "-c", stage.file, code=1)
    stage.file.write_text(at_fault[0])
    stage.replica.process.send_signal(signal.SIGHUP)
    await stage.replica.until(lambda: sum(x["event"] == "reload_refused" for x in stage.replica.lines) > len(at_fault))
    stage.file.write_text(good)
    await stage.operate("POST", "/api/reload")


async def commands(stage: Betrayed, request: str) -> None:
    """Every command of the shell that reads a configuration or asks a replica."""
    ask = ("--admin", stage.replica.admin, "-c", stage.file)
    for asked in (("status",), ("explain", request), ("explain", "bot"), ("decisions",)):
        await stage.command(*asked, *ask)
    for documented in (("status",), ("decisions",), ("test-binding", "first", "big", "--reach")):
        await stage.command(*documented, "--json", *ask)
    for arguments in (("check",), ("check", "--diff"), ("migrate",), ("keys", "list", "-c")):
        # What is printed of the file is the file: what is written out there, stands there.
        told = {"written key", "written header", "proxy user", "proxy password"} if arguments == ("migrate",) else set()
        await stage.command(*arguments, stage.file, but=told)
    made = await stage.command("keys", "new", "app", "-c", stage.file)
    key = stage.canaries.know("new client key", made.splitlines()[0])
    assert key not in made.partition("\n")[2]
    (stage.folder / "settings.json").write_text(_SETTINGS)
    imported = stage.said("imported key")
    good = {"id": "k", "type": "openai", "apiKey": imported, "enabled": True}
    bad = good | {"id": "u", "baseUrl": f"https://user:{imported}@x/v1"}
    stage.given |= {stage.folder / "api-keys.json"}
    (stage.folder / "api-keys.json").write_text(orjson.dumps({"keys": [good, bad]}).decode())
    written = await stage.command("import", "cligate", stage.folder / "settings.json")
    assert "${OPENAI_API_KEY}" in written


_SETTINGS = (
    '{"assistantAgent": {"boundModelSource": {"type": "api-key", "id": "k", "model": "gpt-5.4"}, '
    '"fallbacks": [{"type": "api-key", "id": "u", "model": "gpt-5.4"}]}}'
)


async def trip(stage: Betrayed) -> None:
    """A tier dies and its breaker opens; an operator's reader of events hears of all of it."""
    url, headers = f"{stage.replica.admin}/api/events", {"Authorization": f"Bearer {stage.token}"}
    async with stage.session.get(url, headers=headers) as events:
        stage.first.mood = next(failing(stage.first_key, stage.said("prompt")))
        for _ in range(THRESHOLD):
            await stage.call(status=200)
        heard = b""
        async with asyncio.timeout(20):
            while b'"after":"open"' not in heard:
                heard += await events.content.readany()
    assert b"event: decision" in heard
    stage.ears.listen("events", heard)
    stage.first.mood = Mood(text=stage.said("answer"))


async def faults_of_our_own(stage: Betrayed) -> None:
    """A library raises what it was given, at both doors: typed 500s, and a log that has the place and no words."""
    faulty = stage.said("faulty")
    await stage.call(status=500, Authorization=f"Bearer {faulty}")
    await stage.operate("GET", "/api/status", status=500, Authorization=f"Bearer {faulty}")
    await stage.operate("POST", "/api/session", {"token": faulty}, status=500)
    await stage.replica.until(lambda: sum(x["event"] == "internal_error" for x in stage.replica.lines) == 3)


async def everything(folder: Path, debug: Mapping[str, str]) -> Ears:
    """All of it, with a crash and a second run; what was heard where."""
    with running() as redis:
        async with betrayed(folder, redis) as stage, stage.monitored():
            stage.write()
            await stage.start(debug)
            await callers(stage)
            await trip(stage)
            await operators(stage)
            request = await stage.call(status=200, X_Request_Id="their-own-id")
            await stage.operate("GET", "/api/decisions/their-own-id")
            await commands(stage, request)
            if debug:
                await faults_of_our_own(stage)
            stage.look_around()
            await stage.stop(signal.SIGKILL)
            stage.look_around()
            await stage.start(debug)
            assert (await stage.operate("GET", "/api/revisions"))["number"] >= 3
            await stage.call(status=200)
            await stage.stop()
            stage.look_around()
            return stage.ears


async def test_no_canary_is_heard_where_it_does_not_belong(tmp_path: Path) -> None:
    """Logs, metrics, the API, records, Redis and what is sent there, files, command lines: none tells a secret."""
    ears = await everything(tmp_path, {})
    assert sorted(set(ears.leaks)) == []
    # Each of these was listened to, and had something to say.
    for place in ("log", "Redis", "commands to Redis", "the operators' API", "events", "file revisions.json"):
        assert ears.places[place] > 1000, ears.places
    assert ears.places["command line"] > 0


def test_the_ear_finds_a_canary_in_any_dress() -> None:
    """A line that leaks is found by the same ear, however it puts it; one that does not is let through."""
    canaries = Canaries(seed=1)
    secret = canaries.plant("key", "/+%?@é")
    canaries.plant("other")
    for said in _dressed(secret):
        assert canaries.heard(f"2026 GET /v1 «{said}» 200") == ["key"], said
        assert canaries.heard(f"2026 GET /v1 «{said}» 200", but={"key"}) == []
    assert canaries.heard(f"2026 GET /v1 {secret[: PIECE - 1]} {secret[PIECE:][: PIECE - 1]}") == []
    ears = Ears(canaries)
    ears.listen("log", f"Authorization: Bearer {secret[3 : 3 + PIECE]}")
    assert ears.leaks == ["log tells key"]


def _dressed(secret: str) -> Iterator[str]:
    yield secret
    yield secret[::-1]
    for at in range(len(secret) - PIECE + 1):
        yield secret[at : at + PIECE]
    for before in ("", "a", "ab"):
        for after in ("", "z", "zy"):
            coded = base64.b64encode(f"{before}{secret}{after}".encode())
            yield coded.decode()
            yield coded.decode().replace("+", "-").replace("/", "_").rstrip("=")
    yield quote(secret, safe="")
    yield "".join(f"%{byte:02X}" for byte in secret.encode())
    yield secret.encode().hex()
    yield secret.encode().hex().upper()
    yield orjson.dumps(secret).decode()
    yield "".join(f"\\u{ord(letter):04x}" for letter in secret)
    yield orjson.dumps(orjson.dumps(secret[::-1]).decode()).decode()


async def test_a_replica_that_leaks_is_caught(tmp_path: Path) -> None:
    """The stage itself hears a leak: a secret as an assistant's model is public, and so it is told all over."""
    with running() as redis:
        async with betrayed(tmp_path, redis) as stage:
            leak = stage.canaries.plant("leak")
            stage.write()
            stage.file.write_text(stage.file.read_text().replace("model: small", f"model: {leak}", 1))
            await stage.start({})
            stage.first.mood = moods.reset()
            await stage.call(status=200)
            await stage.operate("GET", "/api/decisions")
            await stage.command("status", "--admin", stage.replica.admin, "-c", stage.file, "--json")
            await stage.stop()
            stage.look_around()
    told = {place for place in stage.ears.places if f"{place} tells leak" in stage.ears.leaks}
    assert told >= {"answers to callers: head", "the operators' API", "log"}, stage.ears.leaks
    assert all(leak.endswith(" tells leak") for leak in stage.ears.leaks), stage.ears.leaks


@pytest.mark.parametrize("seed", range(3))
def test_canaries_are_apart(seed: int) -> None:
    """No piece of one is a piece of another: what is heard names its place."""
    canaries = Canaries(seed)
    for number in range(50):
        value = canaries.plant(str(number))
        assert canaries.heard(value) == [str(number)]

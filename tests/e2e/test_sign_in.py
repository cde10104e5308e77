"""Signing in from a browser, over real sockets: the cookie, what it may do, and what guessing costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from proxy.demo.simulator import Simulator
from tests.e2e.operated import Operated, config, operated

_TOKEN = "tok-OPERATORS-e2a8-f00d"
_RESET = {"source": "first", "model": "big", "action": "reset"}
_CSRF = {"x-homeport-csrf": "1"}


@pytest.fixture
async def operator(tmp_path: Path, first: Simulator, second: Simulator) -> AsyncIterator[Operated]:
    """A replica with a token."""
    async with operated(tmp_path, config(first, second), token=_TOKEN) as made:
        yield made


class _Browser:
    """Keeps the cookie that it is given, and nothing else."""

    def __init__(self, operator: Operated) -> None:
        self.base = operator.replica.admin
        self.cookie = ""
        self.set_cookie = ""

    async def call(self, method: str, path: str, json: object = None, **headers: str) -> tuple[int, Any]:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            fields["Cookie"] = self.cookie
        # Each on a connection of its own.
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(method, self.base + path, json=json, headers=fields) as answer,
        ):
            if (given := answer.headers.get("Set-Cookie")) is not None:
                self.set_cookie = given
                self.cookie = given.partition(";")[0]
            return answer.status, await answer.json()

    async def sign_in(self, token: str = _TOKEN, **headers: str) -> int:
        return (await self.call("POST", "/api/session", {"token": token}, **headers))[0]


async def test_a_session_stands_in_for_the_token(operator: Operated) -> None:
    """Signed in, the browser reads; signed out, or at another replica's word, it does not."""
    browser = _Browser(operator)
    assert (await browser.call("GET", "/api/status"))[0] == 401
    assert await browser.call("GET", "/api/session") == (200, {"signed_in": False})
    assert await browser.sign_in() == 200
    assert await browser.call("GET", "/api/session") == (200, {"signed_in": True})
    ((name, morsel),) = SimpleCookie(browser.set_cookie).items()
    assert (name, morsel["path"], morsel["samesite"], morsel["max-age"]) == ("homeport-session", "/", "Strict", "43200")
    assert morsel["httponly"] is True
    assert not morsel["secure"]
    assert len(morsel.value) >= 43
    assert _TOKEN not in browser.set_cookie
    assert (await browser.call("GET", "/api/status"))[0] == 200
    kept = browser.cookie
    assert (await browser.call("DELETE", "/api/session"))[0] == 403
    assert (await browser.call("DELETE", "/api/session", x_homeport_csrf="1"))[0] == 200
    assert SimpleCookie(browser.set_cookie)["homeport-session"]["max-age"] == "0"
    for cookie in (kept, "homeport-session=", "homeport-session=guess", f"homeport-session={_TOKEN}"):
        browser.cookie = cookie
        assert (await browser.call("GET", "/api/status"))[0] == 401
        assert (await browser.call("GET", "/api/session"))[1] == {"signed_in": False}
    assert kept.partition("=")[2] not in await operator.told()


async def test_two_sign_ins_are_two_sessions(operator: Operated) -> None:
    """Each browser has an id of its own; signing out of one leaves the other signed in."""
    one, other = _Browser(operator), _Browser(operator)
    assert (await one.sign_in(), await other.sign_in()) == (200, 200)
    assert one.cookie != other.cookie
    assert (await one.call("DELETE", "/api/session", x_homeport_csrf="1"))[0] == 200
    assert (await other.call("GET", "/api/status"))[0] == 200


async def test_the_cookie_is_secure_where_the_browser_speaks_https(operator: Operated) -> None:
    """Also behind a proxy that ends TLS: by the page's own origin, or by what the proxy says."""
    browser = _Browser(operator)
    host = str(URL(browser.base).authority)
    for headers in ({"Origin": f"https://{host}"}, {"X_Forwarded_Proto": "https"}):
        assert await browser.sign_in(**headers) == 200
        assert SimpleCookie(browser.set_cookie)["homeport-session"]["secure"] is True


async def test_another_sites_page_changes_nothing(operator: Operated) -> None:
    """A cookie needs the header for a change, and no foreign origin; reading needs neither, and a token never does."""
    browser = _Browser(operator)
    host = str(URL(browser.base).authority)
    assert await browser.sign_in(Origin="https://evil.example") == 403
    assert browser.cookie == ""
    assert await browser.sign_in(Origin=f"http://{host}") == 200
    refused: list[dict[str, str]] = [
        {},
        {"x_homeport_csrf": "0"},
        {"x_homeport_csrf": "1", "Origin": "https://evil.example"},
        {"x_homeport_csrf": "1", "Origin": "null"},
        {"x_homeport_csrf": "1", "Origin": f"http://{host}.evil.example"},
        {"x_homeport_csrf": "1", "Origin": "http://[::1"},
        {"Origin": f"http://{host}"},
    ]
    for headers in refused:
        status, told = await browser.call("POST", "/api/breakers", _RESET, **headers)
        assert (status, told["error"]["code"]) == (403, "csrf"), headers
    for headers in ({}, {"Origin": f"http://{host}"}):
        assert (await browser.call("POST", "/api/breakers", _RESET, x_homeport_csrf="1", **headers))[0] == 200
    assert (await browser.call("GET", "/api/status", Origin="https://evil.example"))[0] == 200, (
        "it cannot be read there"
    )
    by_token = _Browser(operator)
    assert (await by_token.call("POST", "/api/breakers", _RESET, Authorization=f"Bearer {_TOKEN}"))[0] == 200
    # A wrong token is not made good by a cookie.
    assert (await browser.call("GET", "/api/status", Authorization="Bearer wrong"))[0] == 401


async def test_what_is_no_sign_in(operator: Operated) -> None:
    """Anything but an object with the token is refused by field; what was sent is not repeated, nor a cookie set."""
    browser = _Browser(operator)
    bodies: tuple[object, ...] = (
        [],
        {},
        {"token": 7},
        {"token": None},
        {"token": _TOKEN, "user": "me"},
        {"tok": _TOKEN},
    )
    for body in bodies:
        status, told = await browser.call("POST", "/api/session", body)
        assert (status, told["error"]["code"]) == (400, "invalid_request"), body
        assert _TOKEN not in str(told)
    assert (await browser.call("POST", "/api/session", {"token": "x" * 100_000}))[0] == 413
    assert browser.cookie == ""


async def _wrong(operator: Operated) -> tuple[int, float]:
    """A wrong token's answer, and how long it took."""
    began = time.monotonic()
    status = await _Browser(operator).sign_in("wrong")
    return status, time.monotonic() - began


async def test_wrong_tokens_wait_and_the_right_one_does_not(operator: Operated) -> None:
    """One after the other they wait longer and longer, up to two seconds; meanwhile the right one works at once."""
    took = []
    for _ in range(6):
        status, seconds = await _wrong(operator)
        assert status == 401
        took.append(seconds)
    for seconds, at_least in zip(took, (0.05, 0.1, 0.2, 0.4, 0.8, 1.6), strict=True):
        # Less what was forgotten while the others waited.
        assert at_least * 0.7 <= seconds < at_least + 1.5
    crowd = [asyncio.create_task(_wrong(operator)) for _ in range(40)]
    try:
        async with asyncio.timeout(20):
            while sum(each.done() for each in crowd) < 30:  # noqa: ASYNC110  # another process refuses them
                await asyncio.sleep(0.02)
        began = time.monotonic()
        browser = _Browser(operator)
        assert await browser.sign_in() == 200
        assert (await browser.call("GET", "/api/status", Authorization=f"Bearer {_TOKEN}"))[0] == 200
        assert (await browser.call("GET", "/api/status"))[0] == 200
        assert time.monotonic() - began < 1.0
    finally:
        ended = await asyncio.gather(*crowd)
    assert sorted({status for status, _ in ended}) == [401, 429]
    # Four at a time; on a slow machine some of the crowd come when the first four have been told.
    assert 4 <= sum(status == 401 for status, _ in ended) <= 12
    assert max(seconds for status, seconds in ended if status == 401) < 4.0


async def test_a_wrong_try_that_is_given_up_waits_on(operator: Operated) -> None:
    """Hanging up makes no room: the tries of one address stay bounded, and the listener serves on."""
    for _ in range(6):
        await _wrong(operator)
    crowd = [asyncio.create_task(_wrong(operator)) for _ in range(6)]
    # Those for whom there is no room are told so at once; then the others wait.
    async with asyncio.timeout(20):
        while sum(each.done() for each in crowd) < 2:  # noqa: ASYNC110  # another process refuses them
            await asyncio.sleep(0.02)
    assert {each.result()[0] for each in crowd if each.done()} == {429}
    for each in crowd:
        each.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    assert (await _wrong(operator))[0] == 429
    assert (await operator.status())["draining"] is False


async def test_no_credential_is_no_try(operator: Operated) -> None:
    """Asking without one is answered at once, any number of times, and slows nobody."""
    browser = _Browser(operator)
    began = time.monotonic()
    for _ in range(40):
        assert (await browser.call("GET", "/api/status"))[0] == 401
    browser.cookie = "homeport-session=stale"
    for _ in range(10):
        assert (await browser.call("GET", "/api/status"))[0] == 401
    assert time.monotonic() - began < 5.0
    assert (await _wrong(operator))[1] < 1.0

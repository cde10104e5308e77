"""The page as the operators' listener serves it, over real sockets: its headers, its cache, and nothing beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from proxy.admin.page.serving import Page
from tests.e2e.replica import Replica, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

_POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replica(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replica]:
    """One with nothing configured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        async with serve(tmp_path_factory.mktemp("page"), "state_dir: null\n") as made:
            yield made


async def _raw(replica: Replica, head: str) -> tuple[int, bytes]:
    """Status and body of a request that no client would send: what `head` says is not made tidy first."""
    where = urlsplit(replica.admin)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write(f"{head} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        told = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    top, _, body = told.partition(b"\r\n\r\n")
    return int(top.split()[1]), body


async def test_every_file_is_served_with_its_type_and_its_policy(replica: Replica) -> None:
    """Without a token, since they hold no fact; and the browser is told to run nothing else."""
    async with aiohttp.ClientSession() as session:
        for path in Page().paths:
            async with session.get(replica.admin + path) as answer:
                headers, body = answer.headers, await answer.read()
            assert answer.status == 200
            assert body
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cache-Control"] == "no-cache"
            kind = "text/css" if path.endswith(".css") else "text/html" if path == "/" else "text/javascript"
            assert headers["Content-Type"] == f"{kind}; charset=utf-8"
            policy = dict(each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";"))
            assert policy.pop("script-src").startswith("'self' 'sha256-")
            assert policy == _POLICY


async def test_what_a_browser_has_is_not_sent_again(replica: Replica) -> None:
    """304 for its ETag, however it is written; HEAD tells the same without a body; nothing can be put there."""
    async with aiohttp.ClientSession() as session:
        async with session.get(replica.admin) as answer:
            tag, size = answer.headers["ETag"], len(await answer.read())
        for known in (tag, f"W/{tag}", f'"other", {tag}'):
            async with session.get(replica.admin, headers={"If-None-Match": known}) as answer:
                assert (answer.status, await answer.read(), answer.headers["ETag"]) == (304, b"", tag)
        async with session.get(replica.admin, headers={"If-None-Match": '"other"'}) as answer:
            assert answer.status == 200
        async with session.head(replica.admin) as answer:
            assert (answer.status, int(answer.headers["Content-Length"]), await answer.read()) == (200, size, b"")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            async with session.request(method, replica.admin) as answer:
                assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/index.html",
        "/assets",
        "/assets/",
        "/assets/vendor/",
        "/assets/vendor/VENDORED.json",
        "/assets/vendor/LICENSE.htm.txt",
        "/assets/../serving.py",
        "/assets/js/../../serving.py",
        "/assets/%2e%2e/serving.py",
        "/assets/..%2fserving.py",
        "/assets/js%2fmain.js",
        "//assets/base.css",
        "/assets//base.css",
        "/assets/base.css/",
        "/assets/base.css%00",
        "/assets/\\..\\serving.py",
        "/../../../etc/passwd",
        "/favicon.ico",
    ],
)
async def test_nothing_else_is_served(replica: Replica, path: str) -> None:
    """A path is looked up as it stands: what is no file of the page is 404, however it is written."""
    status, body = await _raw(replica, f"GET {path}")
    assert status in (400, 404)
    assert b'"code":"not_found"' in body or b'"code":"malformed_request"' in body


async def test_a_query_is_not_a_part_of_a_path(replica: Replica) -> None:
    """Bookmarks with one find the page."""
    status, body = await _raw(replica, "GET /?from=mail")
    assert status == 200
    assert b"<!doctype html>" in body


async def test_the_page_is_the_operators_listeners_alone(replica: Replica) -> None:
    """Where callers ask there is none."""
    async with aiohttp.ClientSession() as session:
        for path in ("/", "/assets/base.css"):
            async with session.get(replica.api + path) as answer:
                assert answer.status == 404

"""Where a name leads is judged when it is connected to: over real sockets, with names that a test resolves."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from proxy.terms import Cause, Diagnosis, Progress
from proxy.upstream.client import Answer, Connecting, Door, RetryBudget
from proxy.upstream.names import AddressInfo

_REFUSED = Diagnosis(Cause.ADDRESS_REFUSED, "address_refused")
_BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'


class _Names:
    """Every name leads to these addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses, self.asked = addresses, 0

    async def __call__(self, host: str, port: int) -> list[AddressInfo]:
        self.asked += 1
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 0, "", (each, port, 0, 0))
            if ":" in each
            else (socket.AF_INET, socket.SOCK_STREAM, 0, "", (each, port))
            for each in self.addresses
        ]


@pytest.fixture
async def upstream() -> AsyncIterator[Simulator]:
    """Listens on 127.0.0.1."""
    async with Simulator("up") as simulator:
        yield simulator


def _port(upstream: Simulator) -> int:
    return urlsplit(upstream.base_url).port or 0


async def _post(door: Door, url: str) -> int | Diagnosis:
    """The status that it is answered with, or why not."""
    headers = (("Content-Type", "application/json"),)
    answer = await door.post(url, headers, _BODY, Progress(time.monotonic()), 2.0)
    if isinstance(answer, Diagnosis):
        return answer
    assert isinstance(answer, Answer)
    while await answer.chunk():
        pass
    answer.close()
    return answer.status


@contextlib.asynccontextmanager
async def _door(names: _Names, *, private: bool = False, proxy: str | None = None) -> AsyncIterator[Door]:
    async with Door(Connecting(proxy=proxy, private=private), RetryBudget(), names) as door:
        yield door


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("::ffff:127.0.0.1",), ("127.0.0.1", "127.0.0.2", "::1")])
async def test_a_name_that_leads_home_is_refused(upstream: Simulator, addresses: tuple[str, ...]) -> None:
    """A public name of a private address gets no connection, unless the source says that it may have one."""
    url = f"http://llm.example.com:{_port(upstream)}/v1/chat/completions"
    async with _door(_Names(*addresses)) as door:
        assert await _post(door, url) == _REFUSED
        assert await door.look(url, (), 2.0) == _REFUSED
    assert upstream.connections == 0
    async with _door(_Names("127.0.0.1"), private=True) as door:
        assert await _post(door, url) == 200


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.170.2", "fe80::1", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254"],
)
async def test_metadata_is_refused_whatever_a_source_says(address: str) -> None:
    """By name or as it stands, and at once: nothing waits for a connection that is never made."""
    literal = f"[{address}]" if ":" in address else address
    for private in (False, True):
        async with _door(_Names(address), private=private) as door:
            began = time.monotonic()
            for host in ("llm.example.com", "ollama", literal):
                assert await _post(door, f"http://{host}:1/v1/chat/completions") == _REFUSED
            assert time.monotonic() - began < 1.0


async def test_of_many_addresses_only_those_it_may_have_are_tried(upstream: Simulator) -> None:
    """A name that leads to a forbidden address first still leads to a good one after it; to no other."""
    url = f"http://llm.example.com:{_port(upstream)}/v1/chat/completions"
    async with _door(_Names("169.254.169.254", "127.0.0.1"), private=True) as door:
        assert await _post(door, url) == 200
    async with _door(_Names("169.254.169.254", "127.0.0.1")) as door:
        assert await _post(door, url) == _REFUSED
    assert upstream.connections == 1


async def test_a_literal_address_is_its_own_configuration(upstream: Simulator) -> None:
    """It is judged like what a name leads to: the source's `private` says what it may be."""
    for private, expected in ((True, 200), (False, _REFUSED)):
        async with _door(_Names(), private=private) as door:
            assert await _post(door, f"{upstream.base_url}/chat/completions") == expected


async def test_with_a_forward_proxy_its_own_address_counts(upstream: Simulator) -> None:
    """What is connected to is the proxy: its name is judged, and the source's is the proxy's to resolve."""
    url = "http://llm.example.com/v1/chat/completions"
    names = _Names("127.0.0.1")
    async with _door(names, proxy=f"http://proxy.example.com:{_port(upstream)}") as door:
        assert await _post(door, url) == _REFUSED
    assert upstream.connections == 0
    async with _door(names, private=True, proxy=f"http://proxy.example.com:{_port(upstream)}") as door:
        assert await _post(door, url) == 404
    (received,) = upstream.requests
    assert received.path == url


async def test_a_warm_connection_is_not_asked_again(upstream: Simulator) -> None:
    """The judgement costs a request on a kept connection nothing: it is not made, even where it would be another."""
    names = _Names("127.0.0.1")
    url = f"http://llm.example.com:{_port(upstream)}/v1/chat/completions"
    async with _door(names, private=True) as door:
        assert await _post(door, url) == 200
        names.addresses = ("169.254.169.254",)
        assert [await _post(door, url) for _ in range(20)] == [200] * 20
    assert (upstream.connections, names.asked) == (1, 1)


async def test_a_name_is_judged_anew_with_each_connection(upstream: Simulator) -> None:
    """A name that leads elsewhere later gains nothing: what was good before is refused."""
    names = _Names("127.0.0.1")
    async with _door(names, private=True) as door:
        assert await _post(door, f"http://one.example.com:{_port(upstream)}/v1/chat/completions") == 200
        names.addresses = ("169.254.169.254",)
        assert await _post(door, f"http://two.example.com:{_port(upstream)}/v1/chat/completions") == _REFUSED


async def test_a_redirect_leads_nowhere(upstream: Simulator) -> None:
    """Whichever address it names, and whichever method was sent: the answer is the redirect itself."""
    async with Simulator("elsewhere") as elsewhere, _door(_Names(), private=True) as door:
        upstream.mood = moods.redirect(f"{elsewhere.base_url}/chat/completions")
        assert await _post(door, f"{upstream.base_url}/chat/completions") == 307
        answer = await door.look(f"{upstream.base_url}/models", (), 2.0)
        assert isinstance(answer, Answer)
        assert answer.status == 307
        answer.close()
        assert elsewhere.connections == 0

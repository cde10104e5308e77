"""Where an address lies, however it is written or wrapped, and which hosts say by themselves that they are private."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.networks import Network, is_private_host, network


@pytest.mark.parametrize(
    ("address", "lies"),
    [
        ("8.8.8.8", Network.PUBLIC),
        ("2606:4700::1111", Network.PUBLIC),
        ("64:ff9b::8.8.8.8", Network.PUBLIC),
        ("127.0.0.1", Network.PRIVATE),
        ("127.9.9.9", Network.PRIVATE),
        ("::1", Network.PRIVATE),
        ("0.0.0.0", Network.PRIVATE),
        ("::", Network.PRIVATE),
        ("10.1.2.3", Network.PRIVATE),
        ("172.16.0.1", Network.PRIVATE),
        ("192.168.1.1", Network.PRIVATE),
        ("100.64.0.1", Network.PRIVATE),
        ("fd12::1", Network.PRIVATE),
        ("::ffff:10.0.0.1", Network.PRIVATE),
        ("::10.0.0.1", Network.PRIVATE),
        ("64:ff9b::10.0.0.1", Network.PRIVATE),
        ("2002:0a00:0001::1", Network.PRIVATE),
        ("240.0.0.1", Network.PRIVATE),
        ("169.254.169.254", Network.FORBIDDEN),
        ("169.254.170.2", Network.FORBIDDEN),
        ("fe80::1", Network.FORBIDDEN),
        ("fe80::1%eth0", Network.FORBIDDEN),
        ("fd00:ec2::254", Network.FORBIDDEN),
        ("fd00:ec2::23", Network.FORBIDDEN),
        ("fd20:ce::254", Network.FORBIDDEN),
        ("100.100.100.200", Network.FORBIDDEN),
        ("168.63.129.16", Network.FORBIDDEN),
        ("192.0.0.192", Network.FORBIDDEN),
        ("::ffff:169.254.169.254", Network.FORBIDDEN),
        ("::ffff:a9fe:a9fe", Network.FORBIDDEN),
        ("::169.254.169.254", Network.FORBIDDEN),
        ("64:ff9b::a9fe:a9fe", Network.FORBIDDEN),
        ("2002:a9fe:a9fe::1", Network.FORBIDDEN),
        ("224.0.0.1", Network.FORBIDDEN),
        ("ff02::1", Network.FORBIDDEN),
        ("255.255.255.255", Network.FORBIDDEN),
        ("localhost", None),
        ("127.1", None),
        ("0x7f000001", None),
        ("", None),
    ],
)
def test_where_an_address_lies(address: str, lies: Network | None) -> None:
    """Each kind by its best-known member; what is no address lies nowhere."""
    assert network(address) is lies


@given(st.ip_addresses(v=4))
def test_an_address_within_an_address_is_what_it_is(inner: ipaddress.IPv4Address) -> None:
    """No way of writing an IPv4 address as an IPv6 one makes it more public than it is."""
    lies = network(str(inner))
    if int(inner) > 1:  # ::0 and ::1 are IPv6's own
        assert network(f"::{inner}") is lies
    assert network(f"::ffff:{inner}") is lies
    assert network(f"64:ff9b::{inner}") is lies
    assert network(str(ipaddress.IPv6Address((0x2002 << 112) | (int(inner) << 80) | 1))) is lies


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("api.localhost", True),
        ("ollama", True),
        ("gpu-1.local", True),
        ("vllm.models.svc.cluster.local", True),
        ("vllm.models.svc", True),
        ("llm.home.arpa", True),
        ("metadata.google.internal", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("10.0.0.7", True),
        ("api.openai.com", False),
        ("api.openai.com.", False),
        ("127.0.0.1.nip.io", False),
        ("localhost.example.com", False),
        ("local.example.com", False),
        ("home.arpa.example.com", False),
        ("8.8.8.8", False),
        ("169.254.169.254", False),
        ("fe80::1", False),
    ],
)
def test_which_hosts_call_themselves_private(host: str, private: bool) -> None:
    """A literal address of one's own, a name of one word, a name whose end no public name has."""
    assert is_private_host(host) is private

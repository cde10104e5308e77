"""Where an IP address lies: public, private, or where no source may be; and which hosts call themselves private.

1. Forbidden is what no model is served at and what gives secrets away: link-local addresses and the clouds' metadata
   services, wherever those are. Nothing in a configuration makes them good.
2. An IPv4 address within an IPv6 one is judged as what it is.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = tuple(
    map(
        ipaddress.ip_network,
        (
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure's host
            "192.0.0.192/32",  # Oracle
            "fd00:ec2::/32",  # AWS: metadata, pod identity, its resolver
            "fd20:ce::254/128",  # Google
        ),
    )
)
"""Those that are not link-local."""
_EMBEDDING = tuple(map(ipaddress.IPv6Network, ("::/96", "64:ff9b::/96")))
"""The last four bytes are an IPv4 address: of IPv6 itself, and of NAT64."""
_TOP = frozenset(("local", "localdomain", "internal", "lan", "home", "corp", "intranet", "private", "svc", "test"))
"""Last labels that no public name has."""


class Network(StrEnum):
    """Where an address lies."""

    PUBLIC = "public"
    PRIVATE = "private"
    """This machine, a private network, or anything else that is not the public Internet."""
    FORBIDDEN = "forbidden"


def network(address: str) -> Network | None:
    """Where an address lies; None for what is no address. A zone (`%eth0`) may follow it."""
    try:
        return _network(ipaddress.ip_address(address))
    except ValueError:
        return None


def is_private_host(host: str) -> bool:
    """Does a host say by itself that it is not public: a private address, a name of one word or of local use?"""
    lies = network(host)
    if lies is not None:
        return lies is Network.PRIVATE
    *before, last = host.lower().rstrip(".").split(".")
    return not before or last in _TOP or last == "localhost" or [*before, last][-2:] == ["home", "arpa"]


def _network(address: _Address) -> Network:
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return _network(inner)
    if (
        address.is_link_local
        or address.is_multicast
        or int(address) == 2**32 - 1
        or any(address in each for each in _METADATA)
    ):
        return Network.FORBIDDEN
    return Network.PUBLIC if address.is_global else Network.PRIVATE


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    within = any(address in each for each in _EMBEDDING) and not (address.is_loopback or address.is_unspecified)
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if within else None

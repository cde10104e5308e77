"""What a configuration becomes: the pieces that requests go by, each made from its part of it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping

from proxy.config import schema
from proxy.edge.exchange import Bounds
from proxy.providers.faults import override_row
from proxy.providers.kinds import KINDS
from proxy.upstream.attempt import Source
from proxy.upstream.client import Connecting


def sources(config: schema.Config) -> Mapping[str, Source]:
    """Where requests go and what they carry, by name."""
    return {name: _source(each) for name, each in config.sources.items()}


def bounds(config: schema.Config) -> Bounds:
    """What one replica takes on."""
    return Bounds(config.limits.body, config.limits.in_flight, config.limits.buffered)


@functools.cache
def identify(secret: str) -> str:
    """A name for a credential that all replicas give it and that does not give it away.

    Slow on purpose (some 10 ms), so that who reads the store cannot try short keys by the million.
    """
    return hashlib.scrypt(secret.encode(), salt=b"homeport credential", n=2**12, r=8, p=1, dklen=8).hex()


def _source(source: schema.Source) -> Source:
    kind, dialect, secret = KINDS[source.kind], source.speaks, source.api_key
    key = secret.get_secret_value() if secret else ""
    credential = ((kind.credential, f"Bearer {key}" if kind.bearer else key),) if key else ()
    fixed = tuple((name, value.get_secret_value()) for name, value in source.headers.items())
    said = {name.lower() for name, _ in fixed}
    usual = tuple(pair for pair in dialect.headers if pair[0].lower() not in said)
    return Source(
        base_url=source.base_url,
        headers=(*usual, *credential, *fixed),
        forward_headers=frozenset(name.lower() for name in source.forward_headers),
        connecting=Connecting(source.max_connections, source.proxy, source.ca_file, source.private),
        overrides=tuple(
            override_row(fault.status, fault.code, fault.type, fault.phrase, fault.cause) for fault in source.faults
        ),
        dialect=dialect,
    )

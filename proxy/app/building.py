"""What a configuration becomes: the pieces that requests go by, each made from its part of it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from proxy.config import schema
from proxy.config.oauth import OAuth
from proxy.edge.exchange import Bounds
from proxy.providers.faults import override_row
from proxy.providers.kinds import KINDS
from proxy.providers.networks import is_private_host
from proxy.upstream.client import Connecting
from proxy.upstream.oauth.account import Account, Settings
from proxy.upstream.oauth.accounts import Accounts
from proxy.upstream.oauth.exchange import Grant
from proxy.upstream.source import Source


def sources(config: schema.Config, accounts: Accounts) -> Mapping[str, Source]:
    """Where requests go and what they carry, by name. `accounts` are the configuration's from now on."""
    known = accounts.follow({name: _settings(config.sources[name], each) for name, each in config.accounts.items()})
    return {name: _source(each, known.get(name)) for name, each in config.sources.items()}


def bounds(config: schema.Config) -> Bounds:
    """What one replica takes on."""
    return Bounds(config.limits.body, config.limits.in_flight, config.limits.buffered)


@functools.cache
def identify(secret: str) -> str:
    """A name for a credential that all replicas give it and that does not give it away.

    Slow on purpose (some 10 ms), so that who reads the store cannot try short keys by the million.
    """
    return hashlib.scrypt(secret.encode(), salt=b"homeport credential", n=2**12, r=8, p=1, dklen=8).hex()


def _settings(source: schema.Source, oauth: OAuth) -> Settings:
    private = source.private_network or is_private_host(urlsplit(source.proxy or oauth.token_url).hostname or "")
    grant = Grant(
        token_url=oauth.token_url,
        client_id=oauth.client_id,
        connecting=Connecting(2, source.proxy, source.ca_file, private),
        client_secret=oauth.client_secret.get_secret_value() if oauth.client_secret else None,
        kind=oauth.grant,
        scope=oauth.scope,
        audience=oauth.audience,
        resource=oauth.resource,
        json=oauth.encoding == "json",
    )
    return Settings(
        grant,
        login=oauth.file_login or oauth.login,
        key=identify(oauth.login),
        file=Path(oauth.token_file) if oauth.token_file else None,
        refresh=oauth.refresh_token.get_secret_value() if oauth.refresh_token else None,
    )


def _source(source: schema.Source, account: Account | None) -> Source:
    kind, dialect, secret = KINDS[source.kind], source.speaks, source.api_key
    key = secret.get_secret_value() if secret else ""
    credential = ((kind.credential, f"Bearer {key}" if kind.bearer else key),) if key else ()
    fixed = tuple((name, value.get_secret_value()) for name, value in source.headers.items())
    said = {name.lower() for name, _ in fixed}
    theirs = source.oauth.file_account if source.oauth else ""
    beside = dialect.beside(key, theirs) if key or theirs else ()
    usual = tuple(pair for pair in (*dialect.headers, *beside) if pair[0].lower() not in said)
    return Source(
        base_url=source.base_url,
        headers=(*usual, *credential, *fixed),
        forward_headers=frozenset(name.lower() for name in source.forward_headers),
        connecting=Connecting(source.max_connections, source.proxy, source.ca_file, source.private),
        overrides=tuple(
            override_row(fault.status, fault.code, fault.type, fault.phrase, fault.cause) for fault in source.faults
        ),
        dialect=dialect,
        account=account,
    )

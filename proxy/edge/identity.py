"""Who is calling: a client by its key, and the assistant that the request is for.

1. The order is fixed: identity header, the one assistant of the client's key, a `model` that is an assistant's id,
   the default.
2. Keys are compared by their SHA-256; no key is kept, and none is named in a refusal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from proxy.config.addresses import is_loopback
from proxy.config.schema import Config
from proxy.edge import refusals
from proxy.edge.refusals import Refusal
from proxy.providers.hops import Passing


@dataclass(frozen=True, slots=True)
class Client:
    """Whoever holds a key, or anyone where keys are not asked for."""

    id: str | None
    assistants: frozenset[str] | None
    """Ids that it may use; None is all."""

    def may_use(self, assistant: str) -> bool:
        return self.assistants is None or assistant in self.assistants


@dataclass(slots=True, unsafe_hash=True, init=False)
class Named:
    """The assistant that a request is for."""

    assistant: Final[str]
    by: Final[str]
    """How it was found: header, key, model or default."""

    def __init__(self, assistant: str, by: str) -> None:
        self.assistant, self.by = assistant, by


_ANYONE = Client(None, None)
CLIENT_FIELDS = frozenset({"origin", "authorization", "api-key"})
"""What says who the client is, and whether it may call, in lower case."""


class Identity:
    """The rules of one configuration."""

    def __init__(self, config: Config) -> None:
        self._header = config.identity.header
        self.header = self._header.lower()
        ours = (self.header, "content-length")
        self.passing = Passing(lambda low: low not in ours)
        """Which of a caller's headers are not for us alone."""
        self._default = config.identity.default
        self.assistants = config.assistants.keys()
        keyed = config.clients if not isinstance(config.clients, str) else ()
        self._by_digest = {
            client.key_sha256.lower(): Client(
                client.id, None if client.assistants is None else frozenset(client.assistants)
            )
            for client in keyed
        }
        self._local_only = config.listen.loopback

    def client(self, headers: Mapping[str, str]) -> Client | Refusal:
        """The caller by its key, or why it may not call at all."""
        if self._local_only and (origin := headers.get("Origin")) and not is_loopback(_host(origin)):
            return refusals.origin_forbidden()
        if not self._by_digest:
            return _ANYONE
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        for key in (bearer.strip() if scheme.lower() == "bearer" else "", headers.get("api-key", "")):
            known = self._by_digest.get(hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest())
            if known is not None:
                return known
        return refusals.key_missing()

    def named(self, headers: Mapping[str, str], client: Client) -> Named | Refusal | None:
        """The assistant that the request is for, by its head; None where that does not say, and its body may."""
        name = headers.get(self._header, "").strip()
        if name:
            return self.checked(name, "header", client)
        if client.assistants is not None and len(client.assistants) == 1:
            return self.checked(next(iter(client.assistants)), "key", client)
        return None

    def unnamed(self, client: Client, model: str | None) -> Named | Refusal:
        """The assistant of a request whose head names none."""
        if model is not None and model in self.assistants:
            return self.checked(model, "model", client)
        if not self._default:
            return refusals.assistant_required(self._header)
        return self.checked(self._default, "default", client)

    def checked(self, name: str, by: str, client: Client) -> Named | Refusal:
        """The assistant of this name, if the client may use it."""
        if name not in self.assistants:
            return refusals.assistant_not_found(name)
        return self.allowed(name, by, client)

    def allowed(self, name: str, by: str, client: Client) -> Named | Refusal:
        """An assistant that there is, if the client may use it."""
        if not client.may_use(name):
            return refusals.assistant_forbidden(name, client.id or "")
        return Named(name, by)


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""

"""The configuration as it is served: every key that may be written, its default and its bounds.

1. A Config is valid part by part; what its parts say of each other is checks.py's, and load.py runs both.
2. Everything is frozen, and a secret is wrapped so that no repr shows it.
3. An explicit `null` means "nothing here" for what may be empty, and the default for everything else.
   It stays as it was written: what holds in its place, like a binding's model, is worked out where it is asked for.
4. Durations are seconds and sizes bytes, whatever way they were written.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    SecretStr,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from proxy import terms
from proxy.config import source_kinds, words
from proxy.config.addresses import Address, proxy_url
from proxy.config.fault import Wrong
from proxy.config.fields import (
    Ability,
    Age,
    AssistantId,
    Duration,
    Flag,
    Frozen,
    HeaderName,
    Listen,
    Million,
    Model,
    Name,
    Number,
    RequestField,
    Secret,
    Sha256,
    Size,
    Whole,
)
from proxy.config.headers import forwarded_name
from proxy.config.migrations import Change
from proxy.config.oauth import OAuth
from proxy.config.part import Part
from proxy.config.quantities import within
from proxy.config.thresholds import Breaker, OwnBreaker, Thresholds, merge
from proxy.config.words import SharedStore
from proxy.providers import kinds
from proxy.providers.dialect import Dialect
from proxy.providers.networks import is_private_host


class Params(Part):
    """What a tier changes in a request's top-level fields."""

    drop: tuple[RequestField, ...] = ()
    """Fields to leave out."""
    set: Frozen[RequestField, Any] = Field(default_factory=dict)
    """Fields to give this value, whatever the caller sent."""
    cap: Frozen[RequestField, Number] = Field(default_factory=dict)
    """Upper bounds for numbers that the caller sent."""


@functools.cache
def _no_params() -> Params:
    # One for all: of ten thousand assistants' tiers most change nothing.
    return Params()


class Binding(Part):
    """A source and a model, and what is declared of them."""

    source: Name
    """The name of an entry under `sources`."""
    model: Model | None = None
    """The model as its source calls it; "*" passes the caller's own through. Null: the source's `default_model`."""
    params: Params = Field(default_factory=_no_params)
    context: Annotated[Whole, AfterValidator(within(1, 10**9, "1 to 1000000000 tokens"))] | None = None
    """Declared context window, in tokens."""
    supports: tuple[Ability, ...] | None = None
    """Declared abilities; leave it out to declare nothing."""

    def resolve(self, kind: str, model: str) -> terms.Binding:
        """The binding as routing knows it, at a source of this kind, with the model that `Config.model_of` gives."""
        params = terms.Params(self.params.drop, self.params.set, self.params.cap)
        supports = None if self.supports is None else frozenset(map(str, self.supports))
        return terms.Binding(self.source, kind, model, params, self.context, supports)


class Chain(Part):
    """A primary tier and its fallbacks, in the order in which they are tried."""

    primary: Binding | None = None
    """The home port; null clears it."""
    fallbacks: tuple[Binding, ...] = ()


class Timeouts(Part):
    """Limits of time, in seconds."""

    connect: Duration = 5.0
    first_byte: Duration = 30.0
    """A stream that shows no sign of life by then failed."""
    first_token: Duration = 300.0
    """Alive, but no content by then: the next tier."""
    idle: Duration = 300.0
    """Silence of an answer that has begun."""
    total: Duration = 600.0
    """Bounds the time to a stream's first content, and the whole of a JSON answer."""
    hold: Duration = 15.0
    """After that a held stream is opened and kept alive with comments."""
    attempt: Duration | None = None
    """Caps one attempt at a JSON answer."""

    def resolve(self) -> terms.Times:
        """As requests go by them: what a model of pydantic's holds is found in ten times the time."""
        return terms.Times(**vars(self))


@functools.cache
def _usual_timeouts() -> Timeouts:
    return Timeouts()


class FaultRule(Part):
    """What an error answer of this source means. Every matcher that is given has to match."""

    status: Annotated[Whole, AfterValidator(within(200, 599, "200 to 599"))] | None = None
    code: str | None = None
    """The error's `code`."""
    type: str | None = None
    """The error's `type`."""
    phrase: str | None = None
    """Words found anywhere in the error's message, without case."""
    cause: Annotated[terms.Cause, BeforeValidator(words.cause), WithJsonSchema({"enum": list(terms.Cause)})]

    @model_validator(mode="after")
    def _matches_something(self) -> FaultRule:
        if self.status is None and not (self.code or self.type or self.phrase):
            raise Wrong("a rule that matches every error", "give it a status, a code, a type or a phrase")
        return self


class Source(Part):
    """Where models are served. Shared by assistants."""

    kind: Annotated[source_kinds.Name, BeforeValidator(words.kind)]
    preset: source_kinds.Preset | None = None
    """Of kind openai-compatible: a vendor or a local server, in place of its base URL."""
    base_url: Annotated[str, Field(json_schema_extra=lambda schema: schema.pop("default", None))] = ""
    """An http(s) URL up to and with `/v1`; for kind azure-openai the resource's. openai and anthropic have one."""
    api_version: source_kinds.ApiVersion | None = None
    """Of kind azure-openai: its deployments are then named in the path."""
    api: source_kinds.Api = "both"
    """The part of OpenAI's API that it has: chat completions, Responses; what it lacks is asked for by the other."""
    default_model: Model | None = None
    """The model of every binding to this source that names none."""
    api_key: Secret | None = None
    """Sent as a bearer token; as `x-api-key` to kind anthropic, as `api-key` to kind azure-openai."""
    oauth: OAuth | None = None
    """An account, whose access token is sent as a bearer token in place of `api_key`."""
    headers: Frozen[HeaderName, Secret] = Field(default_factory=dict)
    """Sent with every request; their values are kept secret."""
    forward_headers: tuple[Annotated[str, AfterValidator(forwarded_name)], ...] = ()
    """Further headers of the caller's to pass on."""
    max_connections: Annotated[Whole, AfterValidator(within(1, 10_000, "1 to 10000"))] = 100
    proxy: Annotated[str, AfterValidator(proxy_url)] | None = Field(default=None, repr=False)
    """A forward proxy to go through."""
    ca_file: str | None = None
    """Certificates to trust for this source; a relative path starts at the configuration's directory."""
    private_network: Flag = False
    """Its public name may lead to a private address, or to this machine."""
    breaker: Breaker | None = None
    faults: tuple[FaultRule, ...] = ()
    """What this source's errors mean, before the built-in table is asked."""

    @field_validator("base_url", mode="after")
    @classmethod
    def _base_url(cls, value: str, info: ValidationInfo) -> str:
        return source_kinds.url(value, info.data)

    @field_validator("ca_file", mode="after")
    @classmethod
    def _ca_file(cls, value: str | None, info: ValidationInfo) -> str | None:
        directory: Path | None = info.context
        return value if value is None or directory is None else str(directory / value)

    @property
    def speaks(self) -> Dialect:
        """What its kind makes of questions and answers."""
        return kinds.dialect(self.kind, self.api_version, self.api)

    @property
    def credential_header(self) -> str:
        """The header that carries `api_key`, or the token of `oauth`."""
        return kinds.KINDS[self.kind].credential if self.oauth is None else "Authorization"

    @property
    def credential(self) -> str:
        """Names what the operator gave, and is a secret; empty without a credential."""
        if self.oauth is not None:
            return self.oauth.login
        return self.api_key.get_secret_value() if self.api_key else ""

    @property
    def host(self) -> str:
        """Of the base URL: a name or an address, IPv6 without brackets."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def private(self) -> bool:
        """What is connected to, the forward proxy or else the source itself, may have a private address."""
        return self.private_network or is_private_host(urlsplit(self.proxy or self.base_url).hostname or "")


class Assistant(Chain):
    """A calling application: its chain and its limits."""

    chains: Frozen[Annotated[Literal["embeddings"], BeforeValidator(words.chain)], Chain] = Field(default_factory=dict)
    """Chains of endpoints that may not use the assistant's own."""
    timeouts: Timeouts = Field(default_factory=_usual_timeouts)
    breaker: OwnBreaker | None = None

    @property
    def apart(self) -> bool:
        """It asked for breakers of its own."""
        return self.breaker is not None and self.breaker.scope is not None


class Client(Part):
    """Somebody who may call."""

    id: Name
    key_sha256: Sha256
    """SHA-256 of the client's key, in hex."""
    assistants: tuple[AssistantId, ...] | None = None
    """Those it may use; leave it out for all."""


class Admin(Part):
    """The operators' listener."""

    listen: Listen = Field(default=Address("127.0.0.1", 8081), json_schema_extra={"default": "127.0.0.1:8081"})
    token: Secret | None = None


class Identity(Part):
    """How an assistant names itself."""

    header: HeaderName = "X-Assistant-Id"
    default: AssistantId | None = None
    """The assistant of a request that names none."""


class Limits(Part):
    """What one replica takes on."""

    body: Size = 32 * 2**20
    """Of one request."""
    in_flight: Million = 1000
    """Requests at a time."""
    buffered: Size = 256 * 2**20
    """Of all request bodies together."""
    max_fallbacks: Annotated[Whole, AfterValidator(within(0, 20, "0 to 20"))] = 3
    """In one chain."""
    notice: Duration | None = None
    """How long a stop goes on serving while it says that it is not ready, so that balancers notice."""
    drain: Duration = 30.0
    """How long a stop waits for what is in flight."""


class Decisions(Part):
    """How long decision records are kept."""

    keep: Annotated[Whole, AfterValidator(within(0, 1_000_000, "0 to 1000000"))] = 20_000
    """Records, of all replicas together where they share a store. 0 switches recording off."""
    age: Age = 86400.0


def _clients_form(value: Any) -> str:
    return "[list]" if isinstance(value, list | tuple) else "[open]"


Clients = Annotated[
    Annotated[Literal["open"], BeforeValidator(words.clients_open), Tag("[open]")]
    | Annotated[tuple[Client, ...], Tag("[list]")],
    Discriminator(_clients_form),
]

Store = Annotated[SecretStr, BeforeValidator(words.store), WithJsonSchema({"type": "string", "minLength": 1})]


class Config(Part):
    """One configuration of Homeport."""

    version: Annotated[Literal[1], BeforeValidator(words.version)]
    listen: Listen = Field(default=Address("127.0.0.1", 8080), json_schema_extra={"default": "127.0.0.1:8080"})
    """Where the API is served."""
    admin: Admin = Field(default_factory=Admin)
    store: Store = Field(default=SecretStr("memory"), json_schema_extra={"default": "memory"})
    """Where breaker state is kept: `memory`, or the URL of a Redis that the replicas share."""
    state_dir: str | None = "homeport-state"
    """Where revisions are kept; null keeps them nowhere but in a shared store."""
    identity: Identity = Field(default_factory=Identity)
    clients: Clients = ()
    """Who may call: keys, or `open` for anybody. None are needed while listening on loopback only."""
    sources: Frozen[Name, Source] = Field(default_factory=dict)
    assistants: Frozen[AssistantId, Assistant] = Field(default_factory=dict)
    breaker: Breaker | None = None
    limits: Limits = Field(default_factory=Limits)
    decisions: Decisions = Field(default_factory=Decisions)
    edits: Annotated[Literal["on", "off"], BeforeValidator(words.on_or_off)] = "on"
    lane: Annotated[Literal["on", "off"], BeforeValidator(words.on_or_off)] = "on"
    """`off` has aiohttp's server read every request and write every answer."""

    @field_validator("state_dir", mode="after")
    @classmethod
    def _state_dir(cls, value: str | None, info: ValidationInfo) -> str | None:
        directory: Path | None = info.context
        return value if value is None or directory is None else str(directory / value)

    _migrated: tuple[Change, ...] = PrivateAttr(default=())

    @property
    def migrated(self) -> tuple[Change, ...]:
        """What migrations made of an older file; empty for one of this version."""
        return self._migrated

    def came_by(self, changes: tuple[Change, ...]) -> Config:
        """The same configuration, which knows what migrations made of its file."""
        config = self.model_copy()
        config._migrated = changes
        return config

    @property
    def accounts(self) -> Mapping[str, OAuth]:
        """By the sources that use them."""
        return {name: each.oauth for name, each in self.sources.items() if each.oauth is not None}

    @property
    def shared_store(self) -> SharedStore | None:
        """The Redis that the replicas share; None where state is kept in memory."""
        url = self.store.get_secret_value()
        return None if url == "memory" else words.shared_store(url)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Names what the configuration says, secrets left out as in every repr: equal where the same is configured.

        Worked out once, since every page and scrape asks for it and it takes a while with many assistants.
        """
        # Where one replica listens and keeps its state is its own.
        same = self.model_copy(update={"listen": None, "admin": None, "state_dir": None})
        return hashlib.sha256(repr(same).encode()).hexdigest()[:12]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Another configuration, whose fingerprint is its own."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("fingerprint", None)
        return copy

    def model_of(self, binding: Binding) -> str | None:
        """The model that a binding is bound to: its own, or else its source's default; None where neither names one."""
        source = self.sources.get(binding.source)
        return binding.model if binding.model is not None or source is None else source.default_model

    def policy(self, assistant: str, source: str) -> Thresholds:
        """The breaker values for one assistant's use of one source; both must exist."""
        own = self.assistants[assistant]
        return merge(self.breaker, self.sources[source].breaker, own.breaker if own.apart else None)

"""The nouns that every room shares; imports nothing of ours.

1. A value here is frozen: a fact once stated is never edited, only replaced. Those that every request makes have Final
   fields instead, and their `__init__` is written out: that takes a tenth of the time, and less where it is compiled,
   as what `dataclass` makes is not. Where they are interpreted, only the type checker sees to it that nobody edits one.
2. A failure that crosses a room's door is one of these values, never an exception.
3. Times are seconds on the monotonic clock that the caller passes in, unless a name says `unix`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

Headers = tuple[tuple[str, str], ...]
"""HTTP header fields in wire order; names as received, compared without case."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of the OpenAI API that Homeport serves."""

    name: str
    """What logs and metrics call it."""
    path: str
    """Below the source's base URL, so without `/v1`."""
    chain: str | None = None
    """The key under an assistant's `chains` that it needs; None is the assistant's own chain."""


CHAT: Final = Endpoint("chat_completions", "/chat/completions")
COMPLETIONS: Final = Endpoint("completions", "/completions")
RESPONSES: Final = Endpoint("responses", "/responses")
EMBEDDINGS: Final = Endpoint("embeddings", "/embeddings", chain="embeddings")
ENDPOINTS: Final = (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS)


class Cause(StrEnum):
    """Why an attempt did not serve. What each one means for breaker and walk stands in routing/verdict.py."""

    NETWORK = "network"
    """DNS, refused, TLS, reset: no usable connection."""
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_FIRST_BYTE = "timeout_first_byte"
    TIMEOUT_IDLE = "timeout_idle"
    TIMEOUT_TOTAL = "timeout_total"
    """A limit that the operator set: `attempt` or `total`."""
    PATIENCE = "patience"
    """The caller's own deadline came first."""
    SLOW = "slow"
    """Alive, but no content by `first_token`."""
    SERVER = "server"
    """The upstream says that it is unwell: 5xx, overloaded, an HTML page, a 200 that is not the answer asked for."""
    REDIRECT = "redirect"
    ADDRESS_REFUSED = "address_refused"
    """The source's name leads to an address that this source may not have; nothing was sent."""
    STREAM_BROKEN = "stream_broken"
    RATE_LIMITED = "rate_limited"
    RATE_LIMITED_SIZE = "rate_limited_size"
    """This one request is larger than the limit; waiting would not help it."""
    LOADING = "loading"
    """A local server that is still loading its model: served soon, so parked rather than tripped."""
    QUOTA = "quota"
    KEY_INVALID = "key_invalid"
    """A fact about the credential, whatever it is used for."""
    ACCESS_DENIED = "access_denied"
    """A scope, region, organisation or network rule: this target only."""
    MODEL_MISSING = "model_missing"
    PATH_MISSING = "path_missing"
    CONTEXT_LENGTH = "context_length"
    CONTENT_POLICY = "content_policy"
    STATE_NOT_HERE = "state_not_here"
    CLIENT_FAULT = "client_fault"
    UNSUPPORTED = "unsupported"
    """This source cannot do such a thing, as its `faults` in the configuration say. Another tier may."""
    LOCAL = "local"
    """Our own trouble: file descriptors, memory, our resolver, our pool is full."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a failure means, as providers/faults.py or the network door read it."""

    cause: Cause
    detail: str
    """A typed token for headers and labels, `[a-z0-9_.-]{1,48}`: `http_503`, `connect_error`. Never upstream text."""
    retry_after: float | None = None
    """Seconds the upstream asks to wait; None when it does not say."""
    exhausted: bool = False
    """The upstream says that no request is left in its window (`x-ratelimit-remaining-requests: 0`)."""


class Follower(ABC):
    """Who is given an answer as it comes, while nobody waits for `chunk`. Called for every event: to inherit from."""

    __slots__ = ()

    @abstractmethod
    def news(self, chunk: bytes | Diagnosis) -> None:
        """What `Reply.chunk` would give."""

    @abstractmethod
    def through(self, chunk: bytes) -> bool:
        """Bytes that may be one whole chunk of HTTP, frame and all: True if they were taken as that."""


class Reply(Protocol):
    """An upstream's open answer, as the door `upstream/client.py` hands it on."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    async def chunk(self) -> bytes | Diagnosis:
        """The next bytes as they arrive, content codings undone; b"" at a clean end; a Diagnosis when it broke."""
        ...

    def ready(self) -> bytes | Diagnosis | None:
        """What `chunk` gives, if that is there already; else None."""
        ...

    def whole(self) -> bytes | None:
        """All that is left of it, if that is there already and ended cleanly; else None, and nothing was read."""
        ...

    def follow(self, follower: Follower | None) -> bool:
        """Give it what is there now and then what comes, until told otherwise. False: it can only be waited for."""
        ...

    def close(self) -> None:
        """Give the connection up, or back to the pool if the answer was read to its end. Any number of calls."""
        ...


class Sign(StrEnum):
    """What one piece of an answer's stream says."""

    LIFE = "life"
    """A role-only chunk, a ping, a comment, a lifecycle event."""
    CONTENT = "content"
    DONE = "done"
    """The stream's terminal event: after it nothing more is owed."""
    ERROR = "error"
    """An error event inside a 200 stream."""
    FAILED = "failed"
    """The protocol's own terminal event for a failure: carries the error like ERROR, ends the stream like DONE."""
    GARBAGE = "garbage"
    """A data event that cannot be read."""


@dataclass(slots=True, unsafe_hash=True, init=False)
class StreamEvent:
    """One whole event of a stream, its closing blank line included."""

    raw: Final[bytes]
    sign: Final[Sign]
    error: Final[Mapping[str, Any] | None]
    """With ERROR and FAILED: the error object that the event carried."""

    def __init__(self, raw: bytes, sign: Sign, error: Mapping[str, Any] | None = None) -> None:
        self.raw, self.sign, self.error = raw, sign, error


@dataclass(slots=True, unsafe_hash=True, init=False)
class Usage:
    """Tokens as billed, from the upstream's own `usage` object."""

    input: Final[int]
    output: Final[int]
    cache_read: Final[int]
    reasoning: Final[int]

    def __init__(self, input: int = 0, output: int = 0, cache_read: int = 0, reasoning: int = 0) -> None:
        self.input, self.output, self.cache_read, self.reasoning = input, output, cache_read, reasoning


class Shape(ABC):
    """What a stream's plain events look like: whole ones of content, of which nothing else is to be learnt."""

    __slots__ = ()

    @abstractmethod
    def glance(self, data: bytes) -> tuple[bytes, int]:
        """What is for the caller of those that `data` begins with, and how many bytes that is; `feed` gets the rest."""

    @abstractmethod
    def chunk(self, data: bytes) -> tuple[bytes, int]:
        """One of them as one chunk of HTTP: the chunk for the caller, and how many bytes it holds; 0 if it is none."""


class StreamReader(Protocol):
    """Bytes in, events out: a dialect's view of one streamed answer. Holds no I/O."""

    usage: Usage | None
    model: str | None
    """The model that the upstream says it served."""

    @property
    def plain(self) -> Shape | None:
        """The shape of what may come next, as far as it is known."""
        ...

    def feed(self, data: bytes) -> list[StreamEvent]:
        """Events that `data` completes. Their `raw`, put together, is for the caller: what was fed, less an event still
        incomplete, or what the dialect makes of that.
        """
        ...

    def finish(self) -> list[StreamEvent]:
        """The upstream's clean end: an event that lacked only its closing blank line; an unfinished one is dropped."""
        ...

    @property
    def whole(self) -> bool:
        """True when a clean end of the stream now would be a complete answer."""
        ...


Diagnose = Callable[[Mapping[str, Any]], Diagnosis]


class Progress:
    """When an attempt reached which milestone; written by upstream/, read by routing/. The one mutable noun."""

    connected: float | None = None
    first_byte: float | None = None
    first_token: float | None = None
    reused: bool = False
    """The connection came from the pool."""
    sent: bool = False
    """Some byte of the request may have reached the upstream."""
    queued: bool = False
    """Waiting for one of our own connections to come free."""
    retried: bool = False
    """The one same-tier retry was spent."""
    status: int | None = None
    upstream_id: str | None = None

    def __init__(self, started: float) -> None:
        self.started = started


@dataclass(slots=True, unsafe_hash=True, init=False)
class Stream:
    """A streamed answer at its commit point."""

    events: Final[tuple[StreamEvent, ...]]
    """What was read; nothing of it has reached the caller."""
    reader: Final[StreamReader]
    """The one that made `events`."""
    diagnose: Final[Diagnose]
    """What an error object that comes later means, as this source's kind is read."""

    def __init__(self, events: tuple[StreamEvent, ...], reader: StreamReader, diagnose: Diagnose) -> None:
        self.events, self.reader, self.diagnose = events, reader, diagnose


@dataclass(slots=True, unsafe_hash=True, init=False)
class Accepted:
    """The answer reached its commit point: a stream's first content, or checked JSON (whole, or its first 1 MiB)."""

    reply: Final[Reply]
    body: Final[bytes]
    """With JSON: what was read up to the commit; nothing of it has reached the caller."""
    stream: Final[Stream | None]
    """With a stream: likewise, and how to read on."""
    complete: Final[bool]
    """Nothing is left to read from `reply`."""
    usage: Final[Usage | None]
    model: Final[str | None]

    def __init__(
        self,
        reply: Reply,
        body: bytes = b"",
        stream: Stream | None = None,
        complete: bool = False,
        usage: Usage | None = None,
        model: str | None = None,
    ) -> None:
        self.reply, self.body, self.stream, self.complete = reply, body, stream, complete
        self.usage, self.model = usage, model


@dataclass(frozen=True, slots=True)
class Rejected:
    """The upstream answered, and the answer is an error."""

    diagnosis: Diagnosis
    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """No usable answer came before the commit point."""

    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A committed answer broke."""

    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Nobody waits for the answer any more."""

    why: str = "caller_left"


Outcome = Accepted | Rejected | Failed | Interrupted | Abandoned


@dataclass(frozen=True, slots=True)
class Times:
    """An assistant's limits of time, in seconds; what each of them bounds stands in config/schema.py."""

    connect: float
    first_byte: float
    first_token: float
    idle: float
    total: float
    hold: float
    attempt: float | None


@dataclass(slots=True, unsafe_hash=True, init=False)
class Question:
    """A caller's request, read once, sent to as many tiers as it takes."""

    endpoint: Final[Endpoint]
    body: Final[bytes]
    document: Final[Mapping[str, Any]]
    """`body`, parsed. Read-only."""
    headers: Final[Headers]
    """The caller's, already filtered to what may go upstream."""
    query: Final[str]
    stream: Final[bool]
    model: Final[str | None]
    """The model that the caller named."""
    needs: Final[frozenset[str]]
    """Abilities that the request asks for, of those that a binding can declare: tools, images, json_schema."""

    def __init__(
        self,
        endpoint: Endpoint,
        body: bytes,
        document: Mapping[str, Any],
        headers: Headers,
        query: str,
        stream: bool,
        model: str | None,
        needs: frozenset[str] = frozenset(),
    ) -> None:
        self.endpoint, self.body, self.document, self.headers = endpoint, body, document, headers
        self.query, self.stream, self.model, self.needs = query, stream, model, needs


@dataclass(frozen=True, slots=True)
class Params:
    """What a tier changes in a request's top-level fields, declared in config; nothing else is ever changed."""

    drop: tuple[str, ...] = ()
    set: Mapping[str, Any] = field(default_factory=dict)
    cap: Mapping[str, int | float] = field(default_factory=dict)
    """Upper bounds for numbers that the caller sent."""

    def __bool__(self) -> bool:
        return bool(self.drop or self.set or self.cap)


@dataclass(frozen=True, slots=True)
class Binding:
    """A source and a model: where one tier's requests go, and what changes in them."""

    source: str
    kind: str
    model: str
    """`*` passes the caller's own through."""
    params: Params = field(default_factory=Params)
    context: int | None = None
    """Declared context window, in tokens."""
    supports: frozenset[str] | None = None
    """Declared abilities (tools, images, json_schema); None when nothing is declared."""
    bound_model: str | None = field(init=False, repr=False, compare=False)
    """None where the caller's own model passes through."""
    amends: bool = field(init=False, repr=False, compare=False)
    """Its `params` change something."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bound_model", None if self.model == "*" else self.model)
        object.__setattr__(self, "amends", bool(self.params))

"""The one door to Redis: scripts in one round trip, pushes on a connection apart, and nothing that can hang.

1. Everything that goes wrong, wherever, leaves as a StoreError of one word; neither URL nor password are in any text.
2. A script ends within LIMIT: connecting, waiting for a connection and a repeat included. Only a lost connection is
   tried again, once, since the pooled one may be of a Redis that has restarted: a script that writes knows its repeat.
3. Who listens has a connection of its own and asks for a sign of life when it is quiet. It is not re-made in here:
   whoever listens again also asks again for what was missed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from redis import exceptions as told
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from proxy.breaker.redis_scripts import Script
from proxy.breaker.store import StoreError

LIMIT = 0.5
"""Seconds that an operation takes at most."""
STEP = 0.25
"""Seconds to connect, to get a reply, or to wait for one of the pooled connections."""
QUIET = 1.0
"""Seconds without a push until a sign of life is asked for."""
_OPTIONS = frozenset({"db", "protocol", "username", "password"})
_T = TypeVar("_T")

_WORDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (told.BusyLoadingError, "loading"),
    ((told.AuthenticationError, told.AuthorizationError, told.NoPermissionError), "auth"),
    ((told.ReadOnlyError, told.MasterDownError), "readonly"),
    (told.OutOfMemoryError, "full"),
    ((told.TimeoutError, TimeoutError), "timeout"),
    (ssl.SSLError, "tls"),
)
_CODES = (
    ("READONLY", "readonly"),
    ("MISCONF", "readonly"),
    ("NOREPLICAS", "readonly"),
    ("OOM ", "full"),
    ("LOADING", "loading"),
    ("NOAUTH", "auth"),
    ("NOPERM", "auth"),
    ("user executing the script", "auth"),
    ("NOPROTO", "protocol"),
    ("unknown command", "protocol"),
)
"""What servers write inside a plain error, older ones and scripts above all."""
WORDS = frozenset({"timeout", "refused", "auth", "readonly", "full", "loading", "tls", "protocol", "error"})
"""All that a StoreError from here says. `refused` is every lost or impossible connection, `error` is the rest."""


class RedisDoor:
    """Scripts and pushes of one Redis. Nothing is connected until it is used."""

    def __init__(
        self, url: str, clock: Callable[[], float], timed: Callable[[str, float, str | None], None], connections: int
    ) -> None:
        """`connections` are for scripts; each listener has one more.

        `timed` is told of each operation: its name, its seconds, and the error's word. Raises ValueError when the URL
        (redis, rediss or unix) cannot be used; the text does not repeat it.
        """
        options = _options(url)
        self._where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        # Any: the client leaves its own types out here and there.
        pool: Any = BlockingConnectionPool(max_connections=connections, timeout=STEP, **options)
        self._connection: Callable[[], Any] = pool.make_connection
        try:
            self._connection()
        except (TypeError, ValueError, told.RedisError):
            raise ValueError("the store's URL has an option that its kind does not take") from None
        self._client = Redis.from_pool(pool)
        self._command: Callable[..., Awaitable[Any]] = self._client.execute_command
        self._clock, self._timed = clock, timed
        self._under_way: set[asyncio.Timeout] = set()
        self._closed, self._idle = False, asyncio.Event()

    @property
    def where(self) -> str:
        """Host and port or path, and nothing else of the URL."""
        return self._where

    async def run(
        self,
        operation: str,
        script: Script,
        keys: Sequence[str],
        args: Sequence[str | bytes | float],
        shape: Callable[[list[Any]], _T],
    ) -> _T:
        """What `shape` makes of the script's reply; what it cannot read is StoreError as well."""
        rest = (len(keys), *keys, *args)
        with self._worded(operation):
            async with self._limited(LIMIT):
                try:
                    reply = await self._command("EVALSHA", script.digest, *rest)
                except told.NoScriptError:
                    reply = await self._command("EVAL", script.text, *rest)
            return shape(reply)

    async def listen(
        self, operation: str, channel: str, ready: Callable[[], None], heard: Callable[[bytes], None]
    ) -> None:
        """Call `ready` when subscribed, which is timed as `operation`, and `heard` with each message on the channel.

        Until cancelled; ends with StoreError when the connection does, and within QUIET + STEP when it is dead.
        """
        connection = self._connection()
        try:
            with self._worded(operation):
                async with self._limited(LIMIT):
                    await connection.connect()
                    await connection.send_command("SUBSCRIBE", channel)
                    await connection.read_response(push_request=True)
            ready()
            while True:
                with self._worded():
                    async with self._limited(None):
                        message = await _next(connection)
                if message is not None:
                    heard(message)
        finally:
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Drop every connection; what is under way ends with StoreError, and so does what comes after."""
        self._closed = True
        for limit in self._under_way:
            if not limit.expired():
                limit.reschedule(0)
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()
        with self._worded():
            await self._client.aclose()

    @contextmanager
    def _worded(self, operation: str = "") -> Iterator[None]:
        began = self._clock()
        try:
            yield
        except Exception as error:  # noqa: BLE001  # whatever Redis, its client or the network do, it is one word
            word: str | None = _word(error)
        else:
            word = None
        if operation:
            self._timed(operation, self._clock() - began, word)
        if word is not None:
            raise StoreError(word) from None

    @asynccontextmanager
    async def _limited(self, seconds: float | None) -> AsyncIterator[None]:
        if self._closed:
            raise told.ConnectionError
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a timeout is a task's
        before = task.cancelling()
        try:
            async with asyncio.timeout(seconds) as limit:
                self._under_way.add(limit)
                try:
                    yield
                finally:
                    self._under_way.discard(limit)
                    self._idle.set()
        finally:
            # The client writes under wait_for, which on Python 3.11 swallows a cancellation that comes in the turn in
            # which the write is done: who was to end would go on for ever, and whoever ends it would wait for ever.
            if task.cancelling() > before:
                raise asyncio.CancelledError


async def _next(connection: AbstractConnection) -> bytes | None:
    message = await connection.read_response(timeout=QUIET, push_request=True)
    if message is None:
        await connection.send_command("PING")
        message = await connection.read_response(push_request=True)
    match message:
        case [b"message", _, bytes(body)]:
            return body
        case _:
            return None


def _options(url: str) -> dict[str, Any]:
    """What the URL says, and then what it may not change."""
    try:
        options: dict[str, Any] = dict(parse_url(url))
        asked = parse_qs(urlsplit(url).query)
    except ValueError:
        # Not chained: the reason may quote the password.
        raise ValueError("the store's URL cannot be read: redis://, rediss:// or unix://") from None
    if any(name not in _OPTIONS and not name.startswith("ssl_") for name in asked):
        # Not named: after a `?` in a password that was not encoded, its rest looks like one.
        raise ValueError(
            "the store's URL has an option that is not known here; it takes namespace, db, protocol, username, "
            "password and ssl_…, and a `?` in a password is written %3F"
        )
    if options.get("protocol", 3) not in (2, 3):
        raise ValueError("the store's URL asks for a protocol that is not 2 or 3")
    return options | {
        "socket_timeout": STEP,
        "socket_connect_timeout": STEP,
        # What has timed out is not tried again: it may be executed yet, and the caller has waited long enough.
        "retry": Retry(NoBackoff(), 1, (told.ConnectionError,)),
        # Neither is for what is kept here, and each costs a round trip and a right at every connection.
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def _word(error: BaseException) -> str:
    for each in _chain(error):
        for kinds, word in _WORDS:
            if isinstance(each, kinds):
                return word
    if isinstance(error, told.ConnectionError | OSError):
        return "refused"
    if isinstance(error, told.ResponseError):
        return next((word for code, word in _CODES if code in str(error)), "error")
    if isinstance(error, told.InvalidResponse | ValueError | TypeError | AttributeError | LookupError):
        return "protocol"
    return "error"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from: the client wraps what the network said."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

"""One attempt at one tier: send the question, read the answer up to its commit point, and say what came of it.

1. An attempt always ends as an Outcome; only cancellation passes through, and then the connection is dropped.
2. A stream is Accepted at its first content, a JSON answer when it was read whole and checked, or at HOLD_BYTES of
   either. Before that nothing has reached the caller, so anything may still be tried elsewhere.
3. What goes up and what comes down is the dialect's to say: an answer that it makes anew is read whole, up to
   REWRITTEN_BYTES, and so is a stream of which it makes the JSON answer that was asked for.
4. Every wait has a limit, and the limit that ran out is the diagnosis. Response headers are a sign of life: a
   reasoning model may think for minutes behind them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from proxy.providers import faults, lenient
from proxy.providers.dialect import Call
from proxy.providers.hops import Names
from proxy.terms import (
    Accepted,
    Binding,
    Cause,
    Diagnosis,
    Failed,
    Headers,
    Outcome,
    Progress,
    Question,
    Rejected,
    Reply,
    Sign,
    Stream,
    StreamEvent,
    Times,
)
from proxy.upstream.alarm import Alarm, Bell
from proxy.upstream.answer import TRUNCATED, Retyped, retyped
from proxy.upstream.client import Door
from proxy.upstream.oauth.account import Account
from proxy.upstream.source import Source

HOLD_BYTES: Final = 1024 * 1024
"""Bytes of an uncommitted answer that are held back; more commits it."""
REWRITTEN_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a JSON answer that is made anew; a longer one is no use."""
_ERROR_READ = 10.0
"""Seconds for the body of an error answer; what has come by then is what it said."""
_NO_BYTE: Final = Diagnosis(Cause.TIMEOUT_FIRST_BYTE, "first_byte")
_JSON: Final = "application/json"
_NO_TOKEN: Final = Diagnosis(Cause.SLOW, "first_token")
_IDLE: Final = Diagnosis(Cause.TIMEOUT_IDLE, "idle")
# Per stream: to ask the class for one of its members takes ten times as long.
_LIFE: Final = Sign.LIFE
_DONE: Final = Sign.DONE
_FAULTS: Final = (Sign.ERROR, Sign.FAILED, Sign.GARBAGE)
_MEANING = {
    "content-type": "type",
    "x-request-id": "id",
    "request-id": "id",
    "apim-request-id": "id",
    "x-oai-request-id": "id",
    "x-ratelimit-remaining-requests": "requests",
    "x-ratelimit-remaining-tokens": "tokens",
    "anthropic-ratelimit-requests-remaining": "requests",
    "anthropic-ratelimit-tokens-remaining": "tokens",
}
_MEANS: Final[Names[str, str | None]] = Names(lambda name: _MEANING.get(name.lower()))


@dataclass(frozen=True, slots=True)
class Common:
    """What all attempts of one configuration have of the world."""

    unix: Callable[[], float]
    bell: Bell
    remaining: dict[tuple[str, str, str], float]
    """By source, model and `requests` or `tokens`: how many more a window has, as the upstream said last."""


class Attempt(Progress):
    """One attempt, which also tells how far it is. Made to be run once."""

    def __init__(
        self,
        question: Question,
        binding: Binding,
        times: Times,
        started: float,
        until: float,
        overrun: Diagnosis,
        source: Source,
        common: Common,
    ) -> None:
        """`until` (absolute): the answer must be committed (a stream) or whole (JSON) by then; `overrun` is what
        running into it means.
        """
        self._question, self._binding, self._times = question, binding, times
        super().__init__(started)
        self._until, self._overrun, self._verge = until, overrun, overrun
        self._source, self._common, self._alarm = source, common, Alarm(common.bell)

    async def run(self, door: Door, call: Call | None) -> Outcome:
        """Ask, by `call` if the dialect has made one. Ends as Accepted, Rejected or Failed; the caller owns an Accepted
        reply and must close it.
        """
        question, source, account = self._question, self._source, self._source.account
        reply: Reply | None = None
        outcome: Outcome | None = None
        try:
            with self._alarm:
                if question.stream or source.gathers:
                    self._set_timer(self.started + self._times.first_byte, _NO_BYTE)
                else:
                    self._until_end()
                asked = call or source.dialect.call(question, self._binding)
                assert isinstance(asked, Call)  # noqa: S101  # a dialect that may refuse was asked before
                answer = await (self._post(door, asked) if account is None else self._authorised(account, door, asked))
                if isinstance(answer, Diagnosis):
                    return Failed(answer)
                reply = answer
                kind = self._read_head(reply.headers)
                if not 200 <= reply.status < 300:
                    outcome = await self._rejected(reply)
                elif kind == "text/html":
                    outcome = Failed(Diagnosis(Cause.SERVER, "html"))
                elif question.stream:
                    # Some servers do not say what they send.
                    stream = reply if kind else Retyped(reply, "text/event-stream")
                    outcome = await (self._json_for_stream(reply) if kind == _JSON else self._stream(stream))
                elif source.gathers and kind != _JSON:
                    outcome = await self._gathered(reply)
                else:
                    # As most are, it may be there whole: then nothing is waited for.
                    body = reply.whole()
                    outcome = await self._json(reply) if body is None else self._whole_json(reply, body)
        except TimeoutError:
            outcome = Failed(self._ran_out())
        finally:
            # Also when cancelled: an answer that nobody will read must not stay open.
            if reply is not None and not isinstance(outcome, Accepted):
                reply.close()
        return outcome

    def _read_head(self, headers: Headers) -> str:
        """Note what an answer's head says beside its media type, which is returned; the first of each counts."""
        called = kind = ""
        for name, value in headers:
            what = _MEANS[name]
            if what is None:
                continue
            if what == "type":
                kind = kind or value
            elif what == "id":
                called = called or value
            elif value.isascii() and value.isdigit():
                self._common.remaining[self._binding.source, self._binding.model, what] = float(value[:15])
        self.upstream_id = self._source.named(called) if called else None
        return kind if kind == _JSON else kind.partition(";")[0].strip().lower()

    async def _authorised(self, account: Account, door: Door, call: Call) -> Reply | Diagnosis:
        """An account's answer: that to a second try with a new token where the first was not taken."""
        limit = self._times.connect
        bearer = await account.bearer(limit)
        answer = bearer if isinstance(bearer, Diagnosis) else await self._post(door, call, bearer)
        if isinstance(answer, Diagnosis) or answer.status != 401 or not account.renewable(str(bearer)):
            return answer
        answer.close()
        bearer = await account.renewed(str(bearer), limit)
        if isinstance(bearer, Diagnosis):
            return bearer
        self.retried, self.first_byte, self.status = True, None, None
        return await self._post(door, call, bearer)

    def _post(self, door: Door, call: Call, bearer: str = "") -> Awaitable[Reply | Diagnosis]:
        begun = self._source.opening(call.path, self._question.headers, bearer)
        return door.send(begun, call.body, self, self._times.connect)

    # -- limits of time

    def _set_timer(self, at: float, diagnosis: Diagnosis) -> None:
        """Let the wait end at `at` (the walk's clock) or at the walk's own limit, whichever is first."""
        if at >= self._until:
            at, diagnosis = self._until, self._overrun
        self._verge = diagnosis
        self._alarm.move(at)

    def _until_end(self) -> None:
        self._verge = self._overrun
        self._alarm.move(self._until)

    def _until_next_byte(self) -> None:
        self._set_timer(time.monotonic() + self._times.idle, _IDLE)

    def _ran_out(self) -> Diagnosis:
        if self.queued:
            return Diagnosis(Cause.LOCAL, "max_connections")
        return self._verge

    # -- the kinds of answer

    def _rewrites(self) -> bool:
        return self._source.dialect.rewrites(self._question.endpoint)

    async def _rejected(self, reply: Reply) -> Outcome:
        self._until_end()
        body = await self._error_body(reply)
        diagnosis = faults.diagnose(
            self._binding.kind,
            reply.status,
            reply.headers,
            body,
            bound_model=self._binding.bound_model,
            now_unix=self._common.unix(),
            overrides=self._source.overrides,
        )
        if not self._rewrites():
            return Rejected(diagnosis, reply.status, reply.headers, body)
        return Rejected(diagnosis, reply.status, _as_json(reply.headers), self._source.dialect.refusal(body, diagnosis))

    async def _error_body(self, reply: Reply) -> bytes:
        body, chunk = bytearray(), reply.ready()
        while chunk and isinstance(chunk, bytes) and len(body) < HOLD_BYTES:
            body += chunk
            chunk = reply.ready()
        if chunk is not None:
            # As most are, it was there whole.
            return bytes(body)
        try:
            async with asyncio.timeout(_ERROR_READ):
                while len(body) < HOLD_BYTES and isinstance(chunk := await reply.chunk(), bytes) and chunk:
                    body += chunk
        except TimeoutError:
            pass
        return bytes(body)

    async def _json(self, reply: Reply) -> Outcome:
        held: list[bytes] = []
        size = 0
        if self._verge is _NO_BYTE:  # of an answer that might have been a stream
            self._until_end()
        while True:
            chunk = reply.ready()
            if chunk is None:
                if held:
                    self._until_next_byte()
                chunk = await reply.chunk()
            if isinstance(chunk, Diagnosis):
                return Failed(chunk)
            if not chunk:
                return self._whole_json(reply, b"".join(held))
            held.append(chunk)
            size += len(chunk)
            if size >= HOLD_BYTES and not self._rewrites():
                return Accepted(reply, b"".join(held))
            if size >= REWRITTEN_BYTES:
                return Failed(Diagnosis(Cause.SERVER, "too_long"))

    def _whole_json(self, reply: Reply, body: bytes) -> Outcome:
        try:
            document = lenient.loads(body)
        except ValueError:
            return Failed(Diagnosis(Cause.SERVER, "not_json" if body else "empty"))
        if not isinstance(document, dict):
            return Failed(Diagnosis(Cause.SERVER, "not_json_object"))
        if document.get("error"):
            return self._error_inside(reply, document["error"], body)
        source = self._source
        told = source.dialect.answer(self._question, body, document, self._common.unix())
        if told is None:
            return Failed(Diagnosis(Cause.SERVER, "not_an_answer"))
        model = None if told.model is None else source.model(told.model)
        return Accepted(reply, told.body, None, True, told.usage, model)

    async def _json_for_stream(self, reply: Reply) -> Outcome:
        """A stream was asked for and a JSON document came: an error in a 200, or a server that cannot stream."""
        outcome = await self._json(reply)
        return Failed(Diagnosis(Cause.SERVER, "not_a_stream")) if isinstance(outcome, Accepted) else outcome

    async def _gathered(self, reply: Reply) -> Outcome:
        """A stream from a source that has nothing else, read to its end: no stream was asked for."""
        self._until_end()
        reader = self._source.dialect.gatherer(self._source.named)
        assert reader is not None  # noqa: S101  # the source gathers
        ended = Diagnosis(Cause.STREAM_BROKEN, "no_content")
        while True:
            chunk = await reply.chunk()
            if isinstance(chunk, Diagnosis):
                return Failed(chunk)
            for event in reader.feed(chunk) if chunk else reader.finish():
                match event.sign:
                    case Sign.ERROR | Sign.FAILED | Sign.GARBAGE:
                        return self._at_fault(reply, event)
                    case Sign.DONE if not reader.whole:
                        return Failed(ended)
                    case Sign.DONE:
                        return self._whole_json(Retyped(reply, _JSON), event.raw)
                    case Sign.CONTENT:
                        ended = TRUNCATED
                    case Sign.LIFE:
                        pass
            if not chunk:
                return Failed(ended)
            self._until_next_byte()

    async def _stream(self, reply: Reply) -> Outcome:
        reader = self._source.dialect.reader(self._question, self._binding, self._source.named, self._common.unix())

        held: list[StreamEvent] = []
        size = 0
        self._set_timer(self.started + self._times.first_token, _NO_TOKEN)
        while True:
            chunk = reply.ready()
            if chunk is None:
                chunk = await reply.chunk()
            if isinstance(chunk, Diagnosis):
                return Failed(chunk)
            events = reader.feed(chunk) if chunk else reader.finish()
            for position, event in enumerate(events):
                sign = event.sign
                if sign in _FAULTS:
                    return self._at_fault(reply, event)
                if sign is _DONE and not reader.whole:
                    return Failed(Diagnosis(Cause.STREAM_BROKEN, "no_content"))
                if sign is not _LIFE:
                    self.first_token = time.monotonic()
                    return Accepted(
                        reply,
                        stream=Stream((*held, *events[position:]), reader, self._diagnosing()),
                        complete=not chunk,
                    )
                held.append(event)
                size += len(event.raw)
            if not chunk:
                return Failed(Diagnosis(Cause.STREAM_BROKEN, "no_content"))
            if size > HOLD_BYTES:
                return Accepted(reply, stream=Stream((*held,), reader, self._diagnosing()))

    def _at_fault(self, reply: Reply, event: StreamEvent) -> Outcome:
        """An event that says what went wrong, or nothing that can be read."""
        if event.sign is Sign.GARBAGE:
            return Failed(Diagnosis(Cause.STREAM_BROKEN, "garbage"))
        return self._error_inside(reply, event.error or {}, orjson.dumps({"error": event.error}))

    def _error_inside(self, reply: Reply, error: object, body: bytes) -> Outcome:
        """An error that came with status 200: what it says of itself decides, and its own status goes to the caller."""
        document: Mapping[str, Any] = error if isinstance(error, Mapping) else {"message": str(error)}
        diagnosis, status = self._diagnosing()(document), faults.status_of(document)
        return Rejected(diagnosis, status, _as_json(reply.headers), self._source.dialect.refusal(body, diagnosis))

    def _diagnosing(self) -> Callable[[Mapping[str, Any]], Diagnosis]:
        """What an error object of this source means. A stream has it as long as it lasts, and with it nothing else."""
        binding, source, unix = self._binding, self._source, self._common.unix

        def diagnose(error: Mapping[str, Any]) -> Diagnosis:
            return faults.diagnose_error(
                binding.kind, error, bound_model=binding.bound_model, now_unix=unix(), overrides=source.overrides
            )

        return diagnose


def _as_json(headers: Headers) -> Headers:
    return retyped(headers, _JSON)

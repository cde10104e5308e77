"""One line per finished request, and one per event that an operator should know of: JSON, or plain words on a terminal.

1. A line is made of decision facts and of our own words: no prompt, no answer, no header of a caller, no credential.
2. The event loop never waits for the place the lines go to: a thread writes them, and when it cannot keep up, lines are
   dropped and counted in the next one that is written.
3. Lines of several processes that go to one place stay whole: they are handed over in pieces that a pipe takes at once.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import IO, Any

import orjson

from proxy.breaker.state import Moved
from proxy.record.lines import Line, Look, Names, Stamps, written
from proxy.routing.decision import Decision, reason

_QUEUE = 10_000
"""Lines."""
_GATHER = 0.05
"""Seconds in which lines are gathered before they are written."""
_AT_ONCE = 4096
"""Bytes that a pipe takes in one piece or not at all: PIPE_BUF of Linux."""

Waiting = tuple[Decision, Look] | Callable[[], bytes]
"""What becomes a line."""


class Log:
    """Writes lines to `stream`; `human` chooses plain words over JSON.

    `replica` stands in the lines of events where other replicas write to the same place.
    """

    def __init__(
        self, stream: IO[bytes], *, human: bool, unix: Callable[[], float], replica: str | None = None
    ) -> None:
        self._stream, self._human, self._wall, self._replica = stream, human, unix, replica
        self._lines: deque[Waiting] = deque()
        # The thread's alone.
        self._stamp, self._name = Stamps(), Names()
        self._dropped = 0
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._muted = False
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def decisions(self, ended: Sequence[tuple[Decision, Look]]) -> None:
        """Requests are finished, and their lines look so."""
        self._put(ended)

    def moved(self, target: str, move: Moved) -> None:
        """A breaker changed its word. `target` holds no credential, only its digest, which is left out."""
        name = "|".join(target.split("|")[:4])
        self.event("breaker", target=name, before=move.before.value, after=move.after.value, cause=move.cause)

    def event(self, what: str, **facts: Any) -> None:
        """Something else that happened, in our own words."""
        at = self._wall()
        self._put([lambda: self._line(at, what, facts)])

    def failed(self, request_id: str, error: BaseException) -> None:
        """A fault of our own. The exception's text may quote a caller, so only its kind and its place are told."""
        self.event("internal_error", request_id=request_id, **_kind_and_place(error))

    def mute(self) -> None:
        """Write nothing for now."""
        self._muted = True

    def unmute(self) -> None:
        """Write again."""
        self._muted = False

    def close(self) -> None:
        """Write what is left."""
        self._stop.set()
        self._wake.set()
        self._writer.join(timeout=5)

    def _put(self, new: Sequence[Waiting]) -> None:
        if self._muted:
            return
        lines = self._lines
        room = _QUEUE - len(lines)
        if len(new) > room:
            self._dropped += len(new) - room
            new = new[:room]
        lines.extend(new)
        # Behind another line they are found by who writes that one, and looks again whether there are more.
        if len(lines) <= len(new):
            self._wake.set()

    def _write(self) -> None:
        while not (self._stop.is_set() and not self._lines):
            self._wake.wait()
            # A thread that wakes for every line takes the interpreter from the event loop each time.
            self._stop.wait(_GATHER)
            if not self._stop.is_set():
                self._wake.clear()
            told: list[bytes] = []
            while self._lines and len(told) < 500:
                waiting = self._lines.popleft()
                told.append(self._told(waiting[0], waiting[1]) if isinstance(waiting, tuple) else waiting())
            if self._dropped:
                lost, self._dropped = self._dropped, 0
                told.append(self._line(self._wall(), "log_lines_dropped", {"count": lost}))
            if self._lines:
                self._wake.set()
            try:
                for piece in (b"".join(told),) if self._replica is None else pieces(told):
                    self._stream.write(piece)
                    self._stream.flush()
            except (OSError, ValueError):
                self._dropped += len(told)

    def _line(self, at: float, what: str, facts: dict[str, Any]) -> bytes:
        if self._replica is not None:
            facts = {"replica": self._replica, **facts}
        if self._human:
            said = " ".join(f"{key}={value}" for key, value in facts.items())
            return _encoded(f"{_time(at)} {what} {said}".rstrip())
        return orjson.dumps({"at": self._stamp(at), "event": what, **facts}, option=orjson.OPT_APPEND_NEWLINE)

    def _told(self, decision: Decision, look: Look) -> bytes:
        if self._human:
            return _encoded(_human(decision))
        if not look.logged:
            look.logged = True
            return written(decision, self._stamp)
        if look.line is None:
            look.line = Line(decision, self._stamp, self._name)
        return look.line.of(decision)


def pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines, together where they fit into what is taken at once."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > _AT_ONCE:
            yield piece
            piece = b""
        piece += line
    if piece:
        yield piece


def _human(decision: Decision) -> str:
    served = decision.served
    by = f"{served.tier} {served.source}/{served.model}" if served else decision.refusal or "none"
    why = reason(decision.steps)
    return (
        f"{_time(decision.at)} {decision.code} {decision.assistant or '-'} {decision.endpoint} {decision.outcome} "
        f"by {by} in {decision.duration * 1000:.0f} ms{' because ' + why if why else ''} {decision.request_id}"
    )


def _encoded(line: str) -> bytes:
    return f"{line}\n".encode(errors="backslashreplace")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def _kind_and_place(error: BaseException) -> dict[str, str]:
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    place = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return {"error": type(error).__name__, "place": place}


class _Libraries(logging.Handler):
    """What libraries warn of: that it happened, and where. Their words quote requests that could not be read."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        facts = {} if error is None else _kind_and_place(error)
        self._log.event("library", logger=record.name, level=record.levelname.lower(), **facts)


def to_stderr(unix: Callable[[], float], replica: str | None = None) -> Log:
    """The log of a running replica, and of the libraries in it. Named, it is one of several that write there."""
    log = Log(sys.stderr.buffer, human=sys.stderr.isatty(), unix=unix, replica=replica)
    logging.getLogger().addHandler(_Libraries(log))
    return log

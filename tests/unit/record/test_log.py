"""The log: one line per request, plain words on a terminal, and never more than it should say."""

from __future__ import annotations

import io
import threading

import orjson
from typing_extensions import Buffer

from proxy.record.lines import Look
from proxy.record.log import Log, pieces
from tests.unit.record.decisions import decision


def _log(stream: io.BytesIO, *, human: bool) -> Log:
    return Log(stream, human=human, unix=lambda: 1_790_000_000.0)


def test_a_request_is_one_line_of_json() -> None:
    """Who was asked, what each tier said, who served, how long it took."""
    stream = io.BytesIO()
    log = _log(stream, human=False)
    log.decisions([(decision(), Look())])
    log.close()
    (line,) = stream.getvalue().splitlines()
    told = orjson.loads(line)
    assert told["reason"] == "primary=open(connect_error,retry_in=12s)"
    assert (told["tier"], told["outcome"], told["overhead_ms"]) == ("fallback-1", "fallback_success", 12.0)
    assert told["steps"][0]["breaker"]["tripped_by"] == ["req_0"]


def test_on_a_terminal_it_is_plain_words() -> None:
    """One line that a person reads."""
    stream = io.BytesIO()
    log = _log(stream, human=True)
    log.decisions([(decision(), Look())])
    log.close()
    told = stream.getvalue().decode()
    assert "200 bot chat_completions fallback_success by fallback-1 second/small in 512 ms" in told
    assert "because primary=open(connect_error,retry_in=12s) req_1" in told


def test_a_name_that_no_text_may_have_takes_no_line_away() -> None:
    """Half of a surrogate pair, in plain words and in JSON."""
    for human, said in ((True, b" 200 b\\ud800 "), (False, b'"assistant":"b?"')):
        stream = io.BytesIO()
        log = _log(stream, human=human)
        look = Look()
        log.decisions([(decision(assistant="b\ud800"), look)] * 3)
        log.close()
        assert stream.getvalue().count(said) == 3


def test_a_fault_of_ours_tells_its_place_and_not_its_text() -> None:
    """An exception's text may quote a caller."""
    stream = io.BytesIO()
    log = _log(stream, human=False)
    try:
        raise ValueError("my secret prompt")
    except ValueError as error:
        log.failed("req_1", error)
    log.close()
    assert b"ValueError" in stream.getvalue()
    assert b"secret" not in stream.getvalue()


def test_one_of_several_replicas_names_itself_in_each_line() -> None:
    """Of an event too, and in plain words."""
    for human, start in ((False, b'"event":"store","replica":"r-2","up":true}'), (True, b" store replica=r-2 up=True")):
        stream = io.BytesIO()
        log = Log(stream, human=human, unix=lambda: 1_790_000_000.0, replica="r-2")
        log.event("store", up=True)
        log.close()
        assert start in stream.getvalue()


def test_lines_that_share_a_place_are_handed_over_whole() -> None:
    """In pieces that a pipe takes at once, whatever the letters weigh; a line that is longer goes by itself."""
    letters = ((1000, "a"), (1500, "é"), (93, "b"), (1, "c"), (5000, "d"), (3, "e"))
    a, é, b, c, d, e = ((size * letter + "\n").encode() for size, letter in letters)
    assert len(a + é + b) == 4096
    assert list(pieces([a, é, b, c, d, e])) == [a + é + b, c, d, e]
    assert list(pieces([])) == []
    sizes = [len(piece) for piece in pieces([b"x" * 99 + b"\n"] * 500)]
    assert (max(sizes), sum(sizes)) == (4000, 50_000)


class _Blocked(io.BytesIO):
    """A place for lines that takes none until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def write(self, data: Buffer) -> int:
        self.gate.wait()
        return super().write(data)


def test_a_place_that_blocks_holds_nobody_up() -> None:
    """Lines beyond the queue are dropped, and their number is told once there is room again."""
    stream = _Blocked()
    log = _log(stream, human=False)
    for _ in range(25_000):
        log.event("x")
    stream.gate.set()
    log.close()
    lines = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    dropped = sum(line["count"] for line in lines if line["event"] == "log_lines_dropped")
    assert dropped > 0
    assert dropped + sum(line["event"] == "x" for line in lines) == 25_000

"""Streams without an end: events are evenly spread, told apart, and none may be missing, doubled or cut off."""

from __future__ import annotations

import asyncio
from collections import Counter
from unittest.mock import Mock

import pytest

from tests.benchmarks import flow, load
from tests.benchmarks.flow import chunk, read
from tests.benchmarks.listeners import Listeners, _Listener

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def test_events_are_read_however_they_are_framed() -> None:
    """Several in one read, and with what stands around them."""
    said = _HEAD + b"".join(chunk(number, 10**15 + number) for number in range(3))
    assert read(said) == [(0, 10**15), (1, 10**15 + 1), (2, 10**15 + 2)]
    assert read(_HEAD) == []


def test_as_many_streams_are_due_at_any_moment() -> None:
    """A thousand over 50 ms are 20 in every millisecond."""
    slots: Counter[int] = Counter()
    sending = flow.Flow(0.05)
    for _ in range(1000):
        sending.begin(Mock())
    slots.update(len(slot) for slot in sending.slots)
    assert slots == {20: 50}


async def _fed(*pieces: bytes) -> Listeners:
    listeners = Listeners(0)
    listener = _Listener(listeners.heard)
    listener.connection_made(Mock())
    for piece in pieces:
        listener.data_received(piece)
    return listeners


async def test_an_event_that_comes_in_pieces_counts_once() -> None:
    """Wherever it is cut."""
    whole = _HEAD + chunk(0, 1) + chunk(1, 2)
    for at in range(len(_HEAD), len(whole)):
        listeners = await _fed(whole[:at], whole[at:])
        listeners.check()
        assert listeners.heard.events == 2, at


@pytest.mark.parametrize(
    ("pieces", "what"),
    [
        ([_HEAD + chunk(0, 1), chunk(2, 3)], "event 2 of a stream came where 1 was due"),
        ([_HEAD + chunk(0, 1), chunk(0, 1)], "event 0 of a stream came where 1 was due"),
        ([b"HTTP/1.1 503 Service Unavailable\r\n\r\n"], "503"),
    ],
)
async def test_a_stream_that_is_not_as_it_was_sent_ends_the_run(pieces: list[bytes], what: str) -> None:
    """An event too few or too many, or no stream at all."""
    with pytest.raises(load.WrongAnswer, match=what):
        (await _fed(*pieces)).check()


async def test_a_stream_that_ends_ends_the_run() -> None:
    """Unless it was the listener that left."""
    heard = Listeners(0)
    listener = _Listener(heard.heard)
    listener.connection_made(Mock())
    listener.data_received(_HEAD + chunk(0, 1))
    listener.closing = True
    listener.connection_lost(None)
    heard.check()
    listener.closing = False
    listener.connection_lost(None)
    with pytest.raises(load.WrongAnswer, match="ended after 1 events"):
        heard.check()
    await asyncio.wait_for(listener.begun, 1)

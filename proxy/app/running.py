"""A replica from its start to its end, driven by signals; and the demo's replicas, driven by its tour."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from proxy.app.configured import Load
from proxy.app.replica import Replica
from proxy.config import load, schema
from proxy.config.watch import Mark, Watched
from proxy.record.log import Log
from proxy.workers.seat import DRAIN, END, RELOAD, Line


async def serve(
    config: schema.Config,
    log: Log,
    announce: Callable[[str], None],
    read: Load | None,
    file: tuple[Path, Mark] | None,
    line: Line | None = None,
) -> None:
    """Run one replica until SIGTERM or SIGINT, then drain it. A second signal ends the drain.

    SIGHUP, and a change of `file` since it was what it says, make it `read` its configuration again. `announce` says
    what only who started it may read: a token that was made up. A worker is told all of this by its supervisor, on
    `line`: of a worker, a signal may be the same wish once more, sent to the whole group, so a second one ends nothing.
    """
    watched = None if file is None else Watched(*file)

    def reread() -> schema.Config | tuple[load.Fault, ...]:
        assert read is not None  # noqa: S101  # where there is nothing to read this is not called
        if watched is not None:
            watched.read()
        return read()

    replica = Replica(config, log, None if read is None else reread, None if line is None else line.seat)
    term, again, look = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(*_: object) -> None:
        loop.call_soon_threadsafe(lambda: (again if term.is_set() and line is None else term).set())

    # Not the loop's own way: a closing loop gives a signal its deadly default back, and one more signal then makes an
    # orderly end look like a crash to whoever supervises.
    _on_signals(asked)
    loop.add_signal_handler(signal.SIGHUP, look.set)
    beside = [loop.create_task(_reload(replica, look, watched, log))]
    if line is not None:
        words = {DRAIN: term.set, END: again.set, RELOAD: look.set}
        beside.append(loop.create_task(_obey(replica, line, words, log)))
    try:
        await replica.start()
        if replica.made_up_token is not None:
            address, token = replica.admin_address, replica.made_up_token
            announce(f"operators' page: {address}/ and its token for this run (admin.token sets one): {token}")
        if line is not None:
            await line.ready()
        await term.wait()
        await replica.drain(again)
    finally:
        for each in beside:
            each.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await replica.close()
        if line is not None:
            line.close()
        _on_signals(signal.SIG_IGN)


def _on_signals(handler: Callable[..., None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


async def _obey(replica: Replica, line: Line, words: Mapping[str, Callable[[], None]], log: Log) -> None:
    await line.follow(lambda word: words.get(word, lambda: None)())
    # Nobody would replace it, or stop it: it finishes what it has, and its addresses are free for who comes next.
    log.event("orphaned")
    await replica.started.wait()
    await replica.leave()
    words[DRAIN]()


async def _reload(replica: Replica, look: asyncio.Event, file: Watched | None, log: Log) -> None:
    await replica.started.wait()
    watching = asyncio.create_task(file.changed(look.set)) if file is not None else None
    try:
        while True:
            await look.wait()
            look.clear()
            try:
                await replica.configured.reload()
            except Exception as error:  # noqa: BLE001  # whatever went wrong, the next change is looked at again
                log.failed("reload", error)
    finally:
        if watching is not None:
            watching.cancel()


async def demo(log: Log, *, once: bool) -> bool:
    """Give the guided tour; True when everything went as it says. Unless `once`, stay up until interrupted."""
    # A replica that serves need not load the simulated upstreams.
    from proxy.demo import tour

    replicas: list[Replica] = []

    async def start(text: str) -> tuple[str, str]:
        config = load.parse(text, "demo", {}, Path())
        if isinstance(config, tuple):
            raise ValueError("\n".join(map(str, config)))
        replicas.append(Replica(config, log, None))
        await replicas[-1].start()
        return replicas[-1].data_address, replicas[-1].admin_address

    try:
        return await tour.guide(start, log.unmute, once=once)
    finally:
        for replica in replicas:
            await replica.close()

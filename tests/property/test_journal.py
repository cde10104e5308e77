"""Nothing that was put is lost unseen, told twice or out of order, whatever becomes of the shared journal."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.record.journal import Journal
from tests.integration.journal_model import JournalModel
from tests.property import virtual

_REPLICAS = 2
_replica = st.integers(0, _REPLICAS - 1)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _replica, st.integers(1, 30)),
        st.tuples(st.just("soon"), _replica, st.just(1)),
        st.tuples(st.just("wait"), st.just(0), st.integers(1, 20)),
        st.tuples(st.just("read"), _replica, st.just(1)),
        st.tuples(st.just("away"), st.just(0), st.sampled_from(["refused", "memory", "timeout"])),
        st.tuples(st.just("lose"), st.just(0), st.just(1)),
        st.tuples(st.just("back"), st.just(0), st.just(1)),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(_steps, st.integers(1, 60))
def test_what_is_read_is_what_was_put_but_for_what_was_dropped(
    steps: list[tuple[str, int, int | str]], keep: int
) -> None:
    """With any order of puts, flushes, refusals and lost replies; and each replica's items are in order."""

    async def work() -> None:
        shared = JournalModel()
        journals = [Journal(keep, 1e6, lambda: 1e9, shared) for _ in range(_REPLICAS)]
        running = [asyncio.ensure_future(each.run()) for each in journals]
        put: Counter[int] = Counter()
        for step, replica, argument in steps:
            match step, argument:
                case (("put" | "soon"), int(count)):
                    for _ in range(count):
                        journals[replica].put(b"%d %d" % (replica, put[replica]), soon=step == "soon")
                        put[replica] += 1
                    assert journals[replica].status().pending <= keep
                case "wait", int(tenths):
                    await asyncio.sleep(tenths / 10)
                case "read", _:
                    await journals[replica].reading()
                case "away", str(word):
                    shared.away = word
                case "lose", _:
                    shared.loses_replies = True
                case _:
                    shared.away, shared.loses_replies = None, False
        shared.away, shared.loses_replies = None, False
        await asyncio.sleep(120)
        read = (await shared.newer(None)).items
        for replica, journal in enumerate(journals):
            numbers = [int(item.split()[1]) for _, item in read if int(item.split()[0]) == replica]
            assert numbers == sorted(set(numbers))
            status = journal.status()
            assert status.pending == 0
            assert len(numbers) == put[replica] - sum(status.dropped.values())
        for task in running:
            task.cancel()

    virtual.run(work())

"""Finished requests are told of in their order: when there are enough, after a moment, or when somebody asks."""

from __future__ import annotations

import asyncio

from proxy.record.ended import MOST, WITHIN, Ended
from tests.property import virtual
from tests.unit.record.decisions import decision


class _Told:
    def __init__(self) -> None:
        self.ids: list[str] = []
        self.ended = Ended(lambda ended: self.ids.extend(each.request_id for each in ended))

    def add(self, *ids: str) -> None:
        for each in ids:
            self.ended.add(decision(request_id=each))


def test_one_alone_is_told_of_after_a_moment() -> None:
    """Once, and so is the next."""

    async def work() -> None:
        told = _Told()
        for round_ in ("a", "b"):
            told.add(round_)
            await asyncio.sleep(WITHIN / 2)
            assert round_ not in told.ids
            await asyncio.sleep(WITHIN)
            assert told.ids[-1] == round_
        assert told.ids == ["a", "b"]

    virtual.run(work())


def test_many_do_not_wait() -> None:
    """And the moment of the first of them harms none that come later."""

    async def work() -> None:
        told = _Told()
        names = [str(number) for number in range(MOST + 1)]
        told.add(*names)
        assert told.ids == names[:-1]
        await asyncio.sleep(2 * WITHIN)
        assert told.ids == names

    virtual.run(work())


def test_who_asks_has_them() -> None:
    """Settled at once, in order, and once."""

    async def work() -> None:
        told = _Told()
        told.add("a", "b")
        told.ended.settle()
        told.ended.settle()
        assert told.ids == ["a", "b"]

    virtual.run(work())

"""Long work beside the event loop, which has the interpreter back whenever it wants it.

1. A thread that computes keeps the interpreter for 5 ms, and a request wants it several times: while such work is
   under way, it is for less.
2. The collector rests meanwhile: of what is being made nothing is garbage yet, and each look at it holds everybody.
   What was made is put among what is old, which is looked through only once much more has become old.
3. What is large is let go of in pieces, since nobody runs while one thing and all that it holds is freed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, ParamSpec, TypeVar

_YIELD = 0.0001
"""Seconds for which such work keeps the interpreter from the event loop. Shorter turns make it no slower."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Held:
    """A setting of the whole process that is another one for as long as anybody wants it so."""

    def __init__(self, change: Callable[[], Callable[[], None]]) -> None:
        """`change` makes it another one; what it gives back puts it as it was."""
        self._change, self._lock = change, threading.Lock()
        self._count = 0
        self._undo: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._undo = self._change()
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count:
                    self._undo()


def _short_turns() -> Callable[[], None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_YIELD)
    return lambda: sys.setswitchinterval(usual)


def _no_collector() -> Callable[[], None]:
    if not gc.isenabled():
        return lambda: None
    gc.disable()

    def undo() -> None:
        # Both only move what there is from one list to another, however much it is.
        gc.freeze()
        gc.unfreeze()
        gc.enable()

    return undo


giving_way = _Held(_short_turns)
"""While the block runs, threads take short turns."""
_uncollected = _Held(_no_collector)


async def beside(work: Callable[_P, _T], *given: _P.args, **named: _P.kwargs) -> _T:
    """Do it in a thread."""
    with giving_way(), _uncollected():
        return await asyncio.to_thread(work, *given, **named)


def let_go(*wholes: MutableMapping[Any, Any] | list[Any]) -> None:
    """Empty them piece by piece; nobody else must need them."""
    for whole in wholes:
        while whole:
            whole.popitem() if isinstance(whole, MutableMapping) else whole.pop()

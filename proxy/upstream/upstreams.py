"""Every source's door, for as long as one configuration is served, and what its upstreams said of themselves."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from proxy.providers.dialect import Call
from proxy.terms import Binding, Diagnosis, Outcome, Progress, Question, Times
from proxy.upstream.alarm import Bell
from proxy.upstream.attempt import Attempt, Common
from proxy.upstream.client import Connections, Door, RetryBudget
from proxy.upstream.source import Source


class Upstreams:
    """The doors."""

    def __init__(
        self, sources: Mapping[str, Source], former: Upstreams | None = None, unix: Callable[[], float] = time.time
    ) -> None:
        """A source that goes where it went in `former` keeps its connections."""
        self._budget: RetryBudget = RetryBudget() if former is None else former._budget
        known: Mapping[str, tuple[Source, Door]] = {} if former is None else former._sources
        self.remaining: dict[tuple[str, str, str], float] = {} if former is None else former.remaining
        """See attempt.Common."""
        self._common = Common(unix, Bell(), self.remaining)
        self._sources: dict[str, tuple[Source, Door]] = {
            name: (source, self._door(source, known.get(name))) for name, source in sources.items()
        }

    def _door(self, source: Source, known: tuple[Source, Door] | None) -> Door:
        if known is not None and (known[0].base_url, known[0].connecting) == (source.base_url, source.connecting):
            return known[1].shared()
        return Door(source.connecting, self._budget)

    def send(
        self,
        question: Question,
        binding: Binding,
        times: Times,
        started: float,
        until: float,
        overrun: Diagnosis,
        call: Call | None,
    ) -> tuple[Progress, Awaitable[Outcome]]:
        """Ask one tier: by `call` where its dialect sifts. Ends as Accepted, Rejected or Failed; the caller owns an
        Accepted reply and must close it.
        """
        source, door = self._sources[binding.source]
        attempt = Attempt(question, binding, times, started, until, overrun, source, self._common)
        return attempt, attempt.run(door, call)

    def connections(self) -> dict[str, Connections]:
        """Those of each source, now. May be asked from another thread."""
        return {name: door.connections() for name, (_, door) in self._sources.items()}

    def at(self, name: str) -> tuple[Source, Door]:
        """A source and its door; it must exist."""
        return self._sources[name]

    async def close(self) -> None:
        """Drop every connection that no later configuration has taken over."""
        for _, door in self._sources.values():
            await door.close()
        self._common.bell.close()

"""Every source's door, for as long as one configuration is served, and what its upstreams said of themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from proxy.providers.dialect import Call
from proxy.providers.hops import Names
from proxy.terms import Accepted, Binding, Limits, Outcome, Progress, Question, Rejected
from proxy.upstream.alarm import Bell
from proxy.upstream.attempt import Attempt
from proxy.upstream.client import Connections, Door, RetryBudget
from proxy.upstream.source import Source


class Upstreams:
    """The doors."""

    def __init__(
        self, sources: Mapping[str, Source], former: Upstreams | None = None, unix: Callable[[], float] = time.time
    ) -> None:
        """A source that goes where it went in `former` keeps its connections."""
        self._unix = unix
        self._bell = Bell()
        self._budget: RetryBudget = RetryBudget() if former is None else former._budget
        known: Mapping[str, tuple[Source, Door]] = {} if former is None else former._sources
        self.remaining: dict[tuple[str, str, str], float] = {} if former is None else former.remaining
        """By source, model and `requests` or `tokens`: how many more a window has, as the upstream said last."""
        self._sources: dict[str, tuple[Source, Door]] = {
            name: (source, self._door(source, known.get(name))) for name, source in sources.items()
        }

    def _door(self, source: Source, known: tuple[Source, Door] | None) -> Door:
        if known is not None and (known[0].base_url, known[0].connecting) == (source.base_url, source.connecting):
            return known[1].shared()
        return Door(source.connecting, self._budget)

    async def send(
        self, question: Question, binding: Binding, limits: Limits, progress: Progress, call: Call | None
    ) -> Outcome:
        """Ask one tier: by `call` where its dialect sifts. Ends as Accepted, Rejected or Failed; the caller owns an
        Accepted reply and must close it.
        """
        source, door = self._sources[binding.source]
        attempt = Attempt(question, binding, limits, progress, call, source, self._unix, self._bell)
        outcome = await attempt.run(door)
        for kind, left in _remaining(outcome):
            self.remaining[binding.source, binding.model, kind] = left
        return outcome

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
        self._bell.close()


_REMAINING = {
    "x-ratelimit-remaining-requests": "requests",
    "x-ratelimit-remaining-tokens": "tokens",
    "anthropic-ratelimit-requests-remaining": "requests",
    "anthropic-ratelimit-tokens-remaining": "tokens",
}
_KINDS: Names[str, str | None] = Names(lambda name: _REMAINING.get(name.lower()))


def _remaining(outcome: Outcome) -> Iterator[tuple[str, float]]:
    match outcome:
        case Accepted():
            headers = outcome.reply.headers
        case Rejected():
            headers = outcome.headers
        case _:
            return
    for name, value in headers:
        if (kind := _KINDS[name]) and value.isascii() and value.isdigit():
            yield kind, float(value[:15])

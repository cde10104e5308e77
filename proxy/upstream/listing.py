"""A source's free listing of models, asked for an operator: the one thing that is sent without a caller.

1. One GET of `{base_url}/models`, or what its kind has in place of that, with the source's own headers, forward proxy
   and certificates; nothing is followed, nothing is tried twice, and no model is asked. An account whose token has run
   out gets a new one first.
2. It ends within LIMIT seconds and reads at most MOST bytes.
3. No breaker, record or metric hears of it, and it takes no connection from the requests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from proxy.providers import faults
from proxy.providers.listing import Listed, models
from proxy.terms import Cause, Diagnosis
from proxy.upstream.answer import read
from proxy.upstream.client import Door
from proxy.upstream.source import Source

LIMIT = 5.0
MOST = 1024 * 1024


class Listings:
    """Every source's listing, for as long as one configuration is served."""

    def __init__(self, at: Callable[[str], tuple[Source, Door]], unix: Callable[[], float] = time.time) -> None:
        self._at, self._wall = at, unix

    async def ask(self, source: str, kind: str) -> Listed | Diagnosis:
        """What the source answers, or why it gave no answer. Both must be as they are configured."""
        try:
            async with asyncio.timeout(LIMIT):
                return await self._ask(*self._at(source), kind)
        except TimeoutError:
            return Diagnosis(Cause.TIMEOUT_TOTAL, "total")

    async def _ask(self, source: Source, door: Door, kind: str) -> Listed | Diagnosis:
        headers = (*source.headers, ("Accept", "application/json"), ("Accept-Encoding", "identity"))
        if source.account is not None:
            bearer = await source.account.bearer(LIMIT)
            if isinstance(bearer, Diagnosis):
                return bearer
            headers = (*headers, *source.credential(bearer))
        answer = await door.look(source.base_url + source.dialect.listing, headers, LIMIT)
        if isinstance(answer, Diagnosis):
            return answer
        try:
            body = await read(answer, MOST)
        finally:
            answer.close()
        if isinstance(body, Diagnosis):
            return body
        if answer.status == 200:
            readable = source.dialect.lists and len(body) <= MOST
            return Listed(200, models(body) if readable else None, None)
        meant = faults.diagnose(
            kind,
            answer.status,
            answer.headers,
            body,
            bound_model=None,
            now_unix=self._wall(),
            overrides=source.overrides,
        )
        return Listed(answer.status, None, meant)

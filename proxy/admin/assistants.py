"""Assistants as they are in force: shown with their breakers, rebound, and gone back to; who changed what.

1. A change says which revision it was made upon; if another one came between, nothing is changed (412).
2. What `homeport check` refuses is refused here, in the same words.
3. With `edits: off` nothing is changed here at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from proxy.admin.access.auth import CSRF
from proxy.admin.api.answering import answer, page
from proxy.admin.api.calls import Asked, Documented, Refused
from proxy.admin.configuration import Configuration, NotChanged
from proxy.breaker.permit import Guard
from proxy.breaker.state import View, severity
from proxy.config import edits as over
from proxy.config import schema
from proxy.config.ledger import Author, Revision
from proxy.config.thresholds import OwnBreaker
from proxy.record.document import breaker_document
from proxy.record.lately import Lately
from proxy.routing.bindings import Bindings, Chain, Route, Tier

_CODES = {
    "outdated": "revision_outdated",
    "faulty": "configuration_invalid",
    "unknown": "not_found",
    "store_away": "store_away",
    "not_kept": "not_kept",
}


_CHANGES = 256 * 1024
"""Bytes of one revision's changes that are told."""
_Page = Annotated[int, Field(ge=1, le=200)]


class Part(Asked):
    """Which assistants."""

    limit: _Page = 200
    after: Annotated[str, Field(max_length=256)] | None = None
    """`next` of the answer before."""


class Earlier(Asked):
    """Which revisions."""

    limit: _Page = 200
    before: Annotated[int, Field(ge=1, lt=10**9)] | None = None
    """`next` of the answer before."""


class Rebound(Asked):
    """What of an assistant is to be set; what is left out stays as it is, and null empties it."""

    primary: Annotated[Any, Documented(schema.Binding | None)] = None
    fallbacks: Annotated[Any, Documented(list[schema.Binding] | None)] = None
    chains: Annotated[Any, Documented(dict[Literal["embeddings"], schema.Chain] | None)] = None
    timeouts: Annotated[Any, Documented(schema.Timeouts | None)] = None
    breaker: Annotated[Any, Documented(OwnBreaker | None)] = None

    def given(self) -> dict[str, Any]:
        """Those that were named."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class Choice(Asked):
    """What holds where an edit and the file differ."""

    field: str
    choose: Literal["keep", "file"]
    """Keep the edit, or take what the file says."""


@dataclass(frozen=True, slots=True)
class Assistants:
    """The calls."""

    configured: Configuration
    bindings: Callable[[], Bindings]
    look: Callable[[Guard], View]
    lately: Lately
    now: Callable[[], float]
    """Unix."""
    to_unix: Callable[[float], float]
    """From the breakers' clock."""

    # -- shown

    async def all(self, _: web.BaseRequest, asked: Part) -> web.StreamResponse:
        """`GET /api/assistants`, in the order of the configuration."""
        names = list(self.bindings().routes)
        if asked.after is not None:
            if asked.after not in names:
                raise Refused("invalid_request", "`after` is no assistant that there is.")
            names = names[names.index(asked.after) + 1 :]
        told, more = page(self._shown(name) for name in names[: asked.limit])
        following = names[len(told) - 1] if more or len(names) > asked.limit else None
        return answer({"revision": self.configured.revision, "assistants": told, "next": following})

    async def one(self, _: web.BaseRequest, *, assistant: str) -> web.StreamResponse:
        """`GET /api/assistants/{assistant}`; the ETag is the revision that a change has to name."""
        return self._answer(self._known(assistant))

    def _known(self, assistant: str) -> str:
        if assistant not in self.bindings().routes:
            raise Refused("assistant_not_found", f"No assistant is called {assistant[:80]!r}.")
        return assistant

    def _answer(self, assistant: str) -> web.Response:
        return answer(self._shown(assistant), headers={"ETag": f'"{self.configured.book.touched(assistant)}"'})

    def _shown(self, assistant: str) -> dict[str, Any]:
        config, book, route = self.configured.current, self.configured.book, self.bindings().routes[assistant]
        held, edited = config.assistants[assistant], book.edits.get(assistant, {})
        tiers = list(self._tiers(route))
        return {
            "id": assistant,
            "revision": book.touched(assistant),
            **over.shown(held),
            "origin": over.origins(held, edited, over.filled(self.configured.file, assistant)),
            "edited": sorted(edited),
            "differs": list(self._differences(assistant)),
            "resolved": _resolved(tiers),
            "serves_now": next((tier["tier"] for tier in tiers if tier["chain"] is None and tier["admits"]), None),
            "last_used_tier": self.lately.last_tier(assistant),
            "tiers": tiers,
        }

    def _tiers(self, route: Route) -> Iterator[dict[str, Any]]:
        chains: list[tuple[str | None, Chain]] = [(None, route.own), *route.chains.items()]
        for key, chain in chains:
            for tier in chain.tiers:
                yield self._tier(route.assistant, key, tier)

    def _tier(self, assistant: str, chain: str | None, tier: Tier) -> dict[str, Any]:
        binding = tier.binding
        views = {endpoint: self.look(guard) for endpoint, guard in tier.guards.items()}
        worst = max(views.values(), key=severity)
        times = self.lately.of(assistant, tier.name if chain is None else f"{chain}/{tier.name}")
        policy = next(iter(tier.guards.values())).policy
        return {
            "tier": tier.name,
            "chain": chain,
            "source": binding.source,
            "kind": binding.kind,
            "model": binding.model,
            "model_from": tier.model_from,
            "url": self.configured.current.sources[binding.source].base_url,
            "breaker": breaker_document(worst, self.to_unix),
            "breakers": {endpoint: breaker_document(view, self.to_unix) for endpoint, view in views.items()},
            "admits": worst.word.value == "closed",
            "failure_threshold": policy.failure_threshold,
            "cooldown_seconds": policy.cooldown,
            "last_used_at": times.used or None,
            "last_success_at": times.succeeded or None,
            "last_failure_at": times.failed or None,
        }

    def _differences(self, assistant: str) -> Iterator[dict[str, Any]]:
        file, book = self.configured.file, self.configured.book
        edits = {assistant: book.edits.get(assistant, {})}
        open_ = {each.field for each in over.unsettled(file, edits, book.settled)}
        for each in over.differences(file, edits):
            yield {"field": each.field, "file": each.file, "edit": each.edit, "settled": each.field not in open_}

    # -- changed

    async def rebind(self, request: web.BaseRequest, asked: Rebound, *, assistant: str) -> web.StreamResponse:
        """`PUT /api/assistants/{assistant}`."""
        assistant, author = self._known(assistant), self._author(request)
        fields = asked.given()
        if not fields:
            raise Refused("invalid_request", f"Nothing is to be set: give some of {', '.join(over.FIELDS)}.")
        await _made(self.configured.edit(assistant, fields, _seen(request), author))
        return self._answer(assistant)

    async def settle(self, request: web.BaseRequest, asked: Choice, *, assistant: str) -> web.StreamResponse:
        """`POST /api/assistants/{assistant}/differences`."""
        assistant, author = self._known(assistant), self._author(request)
        await _made(self.configured.settle(assistant, asked.field, asked.choose, author))
        return self._answer(assistant)

    async def revisions(self, _: web.BaseRequest, asked: Earlier) -> web.StreamResponse:
        """`GET /api/revisions`, newest first."""
        return self._book(asked)

    async def restore(self, request: web.BaseRequest, *, number: str) -> web.StreamResponse:
        """`POST /api/revisions/{number}/restore`."""
        author = self._author(request)
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            raise Refused("not_found", "A revision is a number.")
        seen = _seen(request) if "If-Match" in request.headers else None
        await _made(self.configured.restore(int(number), seen, author))
        return self._book(Earlier())

    def _book(self, asked: Earlier) -> web.Response:
        book = self.configured.book
        kept = [each for each in reversed(book.revisions) if asked.before is None or each.number < asked.before]
        told, more = page(_revision(each) for each in kept[: asked.limit])
        following = kept[len(told) - 1].number if more or len(kept) > asked.limit else None
        document = {"revision": self.configured.revision, "number": book.number, "revisions": told, "next": following}
        return answer(document, headers={"ETag": f'"{book.number}"'})

    def _author(self, request: web.BaseRequest) -> Author:
        if self.configured.current.edits == "off":
            text = "`edits: off`: this configuration is changed in its file alone."
            raise Refused("edits_off", text)
        name = "".join(letter for letter in request.headers.get("X-Operator", "")[:64] if letter.isprintable())
        # A browser names its mode only where the page came by a way that nobody can listen to.
        origin = "page" if any(name in request.headers for name in ("Sec-Fetch-Mode", CSRF)) else "api"
        return Author(self.now(), f"{name or 'operator'} from {request.remote or 'nowhere'}", origin)


def _resolved(tiers: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Where the primary's requests go."""
    for tier in tiers:
        if tier["chain"] is None and tier["tier"] == "primary":
            return {key: tier[key] for key in ("source", "kind", "model", "model_from", "url")}
    return None


def _seen(request: web.BaseRequest) -> int | None:
    """The revision that `If-Match` names; None for `*`. Raises Refused."""
    given = request.headers.get("If-Match", "").strip()
    if given == "*":
        return None
    number = given.removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        text = "Say which revision this change is made upon: If-Match with the ETag that a GET gave, or *."
        raise Refused("revision_outdated", text)
    return int(number)


async def _made(change: Any) -> None:
    try:
        await change
    except NotChanged as refused:
        raise Refused(_CODES[refused.code], refused.message) from None


def _revision(each: Revision) -> dict[str, Any]:
    told = ({"assistant": c.assistant, "field": c.field, "before": c.before, "after": c.after} for c in each.changes)
    changes, _ = page(told, _CHANGES)
    return {
        "number": each.number,
        "at": each.at,
        "by": each.by,
        "origin": each.origin,
        "note": each.note,
        "file": each.file,
        "changes": changes,
        "changes_left_out": len(each.changes) - len(changes),
    }

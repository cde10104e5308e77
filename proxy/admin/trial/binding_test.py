"""`POST /api/bindings/test`: would a source and a model do as a tier, seen from the configuration and the breakers.

1. No model is asked, ever. Nothing is sent at all without `reach`, and with it the source's free listing of models
   alone: by the one function that is handed in, since nothing here knows the network.
2. Nothing changes and nothing is counted: breakers are looked at, decisions and metrics hear of it no more than they.
3. A credential is set or not; its value, and whatever the source says, stay out of the answer.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from proxy.admin.api.answering import answer
from proxy.admin.api.calls import Asked, Refused
from proxy.admin.trial.findings import Finding, Level, What, error, ok, warning
from proxy.admin.trial.placing import BadPlace, Placed, chain_findings, place
from proxy.admin.trial.reached import Reached, reset
from proxy.breaker.permit import Guard
from proxy.breaker.state import View, Word
from proxy.config import schema, words
from proxy.config.fault import Wrong
from proxy.providers.kinds import KINDS
from proxy.providers.listing import Listed
from proxy.providers.networks import is_private_host
from proxy.routing.bindings import Bindings, ModelFrom
from proxy.routing.story import clock, remedy
from proxy.terms import CHAT, ENDPOINTS, RESPONSES, Diagnosis, Endpoint

_Short = Annotated[str, Field(max_length=256)]
_CREDENTIALS = ("authorization", "api-key", "x-api-key")


class BindingOrder(Asked):
    """The binding, and where it would stand."""

    source: _Short
    model: _Short | None = None
    """Without it the source's default."""
    assistant: _Short | None = None
    """Whose chain; without it the binding alone is looked at."""
    tier: _Short | None = None
    """primary, fallback-1, …, embeddings/primary, …; without it the one that it is, or the next fallback."""
    reach: bool = False
    """Ask the source's listing of models."""


@dataclass(frozen=True, slots=True)
class _Meant:
    """The binding, with the model that the order means."""

    source: str
    model: str
    model_from: ModelFrom
    assistant: str | None


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A breaker that requests to the binding would meet."""

    assistant: str
    tier: str
    endpoint: str
    seen: View


@dataclass(frozen=True, slots=True)
class BindingTest:
    """What a test is made on."""

    config: Callable[[], schema.Config]
    bindings: Callable[[], Bindings]
    look: Callable[[Guard], View]
    listing: Callable[[str, str], Awaitable[Listed | Diagnosis]]
    """Asks the listing of a source, by its name and its kind."""
    unix: Callable[[float], float]
    """From the breakers' clock."""
    expiry: Callable[[str], float | None] = lambda _: None
    """When the access token of a source's account runs out, a Unix time, where that is known."""

    async def test(self, _: web.BaseRequest, asked: BindingOrder) -> web.StreamResponse:
        """Answer the call."""
        return answer(await self.run(asked))

    async def run(self, asked: BindingOrder) -> dict[str, Any]:
        """The answer's document. Raises Refused."""
        if asked.assistant is not None and asked.assistant not in self.config().assistants:
            raise Refused("assistant_not_found", f"No assistant is called {asked.assistant[:80]!r}.")
        if asked.tier is not None and asked.assistant is None:
            raise Refused("invalid_request", "`tier` goes with `assistant`.")
        source = self.config().sources.get(asked.source)
        if source is None:
            return _document(asked, None, [self._no_source(asked.source)])
        found = [ok(What.SOURCE, f"`{asked.source}` is configured: {source.kind} at {source.base_url}.")]
        meant = self._meant(asked)
        if meant is None:
            said = "No model is named, and the source has no default."
            remedy = f"name one, or set `sources.{asked.source}.default_model`"
            return _document(asked, None, [*found, error(What.MODEL, said, remedy)])
        try:
            placed = place(self.config(), asked.assistant, asked.tier, meant.source, meant.model)
        except BadPlace as bad:
            raise Refused("invalid_request", str(bad)) from None
        reached = None
        if asked.reach:
            reached = Reached(await self.listing(meant.source, source.kind), meant.source, meant.model)
        guarded = list(self._guarded(meant))
        found += [
            self._enabled(meant, guarded),
            _credential(meant.source, source, self.expiry(meant.source)),
            *self._model(meant, reached),
            *_url(meant, source, placed),
            ok(What.HEADERS, f"It adds {words.listed(_added(source))}." if _added(source) else "It adds no headers."),
            *chain_findings(self.config(), placed),
            *self._breakers(guarded),
            *(reached.findings() if reached else ()),
        ]
        worthwhile = None
        if disabled := [each.seen for each in guarded if each.seen.word is Word.DISABLED]:
            worthwhile, told = reset(disabled, reached, meant.source, meant.model)
            found.append(told)
        return _document(asked, _resolves(source, meant, placed), found, guarded, reached, worthwhile)

    def _meant(self, asked: BindingOrder) -> _Meant | None:
        binding = schema.Binding.model_construct(source=asked.source, model=asked.model)
        model = self.config().model_of(binding)
        named: ModelFrom = "source" if asked.model is None else "binding"
        return None if model is None else _Meant(asked.source, model, named, asked.assistant)

    def _no_source(self, name: str) -> Finding:
        known = list(self.config().sources)
        meant = words.nearest(name, known)
        remedy = (
            f"did you mean `{meant}`?" if meant else f"sources has {words.listed(known[:8])}" if known else "add it"
        )
        return error(What.SOURCE, f"`{name[:80]}` does not stand under `sources`.", remedy)

    def _guarded(self, meant: _Meant) -> Iterator[_Guarded]:
        """Those of the tiers bound so: the assistant's, or everybody's where it has none of its own."""
        everybody = [
            each
            for each in self.bindings().tiers()
            if (each[2].binding.source, each[2].binding.model) == (meant.source, meant.model)
        ]
        own = [each for each in everybody if each[0] == meant.assistant]
        for name, label, tier in own or everybody:
            for endpoint, guard in tier.guards.items():
                yield _Guarded(name, label, endpoint, self.look(guard))

    def _enabled(self, meant: _Meant, guarded: list[_Guarded]) -> Finding:
        if isolated := [each for each in guarded if each.seen.word is Word.ISOLATED]:
            until = isolated[0].seen.until
            when = "until it is released" if until is None else f"until {clock(self.unix(until))} UTC"
            said = f"An operator keeps requests off it, {when}: {words.listed(_tiers(isolated))}."
            return warning(What.ENABLED, said, shlex.join(("homeport", "release", meant.source, meant.model)))
        return ok(What.ENABLED, "No operator keeps requests off it.")

    def _model(self, meant: _Meant, reached: Reached | None) -> Iterator[Finding]:
        if meant.model_from == "source":
            yield ok(What.MODEL, f"No model is named, so it is the source's default, `{meant.model}`.")
        yield self._known(meant, reached)

    def _known(self, meant: _Meant, reached: Reached | None) -> Finding:
        try:
            words.model(meant.model)
        except Wrong as wrong:
            return error(What.MODEL, f"It is {wrong.problem}.", wrong.remedy)
        if meant.model == "*":
            return ok(What.MODEL, "Every caller's own model is passed through.")
        bound = {name: _bound(self.bindings(), name) for name in self.config().sources}
        if tiers := bound[meant.source].get(meant.model):
            return ok(What.MODEL, f"The model is bound there already: {words.listed(tiers[:4])}.")
        if reached is not None and reached.listed:
            return ok(What.MODEL, "The model is bound nowhere yet, and the source lists it.")
        close = words.nearest(meant.model, bound[meant.source])
        elsewhere = [name for name, models in bound.items() if meant.model in models]
        if close is not None:
            remedy = f"did you mean `{close}`, which is bound there? Otherwise test with reach"
            return warning(What.MODEL, "The model is bound nowhere at this source.", remedy)
        if elsewhere:
            said = f"The model is bound at {words.listed(elsewhere)}, and not at this source."
            return warning(What.MODEL, said, "test with reach, which asks what the source lists")
        said = "The model is bound nowhere: the name is plausible, and nothing here knows it."
        return warning(What.MODEL, said, "test with reach, which asks what the source lists")

    def _breakers(self, guarded: list[_Guarded]) -> Iterator[Finding]:
        if not guarded:
            yield ok(What.BREAKER, "It has no breaker yet: no tier is bound to it.")
            return
        amiss = [each for each in guarded if each.seen.word is not Word.CLOSED]
        if not amiss:
            yield ok(What.BREAKER, f"Its breakers are closed: {words.listed(_tiers(guarded))}.")
        for seen in dict.fromkeys(each.seen for each in amiss):
            alike = [each for each in amiss if each.seen == seen]
            endpoints = words.listed(dict.fromkeys(each.endpoint for each in alike))
            why = f" ({seen.reason})" if seen.reason else ""
            since = "" if seen.since is None else f" since {clock(self.unix(seen.since))} UTC"
            until = "" if seen.until is None else f", to be tried from {clock(self.unix(seen.until))} UTC"
            said = f"{words.listed(_tiers(alike))} for {endpoints}: {seen.word.value}{why}{since}{until}."
            if seen.word is Word.DISABLED:
                yield error(
                    What.BREAKER, said, f"{remedy(seen.reason)}, then reset it; it does not come home by itself"
                )
            elif seen.word is Word.ISOLATED:
                yield warning(What.BREAKER, said, "release it")
            else:
                yield warning(What.BREAKER, said, "nothing: it comes home by itself once a request is served")


def _document(
    asked: BindingOrder,
    resolves: dict[str, Any] | None,
    found: list[Finding],
    guarded: list[_Guarded] | None = None,
    reached: Reached | None = None,
    worthwhile: bool | None = None,
) -> dict[str, Any]:
    return {
        "source": asked.source,
        "model": asked.model,
        "assistant": asked.assistant,
        "ok": all(each.level is not Level.ERROR for each in found),
        "resolves": resolves,
        "breakers": [
            {"assistant": each.assistant, "tier": each.tier, "endpoint": each.endpoint, "state": each.seen.word.value}
            for each in guarded or ()
        ],
        "reached": reached.document() if reached else None,
        "reset_worthwhile": worthwhile,
        "findings": [each.document() for each in found],
    }


def _resolves(source: schema.Source, meant: _Meant, placed: Placed | None) -> dict[str, Any]:
    return {
        "kind": source.kind,
        "model": meant.model,
        "model_from": meant.model_from,
        "url": source.base_url + _path(source, meant.model, placed),
        "headers": _added(source),
        "credential": "set" if source.credential else "none",
        "proxy": source.proxy is not None,
        "tier": placed.tier if placed else None,
    }


def _credential(name: str, source: schema.Source, expires: float | None) -> Finding:
    if source.oauth is not None:
        ends = "" if expires is None else f" The one that is there ends at {clock(expires)} UTC."
        return ok(What.CREDENTIAL, f"An account is configured; its access token is sent as a bearer token.{ends}")
    if source.api_key is not None:
        kind = KINDS[source.kind]
        how = "as a bearer token" if kind.bearer else f"in `{kind.credential}`"
        return ok(What.CREDENTIAL, f"A key is set, and sent {how}.")
    carrying = [header for header in source.headers if header.lower() in _CREDENTIALS]
    if carrying:
        return ok(What.CREDENTIAL, f"No `api_key`; {words.listed(carrying)} is sent with its configured value.")
    if is_private_host(source.host):
        return ok(What.CREDENTIAL, "No key is set, which a server of one's own may not need.")
    return warning(What.CREDENTIAL, "No key is set.", f"set `sources.{name}.api_key`, unless the source asks for none")


def _url(meant: _Meant, source: schema.Source, placed: Placed | None) -> Iterator[Finding]:
    through = ", through its forward proxy" if source.proxy else ""
    what = "A chat request" if _endpoint(placed) == CHAT else "An embeddings request"
    yield ok(What.URL, f"{what} would go to {source.base_url}{_path(source, meant.model, placed)}{through}.")
    if _endpoint(placed) == CHAT and source.speaks.path(CHAT, "") == source.speaks.path(RESPONSES, ""):
        yield ok(What.URL, "Chat completions and Responses both go there; what the source lacks of them is translated.")
    if source.base_url.partition("://")[2].count("/") == 0 and not KINDS[source.kind].own_paths:
        said = "Its base URL has no path, and most sources serve their API below /v1."
        yield warning(What.URL, said, f"end `sources.{meant.source}.base_url` where the API begins")


def _endpoint(placed: Placed | None) -> Endpoint:
    chain = placed.chain if placed else None
    return next(each for each in ENDPOINTS if each.chain == chain)


def _path(source: schema.Source, model: str, placed: Placed | None) -> str:
    return source.speaks.path(_endpoint(placed), model)


def _added(source: schema.Source) -> list[str]:
    usual = [name for name, _ in source.speaks.headers]
    return list(dict.fromkeys([*usual, *([source.credential_header] if source.credential else []), *source.headers]))


def _tiers(guarded: list[_Guarded]) -> list[str]:
    return list(dict.fromkeys(f"{each.assistant} {each.tier}" for each in guarded))


def _bound(bindings: Bindings, source: str) -> dict[str, list[str]]:
    """The models bound at a source, each with its tiers."""
    found: dict[str, list[str]] = {}
    for name, label, tier in bindings.tiers():
        if tier.binding.source == source:
            found.setdefault(tier.binding.model, []).append(f"{name} {label}")
    return found

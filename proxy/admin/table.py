"""The table of the operators' calls: what is served, and what `GET /api/openapi.json` says of it.

1. A call that is not here does not exist; docs/api.md names the same ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from proxy.admin import assistants as of_assistants
from proxy.admin import breakers as of_breakers
from proxy.admin import decisions, dry_run, events
from proxy.admin.access.auth import Gate, SignIn
from proxy.admin.api.answering import answer, text
from proxy.admin.api.calls import Call, Text
from proxy.admin.catalog import catalog
from proxy.admin.shapes import chains, records, replica
from proxy.admin.status import Sources, status
from proxy.admin.trial import binding_test

_ASSISTANT = "assistant_not_found"
_CHANGE = ("edits_off", "revision_outdated", "configuration_invalid", "store_away", "not_kept")
_BY = ("If-Match", "X-Operator")
_EVENTS = Text(
    "text/event-stream",
    "Events of all replicas as they happen, each with an `id`, its kind as `event`, and a JSON document as `data`: "
    "`decision` (DecisionRecord), `breaker` (BreakerEvent), `store` (StoreEvent), `config` (ConfigEvent), `gap` (Gap).",
    endless=True,
    events=(records.DecisionRecord, records.BreakerEvent, records.StoreEvent, records.ConfigEvent, records.Gap),
)


@dataclass(frozen=True, slots=True)
class Calls:
    """What answers the operators' calls."""

    facts: Sources
    hand: of_breakers.Hand
    dry_run: dry_run.DryRun
    decisions: decisions.Decisions
    events: events.Events
    assistants: of_assistants.Assistants
    binding_test: binding_test.BindingTest
    exposed: Callable[[], Awaitable[bytes]]
    """The metrics."""


def table(of: Calls, gate: Gate) -> tuple[Call, ...]:
    """All calls but that for their own description."""
    return (*_probes(of), *_seen(of), *_rehearsed(of), *_done(of), *_signed(gate))


def _probes(of: Calls) -> tuple[Call, ...]:
    async def metrics(_: web.BaseRequest) -> web.Response:
        return text(await of.exposed(), "text/plain; version=0.0.4; charset=utf-8")

    async def healthz(_: web.BaseRequest) -> web.Response:
        return text("ok\n")

    async def readyz(_: web.BaseRequest) -> web.Response:
        return text("draining\n", status=503) if of.facts.draining() else text("ready\n")

    ready = {200: Text("text/plain", "`ready`."), 503: Text("text/plain", "`draining`: a stop has begun.")}
    return (
        Call("GET", "/metrics", metrics, "Metrics", {200: Text("text/plain", "For Prometheus.")}, free=True),
        Call("GET", "/healthz", healthz, "Alive", {200: Text("text/plain", "`ok`.")}, free=True),
        Call("GET", "/readyz", readyz, "Ready", ready, free=True),
    )


def _seen(of: Calls) -> tuple[Call, ...]:
    async def see_status(_: web.BaseRequest) -> web.Response:
        return answer(status(of.facts))

    async def see_catalog(_: web.BaseRequest) -> web.Response:
        test = of.binding_test
        return answer(catalog(test.config(), test.bindings(), test.look))

    return (
        Call("GET", "/api/status", see_status, "This replica, its store and its breakers", {200: replica.Status}),
        Call("GET", "/api/catalog", see_catalog, "The sources, and the models bound there", {200: replica.Catalog}),
        Call(
            "GET",
            "/api/decisions",
            of.decisions.search,
            "Search the records of all replicas",
            {200: records.Decisions},
            takes=decisions.Sought,
            refuses=("store_away",),
        ),
        Call(
            "GET",
            "/api/decisions/{id}",
            of.decisions.read,
            "Read one record",
            {200: records.OneDecision},
            refuses=("decision_not_found", "store_away"),
        ),
        Call(
            "GET",
            "/api/events",
            of.events.stream,
            "What happens, live",
            {200: _EVENTS},
            takes=events.Following,
            refuses=("overloaded",),
            hears=("Last-Event-ID",),
        ),
        Call(
            "GET",
            "/api/assistants",
            of.assistants.all,
            "Chains as they are in force, with their breakers",
            {200: chains.Assistants},
            takes=of_assistants.Part,
        ),
        Call(
            "GET",
            "/api/assistants/{assistant}",
            of.assistants.one,
            "One assistant's chains",
            {200: chains.Assistant},
            refuses=(_ASSISTANT,),
            sends=("ETag",),
        ),
        Call(
            "GET",
            "/api/revisions",
            of.assistants.revisions,
            "Who changed what, newest first",
            {200: chains.Revisions},
            takes=of_assistants.Earlier,
            sends=("ETag",),
        ),
    )


def _rehearsed(of: Calls) -> tuple[Call, ...]:
    return (
        Call(
            "POST",
            "/api/assistants/{assistant}/explain",
            of.dry_run.explain,
            "What a request would meet now",
            {200: chains.Foreseen},
            takes=dry_run.DryRunOrder,
            refuses=(_ASSISTANT, "configuration_invalid"),
        ),
        Call(
            "POST",
            "/api/bindings/test",
            of.binding_test.test,
            "Would this source and model do as a tier; asks no model",
            {200: chains.Tested},
            takes=binding_test.BindingOrder,
            refuses=(_ASSISTANT,),
        ),
    )


def _done(of: Calls) -> tuple[Call, ...]:
    async def reload(_: web.BaseRequest) -> web.Response:
        configured = of.facts.configured
        result = await configured.reload()
        faults = [str(each) for each in configured.faults]
        told = {"result": result, "revision": configured.revision, "faults": faults}
        return answer(told, 422 if result == "invalid" else 200)

    return (
        Call(
            "PUT",
            "/api/assistants/{assistant}",
            of.assistants.rebind,
            "Set some of an assistant's fields; null empties one",
            {200: chains.Assistant},
            takes=of_assistants.Rebound,
            refuses=(_ASSISTANT, *_CHANGE),
            hears=_BY,
            sends=("ETag",),
        ),
        Call(
            "POST",
            "/api/assistants/{assistant}/differences",
            of.assistants.settle,
            "Keep an edit, or take what the file says",
            {200: chains.Assistant},
            takes=of_assistants.Choice,
            refuses=(_ASSISTANT, "not_found", *_CHANGE),
            hears=("X-Operator",),
            sends=("ETag",),
        ),
        Call(
            "POST",
            "/api/revisions/{number}/restore",
            of.assistants.restore,
            "Go back to what was in force at a revision",
            {200: chains.Revisions},
            refuses=("not_found", *_CHANGE),
            hears=_BY,
            sends=("ETag",),
        ),
        Call("POST", "/api/reload", reload, "Read the file again", {200: chains.Reloaded, 422: chains.Reloaded}),
        Call(
            "POST",
            "/api/breakers",
            of.hand.act,
            "An operator's hand on a binding's breakers",
            {200: chains.Acted},
            takes=of_breakers.BreakerOrder,
            refuses=("binding_not_found", "store_away"),
        ),
    )


def _signed(gate: Gate) -> tuple[Call, ...]:
    return (
        Call("GET", "/api/session", gate.signed_in, "Is this browser signed in", {200: replica.Session}, free=True),
        Call(
            "POST",
            "/api/session",
            gate.sign_in,
            "Sign in from a browser",
            {200: replica.SignedIn},
            takes=SignIn,
            refuses=("unauthorized", "origin_forbidden", "too_many_tries"),
            sends=("Set-Cookie",),
            free=True,
        ),
        Call("DELETE", "/api/session", gate.sign_out, "Sign out", {200: replica.SignedOut}, sends=("Set-Cookie",)),
    )

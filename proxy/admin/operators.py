"""The operators' listener: metrics, health, status and a hand on the breakers, never on the data plane.

1. A scrape is rendered in a thread: with many assistants it takes longer than a request may wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from proxy.admin.assistants import Assistants
from proxy.admin.auth import Gate
from proxy.admin.binding_test import BindingTest
from proxy.admin.breakers import Hand
from proxy.admin.calls import answer, done
from proxy.admin.catalog import catalog
from proxy.admin.decisions import Decisions
from proxy.admin.dry_run import DryRun
from proxy.admin.events import Events
from proxy.admin.status import Sources, status


@dataclass(frozen=True, slots=True)
class Calls:
    """What answers the operators' calls."""

    facts: Sources
    hand: Hand
    dry_run: DryRun
    decisions: Decisions
    events: Events
    assistants: Assistants
    binding_test: BindingTest


class Operators:
    """What Prometheus and an orchestrator ask for, and what operators do with their token or their session."""

    def __init__(self, exposition: Callable[[], bytes], calls: Calls, gate: Gate) -> None:
        self._exposition, self._calls, self._gate = exposition, calls, gate

    def routes(self) -> list[web.RouteDef]:
        of = self._calls
        calls = [
            web.get("/api/status", self._status),
            web.post("/api/breakers", of.hand.act),
            web.post("/api/assistants/{assistant}/explain", of.dry_run.explain),
            web.get("/api/decisions", of.decisions.search),
            web.get("/api/decisions/{id}", of.decisions.read),
            web.get("/api/events", of.events.stream),
            web.get("/api/assistants", of.assistants.all),
            web.get("/api/assistants/{assistant}", of.assistants.one),
            web.put("/api/assistants/{assistant}", of.assistants.rebind),
            web.post("/api/assistants/{assistant}/differences", of.assistants.settle),
            web.get("/api/revisions", of.assistants.revisions),
            web.post("/api/revisions/{number}/restore", of.assistants.restore),
            web.post("/api/reload", self._reload),
            web.post("/api/bindings/test", of.binding_test.test),
            web.get("/api/catalog", self._catalog),
            web.delete("/api/session", self._gate.sign_out),
        ]
        return [
            web.get("/metrics", self._metrics),
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.post("/api/session", done(self._gate.sign_in)),
            *(web.route(call.method, call.path, self._gate.guarded(done(call.handler))) for call in calls),
        ]

    async def _reload(self, _: web.Request) -> web.StreamResponse:
        configured = self._calls.facts.configured
        result = await configured.reload()
        told = {"result": result, "revision": configured.revision, "faults": [str(each) for each in configured.faults]}
        return answer(told, 422 if result == "invalid" else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        text = await asyncio.to_thread(self._exposition)
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._calls.facts.draining():
            return web.Response(status=503, text="draining\n")
        return web.Response(text="ready\n")

    async def _status(self, _: web.Request) -> web.Response:
        return answer(status(self._calls.facts))

    async def _catalog(self, _: web.Request) -> web.Response:
        test = self._calls.binding_test
        return answer(catalog(test.config(), test.bindings(), test.look))

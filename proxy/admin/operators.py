"""The operators' listener: metrics, health, status and a hand on the breakers, never on the data plane.

1. A scrape is rendered in a thread: with many assistants it takes longer than a request may wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from proxy.admin.auth import Gate
from proxy.admin.binding_test import BindingTest
from proxy.admin.breakers import Hand
from proxy.admin.calls import answer, done
from proxy.admin.catalog import catalog
from proxy.admin.dry_run import DryRun
from proxy.admin.status import Sources, status


class Operators:
    """What Prometheus and an orchestrator ask for, and what operators do with their token or their session."""

    def __init__(
        self,
        exposition: Callable[[], bytes],
        facts: Sources,
        hand: Hand,
        dry_run: DryRun,
        binding_test: BindingTest,
        gate: Gate,
    ) -> None:
        self._exposition, self._facts, self._hand, self._dry_run = exposition, facts, hand, dry_run
        self._binding_test, self._gate = binding_test, gate

    def routes(self) -> list[web.RouteDef]:
        calls = [
            web.get("/api/status", self._status),
            web.post("/api/breakers", self._hand.act),
            web.post("/api/assistants/{assistant}/explain", self._dry_run.explain),
            web.post("/api/bindings/test", self._binding_test.test),
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

    async def _metrics(self, _: web.Request) -> web.Response:
        text = await asyncio.to_thread(self._exposition)
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._facts.draining():
            return web.Response(status=503, text="draining\n")
        return web.Response(text="ready\n")

    async def _status(self, _: web.Request) -> web.Response:
        return answer(status(self._facts))

    async def _catalog(self, _: web.Request) -> web.Response:
        test = self._binding_test
        return answer(catalog(test.config, test.bindings, test.look))

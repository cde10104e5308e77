"""The operators' listener: metrics, health, status and a hand on the breakers, never on the data plane.

1. A scrape is rendered in a thread: with many assistants it takes longer than a request may wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
from aiohttp import web

from proxy.admin.auth import guarded
from proxy.admin.breakers import Hand
from proxy.admin.status import Sources, status


class Operators:
    """What Prometheus and an orchestrator ask for, and what operators do with their token."""

    def __init__(self, exposition: Callable[[], bytes], facts: Sources, hand: Hand, token: str) -> None:
        self._exposition, self._facts, self._hand, self._token = exposition, facts, hand, token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/metrics", self._metrics),
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/api/status", guarded(self._token, self._status)),
            web.post("/api/breakers", guarded(self._token, self._hand.act)),
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
        return web.Response(body=orjson.dumps(status(self._facts)), content_type="application/json")

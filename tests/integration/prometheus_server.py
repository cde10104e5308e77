"""A real Prometheus for tests: scrapes replicas every half second, with the committed rules told in seconds.

1. Rules are the committed ones but for their durations: what looks back over minutes looks back over seconds, and an
   alert does not wait. A test that takes hours would be none.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from tests.deploy.promql import PROMETHEUS

RATE_INTERVAL = "4s"
"""What Grafana would make of $__rate_interval: several scrapes."""
_SCRAPE = "500ms"
_WINDOWS = {"5m": "4s", "10m": "4s", "30m": "5s", "1h": "6s", "6h": "8s"}
_PATIENCE = 30.0

Labels = frozenset[tuple[str, str]]
Result = dict[Labels, float]
"""Series by their labels."""


class PrometheusServer:
    """Asked over its HTTP API."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self._base, self._session = f"http://127.0.0.1:{port}/api/v1", session

    async def query(self, expr: str) -> Result:
        """What it says now; NaN is left out. Raises AssertionError with its words for what it does not take."""
        async with self._session.post(f"{self._base}/query", data={"query": expr}) as response:
            document = await response.json()
        assert document["status"] == "success", f"{expr}: {document.get('error')}"
        return dict(self._series(document["data"]))

    def _series(self, data: dict[str, Any]) -> list[tuple[Labels, float]]:
        if data["resultType"] == "scalar":
            return [(frozenset(), float(data["result"][1]))]
        found = [(frozenset(each["metric"].items()), float(each["value"][1])) for each in data["result"]]
        return [(labels, value) for labels, value in found if value == value]

    async def values(self, label: str, series: str) -> list[str]:
        """A label's values, as Grafana asks for a variable's."""
        url = f"{self._base}/label/{label}/values"
        async with self._session.get(url, params={"match[]": series}) as response:
            values: list[str] = (await response.json())["data"]
        return values

    async def rules(self) -> list[dict[str, Any]]:
        """Every rule with its state and health."""
        async with self._session.get(f"{self._base}/rules") as response:
            groups = (await response.json())["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def ready(self) -> bool:
        """Whether it answers queries."""
        with contextlib.suppress(aiohttp.ClientError, AssertionError, KeyError):
            return bool(await self.query("vector(1)"))
        return False


def _hastened(text: str) -> str:
    """Rules with their durations told in seconds."""
    document = yaml.safe_load(text)
    for group in document["groups"]:
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[(\w+)\]", lambda found: f"[{_WINDOWS[found[1]]}]", rule["expr"])
            rule.pop("for", None)
    return yaml.safe_dump(document)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def scraping(folder: Path, replicas: Sequence[str]) -> AsyncIterator[PrometheusServer]:
    """One that scrapes these operators' listeners, URLs, for as long as the block."""
    if shutil.which("prometheus") is None:
        pytest.fail("prometheus is not on PATH; these tests need a real one: apt-get install prometheus")
    rules = ["recording.yml", "alerts.yml"]
    for name in rules:
        (folder / name).write_text(_hastened((PROMETHEUS / name).read_text()))
    targets = [urlsplit(each).netloc for each in replicas]
    config = {
        "global": {"scrape_interval": _SCRAPE, "scrape_timeout": _SCRAPE, "evaluation_interval": _SCRAPE},
        "rule_files": rules,
        "scrape_configs": [{"job_name": "homeport", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    process, port = await _started(folder)
    try:
        async with aiohttp.ClientSession() as session:
            server = PrometheusServer(port, session)
            async with asyncio.timeout(_PATIENCE):
                while not await server.ready():
                    if process.returncode is not None:
                        said = (folder / "prometheus.log").read_text()
                        assert "address already in use" in said, said
                        # Somebody else has taken the port in between.
                        process, port = await _started(folder)
                        server = PrometheusServer(port, session)
                    await asyncio.sleep(0.05)
            yield server
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _started(folder: Path) -> tuple[asyncio.subprocess.Process, int]:
    port = _free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    return process, port

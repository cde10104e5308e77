"""The processes under test, as data: how each one is started and which loads it serves."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from tests.benchmarks.load import ASSISTANT


class Load(StrEnum):
    """What a candidate is put through in every round."""

    JSON = "json"
    STREAMS = "streams"
    LATENCY = "latency"
    START = "start"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one process of a candidate lives. Ports are on loopback."""

    folder: Path
    port: int
    """Where it shall listen for the load."""
    admin: int
    upstream: int
    dead: int
    """An upstream that drops every connection."""
    store: str = "memory"
    """The URL of a Redis for candidates that share their breakers."""


@dataclass(frozen=True, slots=True)
class Command:
    """How to start one, and where it says that it is ready (a 200)."""

    arguments: tuple[str, ...]
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One process under test."""

    name: str
    command: Callable[[Place], Command] | None
    """Writes what the process needs into its folder; None is the upstream itself, with nothing between."""
    loads: frozenset[Load]
    dead_primary: bool = False
    hop: bool = False
    """Its primary fails every request at once, and no breaker may hear of it."""
    claude: bool = False
    """Its upstream speaks Anthropic's API, so what it serves is translated."""
    retold: bool = False
    """It writes answers anew, so they are compared by what the model says in them."""
    fields: Callable[[int, int], str] = lambda upstream, dead: ""
    """Lines that it wants in the head of a request, by the ports of the two upstreams."""


def find(name: str) -> str | None:
    """A program's path; sbin is not on everyone's PATH."""
    return shutil.which(
        name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    )


def nginx(place: Place, connections: int = 4096) -> Command:
    """`connections`: that it may have, both sides together."""
    config = place.folder / "nginx.conf"
    text = _NGINX.format(folder=place.folder, port=place.port, upstream=place.upstream, connections=connections)
    config.write_text(text)
    errors = str(place.folder / "error.log")
    arguments = (find("nginx") or "nginx", "-p", str(place.folder), "-c", str(config), "-e", errors)
    return Command(arguments, place.port, "/connections")


_NGINX = """\
# One worker, keep-alive on both sides, no log, everything of 4 KB in memory. Streams come with X-Accel-Buffering: no.
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 10000000;
    client_body_buffer_size 64k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream mock {{
        server 127.0.0.1:{upstream};
        keepalive 128;
        keepalive_requests 10000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
        }}
    }}
}}
"""


def _haproxy(place: Place) -> Command:
    config = place.folder / "haproxy.cfg"
    config.write_text(_HAPROXY.format(port=place.port, upstream=place.upstream))
    return Command((find("haproxy") or "haproxy", "-db", "-f", str(config)), place.port, "/connections")


_HAPROXY = """\
# One thread, keep-alive on both sides, no log. What it lends of its connections is as free as nginx is with its own.
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen bench
    bind 127.0.0.1:{port}
    server mock 127.0.0.1:{upstream}
"""


def _plain(place: Place) -> Command:
    script = Path(__file__).with_name("plain_proxy.py")
    arguments = (sys.executable, str(script), str(place.port), f"http://127.0.0.1:{place.upstream}")
    return Command(arguments, place.port, "/connections")


def _bare(place: Place) -> Command:
    script = Path(__file__).with_name("bare_relay.py")
    return Command((sys.executable, str(script), str(place.port), str(place.upstream)), place.port, "/connections")


def _homeport(place: Place) -> Command:
    return _serve(place, primary=place.upstream)


def _homeport_interpreted(place: Place) -> Command:
    here = _homeport(place)
    return Command(("env", "HOMEPORT_COMPILED=off", *here.arguments), here.port, here.path)


def _homeport_dead(place: Place) -> Command:
    return _serve(place, primary=place.dead)


def _homeport_hop(place: Place) -> Command:
    return _serve(place, primary=place.upstream, path="/failing/v1", faults="[{status: 503, cause: unsupported}]")


def _homeport_claude(place: Place) -> Command:
    return _serve(place, primary=place.upstream, kind="anthropic")


def _homeport_shared(place: Place) -> Command:
    return _serve(place, primary=place.upstream, store=place.store)


def _homeport_unrecorded(place: Place) -> Command:
    return _serve(place, primary=place.upstream, keep=0)


def replica(place: Place, chains: int) -> Command:
    """A Homeport of a fleet: it also serves `chains` assistants whose primary is dead, each a target."""
    return _serve(place, primary=place.upstream, store=place.store, chains=chains)


def chain(number: int) -> str:
    """Such an assistant's name."""
    return f"{ASSISTANT}-{number}"


def _serve(
    place: Place,
    *,
    primary: int,
    kind: str = "openai-compatible",
    path: str = "/v1",
    faults: str = "[]",
    store: str = "memory",
    chains: int = 0,
    keep: int = 20_000,
) -> Command:
    config = place.folder / "homeport.yaml"
    text = _HOMEPORT.format(
        port=place.port,
        admin=place.admin,
        store=store,
        keep=keep,
        kind=kind,
        primary=primary,
        path=path,
        faults=faults,
        more=_DEAD.format(dead=place.dead) if chains else "",
        fallback=place.upstream,
        assistant=ASSISTANT,
    )
    config.write_text(text + "".join(_CHAIN.format(name=chain(each), number=each) for each in range(chains)))
    return Command((sys.executable, "-m", "proxy", "serve", "-c", str(config)), place.admin, "/readyz")


_HOMEPORT = """\
version: 1
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin}, token: made-up-for-the-benchmark}}
store: "{store}"
decisions: {{keep: {keep}}}
breaker: {{cooldown: 1h, cooldown_max: 1h}}  # longer than any run: an open breaker stays open
sources:
  home: {{kind: {kind}, base_url: "http://127.0.0.1:{primary}{path}", faults: {faults}}}
  away: {{kind: openai-compatible, base_url: "http://127.0.0.1:{fallback}/v1"}}
{more}assistants:
  {assistant}:
    primary: {{source: home, model: mock-large}}
    fallbacks:
      - {{source: away, model: mock-small}}
"""
_DEAD = """\
  dead: {{kind: openai-compatible, base_url: "http://127.0.0.1:{dead}/v1"}}
"""
_CHAIN = """\
  {name}:
    primary: {{source: dead, model: mock-{number}}}
    fallbacks:
      - {{source: away, model: mock-small}}
"""

DIRECT = Candidate("upstream itself", None, frozenset({Load.LATENCY}))
NGINX = Candidate("nginx", nginx, frozenset(Load))
HAPROXY = Candidate("haproxy", _haproxy, frozenset({Load.JSON, Load.STREAMS, Load.LATENCY}))
PLAIN = Candidate("plain aiohttp proxy", _plain, frozenset(Load))
BARE = Candidate("bare uvloop relay", _bare, frozenset(Load))
HOMEPORT = Candidate("homeport", _homeport, frozenset(Load))
OTHER = "homeport, other tree"


def beside(tree: Path) -> Candidate:
    """The Homeport of another checkout, whose packages are those of this one."""

    def command(place: Place) -> Command:
        here = _homeport(place)
        # Python looks where it stands before it looks anywhere else.
        return Command(("env", "-C", str(tree), f"PYTHONPATH={tree}", *here.arguments), here.port, here.path)

    return Candidate(OTHER, command, frozenset(Load))


INTERPRETED = Candidate(
    "homeport, interpreted", _homeport_interpreted, frozenset({Load.JSON, Load.STREAMS, Load.LATENCY})
)
HOMEPORT_DEAD = Candidate("homeport, dead primary", _homeport_dead, frozenset({Load.JSON}), dead_primary=True)
HOMEPORT_HOP = Candidate("homeport, one hop", _homeport_hop, frozenset({Load.JSON, Load.LATENCY}), hop=True)
HOMEPORT_CLAUDE = Candidate("homeport, to Claude", _homeport_claude, frozenset({Load.STREAMS}), claude=True)
CANDIDATES = (DIRECT, NGINX, HAPROXY, BARE, PLAIN, INTERPRETED, HOMEPORT, HOMEPORT_DEAD, HOMEPORT_HOP, HOMEPORT_CLAUDE)

ALONE = replace(HOMEPORT, name="store: memory", loads=frozenset({Load.JSON}))
SHARED = Candidate("store: redis", _homeport_shared, frozenset({Load.JSON}))
UNRECORDED = Candidate("keep: 0", _homeport_unrecorded, frozenset({Load.JSON}))
"""The same Homeport with and without others to share its breakers and records with, and without any records: fleet.py
runs them side by side."""

"""The image, compose.yaml and the load balancer's configuration: valid, hardened, and true to their neighbours."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from proxy.config import load, schema
from proxy.demo.simulator import Simulator
from tests.deploy.promql import ROOT
from tests.e2e.caller import chain, source, written
from tests.e2e.replica import serve

DEPLOY = ROOT / "deploy"
_BIN = Path(sys.executable).parent
_COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
_SERVICES: dict[str, Any] = _COMPOSE["services"]


def _run(*arguments: str | Path) -> str:
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def _dockerfile() -> list[list[str]]:
    """Its instructions, by stage."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    stages: list[list[str]] = []
    for line in lines:
        if line.startswith("FROM "):
            stages.append([])
        stages[-1].append(line)
    return stages


def test_the_dockerfile_is_clean() -> None:
    """hadolint has nothing to say."""
    assert _run(_BIN / "hadolint", DEPLOY / "Dockerfile") == ""


def test_the_image_holds_what_runs_and_no_more() -> None:
    """Two stages; the last one has no build tools, runs as a numbered user that is not root, and drains on SIGTERM."""
    build, final = _dockerfile()
    assert build[0].endswith(" AS build")
    assert [line for line in final if line.startswith("COPY")] == ["COPY --from=build /opt/homeport /opt/homeport"]
    assert not [line for line in final if re.search(r"\b(pip|apt-get|curl)\b", line)]
    (user,) = [line for line in final if line.startswith("USER ")]
    assert re.fullmatch(r"USER [1-9]\d+:[1-9]\d+", user)
    after = final[final.index(user) :]
    assert "STOPSIGNAL SIGTERM" in after
    assert [line for line in after if line.startswith("RUN ")] == []
    # What is sent to the builder is what is copied, whatever else lies about, such as a configuration with keys in it.
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = {name for line in build if line.startswith("COPY ") for name in line.split()[1:-1]}
    assert "*" in ignored
    assert {name.removeprefix("./") for name in copied} == allowed
    assert all((ROOT / name).exists() for name in allowed)


async def test_the_image_starts_what_it_says_and_knows_that_it_is_well(tmp_path: Path) -> None:
    """Its command is one that Homeport takes, and its health check knows a replica that serves from none."""
    _, final = _dockerfile()
    entry, command = (
        json.loads(next(line.split(" ", 1)[1] for line in final if line.startswith(name))) for name in ("ENTRY", "CMD ")
    )
    assert [*entry, *command] == ["homeport", "serve", "-c", "/etc/homeport/homeport.yaml"]
    check = json.loads(next(line for line in final if line.startswith("HEALTHCHECK")).split(" CMD ")[1])
    assert check[:2] == ["python", "-c"]
    async with Simulator("first") as first:
        config = written(sources={"first": source(first)}, assistants={"bot": chain("first/big")})
        async with serve(tmp_path, config, {"PYTHONPATH": str(ROOT)}) as replica:
            asked = check[2].replace("http://127.0.0.1:8081", replica.admin)
            assert asked != check[2]
            assert await _exit(sys.executable, "-c", asked) == 0
    assert await _exit(sys.executable, "-c", asked) != 0


async def _exit(*arguments: str) -> int:
    process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.DEVNULL)
    async with asyncio.timeout(30):
        return await process.wait()


def test_compose_is_valid() -> None:
    """Against the Compose specification's own schema."""
    _run(_BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_compose_has_all_of_it() -> None:
    """Replicas, balancer, upstream, Redis, Prometheus, Grafana, each hardened and open to this machine alone."""
    assert set(_SERVICES) == {
        "homeport",
        "balancer",
        "upstream",
        "homeport-image",
        "redis",
        "prometheus",
        "grafana",
    }
    assert _SERVICES["homeport"]["deploy"]["replicas"] == 2
    for name, service in _SERVICES.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        if name != "homeport-image":
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
        for volume in service.get("volumes", []):
            here, _, there = volume.partition(":")
            if here.startswith("."):
                assert (DEPLOY / here).exists(), volume
                assert there.endswith(":ro"), volume
        for image in [service["image"]]:
            assert image == "homeport" or re.search(r":v?\d", image), image


def test_compose_and_what_it_mounts_agree() -> None:
    """Names, folders and times that stand in two files are the same in both."""
    grafana = {each.split(":")[1]: each.split(":")[0] for each in _SERVICES["grafana"]["volumes"]}
    provider = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/homeport.yml").read_text())["providers"][0]
    assert grafana[provider["options"]["path"]] == "../grafana/dashboards"
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    assert scraped["dns_sd_configs"][0]["names"] == ["homeport"]
    assert "server-template homeport- 10 homeport:8080" in (DEPLOY / "haproxy.cfg").read_text()
    environment = _SERVICES["homeport"]["environment"] | {"HOMEPORT_ADMIN_TOKEN": "made-up"}
    text = (DEPLOY / "compose/homeport.yaml").read_text()
    config = load.parse(text, "homeport.yaml", environment, DEPLOY / "compose")
    assert isinstance(config, schema.Config), config
    assert config.shared_store is not None
    assert config.limits.notice is not None
    grace = int(_SERVICES["homeport"]["stop_grace_period"].removesuffix("s"))
    assert grace >= config.limits.notice + config.limits.drain + 5
    assert str(config.admin.listen).endswith(":8081")
    # The balancer asks every second, so a notice of three is seen.
    assert "inter 1s fall 1" in (DEPLOY / "haproxy.cfg").read_text()


def test_the_balancers_configuration_is_valid() -> None:
    """`haproxy -c`, without a warning."""
    assert shutil.which("haproxy"), "haproxy is not on PATH: apt-get install haproxy"
    said = _run("haproxy", "-c", "-f", DEPLOY / "haproxy.cfg")
    assert "WARNING" not in said
    assert "ALERT" not in said


async def test_the_simulated_upstream_serves() -> None:
    """compose.yaml's upstream answers on the address that it is given, and ends on SIGTERM."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    *_, script, _ = _SERVICES["upstream"]["entrypoint"]
    assert _SERVICES["upstream"]["volumes"] == [f"./compose{script}:{script}:ro"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, DEPLOY / "compose" / script.lstrip("/"), f"127.0.0.1:{port}", env={"PYTHONPATH": str(ROOT)}
    )
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            body = {"model": "large", "messages": [{"role": "user", "content": "Hello"}]}
            said = await _answer(session, f"http://127.0.0.1:{port}/v1/chat/completions", body)
        assert said["choices"][0]["message"]["content"]
        process.terminate()
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _answer(session: aiohttp.ClientSession, url: str, body: object) -> Any:
    while True:
        try:
            async with session.post(url, json=body) as response:
                return await response.json()
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", ["compose.yaml", "Dockerfile", "haproxy.cfg"])
def test_nothing_secret_is_written_down(name: str) -> None:
    """Values of secrets come from the environment or from files."""
    for line in (DEPLOY / name).read_text().splitlines():
        found = re.search(r"(?i)(password|api_key|secret|token)\S*[:=]\s*(\S+)", line)
        assert found is None or found[2].startswith("${"), shlex.quote(line)

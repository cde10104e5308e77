"""Where a source may be, through the installed command: as its own host says, never metadata, no redirect followed."""

from __future__ import annotations

from pathlib import Path

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import ask, chain, source
from tests.e2e.operated import config, homeport, operated

_TOKEN = "tok-OPERATORS-90aa"


async def test_a_local_server_is_served_by_name_and_by_address(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """What a configuration names as local needs no word more."""
    settings = config(first, second)
    by_name = source(first) | {"base_url": first.base_url.replace("127.0.0.1", "localhost")}
    settings["sources"] = {"first": by_name, "second": source(second)}
    settings["assistants"] = {"bot": chain("first/big", "second/small"), "other": chain("second/small")}
    async with operated(tmp_path, settings, token=_TOKEN) as operator:
        for assistant in ("bot", "other"):
            seen = await ask(operator.replica, assistant)
            assert (seen.status, seen.headers["x-homeport-tier"]) == (200, "primary")


async def test_a_redirect_to_elsewhere_is_not_followed(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """The address that it names hears nothing, neither of a request nor of the key."""
    settings = config(first, second)
    settings["sources"] = {"first": source(first, api_key="sk-made-up"), "second": source(second)}
    settings["assistants"] = {"bot": chain("first/big")}
    first.mood = moods.redirect(f"{second.base_url}/chat/completions")
    async with operated(tmp_path, settings, token=_TOKEN) as operator:
        assert (await ask(operator.replica, "bot")).status == 307
        assert len(first.requests) == 1
        assert second.connections == 0


async def test_metadata_cannot_be_configured(tmp_path: Path) -> None:
    """As a source or as its forward proxy: one fault each, with its place."""
    (tmp_path / "homeport.yaml").write_text(
        "version: 1\nsources:\n"
        "  a: {kind: openai-compatible, base_url: http://169.254.169.254/v1, private_network: true}\n"
        "  b: {kind: openai, proxy: 'http://[fd00:ec2::254]:80'}\n"
    )
    ran = await homeport("check", cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert [line.split(": ")[0] for line in ran.err.splitlines()] == ["homeport.yaml:3:42", "homeport.yaml:4:28"]
    assert ran.err.count("a link-local or metadata address") == 2

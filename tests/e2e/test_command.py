"""The installed command from a shell: what it prints, where, and with which exit code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from importlib.metadata import version
from pathlib import Path

import aiohttp
import jsonschema
import openai
import orjson
import pytest

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.operated import Ran, bare, homeport
from tests.e2e.replica import HOMEPORT, Replica

_ANYWHERE = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")


async def _run(*arguments: object, cwd: Path, env: Mapping[str, str] | None = None, python: bool = False) -> Ran:
    command = (sys.executable, "-m", "proxy") if python else (HOMEPORT,)
    return await homeport(*arguments, env=env, cwd=cwd, command=command)


@contextlib.asynccontextmanager
async def _serving(*arguments: object, cwd: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Replica]:
    """`homeport serve` with these arguments, ready."""
    process = await asyncio.create_subprocess_exec(
        HOMEPORT,
        "serve",
        *map(str, arguments),
        cwd=cwd,
        env={**bare(), **(env or {})},
        stderr=asyncio.subprocess.PIPE,
    )
    replica = Replica(process)
    try:
        ready = await replica.line("ready")
        replica.api, replica.admin = ready["listen"], ready["admin"]
        yield replica
    finally:
        await replica.close()


def _config(base_url: str, head: str = "") -> str:
    return (
        f"version: 1\n{head}identity: {{default: bot}}\n"
        f"sources: {{up: {{kind: openai-compatible, base_url: {base_url}}}}}\n"
        "assistants: {bot: {primary: {source: up, model: m-1}}}\n"
    )


def _ports(replica: Replica) -> list[int]:
    return [int(address.rpartition(":")[2]) for address in (replica.api, replica.admin)]


async def test_the_command_says_who_it_is_and_what_it_can(tmp_path: Path) -> None:
    """`--version` and `--help` go to stdout with exit 0; `python -m proxy` is the same command."""
    told, module, helped = await asyncio.gather(
        _run("--version", cwd=tmp_path),
        _run("--version", cwd=tmp_path, python=True),
        _run("--help", cwd=tmp_path),
    )
    assert told == Ran(0, f"homeport {version('homeport')}\n", "")
    assert module == told
    assert helped.code == 0
    for command in ("serve", "status", "demo", "init", "check", "migrate", "import", "keys", "schema"):
        assert f"\n    {command} " in helped.out


async def test_a_command_line_at_fault_is_exit_2(tmp_path: Path) -> None:
    """No command, an unknown one and an unknown option: usage on stderr, nothing on stdout, exit 2."""
    nothing, unknown, option = await asyncio.gather(
        _run(cwd=tmp_path), _run("sreve", cwd=tmp_path), _run("serve", "--lisen", "127.0.0.1:1", cwd=tmp_path)
    )
    for ran in (nothing, unknown, option):
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("usage: homeport")
    assert "COMMAND" in nothing.err
    assert "sreve" in unknown.err
    assert "--lisen" in option.err


async def test_init_writes_what_check_accepts(tmp_path: Path) -> None:
    """The starter is written once, is good as it stands, and is never written over."""
    made = await _run("init", cwd=tmp_path)
    assert (made.code, made.err) == (0, "")
    assert "homeport check homeport.yaml" in made.out
    file = tmp_path / "homeport.yaml"
    file.write_text(file.read_text() + "# mine\n")
    checked, keyless, again, elsewhere = await asyncio.gather(
        _run("check", cwd=tmp_path, env={"OPENAI_API_KEY": "sk-made-up"}),
        _run("check", cwd=tmp_path),
        _run("init", cwd=tmp_path),
        _run("init", "no/such/place.yaml", cwd=tmp_path),
    )
    assert (checked.code, checked.err) == (0, "")
    assert checked.out == "homeport.yaml: good: 1 assistants, 1 sources\n"
    assert (keyless.code, keyless.out) == (2, "")
    assert "homeport.yaml:" in keyless.err
    assert "OPENAI_API_KEY" in keyless.err
    assert (again.code, again.out) == (2, "")
    assert "homeport init OTHER.yaml" in again.err
    assert file.read_text().endswith("# mine\n")
    assert (elsewhere.code, elsewhere.out) == (2, "")


async def test_schema_prints_a_json_schema(tmp_path: Path) -> None:
    """The schema is a valid one, and nothing else is printed."""
    ran = await _run("schema", cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    schema = orjson.loads(ran.out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {"version", "sources", "assistants"} <= set(schema["properties"])


_FAULTY = """\
version: 1
listen: 0.0.0.0:8080
sources:
  up: {kind: openai-compatible, base_url: "http://127.0.0.1:1/v1", api_key: "${NO_SUCH_VARIABLE}"}
assistants:
  bot:
    primary: {source: upp, model: m}
    timeouts: {first_bite: 3s}
"""


def _place(text: str) -> tuple[int, int]:
    """Line and column, from 1, of a text in the faulty configuration."""
    row, line = next((row, line) for row, line in enumerate(_FAULTY.splitlines(), start=1) if text in line)
    return row, line.index(text) + 1


async def test_check_finds_every_fault_where_it_stands(tmp_path: Path) -> None:
    """Each fault is one line on stderr: file, line, column, path, problem and remedy; serve says the same."""
    file = tmp_path / "bad.yaml"
    file.write_text(_FAULTY)
    checked, served, missing = await asyncio.gather(
        _run("check", "bad.yaml", cwd=tmp_path),
        _run("serve", "-c", "bad.yaml", cwd=tmp_path),
        _run("check", "absent.yaml", cwd=tmp_path),
    )
    assert (checked.code, checked.out) == (2, "")
    lines = checked.err.splitlines()
    at_fault = ("0.0.0.0:8080", '"${NO_SUCH_VARIABLE}"', "upp", "first_bite")
    paths = ("listen", "sources.up.api_key", "assistants.bot.primary.source", "assistants.bot.timeouts.first_bite")
    for line, text, path in zip(lines, at_fault, paths, strict=True):
        row, column = _place(text)
        assert line.startswith(f"bad.yaml:{row}:{column}: {path}: "), line
    for line, remedy in zip(lines, ("clients: open", "NO_SUCH_VARIABLE", "`up`", "`first_byte`"), strict=True):
        assert remedy in line.rpartition("; ")[2], line
    assert served == checked
    assert (missing.code, missing.out) == (2, "")
    assert "homeport init" in missing.err


async def test_check_notes_what_will_surprise(tmp_path: Path) -> None:
    """A good configuration whose assistant is bound to nothing is good with a note."""
    (tmp_path / "homeport.yaml").write_text("version: 1\nassistants: {idle: {primary: null}}\n")
    ran = await _run("check", cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    first, *notes = ran.out.splitlines()
    assert first.startswith("homeport.yaml: good")
    assert len(notes) == 1
    assert all(note.startswith("note: ") for note in notes)
    assert any("idle" in note for note in notes)


async def test_a_newer_configuration_is_refused_by_every_command(tmp_path: Path) -> None:
    """One fault with its place and its remedy, whatever else the file holds; nothing is served, shown or written."""
    file = tmp_path / "homeport.yaml"
    file.write_text("# ours\nversion: 2\nlisten: {of: the, future: 1}\n")
    for arguments in (("check",), ("check", "--diff"), ("migrate",), ("migrate", "--write"), ("serve", *_ANYWHERE)):
        ran = await _run(*arguments, cwd=tmp_path)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("homeport.yaml:2:10: version: a newer version than this Homeport reads, which is 1; ")
        assert len(ran.err.splitlines()) == 1
    assert os.listdir(tmp_path) == ["homeport.yaml"]


async def test_a_configuration_of_today_has_nothing_to_migrate(tmp_path: Path) -> None:
    """`check --diff` shows no diff, `migrate` prints the file as it stands, `--write` leaves it and makes no copy."""
    text = _config("http://127.0.0.1:1/v1", "# mine ${NOT_READ}\n")
    (tmp_path / "homeport.yaml").write_text(text)
    checked, printed, written = await asyncio.gather(
        _run("check", "--diff", cwd=tmp_path),
        _run("migrate", cwd=tmp_path),
        _run("migrate", "--write", "homeport.yaml", cwd=tmp_path),
    )
    assert checked == Ran(0, "homeport.yaml: good: 1 assistants, 1 sources\n", "")
    told = "note: homeport.yaml is of version 1, the newest: there is nothing to migrate\n"
    assert (printed, written) == (Ran(0, text, told), Ran(0, "", told))
    assert (tmp_path / "homeport.yaml").read_text() == text
    assert os.listdir(tmp_path) == ["homeport.yaml"]


_CLIGATE: dict[str, object] = {
    "enabled": True,
    "bindingConfigured": True,
    "boundModelSource": {"type": "api-key", "id": "key_a", "model": "m-1"},
    "fallbacks": [{"type": "claude-account", "id": "me@example.com"}],
    "circuitBreaker": {"failureThreshold": 99, "probeIntervalMs": 180000},
}


async def test_a_chain_comes_from_cligate_and_is_served(tmp_path: Path, first: Simulator) -> None:
    """Imported, checked and served: the model is CliGate's, the key comes from the environment alone."""
    key = {"id": "key_a", "type": "openai", "apiKey": "sk-canary", "baseUrl": first.base_url, "enabled": True}
    (tmp_path / "settings.json").write_bytes(orjson.dumps({"assistantAgent": _CLIGATE}))
    (tmp_path / "api-keys.json").write_bytes(orjson.dumps({"keys": [key]}))
    shown = await _run("import", "cligate", "settings.json", cwd=tmp_path)
    made = await _run("import", "cligate", "settings.json", "-o", "homeport.yaml", cwd=tmp_path)
    again = await _run("import", "cligate", "settings.json", "-o", "homeport.yaml", cwd=tmp_path)
    assert (shown.code, made.code, again.code) == (0, 0, 2)
    assert (tmp_path / "homeport.yaml").read_text() == shown.out
    assert made.err == shown.err
    assert made.out == "Wrote homeport.yaml. Next: `homeport check homeport.yaml`.\n"
    assert again.err == "homeport.yaml exists already and was left as it is; name another file: -o OTHER.yaml\n"
    assert "canary" not in shown.out + shown.err
    assert all(line.startswith("note: ") for line in shown.err.splitlines())
    for said in ("failureThreshold is out of", "login is not carried over", "set OPENAI_API_KEY to CliGate's"):
        assert said in shown.err
    unset = await _run("check", cwd=tmp_path)
    assert (unset.code, unset.out) == (2, "")
    assert "OPENAI_API_KEY" in unset.err
    env = {"OPENAI_API_KEY": "sk-made-up"}
    assert await _run("check", cwd=tmp_path, env=env) == Ran(0, "homeport.yaml: good: 1 assistants, 1 sources\n", "")
    async with _serving(*_ANYWHERE, cwd=tmp_path, env=env) as replica:
        answer = await replica.client().chat.completions.create(
            model="whatever", messages=[{"role": "user", "content": "Hello"}]
        )
        assert answer.model == "m-1"
    assert [request.header("authorization") for request in first.requests] == ["Bearer sk-made-up"]


async def test_a_binding_that_was_cleared_in_cligate_is_not_filled(tmp_path: Path) -> None:
    """`bindingConfigured` with nothing bound stays null through the command, switches or not."""
    block = {**_CLIGATE, "boundModelSource": None, "fallbacks": [], "sources": {"openaiApiKeyBridge": True}}
    (tmp_path / "settings.json").write_bytes(orjson.dumps({"assistantAgent": block}))
    made = await _run("import", "cligate", "settings.json", "-o", "homeport.yaml", cwd=tmp_path)
    checked, other, unknown = await asyncio.gather(
        _run("check", cwd=tmp_path),
        _run("import", "cligate", "homeport.yaml", cwd=tmp_path),
        _run("import", "something", "settings.json", cwd=tmp_path),
    )
    assert (made.code, checked.code, other.code, unknown.code) == (0, 0, 2, 2)
    assert "    primary: null  #" in (tmp_path / "homeport.yaml").read_text()
    assert "note: assistant assistant-agent is bound to nothing: its requests will be refused\n" in checked.out
    assert other.err == "homeport.yaml:1:1: not JSON; name the file that CliGate wrote\n"


async def test_serve_without_a_configuration_needs_a_key(tmp_path: Path) -> None:
    """Neither a file nor a key: exit 2, and both ways out are named."""
    ran = await _run("serve", *_ANYWHERE, cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert "OPENAI_API_KEY" in ran.err
    assert "homeport init" in ran.err


async def test_serve_with_only_a_key_serves_the_default_assistant(tmp_path: Path, first: Simulator) -> None:
    """A key in the environment is enough: every model and endpoint passes through, a wrong model is the caller's."""
    env = {"OPENAI_API_KEY": "sk-made-up", "OPENAI_BASE_URL": first.base_url}
    async with _serving(*_ANYWHERE, cwd=tmp_path, env=env) as replica:
        client = replica.client()
        raw = await client.chat.completions.with_raw_response.create(
            model="any-model", messages=[{"role": "user", "content": "Hello"}]
        )
        assert raw.headers["x-homeport-assistant"] == "default"
        assert raw.headers["x-homeport-model"] == "any-model"
        assert raw.parse().model == "any-model"
        assert (await client.responses.create(model="m-2", input="Hello")).model == "m-2"
        assert (await client.completions.create(model="m-3", prompt="Hello")).model == "m-3"
        assert (await client.embeddings.create(model="e-1", input="Hello")).model == "e-1"
        assert [request.header("authorization") for request in first.requests] == ["Bearer sk-made-up"] * 4
        first.mood = moods.model_missing()
        for _ in range(4):
            with pytest.raises(openai.NotFoundError, match="wrong-model"):
                await client.chat.completions.create(
                    model="wrong-model", messages=[{"role": "user", "content": "Hello"}]
                )
        first.mood = moods.WELL
        assert (await client.responses.create(model="m-2", input="Hello")).model == "m-2"


async def test_serve_takes_the_file_that_stands_here(tmp_path: Path, first: Simulator) -> None:
    """./homeport.yaml is served unnamed, before a key in the environment; options override its addresses."""
    (tmp_path / "homeport.yaml").write_text(
        _config(first.base_url, "listen: 127.0.0.1:1\nadmin: {listen: 127.0.0.1:2}\n")
    )
    async with _serving(*_ANYWHERE, cwd=tmp_path, env={"OPENAI_API_KEY": "sk-made-up"}) as replica:
        assert not {1, 2, 8080, 8081} & set(_ports(replica))
        answer = await replica.client().chat.completions.create(
            model="whatever", messages=[{"role": "user", "content": "Hello"}]
        )
        assert answer.model == "m-1"
        assert await replica.stop() == 0


async def test_serve_refuses_addresses_that_make_no_sense(tmp_path: Path) -> None:
    """A fault in an option is exit 2 and names the option; so is one that only the option brings about."""
    (tmp_path / "homeport.yaml").write_text(_config("http://127.0.0.1:1/v1"))
    text, exposed, operators, same = await asyncio.gather(
        _run("serve", "--listen", "here", cwd=tmp_path),
        _run("serve", "--listen", "0.0.0.0:0", cwd=tmp_path),
        _run("serve", "--admin", "0.0.0.0:0", cwd=tmp_path),
        _run("serve", "--listen", "127.0.0.1:9099", "--admin", "127.0.0.1:9099", cwd=tmp_path),
    )
    for ran in (text, exposed, operators, same):
        assert (ran.code, ran.out) == (2, "")
        assert len(ran.err.splitlines()) == 1
    assert text.err.startswith("--listen: ")
    assert exposed.err.startswith("--listen: ")
    assert "clients: open" in exposed.err
    assert operators.err.startswith("--admin: ")
    assert "token" in operators.err
    assert same.err.startswith("--admin: ")


async def test_a_port_in_use_is_exit_1_with_the_way_out(tmp_path: Path) -> None:
    """Whichever of the two addresses is taken is named, with the options that choose another."""
    (tmp_path / "homeport.yaml").write_text(_config("http://127.0.0.1:1/v1"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        data, admin = await asyncio.gather(
            _run("serve", "--listen", address, "--admin", "127.0.0.1:0", cwd=tmp_path),
            _run("serve", "--listen", "127.0.0.1:0", "--admin", address, cwd=tmp_path),
        )
    for ran in (data, admin):
        assert (ran.code, ran.out) == (1, "")
        complaint = next(line for line in ran.err.splitlines() if line.startswith("homeport: "))
        assert address in complaint
        assert "--listen" in complaint
        assert "--admin" in complaint
        assert "Traceback" not in ran.err


async def test_beyond_loopback_clients_have_to_be_said(tmp_path: Path, first: Simulator) -> None:
    """Listening for others without `clients` refuses to start; `clients: open` insists, for pages of any origin too."""
    file = tmp_path / "homeport.yaml"
    file.write_text(_config(first.base_url, "listen: 0.0.0.0:0\n"))
    refused = await _run("serve", cwd=tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("homeport.yaml:2:9: listen: ")
    file.write_text(_config(first.base_url, "listen: 0.0.0.0:0\nadmin: {listen: 127.0.0.1:0}\nclients: open\n"))
    async with _serving(cwd=tmp_path) as replica, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{_ports(replica)[0]}/v1/models"
        async with session.get(url, headers={"Origin": "https://app.example"}) as response:
            assert response.status == 200


async def test_the_demo_shows_what_it_says(tmp_path: Path) -> None:
    """`demo --once` needs no key and no file, ends by itself with exit 0, and leaves nothing behind."""
    ran = await _run("demo", "--once", cwd=tmp_path)
    assert ran.code == 0, ran.out + ran.err
    assert ran.err == ""
    assert "Everything went as expected." in ran.out
    assert "NOT AS EXPECTED" not in ran.out
    assert 'homeport_breaker_state{assistant="support-bot",state="open",tier="primary"} 1.0' in ran.out
    assert os.listdir(tmp_path) == []

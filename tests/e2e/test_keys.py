"""`homeport keys` from a shell: a key that is made opens what it is limited to, and is found nowhere afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import openai
import pytest

from proxy.demo.simulator import Simulator
from tests.e2e.operated import homeport
from tests.e2e.replica import serve

_CONFIG = """\
# who may call
clients:
  - id: web  # the site
    key_sha256: "{digest}"
sources: {{first: {{kind: openai-compatible, base_url: "{url}"}}}}
assistants:
  bot: {{primary: {{source: first, model: m}}}}
  other: {{primary: {{source: first, model: n}}}}
"""


async def test_a_key_that_was_made_opens_what_it_is_limited_to(tmp_path: Path, first: Simulator) -> None:
    """Until its line is taken out of the file, which counts at once; only its digest stands there, among what was."""
    text, file = _CONFIG.format(digest="0" * 64, url=first.base_url), tmp_path / "homeport.yaml"
    file.write_text(f"version: 1\n{text}")
    ran = await homeport("keys", "new", "app", "--assistant", "bot", "--write", cwd=tmp_path)
    key, line = ran.out.splitlines()
    assert (ran.code, key[:3], len(key)) == (0, "hp_", 46)
    assert "shown this once" in ran.err
    assert key not in ran.err + file.read_text() + line
    assert line in file.read_text()
    assert "- id: web  # the site\n" in file.read_text()
    listed = await homeport("keys", "list", cwd=tmp_path)
    assert (listed.code, listed.err) == (0, "")
    assert listed.out == f"web  000000000000…  all assistants\napp  {line.split(chr(34))[1][:12]}…  bot\n"
    again = await homeport("keys", "new", "app", "--write", cwd=tmp_path)
    assert (again.code, again.out) == (2, "")
    assert "there is a client `app` already" in again.err

    async with serve(tmp_path, file.read_text().removeprefix("version: 1\n")) as replica:
        messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
        client = replica.client(api_key=key)
        assert (await client.chat.completions.create(model="any", messages=messages)).choices
        with pytest.raises(openai.PermissionDeniedError):
            await replica.client("other", api_key=key).chat.completions.create(model="any", messages=messages)
        with pytest.raises(openai.AuthenticationError):
            await replica.client(api_key=key[:-1]).chat.completions.create(model="any", messages=messages)
        assert (await replica.line("request", assistant="bot"))["client"] == "app"
        left = [each for each in file.read_text().splitlines(keepends=True) if line.strip() not in each]
        file.write_text("".join(left))
        await replica.line("reload", result="ok")
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model="any", messages=messages)
        assert await replica.stop() == 0
        assert key not in str(replica.lines)


async def test_without_a_file_the_line_is_for_the_person(tmp_path: Path) -> None:
    """A key and the line to write down; nothing is read or written, and what is at fault is exit 2."""
    ran = await homeport("keys", "new", "web", cwd=tmp_path)
    assert (ran.code, len(ran.out.splitlines())) == (0, 2)
    assert "under `clients:`" in ran.err
    assert os.listdir(tmp_path) == []
    for arguments in (("new", "no name"), ("new", "web", "--write"), ("list",), ("new", "web", "-c", "gone.yaml")):
        ran = await homeport("keys", *arguments, cwd=tmp_path)
        assert (ran.code, ran.out) == (2, ""), arguments
        assert ran.err.count("\n") == 1

"""The canaries once more, while every library says all that it can; and where a token is made up."""

from __future__ import annotations

from pathlib import Path

import pytest

import proxy
from tests.e2e.betrayed import DEBUG, betrayed
from tests.e2e.test_canaries import callers, everything
from tests.integration.redis_server import running


@pytest.fixture(autouse=True)
def this_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs the code that is under test, whatever it would import by itself."""
    monkeypatch.setenv("PYTHONPATH", str(Path(proxy.__file__).parents[1]))


async def test_debugging_tells_no_canary_either(tmp_path: Path) -> None:
    """Python's development mode, asyncio's debug mode and every logger at DEBUG: still no secret is heard."""
    ears = await everything(tmp_path, DEBUG)
    assert sorted(set(ears.leaks)) == []
    assert ears.places["log"] > 1000


async def test_a_made_up_token_is_told_on_stdout_alone(tmp_path: Path) -> None:
    """Without a token in the file one is made up: who started Homeport reads it there, and nobody anywhere else."""
    with running() as redis:
        async with betrayed(tmp_path, redis) as stage, stage.monitored():
            stage.write()
            text = stage.file.read_text().replace(', token: "${ADMIN_TOKEN}"', "")
            stage.file.write_text(text)
            await stage.start(DEBUG)
            output = stage.replica.process.stdout
            assert output is not None
            said = (await output.readline()).decode().rstrip()
            stage.token = stage.canaries.know("made-up token", said.rpartition(" ")[2])
            await stage.operate("GET", "/api/status")
            await callers(stage)
            stage.look_around()
            await stage.stop()
            assert sorted(set(stage.ears.leaks)) == []
            assert stage.ears.places["log"] > 1000

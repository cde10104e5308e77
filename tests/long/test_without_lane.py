"""All that is tested of requests and answers holds without the lane too: the same tests over aiohttp's server alone."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.e2e.replica import WITHOUT_LANE

_SAME = ("relay", "wire", "identity", "sdk", "sdk_errors", "drain", "faults", "faults_cut", "faults_held", "garbage")


async def test_the_same_holds_without_the_lane() -> None:
    """In processes of their own; what they print is shown when they fail."""
    files = [f"tests/e2e/test_{name}.py" for name in _SAME]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *files),
        env={**os.environ, WITHOUT_LANE: "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()[-20_000:]

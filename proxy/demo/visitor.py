"""The caller of the guided tour: asks the running proxy, and says what its answers and its metrics say.

1. What it prints of a request was read from the answer that came, or from the metrics; it knows nothing else.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from proxy.providers import sse

_LOOKS = 20
"""At a metric, 0.1 s apart. A request is counted when it is over: a moment after its caller has read the last byte."""


def say(text: str = "") -> None:
    """One line, or several, for the visitor to read."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a visitor sees of one answer."""

    status: int
    tier: str
    """`-` when no tier served."""
    text: str
    """The words of the first choice."""
    error: Mapping[str, Any] | None
    """The error object of the body or of the stream."""
    done: bool
    """A stream said `[DONE]`."""


class Visitor:
    """Sends requests one at a time."""

    def __init__(self, api: str, operators: str, session: aiohttp.ClientSession) -> None:
        self._api, self._operators, self._session = api, operators, session

    def heading(self) -> None:
        """Name the columns of what `ask` prints."""
        say(f"   {'assistant':<14}{'asks for':<10}{'status':<8}{'tier':<12}{'served by':<21}{'attempts':<10}took")

    async def ask(self, assistant: str, *, stream: bool = False) -> Answer:
        """One chat request, and a line about it."""
        question = {"role": "user", "content": "Where is my parcel?"}
        began = time.monotonic()
        async with self._session.post(
            f"{self._api}/v1/chat/completions",
            data=orjson.dumps({"model": "any", "stream": stream, "messages": [question]}),
            headers={"Content-Type": "application/json", "X-Assistant-Id": assistant},
        ) as response:
            body = await response.read()
            took = time.monotonic() - began
            told = {name.lower().removeprefix("x-homeport-"): value for name, value in response.headers.items()}
        by = f"{told['source']}/{told['model']}" if "source" in told else "-"
        what, tier = "stream" if stream else "json", told.get("tier", "-")
        say(
            f"   {assistant:<14}{what:<10}{response.status:<8}{tier:<12}{by:<21}{told.get('attempts', '-'):<10}"
            f"{took * 1000:.0f} ms"
        )
        if "reason" in told:
            say(f"   {'':<14}because {told['reason']}")
        if response.content_type == "text/event-stream":
            return Answer(response.status, tier, *read_stream(body))
        document = orjson.loads(body)
        text = document["choices"][0]["message"]["content"] if "choices" in document else ""
        return Answer(response.status, tier, text, document.get("error"), done=False)

    async def show(self, metric: str, *labels: str, value: str = ".*") -> bool:
        """Print the lines of one metric that carry these labels and match `value`; False if there are none."""
        for _ in range(_LOOKS):
            if lines := await self._lines(metric, labels, value):
                say("\n".join(f"   metric  {line}" for line in lines))
                return True
            await asyncio.sleep(0.1)
        return False

    async def _lines(self, metric: str, labels: tuple[str, ...], value: str) -> list[str]:
        async with self._session.get(f"{self._operators}/metrics") as response:
            text = await response.text()
        found = re.findall(rf"^{metric}{{.*}} {value}$", text, re.MULTILINE)
        return [line for line in found if all(label in line for label in labels)]


def read_stream(body: bytes) -> tuple[str, Mapping[str, Any] | None, bool]:
    """A chat stream's words, its error if it has one, and whether it said `[DONE]`."""
    words, error, done = [], None, False
    for event in sse.Splitter().feed(body):
        _, data = sse.parse(event)
        if data == b"[DONE]":
            done = True
        elif data:
            document = orjson.loads(data)
            error = document.get("error") or error
            words += [each["delta"].get("content") or "" for each in document.get("choices", ())]
    return "".join(words), error, done

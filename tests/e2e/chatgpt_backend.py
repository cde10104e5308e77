"""A ChatGPT account's backend on a real socket, as strict as it is said to be: what breaks its rules is a 400.

1. It answers as a stream, without a content type, whatever is asked.
2. What a test has it say instead comes first; a token that is not good is refused before anything is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from proxy.demo.wire import Received, chunk, head, read
from proxy.terms import Headers
from tests.unit.providers.chatgpt.told import account, plain

ACCOUNT = "acc-of-the-test"
MODEL = "gpt-5.5"
# OpenAI, limits of the preview; the last three are what others met.
_UNSUPPORTED = frozenset(
    {
        "background",
        "conversation",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "moderation",
        "multi_agent",
        "previous_response_id",
        "prompt",
        "prompt_cache_retention",
        "safety_identifier",
        "temperature",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
        "context_management",
        "max_completion_tokens",
        "prompt_cache_options",
    }
)
_JSON = (("Content-Type", "application/json"),)


class ChatGPT:
    """One backend."""

    def __init__(self, good: Callable[[str], bool]) -> None:
        """`good` says whether a token is."""
        self._good = good
        self.base_url = ""
        self.received: list[Received] = []
        self.lists = True
        """It has a listing of models."""
        self.gate: asyncio.Event | None = None
        """It is silent until then."""
        self.says: list[tuple[int, Headers, bytes]] = []
        """Said to the next requests, in place of an answer."""

    @property
    def body(self) -> dict[str, Any]:
        """What it was asked last."""
        document: dict[str, Any] = orjson.loads(self.received[-1].body)
        return document

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while (received := await read(reader, lambda: None, 1)) is not None:
                self.received.append(received)
                if self.gate is not None:
                    await self.gate.wait()
                status, headers, body = self._answer(received)
                writer.write(head(status, (*headers, ("Transfer-Encoding", "chunked"))))
                for place in range(0, len(body), 97):
                    writer.write(chunk(body[place : place + 97]))
                    await writer.drain()
                writer.write(chunk(b""))

    def _answer(self, received: Received) -> tuple[int, Headers, bytes]:
        if not self._good((received.header("authorization") or "").removeprefix("Bearer ")):
            return _refused("Could not parse your authentication token. Please try signing in again.", 401)
        if self.says:
            return self.says.pop(0)
        if received.method == "GET":
            return self._listing(received)
        document = orjson.loads(received.body)
        if why := wrong(received, document):
            return _refused(why)
        asked = {key: document[key] for key in ("model", "input", "tools", "tool_choice") if key in document}
        limits = (("x-codex-primary-used-percent", "6"), ("x-oai-request-id", "of-the-upstream"))
        return 200, limits, b"".join(account(plain(**asked)))

    def _listing(self, received: Received) -> tuple[int, Headers, bytes]:
        if not self.lists:
            return _refused("Not Found", 404)
        if not received.query.startswith("client_version="):
            return _refused("client_version is required")
        return 200, _JSON, orjson.dumps({"models": [{"slug": MODEL, "visibility": "list"}, {"slug": "gpt-5.4"}]})


def _refused(detail: str, status: int = 400) -> tuple[int, Headers, bytes]:
    return status, _JSON, orjson.dumps({"detail": detail})


def wrong(received: Received, document: dict[str, Any]) -> str:
    """What breaks a rule; empty when nothing does."""
    items = document.get("input")
    rules = {
        "Not found": received.path != "/codex/responses",
        "The account is missing": received.header("chatgpt-account-id") != ACCOUNT,
        "The stream is not accepted": received.header("accept") != "text/event-stream",
        "The originator is missing": received.header("originator") != "homeport",
        "Stream must be set to true": document.get("stream") is not True,
        "Store must be set to false": document.get("store") is not False,
        "Instructions are required": not isinstance(document.get("instructions"), str),
        "Input must be a list": not isinstance(items, list) or not items,
        f"Unsupported service_tier: {document.get('service_tier')}": document.get("service_tier", "priority")
        != "priority",
        f"The '{document.get('model')}' model is not supported when using Codex with a ChatGPT account.": document.get(
            "model"
        )
        != MODEL,
    }
    rules |= {f"Unsupported parameter: {key}": True for key in document if key in _UNSUPPORTED}
    for item in items if isinstance(items, list) else ():
        rules["System messages are not allowed"] = item.get("role") == "system"
        rules["Unknown parameter: 'input.content'"] = "type" not in item
        rules[f"Item with id '{item.get('id')}' not found."] = "id" in item
        if any(rules.values()):
            break
    return next((rule for rule, broken in rules.items() if broken), "")


@contextlib.asynccontextmanager
async def chatgpt(good: Callable[[str], bool]) -> AsyncIterator[ChatGPT]:
    """Listening on a free port; ended with the test."""
    backend = ChatGPT(good)
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    backend.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/codex"
    try:
        yield backend
    finally:
        if backend.gate is not None:
            backend.gate.set()
        server.close()

"""Every kind of source, in one table: where it is unless said otherwise, how its credential is sent, what it speaks.

1. Whoever needs to know what a kind is asks here; nobody else compares the names of kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.providers.anthropic.messages import AccountMessages, Messages
from proxy.providers.chatgpt.backend import Backend
from proxy.providers.dialect import Dialect
from proxy.providers.passthrough import Azure, PassThrough
from proxy.providers.responses.by_chat import ByChat
from proxy.providers.responses.by_responses import ByResponses


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of source."""

    dialect: Callable[[str | None], Dialect]
    """From the source's `api_version`."""
    base_url: str | None = None
    """None: the source has to say its own."""
    example: str = ""
    """Of a base URL, for who forgot it."""
    credential: str = "Authorization"
    """The header that carries the source's key."""
    bearer: bool = True
    """The key stands in it as a bearer token; otherwise alone."""
    versioned: bool = False
    """A source may name an `api_version`."""
    account: bool = False
    """It is an account's: without a credential there is nobody to serve."""
    own_paths: tuple[str, ...] = ()
    """Ends of a base URL that the dialect adds by itself, longest first."""
    partly: bool = True
    """A source may have a part of OpenAI's API alone, and say so by `api`."""


_OPENAI = PassThrough()
_ANTHROPIC, _CLAUDE_ACCOUNT = ByChat(Messages()), ByChat(AccountMessages())
_CHATGPT_ACCOUNT = ByResponses(Backend())

KINDS: Mapping[str, Kind] = {
    "openai": Kind(lambda _: _OPENAI, "https://api.openai.com/v1"),
    "openai-compatible": Kind(lambda _: _OPENAI, example="http://127.0.0.1:11434/v1"),
    "azure-openai": Kind(
        Azure,
        example="https://my-resource.openai.azure.com",
        credential="api-key",
        bearer=False,
        versioned=True,
        own_paths=("/openai/v1", "/openai"),
    ),
    "anthropic": Kind(
        lambda _: _ANTHROPIC, "https://api.anthropic.com/v1", credential="x-api-key", bearer=False, partly=False
    ),
    "claude-account": Kind(lambda _: _CLAUDE_ACCOUNT, "https://api.anthropic.com/v1", account=True, partly=False),
    "chatgpt-account": Kind(
        lambda _: _CHATGPT_ACCOUNT, "https://chatgpt.com/backend-api/codex", account=True, partly=False
    ),
}


def dialect(kind: str, api_version: str | None, api: str) -> Dialect:
    """What a source speaks: its kind's own dialect, around which what it lacks of OpenAI's API is made of the rest."""
    own = KINDS[kind].dialect(api_version)
    return {"both": own, "chat": ByChat(own), "responses": ByResponses(own)}[api]

"""The kind `chatgpt-account`: the Responses API as a ChatGPT account has it, and nothing else.

1. Whatever the caller asked for, the source streams; who asked for no stream gets the answer of which it told.
2. Whose account it is goes as a header beside the token: as the operator says, as the token's file says, or as the
   token itself says, in this order.
3. Whoever calls sees OpenAI's API and nothing else: answers, events, errors and their words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.providers import openai, refused, tokens
from proxy.providers.carried import CannotCarry
from proxy.providers.chatgpt import request
from proxy.providers.chatgpt.stream import AccountReader, Gatherer
from proxy.providers.dialect import Call, Told, Uncarried
from proxy.providers.lenient import dumps
from proxy.terms import RESPONSES, Binding, Diagnosis, Endpoint, Headers, Question, StreamReader

_ACCOUNT = "chatgpt-account-id"
_CLAIM, _ITS_ACCOUNT = "https://api.openai.com/auth", "chatgpt_account_id"
_ANY_VERSION = "99.0.0"
"""The listing leaves out what is newer than the client that asks."""


class Backend:
    """An account's Responses API below a base URL that ends where it begins."""

    headers: Headers = (
        ("Accept", "text/event-stream"),
        ("OpenAI-Beta", "responses=experimental"),
        ("originator", "homeport"),
    )
    foreign: tuple[str, ...] = ()
    listing = f"/models?client_version={_ANY_VERSION}"
    lists = True

    def path(self, endpoint: Endpoint, model: str) -> str:
        return RESPONSES.path

    def rewrites(self, endpoint: Endpoint) -> bool:
        return True

    def serves(self, endpoint: Endpoint) -> bool:
        return endpoint == RESPONSES

    def beside(self, token: str, account: str) -> Headers:
        name = account or _account(token)
        return ((_ACCOUNT, name),) if name else ()

    def sifts(self, endpoint: Endpoint, binding: Binding) -> bool:
        return True

    def call(self, question: Question, binding: Binding) -> Call | Uncarried:
        if not self.serves(question.endpoint):
            why = f"A ChatGPT account has the Responses API alone, and no {question.endpoint.name}."
            return Uncarried("endpoint", "endpoint", why)
        model = binding.bound_model or question.model
        if model is None:
            return Uncarried("model", "model", "No model is named: this tier passes the caller's on.")
        try:
            asked, dropped = request.translate(openai.amended(question.document, binding.params), model)
        except CannotCarry as cannot:
            return cannot.uncarried
        return Call(RESPONSES.path, dumps(asked), dropped)

    def answer(self, question: Question, body: bytes, document: Mapping[str, Any], now_unix: float) -> Told | None:
        if not isinstance(document.get("output"), list):
            return None
        model = document.get("model")
        return Told(body, openai.read_usage(document.get("usage")), model if isinstance(model, str) else None)

    def reader(
        self, question: Question, binding: Binding, named: Callable[[str], str | None], now_unix: float
    ) -> StreamReader:
        return AccountReader(named)

    def gatherer(self, named: Callable[[str], str | None]) -> StreamReader | None:
        return Gatherer(named)

    def refusal(self, body: bytes, diagnosis: Diagnosis) -> bytes:
        return refused.error(body, diagnosis)


def _account(token: str) -> str:
    """Whose account a token is good for, as it says of itself."""
    claim = tokens.claims(token).get(_CLAIM)
    name = claim.get(_ITS_ACCOUNT) if isinstance(claim, Mapping) else None
    return name if isinstance(name, str) and tokens.sendable(name) else ""

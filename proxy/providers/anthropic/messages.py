"""The kinds `anthropic` and `claude-account`: chat completions carried into the Messages API and back.

1. Only chat completions are: the other endpoints have no counterpart there. Responses come as chat completions.
2. Whoever calls sees OpenAI's API and nothing else: answers, chunks, errors and their words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.providers import refused
from proxy.providers.anthropic import answer, request
from proxy.providers.anthropic.stream import MessagesReader
from proxy.providers.carried import CannotCarry
from proxy.providers.dialect import Call, Told, Uncarried
from proxy.providers.lenient import dumps
from proxy.providers.openai import amended
from proxy.terms import CHAT, Binding, Diagnosis, Endpoint, Headers, Question, StreamReader

PATH = "/messages"
VERSION = "2023-06-01"


class Messages:
    """Anthropic's API below a base URL that ends where it begins, mostly with `/v1`."""

    headers: Headers = (("anthropic-version", VERSION),)
    # What the caller's SDK tells OpenAI of itself, and the version that is ours to say.
    foreign = ("openai-", "x-stainless-", "anthropic-version")
    listing = "/models?limit=1000"
    lists = True

    def path(self, endpoint: Endpoint, model: str) -> str:
        return PATH

    def rewrites(self, endpoint: Endpoint) -> bool:
        return True

    def serves(self, endpoint: Endpoint) -> bool:
        return endpoint == CHAT

    def beside(self, token: str, account: str) -> Headers:
        return ()

    def sifts(self, endpoint: Endpoint, binding: Binding) -> bool:
        return True

    def call(self, question: Question, binding: Binding) -> Call | Uncarried:
        if not self.serves(question.endpoint):
            return Uncarried(
                "endpoint", "endpoint", f"Claude is asked by chat completions, not by {question.endpoint.name}."
            )
        model = binding.bound_model or question.model
        if model is None:
            return Uncarried("model", "model", "No model is named: this tier passes the caller's on.")
        try:
            asked, dropped = request.translate(question.document, model, binding)
        except CannotCarry as cannot:
            return cannot.uncarried
        return Call(PATH, dumps(asked), dropped)

    def answer(self, question: Question, body: bytes, document: Mapping[str, Any], now_unix: float) -> Told | None:
        return answer.told(document, now_unix)

    def reader(
        self, question: Question, binding: Binding, named: Callable[[str], str | None], now_unix: float
    ) -> StreamReader:
        options = amended(question.document, binding.params).get("stream_options")
        with_usage = isinstance(options, Mapping) and options.get("include_usage") is True
        return MessagesReader(named, now_unix, with_usage=with_usage)

    def gatherer(self, named: Callable[[str], str | None]) -> StreamReader | None:
        return None

    def refusal(self, body: bytes, diagnosis: Diagnosis) -> bytes:
        return refused.error(body, diagnosis)


class AccountMessages(Messages):
    """The same API for an account's access token."""

    headers: Headers = (*Messages.headers, ("anthropic-beta", "oauth-2025-04-20"))

"""A source that has the Responses API alone, and is asked for chat completions all the same.

1. It serves these two, and nothing else of OpenAI's API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.providers import openai
from proxy.providers.dialect import Call, Uncarried
from proxy.providers.responses import chat_answer, chat_request
from proxy.providers.responses.chat_stream import ResponsesRetold
from proxy.providers.responses.through import Through
from proxy.terms import CHAT, RESPONSES, Binding, Endpoint, Params, Question, StreamReader


class ByResponses(Through):
    """A dialect that has no chat completions, with them."""

    asked = CHAT
    by = RESPONSES
    own = chat_request.OWN

    def serves(self, endpoint: Endpoint) -> bool:
        return endpoint in (CHAT, RESPONSES)

    def call(self, question: Question, binding: Binding) -> Call | Uncarried:
        if not self.serves(question.endpoint):
            why = f"This source has the Responses API alone, and no {question.endpoint.name}."
            return Uncarried("endpoint", "endpoint", why)
        return super().call(question, binding)

    def translate(self, document: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        return chat_request.translate(document)

    def called(self, name: str, asked: Mapping[str, Any]) -> str:
        return chat_request.called(name, asked)

    def told(self, asked: Mapping[str, Any], document: Mapping[str, Any], now_unix: float) -> dict[str, Any] | None:
        return chat_answer.completion(document, now_unix)

    def retold(self, reader: StreamReader, asked: Mapping[str, Any], params: Params, now_unix: float) -> StreamReader:
        options = openai.amended(asked, params).get("stream_options")
        with_usage = isinstance(options, Mapping) and options.get("include_usage") is True
        return ResponsesRetold(reader, asked["model"] or "", now_unix, with_usage=with_usage)

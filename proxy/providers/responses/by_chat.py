"""A source that has chat completions alone, and is asked for Responses all the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.providers.responses import answer, request
from proxy.providers.responses.stream import ChatRetold
from proxy.providers.responses.through import Through
from proxy.terms import CHAT, RESPONSES, Params, StreamReader


class ByChat(Through):
    """A dialect that has no Responses API, with one."""

    asked = RESPONSES
    by = CHAT
    own = request.OWN

    def translate(self, document: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        return request.translate(document)

    def called(self, name: str, asked: Mapping[str, Any]) -> str:
        return request.called(name)

    def told(self, asked: Mapping[str, Any], document: Mapping[str, Any], now_unix: float) -> dict[str, Any] | None:
        return answer.response(asked, document, now_unix)

    def retold(self, reader: StreamReader, asked: Mapping[str, Any], params: Params, now_unix: float) -> StreamReader:
        return ChatRetold(reader, asked, now_unix)

"""A ChatGPT account: whatever is asked keeps the backend's rules or is refused, whatever it tells is told soundly."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from proxy.demo.wire import Received
from proxy.providers import sse
from proxy.providers.chatgpt.backend import Backend
from proxy.providers.chatgpt.stream import AccountReader, Gatherer
from proxy.providers.dialect import Call
from proxy.providers.kinds import dialect
from proxy.providers.openai import ResponsesReader
from proxy.terms import CHAT, RESPONSES, Binding, Params, Question, Sign, StreamReader
from tests.e2e.chatgpt_backend import ACCOUNT, MODEL, wrong
from tests.property.test_responses import _ANYTHING, _FIELDS, _GOOD, _JSON
from tests.unit.providers.anthropic.transcripts import chunks

_SPOKEN = dialect("chatgpt-account", None, "both")
_SENT = (*Backend.headers, ("chatgpt-account-id", ACCOUNT))


@given(st.lists(_GOOD | _JSON, max_size=4) | _JSON, _ANYTHING, st.dictionaries(st.sampled_from(_FIELDS), _JSON))
def test_whatever_is_asked_keeps_the_rules(items: Any, fields: dict[str, Any], more: dict[str, Any]) -> None:
    """Or is refused before anything is sent; also with what an operator sets. An empty input is the source's."""
    document = {"model": "any", **fields, "input": items}
    question = Question(RESPONSES, b"", document, (), "", False, "any")
    for params in (Params(), Params(set=more)):
        call = Backend().call(question, Binding("s", "chatgpt-account", MODEL, params))
        if isinstance(call, Call):
            body = orjson.loads(call.body)
            rule = wrong(Received("POST", "/codex/responses", _SENT, call.body), body)
            assert rule in ("", "Input must be a list", _untyped(body)), rule


def _untyped(body: dict[str, Any]) -> str:
    """What is no item of the API's is as it came, which is the caller's fault."""
    known = all(item.get("type") for item in body["input"])
    return "Input must be a list" if known else "Unknown parameter: 'input.content'"


_KINDS = [
    "response.created", "response.in_progress", "response.output_item.added", "response.output_item.done",
    "response.output_text.delta", "response.function_call_arguments.delta", "response.completed",
    "response.incomplete", "response.failed", "response.metadata", "codex.rate_limits", "keepalive", "error",
]  # fmt: skip
_TOLD = st.fixed_dictionaries(
    {"type": st.sampled_from(_KINDS) | _JSON},
    optional={
        "output_index": st.integers(0, 2) | _JSON,
        "item": st.fixed_dictionaries({"type": st.sampled_from(["message", "function_call"]) | _JSON}) | _JSON,
        "delta": _JSON,
        "error": _JSON,
        "response": st.fixed_dictionaries({}, optional={"output": _JSON, "status": _JSON, "usage": _JSON}) | _JSON,
    },
)


@given(st.lists(_TOLD | _JSON, max_size=10), st.sampled_from(["", "keepalive", "response.completed"]))
def test_whatever_it_tells_is_told_soundly(documents: list[Any], name: str) -> None:
    """Nothing makes a reader stumble; nothing is told of its own events, and an answer is one or none."""
    before = f"event: {name}\n".encode() if name else b""
    data = b"".join(before + b"data: " + orjson.dumps(each) + b"\n\n" for each in documents)
    chat = Question(CHAT, b"", {"stream": True}, (), "", True, "any")
    retold = _SPOKEN.reader(chat, Binding("s", "chatgpt-account", MODEL), str, 1.79e9)
    readers: list[StreamReader] = [ResponsesReader(str), AccountReader(str), Gatherer(str), retold]
    plain, account, gathered, chats = ([*each.feed(data), *each.finish()] for each in readers)
    assert len(plain) == len(account) == len(gathered)
    for raw in (event.raw for event in account if event.sign is not Sign.GARBAGE):
        assert not sse.parse(raw)[1] or b"codex.rate_limits" not in raw or b'"error"' in raw
    chunks(chats)
    for event in gathered:
        if event.sign is Sign.DONE and event.raw:
            made = _SPOKEN.answer(chat, event.raw, orjson.loads(event.raw), 1.79e9)
            assert made is None or orjson.loads(made.body)["object"] == "chat.completion"
        else:
            assert event.raw == b""

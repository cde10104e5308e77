"""What comes of a ChatGPT account: a stream with events of its own, and the answer for who asked for no stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from proxy.providers import sse
from proxy.providers.chatgpt import stream
from proxy.providers.chatgpt.backend import Backend
from proxy.providers.chatgpt.stream import AccountReader, Gatherer
from proxy.providers.kinds import dialect
from proxy.terms import CHAT, RESPONSES, Binding, Cause, Diagnosis, Endpoint, Question, Sign, StreamEvent, StreamReader
from tests.unit.providers.anthropic.transcripts import chunks
from tests.unit.providers.chatgpt.told import OWN, account, plain
from tests.unit.providers.responses.asked import NOW, WEATHER, sound

_FOLDER = Path(__file__).parents[1] / "fixtures" / "chatgpt"
_EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
_BINDING = Binding("s", "chatgpt-account", "served")
_ASKED: dict[str, dict[str, Any]] = {
    "text": {},
    "thoughts": {"model": "thinking-m"},
    "tools": {"tools": [WEATHER], "tool_choice": "required"},
    "length": {"max_output_tokens": 2},
}


def _read(reader: StreamReader, data: bytes) -> list[StreamEvent]:
    return [*reader.feed(data), *reader.finish()]


def _texts(events: list[StreamEvent]) -> list[Any]:
    """What the caller's parser makes of it: documents, comments left out."""
    told = sse.Splitter().feed(b"".join(event.raw for event in events))
    return [orjson.loads(data) for data in (sse.parse(raw)[1] for raw in told) if data is not None]


@pytest.mark.parametrize("name", _ASKED)
def test_a_caller_sees_openais_stream(name: str) -> None:
    """Document for document, the end with the whole answer; cut anywhere, the same."""
    events = plain(**_ASKED[name])
    data = b"".join(account(events))
    reader = AccountReader(str)
    told = _read(reader, data)
    assert _texts(told) == [orjson.loads(sse.parse(raw)[1] or b"") for raw in events]
    assert (told[-1].sign, reader.whole, reader.model) == (Sign.DONE, True, _ASKED[name].get("model", "m"))
    assert reader.usage is not None
    for cut in range(len(data) + 1):
        again = AccountReader(str)
        assert [*again.feed(data[:cut]), *again.feed(data[cut:]), *again.finish()] == told


@pytest.mark.parametrize("own", OWN)
def test_its_own_events_are_signs_of_life_and_no_content(own: bytes) -> None:
    """So nothing is committed by one, and the caller's parser never meets it."""
    (event,) = AccountReader(str).feed(own)
    assert event.sign is Sign.LIFE
    assert sse.parse(event.raw)[1] is None
    assert b"codex" not in event.raw


def test_an_end_that_has_the_answer_is_left_as_it_is() -> None:
    """Byte for byte, as everything else that is OpenAI's."""
    events = plain()
    told = _read(AccountReader(str), b"".join(events))
    assert [event.raw for event in told] == events


@pytest.mark.parametrize("name", _ASKED)
@pytest.mark.parametrize("own", [False, True])
def test_who_asked_for_no_stream_gets_the_answer(name: str, *, own: bool) -> None:
    """The very document that the stream ends with, as OpenAI's SDK reads it; cut anywhere, the same."""
    events = plain(**_ASKED[name])
    data = b"".join(account(events) if own else events)
    reader = Gatherer(str)
    told = _read(reader, data)
    assert b"".join(event.raw for event in told[:-1]) == b""
    answer = Response.model_validate(orjson.loads(told[-1].raw), strict=True)
    assert orjson.loads(told[-1].raw) == _texts([StreamEvent(events[-1], Sign.DONE)])[0]["response"]
    assert answer.status == ("incomplete" if name == "length" else "completed")
    assert (reader.whole, reader.model) == (True, _ASKED[name].get("model", "m"))
    assert reader.usage is not None
    for cut in range(len(data) + 1):
        again = Gatherer(str)
        assert [*again.feed(data[:cut]), *again.feed(data[cut:]), *again.finish()] == told


def _event(kind: str, **fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"


_HI = _event("response.output_text.delta", output_index=0, delta="Hi")
_ENDED = _event("response.completed", response={"id": "resp_1", "output": []})


@pytest.mark.parametrize(
    ("data", "sign"),
    [
        (b"", None),
        (_HI, Sign.CONTENT),
        (_HI + _ENDED, Sign.DONE),
        (b"data: [DONE]\n\n", Sign.DONE),
        (_event("response.failed", response={"error": {"code": "server_error", "message": "m"}}), Sign.FAILED),
        (_event("error", error={"type": "usage_limit_reached", "message": "m"}), Sign.ERROR),
        (b"data: {\n\n", Sign.GARBAGE),
        (b"data: []\n\n", Sign.GARBAGE),
    ],
)
def test_what_is_no_answer(data: bytes, sign: Sign | None) -> None:
    """It is not whole, and nothing of it is for the caller: also where something was told and nothing done."""
    reader = Gatherer(str)
    told = _read(reader, data)
    assert [event.sign for event in told][-1:] == ([] if sign is None else [sign])
    assert not reader.whole
    assert b"".join(event.raw for event in told) == b""
    assert all(event.error for event in told if event.sign in (Sign.FAILED, Sign.ERROR))


def test_items_come_in_their_places() -> None:
    """However they were done; one without a place comes behind."""
    items = [{"type": "message", "id": f"msg_{place}", "content": []} for place in range(3)]
    done = [(1, items[1]), (0, items[0]), (None, items[2])]
    data = b"".join(_event("response.output_item.done", output_index=place, item=item) for place, item in done)
    told = _read(Gatherer(str), data + _ENDED)
    assert orjson.loads(told[-1].raw)["output"] == items


def test_no_more_is_kept_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer beyond that is broken, streamed or not: it could not be told whole."""
    item = _event("response.output_item.done", output_index=0, item={"type": "message", "content": ["x" * 100]})
    monkeypatch.setattr(stream, "MOST", 2 * len(item))
    for reader in (AccountReader(str), Gatherer(str)):
        assert [event.sign for event in reader.feed(3 * item)] == [Sign.CONTENT, Sign.CONTENT, Sign.GARBAGE]


def _chat(**document: Any) -> Question:
    whole = {"model": "any", "messages": [{"role": "user", "content": "Where?"}], **document}
    return Question(CHAT, orjson.dumps(whole), whole, (), "", whole.get("stream") is True, "any")


@pytest.mark.parametrize(("name", "endpoint"), [("response", RESPONSES), ("chat", CHAT)])
def test_a_transcript(name: str, endpoint: Endpoint) -> None:
    """Thoughts, words and a call, with what is between them: to each way to ask the very bytes that are kept here."""
    spoken = dialect("chatgpt-account", None, "both")
    data = (_FOLDER / "answer.sse").read_bytes()
    document = {"model": "any", "stream": True, "stream_options": {"include_usage": True}}
    asked = Question(endpoint, b"", document, (), "", True, "any")
    told = _read(spoken.reader(asked, _BINDING, str, NOW), data)
    assert b"".join(event.raw for event in told) == (_FOLDER / f"{name}.sse").read_bytes()
    gatherer = spoken.gatherer(str)
    assert gatherer is not None
    *_, last = _read(gatherer, data)
    made = spoken.answer(asked, last.raw, orjson.loads(last.raw), NOW)
    assert made is not None
    assert orjson.loads(made.body) == orjson.loads((_FOLDER / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", _ASKED)
def test_a_chat_streamed_and_not(name: str) -> None:
    """Both are made of the same stream, and say the same."""
    spoken = dialect("chatgpt-account", None, "both")
    data = b"".join(account(plain(**_ASKED[name])))
    asked = _chat(stream=True, stream_options={"include_usage": True})
    told = _read(spoken.reader(asked, _BINDING, str, NOW), data)
    found = chunks(told)
    assert told[-1].raw.endswith(b"data: [DONE]\n\n")
    gatherer = spoken.gatherer(str)
    assert gatherer is not None
    *_, last = _read(gatherer, data)
    made = spoken.answer(_chat(), last.raw, orjson.loads(last.raw), NOW)
    assert made is not None
    answer = ChatCompletion.model_validate(orjson.loads(made.body), strict=True)
    assert made.usage == gatherer.usage
    assert answer.choices[0].finish_reason == {"tools": "tool_calls", "length": "length"}.get(name, "stop")
    assert answer.choices[0].finish_reason in {choice.finish_reason for chunk in found for choice in chunk.choices}
    said = "".join(choice.delta.content or "" for chunk in found for choice in chunk.choices)
    assert (answer.choices[0].message.content or "") == said
    assert answer.usage == found[-1].usage


@pytest.mark.parametrize(
    ("body", "cause", "error"),
    [
        (
            b'{"detail":"Unsupported parameter: x"}',
            Cause.CLIENT_FAULT,
            {"message": "Unsupported parameter: x", "type": "upstream_error", "code": None},
        ),
        (
            b'{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"plus"}}',
            Cause.QUOTA,
            {
                "message": "The usage limit has been reached",
                "type": "usage_limit_reached",
                "code": "insufficient_quota",
            },
        ),
        (b"<html>", Cause.ACCESS_DENIED, {"message": "The upstream gave no message.", "code": "access_denied"}),
    ],
)
def test_errors_are_openais(body: bytes, cause: Cause, error: dict[str, Any]) -> None:
    """With the message that there is, and a code that callers look for; nothing of the account."""
    told = orjson.loads(Backend().refusal(body, Diagnosis(cause, "d")))["error"]
    assert told == {"type": "upstream_error", "param": None, **error}


def test_the_sdk_finds_the_stream_sound() -> None:
    """Every event as its types have it, and an end that says what was told."""
    told = _read(AccountReader(str), b"".join(account(plain())))
    events = [_EVENT.validate_python(document) for document in _texts(told)]
    assert sound(events).output_text.startswith("This is m")

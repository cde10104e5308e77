"""What is told of a field that could not be carried: a word of the API's own, whatever a caller calls its fields."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from proxy.providers.anthropic.messages import Messages
from proxy.providers.anthropic.request import NATIVE
from proxy.providers.dialect import Call, Dialect
from proxy.providers.lenient import dumps
from proxy.providers.passthrough import PassThrough
from proxy.providers.responses.by_chat import ByChat
from proxy.providers.responses.by_responses import ByResponses
from proxy.terms import CHAT, RESPONSES, Binding, Endpoint, Question

_FIELDS = {CHAT: CompletionCreateParamsBase.__annotations__, RESPONSES: ResponseCreateParamsBase.__annotations__}
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 300) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
_TURNS = [{"role": "user", "content": "Where?", "name": "sk-1", "mood": "sunny"}]


@pytest.mark.parametrize(
    ("dialect", "endpoint"),
    [
        (ByChat(Messages()), CHAT),
        (ByChat(Messages()), RESPONSES),
        (ByChat(PassThrough()), RESPONSES),
        (ByResponses(PassThrough()), CHAT),
    ],
)
@given(st.data())
def test_no_name_of_a_callers_own_is_ever_told(dialect: Dialect, endpoint: Endpoint, data: st.DataObject) -> None:
    """Short, few, and of the tables in docs/: so a record, a header or a label may have it."""
    known = [*_FIELDS[endpoint], *NATIVE]
    names = st.sampled_from(known) | st.sampled_from(known) | st.text(min_size=1, max_size=300)
    document: dict[str, Any] = data.draw(st.dictionaries(names, _JSON, max_size=6))
    document |= data.draw(st.sampled_from([{}, {"messages": _TURNS}, {"input": _TURNS}]))
    question = Question(endpoint, dumps(document), document, (), "", False, "m")
    said = dialect.call(question, Binding("s", "anthropic", "claude-sonnet-4-6"))
    words = said.dropped if isinstance(said, Call) else (said.detail,)
    assert len(set(words)) == len(words) <= 40
    for word in words:
        assert re.fullmatch(r"[a-z_]+(\.[a-z_]+){0,3}", word)
        assert len(word) <= 48
        assert word.split(".")[0] in {*known, "unknown_field"}

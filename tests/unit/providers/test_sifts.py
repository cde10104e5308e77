"""Which dialects are asked before their tier is tried: those that may refuse a question, or a part of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.providers.dialect import Call
from proxy.providers.kinds import KINDS, dialect
from proxy.terms import CHAT, COMPLETIONS, EMBEDDINGS, ENDPOINTS, RESPONSES, Binding, Endpoint, Question

_TURN = {"role": "user", "content": "Where?"}
_DOCUMENTS: tuple[dict[str, Any], ...] = (
    {},
    {"model": "any", "messages": [_TURN], "input": "Where?", "prompt": "Where?", "seed": 7, "store": True},
    {"messages": [{"role": "narrator"}], "input": [{"type": "web_search_call"}], "n": 2, "logprobs": True, "mood": 1},
)
_SIFTED = {
    ("openai", "both", "m"): (),
    ("openai", "both", "*"): (),
    ("openai", "chat", "m"): (RESPONSES,),
    ("openai", "responses", "m"): (CHAT,),
    ("azure-openai", "both", "m"): (),
    ("azure-openai", "both", "*"): (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS),
    ("anthropic", "both", "m"): (CHAT, RESPONSES),
    ("claude-account", "both", "m"): (CHAT, RESPONSES),
}


def _sifted(kind: str, api: str, model: str) -> tuple[Endpoint, ...]:
    speaks, binding = dialect(kind, None, api), Binding("s", kind, model)
    return tuple(each for each in ENDPOINTS if speaks.serves(each) and speaks.sifts(each, binding))


@pytest.mark.parametrize(("which", "endpoints"), _SIFTED.items(), ids=map(" ".join, _SIFTED))
def test_a_dialect_sifts_what_it_translates(which: tuple[str, str, str], endpoints: tuple[Endpoint, ...]) -> None:
    """What passes through costs nothing before its tier is tried; Azure has to be told a deployment."""
    assert _sifted(*which) == endpoints


@pytest.mark.parametrize("api", ["both", "chat", "responses"])
@pytest.mark.parametrize("kind", KINDS)
def test_who_does_not_sift_takes_everything(kind: str, api: str) -> None:
    """Whatever the request is: nothing is refused and nothing left out, or it would be after the tier was tried."""
    for model in ("m", "*"):
        binding, speaks = Binding("s", kind, model), dialect(kind, None, api)
        for endpoint in ENDPOINTS:
            if not speaks.serves(endpoint) or speaks.sifts(endpoint, binding):
                continue
            for document in _DOCUMENTS:
                asked = document.get("model")
                question = Question(endpoint, orjson.dumps(document), document, (), "", False, asked)
                call = speaks.call(question, binding)
                assert isinstance(call, Call), (endpoint, document)
                assert call.dropped == ()

"""A request keeps its bytes: only the value of its top-level `model` changes."""

from __future__ import annotations

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers import splice
from proxy.providers.openai import render
from proxy.terms import CHAT, Binding, Question

_LEAF = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12)
_KEY = st.sampled_from(["model", "messages", "tools", 'mo"del', "m\\odel", "stream"]) | st.text(max_size=6)
_VALUE = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEY, inner, max_size=3), max_leaves=12
)
_BODY = st.dictionaries(_KEY, _VALUE, max_size=5)
_STYLE = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])


def _question(body: bytes) -> Question:
    document = orjson.loads(body)
    model = document.get("model")
    return Question(CHAT, body, document, (), "", False, model if isinstance(model, str) else None)


def _rendered(body: bytes, model: str) -> bytes:
    return render(_question(body), Binding("s", "openai", model))


@given(_BODY, _STYLE, st.booleans())
def test_everything_but_the_model_stays(body: dict[str, Any], style: tuple[str, str], ascii_only: bool) -> None:
    """Whatever the body and its spacing, an upstream reads the same document with only the model replaced."""
    raw = json.dumps(body, separators=style, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return
    assert orjson.loads(_rendered(raw, "bound-1")) == {**orjson.loads(raw), "model": "bound-1"}


@given(
    _BODY,
    _STYLE,
    st.text(max_size=8) | st.sampled_from(['"', "\\", '\\"', "\\\\", "é", "None", "model"]),
    st.booleans(),
)
def test_what_is_told_at_a_glance_is_what_a_closer_look_finds(
    body: dict[str, Any], style: tuple[str, str], was: str, ascii_only: bool
) -> None:
    """Whatever the model was called: member by member the same bytes come out."""
    raw = json.dumps({**body, "model": was}, separators=style, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return
    assert _rendered(raw, "bound-1") == splice.edit(raw, lambda key: b'"bound-1"' if key == "model" else True, {})


@given(_BODY, _STYLE)
def test_a_passed_through_model_changes_no_byte(body: dict[str, Any], style: tuple[str, str]) -> None:
    """With `model: "*"` the upstream gets exactly the caller's bytes."""
    raw = json.dumps(body, separators=style).encode()
    assert _rendered(raw, "*") == raw


@given(_BODY, _STYLE)
def test_bytes_outside_the_value_are_untouched(body: dict[str, Any], style: tuple[str, str]) -> None:
    """Putting the old value back gives the old bytes: nothing but the value was written."""
    raw = json.dumps({**body, "model": "was"}, separators=style).encode()
    assert _rendered(_rendered(raw, "bound-1"), "was") == raw


def test_a_duplicate_key_cannot_smuggle_a_model() -> None:
    """Of two `model` keys most upstreams take the last: both are replaced."""
    raw = b'{"model":"a","x":{"model":"keep"},"mod\\u0065l" : "b"}'
    assert _rendered(raw, "bound") == b'{"model":"bound","x":{"model":"keep"},"mod\\u0065l" : "bound"}'

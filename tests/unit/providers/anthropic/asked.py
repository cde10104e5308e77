"""Questions for a tier of kind `anthropic`, what is made of them, and whether Anthropic's own SDK would send such."""

from __future__ import annotations

import collections.abc
import types
from typing import Any, Literal, Required, Union, get_args, get_origin, get_type_hints

import orjson
from anthropic.types.message_create_params import MessageCreateParamsBase, MessageCreateParamsStreaming
from pydantic import BaseModel
from typing_extensions import is_typeddict

from proxy.providers.anthropic.messages import Messages
from proxy.providers.dialect import Call, Uncarried
from proxy.terms import CHAT, Binding, Endpoint, Params, Question

_GONE = ("temperature", "top_p", "top_k")
"""Of the version that is spoken, and not of the SDK's, which is a newer one."""
USER: dict[str, Any] = {"role": "user", "content": "Where?"}


def question(endpoint: Endpoint = CHAT, **document: Any) -> Question:
    """A request of these fields; without messages it has one."""
    whole = {"model": "any", "messages": [USER], **document}
    return Question(endpoint, orjson.dumps(whole), whole, (), "", whole.get("stream") is True, whole.get("model"))


def put(params: Params | None = None, tier: str = "claude-sonnet-4-6", **document: Any) -> Call | Uncarried:
    """What a tier makes of it."""
    return Messages().call(question(**document), Binding("claude", "anthropic", tier, params or Params()))


def sent(params: Params | None = None, tier: str = "claude-sonnet-4-6", **document: Any) -> dict[str, Any]:
    """The request that goes up, which is one of those that Anthropic's own SDK can send."""
    call = put(params, tier, **document)
    assert isinstance(call, Call), call
    assert call.path == "/messages"
    body: dict[str, Any] = orjson.loads(call.body)
    newer = {key: value for key, value in body.items() if key not in _GONE}
    assert fits(newer, MessageCreateParamsStreaming if "stream" in body else MessageCreateParamsBase), body
    return body


def dropped(params: Params | None = None, tier: str = "claude-sonnet-4-6", **document: Any) -> tuple[str, ...]:
    """What it leaves out."""
    call = put(params, tier, **document)
    assert isinstance(call, Call), call
    return call.dropped


def refused(**document: Any) -> str:
    """The field for which it is refused."""
    call = put(**document)
    assert isinstance(call, Uncarried), call
    return call.detail


def fits(value: object, hint: Any) -> bool:
    """Does JSON have this type of the SDK's? Unlike pydantic this looks into lists, and takes no unknown key."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return True
    if hint is None or hint is type(None):
        return value is None
    if is_typeddict(hint):
        return _fits_keys(value, hint)
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return False  # what the SDK takes back from an answer, and JSON is not
    if origin is Literal:
        return value in inner
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin is dict:
        return isinstance(value, dict)
    if origin is list or (isinstance(origin, type) and issubclass(origin, collections.abc.Iterable)):
        return isinstance(value, list) and all(fits(each, inner[0]) for each in value)
    if inner:
        return fits(value, inner[0])  # Required[…], Annotated[…], SequenceNotStr[…]
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def _fits_keys(value: object, hint: Any) -> bool:
    hints = get_type_hints(hint, include_extras=True)
    needed = {key for key, each in hints.items() if get_origin(each) is Required}
    if not isinstance(value, dict) or not needed <= value.keys():
        return False
    open_ended = getattr(hint, "__pydantic_config__", {}).get("extra") == "allow"
    known = {key: each for key, each in value.items() if key in hints}
    return (open_ended or known == value) and all(fits(each, hints[key]) for key, each in known.items())

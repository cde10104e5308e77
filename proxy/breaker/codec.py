"""A breaker's state as bytes on the store's clock, and back on this process's.

1. Defaults are left out, so what is calm is short and what an older replica does not know is simply absent.
2. Every time is moved by the same shift, once, at the door: inside the process there is one clock.
3. Bytes that are no state raise NotAState; a field that is not known is passed over (a newer replica wrote it).
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

import orjson

from proxy.breaker.state import Circuit, Evidence, Failure, Latch, State, Wait, Word

_Noun = State | Circuit | Evidence | Wait | Latch
_NESTED: dict[str, type[_Noun]] = {"Circuit": Circuit, "Evidence": Evidence, "Wait": Wait, "Latch | None": Latch}
_TIMES = ("Moment", "Moment | None")
_T = TypeVar("_T", bound=_Noun)


class NotAState(ValueError):
    """The bytes cannot be read as a state."""


def encode(state: State, shift: float) -> bytes:
    """`shift` is what turns this process's times into the store's, in seconds."""
    return orjson.dumps(_plain(state, shift))


def decode(row: bytes, shift: float) -> State:
    """`shift` is what turns the store's times into this process's, in seconds."""
    try:
        return _noun(State, orjson.loads(row), shift)
    except (orjson.JSONDecodeError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise NotAState from error


def _plain(noun: _Noun, shift: float) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for field in fields(noun):
        value = getattr(noun, field.name)
        if value == _default(field):
            continue
        if field.type in _NESTED:
            plain[field.name] = _plain(value, shift)
        else:
            plain[field.name] = value + shift if field.type in _TIMES else value
    return plain


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _noun(kind: type[_T], plain: dict[str, Any], shift: float) -> _T:
    known = _DECLARED[kind]
    return kind(**{name: _value(known[name], value, shift) for name, value in plain.items() if name in known})


_DECLARED: dict[type[Any], dict[str, str]] = {
    kind: {field.name: str(field.type) for field in fields(kind)} for kind in (State, *_NESTED.values())
}


def _value(declared: str, value: Any, shift: float) -> Any:
    if declared in _NESTED:
        return _noun(_NESTED[declared], value, shift)
    if declared in _TIMES:
        return _number(value) + shift
    match declared:
        case "Word":
            return Word(value)
        case "float":
            return _number(value)
        case "tuple[str, ...]":
            return tuple(_checked(str, each) for each in _checked(list, value))
        case "tuple[Failure, ...]":
            return tuple(_failure(each) for each in _checked(list, value))
        case "tuple[int, int]":
            calls, failures = (_checked(int, each) for each in value)
            return calls, failures
        case _:
            return _checked({"int": int, "str": str, "bool": bool}[declared], value)


def _failure(value: Any) -> Failure:
    request_id, reason = (_checked(str, each) for each in _checked(list, value))
    return request_id, reason


def _number(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        # float() would take "nan", which no comparison ever ends.
        raise TypeError
    return float(value)


def _checked(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value

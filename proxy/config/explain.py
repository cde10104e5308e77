"""A validator's complaint in an operator's words: what is wrong and what to do.

1. The input is never repeated: only what sort of thing it is.
2. An unknown key is answered with the one that was probably meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from proxy.config.fault import Loc, Wrong
from proxy.config.quantities import kind_of
from proxy.config.schema import Config
from proxy.config.words import listed, nearest

_EXPECTED = {
    "string_type": ("text", "write text, in quotes if it looks like a number"),
    "model_type": ("a mapping of keys", "write it like {key: value}"),
    "model_attributes_type": ("a mapping of keys", "write it like {key: value}"),
    "mapping_type": ("a mapping of keys", "write it like {key: value}"),
    "dict_type": ("a mapping of keys", "write it like {key: value}"),
    "tuple_type": ("a list", "write it like [one, two]"),
    "frozen_set_type": ("a list", "write it like [one, two]"),
}


def explain(error: Mapping[str, Any], loc: Loc) -> tuple[str, str, str | None]:
    """Problem, remedy and, for an unknown key, the key that was probably meant.

    `error` is one of pydantic's; `loc` is where it stands, without pydantic's own steps.
    """
    wrong = error.get("ctx", {}).get("error")
    if isinstance(wrong, Wrong):
        return wrong.problem, wrong.remedy, None
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown_key(loc)
    if kind == "missing":
        return f"`{loc[-1]}` is missing", f"add {loc[-1]}: {'1' if loc == ('version',) else '…'}", None
    if kind in _EXPECTED:
        expected, remedy = _EXPECTED[kind]
        return f"expected {expected}, found {kind_of(error['input'])}", remedy, None
    return f"not valid here ({kind})", "see the documentation of this key", None


def _unknown_key(loc: Loc) -> tuple[str, str, str | None]:
    word = str(loc[-1])
    if word == "<<":
        return "merge keys are not read", "write the keys out, or use an alias for the whole value", None
    known = list(_part_at(loc[:-1]).model_fields)
    meant = nearest(word, known)
    return "unknown key", f"did you mean `{meant}`?" if meant else f"known here: {listed(known)}", meant


def _part_at(loc: Loc) -> type[BaseModel]:
    part: type[BaseModel] = Config
    names = iter(loc)
    for name in names:
        annotation = part.model_fields[str(name)].annotation
        inner = _part_in(annotation)
        if inner is None:
            break
        part = inner
        if _holds_many(annotation):
            next(names, None)  # the entry's own name or position
    return part


def _part_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _part_in(each))), None)


def _holds_many(annotation: Any) -> bool:
    return get_origin(annotation) in (Mapping, tuple) or any(_holds_many(each) for each in get_args(annotation))

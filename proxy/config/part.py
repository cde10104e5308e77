"""What every part of a configuration has in common."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Part(BaseModel):
    """Frozen, closed to unknown keys, and silent about what it was given."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
        use_attribute_docstrings=True,
        # Most parts are read as parts of the whole alone: a validator of their own would be made for nothing.
        defer_build=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        filled = _filled(cls)
        return {key: value for key, value in data.items() if value is not None or key not in filled}


@functools.cache
def _filled(part: type[Part]) -> frozenset[str]:
    """The fields in which null is the default."""
    # Where nothing is a value of its own, as for a cleared primary, an explicit null is kept: an operator said so.
    return frozenset(
        name
        for name, each in part.model_fields.items()
        if not each.is_required() and type(None) not in get_args(each.annotation)
    )

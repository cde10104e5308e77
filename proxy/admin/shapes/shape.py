"""What all shapes are: documents whose members are described by the words under them."""

from __future__ import annotations

from pydantic import ConfigDict
from typing_extensions import TypedDict


class Shape(TypedDict):
    """The document of an answer, or a part of one."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[misc]  # pydantic's way to say it

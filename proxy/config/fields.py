"""The kinds of value that a configuration's keys take: how each is read, and how an editor is told of it.

1. Every one of them refuses with a Wrong, so that the fault names what was expected and never the value.
2. To an editor a value that is read from text may also be a reference: it is something else once it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, SecretStr, WithJsonSchema

from proxy.config import quantities, words
from proxy.config.addresses import Address, address
from proxy.config.headers import header_name, secret_value
from proxy.config.quantities import DURATION, RATE, SIZE, within

_REFERENCE = r"^.*\$\{.*$"
"""Text that becomes something else when it is loaded, so that an editor accepts it anywhere."""

_K = TypeVar("_K")
_T = TypeVar("_T")
Frozen = Annotated[Mapping[_K, _T], AfterValidator(MappingProxyType)]


def _text(pattern: str, *others: dict[str, Any]) -> WithJsonSchema:
    """How an editor is told of a value that may be written as text, as a reference, or in another way."""
    texts = [{"type": "string", "pattern": f"^{pattern}$"}, {"type": "string", "pattern": _REFERENCE}]
    return WithJsonSchema({"anyOf": [*texts, *others]})


_NUMBER = {"type": "number", "exclusiveMinimum": 0}
_WHOLE = _text("[0-9]+", {"type": "integer"})
_DURATION = _text(DURATION, _NUMBER)
_DAY = AfterValidator(within(0.001, 86400, "1ms to 24h"))
_HOUR = AfterValidator(within(1, 3600, "1s to 1h"))
_MONTH = AfterValidator(within(1, 30 * 86400, "1s to 720h"))
_TEBIBYTE = AfterValidator(within(1024, 2**40, "1KiB to 1TiB"))

Duration = Annotated[float, BeforeValidator(quantities.duration), _DAY, _DURATION]
Cooldown = Annotated[float, BeforeValidator(quantities.duration), _HOUR, _DURATION]
Age = Annotated[float, BeforeValidator(quantities.duration), _MONTH, _DURATION]
Whole = Annotated[int, BeforeValidator(quantities.whole), _WHOLE]
Number = Annotated[int | float, BeforeValidator(quantities.number), _text("-?[0-9.]+", {"type": "number"})]
Size = Annotated[int, BeforeValidator(quantities.size), _TEBIBYTE, _text(SIZE, {"type": "integer"})]
Rate = Annotated[float, BeforeValidator(quantities.rate), _text(RATE, {**_NUMBER, "maximum": 1})]
Flag = Annotated[bool, BeforeValidator(words.flag), _text("(true|false)", {"type": "boolean"})]
Listen = Annotated[Address, BeforeValidator(address), _text(r"[^\s]+:[0-9]+")]
Secret = Annotated[SecretStr, BeforeValidator(secret_value), WithJsonSchema({"type": "string", "minLength": 1})]
Million = Annotated[Whole, AfterValidator(within(1, 10**6, "1 to 1000000"))]
AssistantId = Annotated[str, AfterValidator(words.assistant_id), _text(words.ASSISTANT_ID)]
Name = Annotated[str, AfterValidator(words.name), _text(words.NAME)]
Model = Annotated[str, AfterValidator(words.model), WithJsonSchema({"type": "string", "minLength": 1})]
RequestField = Annotated[str, AfterValidator(words.request_field), WithJsonSchema({"type": "string", "minLength": 1})]
Ability = Annotated[Literal["tools", "images", "json_schema"], BeforeValidator(words.ability)]
HeaderName = Annotated[str, AfterValidator(header_name)]
Sha256 = Annotated[str, AfterValidator(words.sha256), _text("[0-9a-fA-F]{64}")]

"""A call of the operators' API as a value: where it is, what it takes, what it gives, what it refuses.

1. What is served and what is documented are made from the same calls; a code has one status.
2. A refusal is raised where it is found and answered in one place. It repeats nothing of a path, a token or a body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

STATUS: Mapping[str, int] = {
    "invalid_request": 400,
    "malformed_request": 400,
    "unauthorized": 401,
    "csrf": 403,
    "origin_forbidden": 403,
    "edits_off": 403,
    "not_found": 404,
    "assistant_not_found": 404,
    "binding_not_found": 404,
    "decision_not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "revision_outdated": 412,
    "request_too_large": 413,
    "configuration_invalid": 422,
    "too_many_tries": 429,
    "request_headers_too_large": 431,
    "internal_error": 500,
    "overloaded": 503,
    "store_away": 503,
    "not_kept": 507,
}
"""Of every refusal, by its code."""


@dataclass(frozen=True, slots=True)
class Documented:
    """Of a member that is looked at later, with its own words for faults: the type that the document gives it."""

    shape: Any

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(TypeAdapter(self.shape).core_schema)


class Asked(BaseModel):
    """What one call takes: the members of its body, or of its query."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)


class Refused(Exception):
    """The call is not done, and why."""

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        """`code` is one of STATUS."""
        super().__init__(message)
        self.code, self.message, self.headers = code, message, headers or {}

    @property
    def status(self) -> int:
        return STATUS[self.code]


Handler = Callable[..., Awaitable[web.StreamResponse]]
"""Takes the request; then what was read, where the call takes something; and the names in its path by keyword."""


@dataclass(frozen=True, slots=True)
class Call:
    """One method of one path."""

    method: str
    path: str
    """Names of segments stand in braces."""
    handler: Handler
    summary: str
    gives: Mapping[int, Any]
    """By status, the type of the JSON document; or a Text."""
    takes: type[Asked] | None = None
    """Read from the query of a GET, from the body of any other."""
    refuses: tuple[str, ...] = ()
    """Codes of its own; those that any call may meet are left out."""
    hears: tuple[str, ...] = ()
    """Request headers that it goes by, of HEADERS."""
    sends: tuple[str, ...] = ()
    """Headers of what it gives, of HEADERS."""
    free: bool = False
    """Nobody is asked who they are."""


@dataclass(frozen=True, slots=True)
class Text:
    """An answer that is no JSON."""

    content_type: str
    said: str
    """What it holds."""
    endless: bool = False
    """It goes on until its reader leaves."""
    events: tuple[Any, ...] = field(default=())
    """The types of the documents in it, where it is a stream of events."""


HEADERS: Mapping[str, str] = {
    "If-Match": 'The revision that the change is made upon, as an ETag gave it: `"7"`; `*` for whichever.',
    "X-Operator": "Who makes the change; it stands in the revision.",
    "Last-Event-ID": "The id of the last event that was read: what came after it follows.",
    "ETag": "The revision that a change of this has to name in `If-Match`.",
    "Set-Cookie": "The session.",
    "Allow": "The methods that there are.",
    "Retry-After": "Seconds.",
    "WWW-Authenticate": "Bearer.",
}

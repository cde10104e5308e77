"""The operators' API as it describes itself, and a check that an answer is one of those that it describes.

1. The shapes are closed for the check: a member that is not described is a fault here, though readers may ignore it.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson
from jsonschema import Draft202012Validator

BOUND = 2 * 1024 * 1024
"""Bytes of an answer."""


class Described:
    """The document, and what was seen to keep to it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._components = copy.deepcopy(document["components"])
        for shape in self._components["schemas"].values():
            if "properties" in shape:
                shape["additionalProperties"] = False
        self.met: Counter[tuple[str, str, int, str]] = Counter()
        """Method, path, status and the error's code, or nothing."""

    def calls(self) -> set[tuple[str, str]]:
        """Method and path of each."""
        return {(method.upper(), path) for path, of in self.document["paths"].items() for method in of}

    def validator(self, schema: Mapping[str, Any]) -> Draft202012Validator:
        return Draft202012Validator({**schema, "components": self._components})

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """`path` as the document has it; `headers` by lower-case name. A stream's body is not looked at."""
        at = f"{method} {path}: {status} {body[:300]!r}"
        described = self.document["paths"][path][method.lower()]["responses"]
        assert str(status) in described, at
        assert headers["server"] == "homeport"
        assert len(body) <= BOUND, at
        answer = described[str(status)]
        for name in answer.get("headers", {}):
            assert name.lower() in headers or "anyOf" in str(answer) or len(answer["description"].split("`")) > 3, at
        content_type = headers["content-type"].partition(";")[0]
        assert content_type in answer["content"], at
        code = ""
        if content_type == "application/json":
            document = orjson.loads(body)
            found = [*self.validator(answer["content"][content_type]["schema"]).iter_errors(document)]
            assert not found, f"{at}\n" + "\n".join(f"{each.json_path}: {each.message}" for each in found)
            code = document.get("error", {}).get("code", "")
        self.met[method, path, status, code] += 1

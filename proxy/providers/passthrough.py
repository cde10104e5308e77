"""The kinds that speak OpenAI's own protocol: `openai`, `openai-compatible` and `azure-openai`.

1. Answers, streams and errors are the upstream's bytes.
2. Azure names a deployment where OpenAI names a model: in the path where an `api_version` is given, and otherwise in
   the body, as at OpenAI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote_plus

from proxy.providers import openai
from proxy.providers.dialect import Call, Told, Uncarried
from proxy.terms import Binding, Diagnosis, Endpoint, Headers, Question, StreamReader

_VERSION = "api-version"


class PassThrough:
    """OpenAI's API below a base URL that ends where it begins."""

    headers: Headers = ()
    foreign: tuple[str, ...] = ()
    listing = "/models"
    lists = True

    def path(self, endpoint: Endpoint, model: str) -> str:
        return endpoint.path

    def rewrites(self, endpoint: Endpoint) -> bool:
        return False

    def serves(self, endpoint: Endpoint) -> bool:
        return True

    def beside(self, token: str, account: str) -> Headers:
        return ()

    def sifts(self, endpoint: Endpoint, binding: Binding) -> bool:
        return False

    def call(self, question: Question, binding: Binding) -> Call | Uncarried:
        return Call(question.endpoint.path + question.query, openai.render(question, binding))

    def answer(self, question: Question, body: bytes, document: Mapping[str, Any], now_unix: float) -> Told | None:
        model = document.get("model")
        return Told(body, openai.read_usage(document.get("usage")), model if isinstance(model, str) else None)

    def reader(
        self, question: Question, binding: Binding, named: Callable[[str], str | None], now_unix: float
    ) -> StreamReader:
        return openai.stream_reader(question.endpoint, named)

    def gatherer(self, named: Callable[[str], str | None]) -> StreamReader | None:
        return None

    def refusal(self, body: bytes, diagnosis: Diagnosis) -> bytes:
        return body


class Azure(PassThrough):
    """A resource of Azure OpenAI; the base URL is the resource's."""

    # It has the models of the region, and says nothing of the deployments that were made of them.
    lists = False

    def __init__(self, api_version: str | None) -> None:
        """`api_version` is a date, as the older paths need it; None for the API that has no versions."""
        self._version = api_version
        self.listing = f"/openai/models?{_VERSION}={quote(api_version)}" if api_version else "/openai/v1/models"

    def path(self, endpoint: Endpoint, model: str) -> str:
        if self._version is None:
            return f"/openai/v1{endpoint.path}"
        version = f"?{_VERSION}={quote(self._version)}"
        # Responses name their deployment in the body at every version.
        where = "" if endpoint.name == "responses" else f"/deployments/{quote(model, safe='*')}"
        return f"/openai{where}{endpoint.path}{version}"

    def sifts(self, endpoint: Endpoint, binding: Binding) -> bool:
        # A caller who names no model names no deployment.
        return binding.bound_model is None

    def call(self, question: Question, binding: Binding) -> Call | Uncarried:
        model = binding.bound_model or question.model
        if model is None:
            return Uncarried("model", "model", "No deployment is named: this tier passes the caller's model on.")
        return Call(
            self._with_query(self.path(question.endpoint, model), question.query), openai.render(question, binding)
        )

    def _with_query(self, path: str, query: str) -> str:
        """The caller's query behind what the path has of one; the version is the source's to say."""
        if not query:
            return path
        pairs = [
            pair
            for pair in query[1:].split("&")
            if self._version is None or unquote_plus(pair.partition("=")[0]).lower() != _VERSION
        ]
        return f"{path}{'&' if '?' in path else '?'}{'&'.join(pairs)}" if pairs else path

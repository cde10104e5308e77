"""A source that lacks one of OpenAI's two APIs, and is asked by the other: what both ways have in common.

1. A request is translated before the source's own dialect sees it, and what comes back after it. Everything else is as
   that dialect has it.
2. A tier's `params` may use the words of either API; each holds where its field is.
3. Whatever the other dialect refuses or drops is told in the words of the caller's request.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from proxy.providers import faults, lenient, openai
from proxy.providers.carried import CannotCarry
from proxy.providers.dialect import Call, Dialect, Told, Uncarried
from proxy.providers.lenient import dumps
from proxy.terms import Binding, Diagnosis, Endpoint, Headers, Params, Question, StreamReader


class Through(ABC):
    """A dialect that has no `asked`, with one, by way of its `by`."""

    asked: Endpoint
    by: Endpoint
    own: frozenset[str]
    """Fields of `asked` that `by` does not have."""

    def __init__(self, inner: Dialect) -> None:
        self._inner = inner
        self.headers: Headers = inner.headers
        self.foreign = inner.foreign
        self.listing = inner.listing
        self.lists = inner.lists

    @abstractmethod
    def translate(self, document: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The request of the other API, and what it leaves out. Raises CannotCarry."""

    @abstractmethod
    def called(self, name: str, asked: Mapping[str, Any]) -> str:
        """What the caller calls a field of the other API's request, which was made of `asked`."""

    @abstractmethod
    def told(self, asked: Mapping[str, Any], document: Mapping[str, Any], now_unix: float) -> dict[str, Any] | None:
        """The answer to the caller's request, made of the other API's; None when that is none."""

    @abstractmethod
    def retold(self, reader: StreamReader, asked: Mapping[str, Any], params: Params, now_unix: float) -> StreamReader:
        """Likewise for a stream, which `reader` reads; `params` are what the tier changes in the caller's request.

        The model in `asked` is the one that the source was asked for.
        """

    def path(self, endpoint: Endpoint, model: str) -> str:
        return self._inner.path(self.by if endpoint == self.asked else endpoint, model)

    def rewrites(self, endpoint: Endpoint) -> bool:
        return endpoint == self.asked or self._inner.rewrites(endpoint)

    def serves(self, endpoint: Endpoint) -> bool:
        return self._inner.serves(self.by if endpoint == self.asked else endpoint)

    def beside(self, token: str, account: str) -> Headers:
        return self._inner.beside(token, account)

    def sifts(self, endpoint: Endpoint, binding: Binding) -> bool:
        return endpoint == self.asked or self._inner.sifts(endpoint, binding)

    def call(self, question: Question, binding: Binding) -> Call | Uncarried:
        if question.endpoint != self.asked:
            return self._inner.call(question, binding)
        ours, theirs = self._apart(binding.params)
        ask = openai.amended(question.document, ours)
        try:
            document, dropped = self.translate(ask)
        except CannotCarry as cannot:
            return cannot.uncarried
        asked = replace(question, endpoint=self.by, body=dumps(document), document=document)
        call = self._inner.call(asked, replace(binding, params=theirs))
        if isinstance(call, Uncarried):
            return Uncarried(self.called(call.detail, ask), self.called(call.param, ask), call.why)
        unsaid = (self.called(name, ask) for name in call.dropped)
        return replace(call, dropped=tuple(dict.fromkeys((*dropped, *unsaid))))

    def answer(self, question: Question, body: bytes, document: Mapping[str, Any], now_unix: float) -> Told | None:
        if question.endpoint != self.asked:
            return self._inner.answer(question, body, document, now_unix)
        told = self._inner.answer(self._other(question), body, document, now_unix)
        if told is None:
            return None
        answer = document if told.body is body else lenient.loads(told.body)
        made = self.told(question.document, answer, now_unix)
        return None if made is None else replace(told, body=dumps(made))

    def reader(
        self, question: Question, binding: Binding, named: Callable[[str], str | None], now_unix: float
    ) -> StreamReader:
        if question.endpoint != self.asked:
            return self._inner.reader(question, binding, named, now_unix)
        ours, theirs = self._apart(binding.params)
        inner = self._inner.reader(self._other(question), replace(binding, params=theirs), named, now_unix)
        asked = {**question.document, "model": binding.bound_model or question.model}
        return self.retold(inner, asked, ours, now_unix)

    def gatherer(self, named: Callable[[str], str | None]) -> StreamReader | None:
        # What it makes is the other API's answer, of which `answer` makes the caller's.
        return self._inner.gatherer(named)

    def refusal(self, body: bytes, diagnosis: Diagnosis) -> bytes:
        said = self._inner.refusal(body, diagnosis)
        if faults.error_object(said) is not None:
            return said
        # A page, or nothing: what is made anew is JSON.
        error = {"message": "The upstream gave no message.", "type": "upstream_error", "param": None, "code": None}
        return dumps({"error": error})

    def _other(self, question: Question) -> Question:
        """What reading the other API's answer takes of the request that was made of this one."""
        document = {"stream": question.stream, "stream_options": {"include_usage": True}}
        return replace(question, endpoint=self.by, body=b"", document=document)

    def _apart(self, params: Params) -> tuple[Params, Params]:
        """What a tier changes in the caller's request, and in the other; a field is left out of both."""
        return self._part(params, ours=True), self._part(params, ours=False)

    def _part(self, params: Params, *, ours: bool) -> Params:
        return Params(
            params.drop,
            {key: value for key, value in params.set.items() if (key in self.own) is ours},
            {key: bound for key, bound in params.cap.items() if (key in self.own) is ours},
        )

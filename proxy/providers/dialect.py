"""What a kind of source speaks: how a question is put to it, and how its answers, streams and errors are read.

1. A dialect is pure: the attempt at a tier asks it, sends and reads, and knows no kind.
2. A question that a dialect cannot carry whole is refused by the field's name, before anything is sent. What is left
   out because it only tunes is named in the call; nothing else is ever left out. A dialect that does either `sifts`,
   and is asked for its call before its tier is tried.
3. What comes out of a dialect for the caller is OpenAI's: bodies, events and errors. A dialect that already speaks so
   hands on the very bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from proxy.terms import Binding, Diagnosis, Endpoint, Headers, Question, StreamReader, Usage


@dataclass(slots=True, unsafe_hash=True, init=False)
class Call:
    """A question as one kind of source is asked it."""

    path: Final[str]
    """Below the source's base URL, with its query."""
    body: Final[bytes]
    dropped: Final[tuple[str, ...]]
    """Fields of the caller's that are left out."""

    def __init__(self, path: str, body: bytes, dropped: tuple[str, ...] = ()) -> None:
        self.path, self.body, self.dropped = path, body, dropped


@dataclass(frozen=True, slots=True)
class Uncarried:
    """A question that this kind of source cannot be asked."""

    detail: str
    """A typed token as in terms.Diagnosis: the field, of those that Homeport knows."""
    param: str
    """The field as the caller reads it."""
    why: str
    """A sentence for the caller."""


@dataclass(slots=True, unsafe_hash=True, init=False)
class Told:
    """A whole JSON answer, as the caller gets it."""

    body: Final[bytes]
    usage: Final[Usage | None]
    model: Final[str | None]
    """As the upstream calls it, not yet judged by whether it may be told."""

    def __init__(self, body: bytes, usage: Usage | None, model: str | None) -> None:
        self.body, self.usage, self.model = body, usage, model


class Dialect(Protocol):
    """One kind of source."""

    @property
    def headers(self) -> Headers:
        """Sent with every request, unless the source's own say otherwise."""
        ...

    @property
    def foreign(self) -> tuple[str, ...]:
        """Beginnings, in lower case, of caller's headers that mean nothing here and stay behind."""
        ...

    @property
    def listing(self) -> str:
        """The path of the source's free listing of models, below its base URL."""
        ...

    @property
    def lists(self) -> bool:
        """The listing names what a binding's `model` names."""
        ...

    def path(self, endpoint: Endpoint, model: str) -> str:
        """Where requests for `model` go, below the base URL."""
        ...

    def rewrites(self, endpoint: Endpoint) -> bool:
        """Answers are made anew: a JSON answer can only be handed on whole."""
        ...

    def serves(self, endpoint: Endpoint) -> bool:
        """Can an endpoint be carried at all?"""
        ...

    def beside(self, token: str, account: str) -> Headers:
        """What a bearer token is sent with; `account` is whose it is, where its file says so. The source's own hold."""
        ...

    def sifts(self, endpoint: Endpoint, binding: Binding) -> bool:
        """Can a question have what it refuses or leaves out? If not, every `call` is a Call that drops nothing."""
        ...

    def call(self, question: Question, binding: Binding) -> Call | Uncarried:
        """The request for one tier."""
        ...

    def answer(self, question: Question, body: bytes, document: Mapping[str, Any], now_unix: float) -> Told | None:
        """A JSON answer without an error; None when it is not the answer that was asked for. `document` is `body`."""
        ...

    def reader(
        self, question: Question, binding: Binding, named: Callable[[str], str | None], now_unix: float
    ) -> StreamReader:
        """A fresh reader for one streamed answer; `named` says what may be told of its model's name."""
        ...

    def gatherer(self, named: Callable[[str], str | None]) -> StreamReader | None:
        """Where every answer is a stream, also to who asked for none: a reader whose last event is the JSON answer.

        That is the answer for `answer` to read. None: a source answers as it is asked.
        """
        ...

    def refusal(self, body: bytes, diagnosis: Diagnosis) -> bytes:
        """An error's body, as the caller gets it where answers are made anew."""
        ...

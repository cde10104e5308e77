"""Which fields travel on: as pairs and as lines of a head they are the same ones."""

from __future__ import annotations

import pytest

from proxy.providers.hops import Passing
from proxy.terms import Headers

_PASSING = Passing(lambda low: low != "x-ours")


@pytest.mark.parametrize(
    ("connection", "left"),
    [
        ((), ["X-A: 1", "x-b: 2"]),
        (("keep-alive",), ["X-A: 1", "x-b: 2"]),
        (("close",), ["X-A: 1", "x-b: 2"]),
        (("",), ["X-A: 1", "x-b: 2"]),
        (("keep-alive", "close"), ["X-A: 1", "x-b: 2"]),
        (("Keep-Alive, X-B",), ["X-A: 1"]),
        (("keep-alive", "x-a", "X-B"), []),
    ],
)
def test_what_a_connection_names_stays_with_it(connection: tuple[str, ...], left: list[str]) -> None:
    """Wherever it stands, and however often; words of its own name nothing."""
    named: Headers = tuple([("Connection", value) for value in connection])
    fields: Headers = (("X-A", "1"), ("Transfer-Encoding", "chunked"), ("x-b", "2"), ("X-Ours", "3"))
    for headers in ((*named, *fields), (*fields, *named), (*fields[:1], *named, *fields[1:])):
        assert _PASSING.lines(headers) == left
        assert [": ".join(pair) for pair in _PASSING(headers)] == left

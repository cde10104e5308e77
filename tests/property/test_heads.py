"""A head that is known by its bytes says what it would say if it were read, whatever heads were read before it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.edge import heads
from proxy.edge.heads import KEPT, Heads, Like, Read

_DIGITS = st.one_of(
    st.integers(0, 10**10).map(lambda number: b"%d" % number),
    st.sampled_from(
        [b"", b"0", b"00", b"007", b"+5", b"-5", b" 5", b"5 ", b"5\t", b"0x5", b"5,5", b"5\r\n 6", b"1" * 9]
    ),
    st.sampled_from([b"\xd9\xa5", b"\xb2", b"1" * 10, b"5\n", b"5\r"]),
)
_NAMES = st.sampled_from(
    [
        b"Content-Length",
        b"content-length",
        b"CONTENT-LENGTH",
        b"Content-length",
        b"X-Content-Length",
        b"Content-Length-X",
    ]
)
_LENGTHS = st.builds(
    lambda name, colon, digits: name + colon + digits,
    _NAMES,
    st.sampled_from([b": "] * 4 + [b":", b":  ", b" : ", b":\t"]),
    _DIGITS,
)
_OTHERS = st.sampled_from(
    [
        b"Host: x",
        b"X-Assistant-Id: bot",
        b"X-Assistant-Id: 5",
        b"X: Content-Length: 5",
        b"X: a\r\n Content-Length: 5",
        b"X: a\r\n\tb",
        b"X: a\rContent-Length: 5",
        b"X: a\nContent-Length: 5",
        b"X: \xff\xc3\xa4",
        b"X:",
        b"Authorization: Bearer sk-1",
        b"Connection: keep-alive",
        b"Connection: close",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Content-Length",
        b" Content-Length: 5",
    ]
)
_LINES = st.lists(st.one_of(_LENGTHS, _LENGTHS, _OTHERS), max_size=6)
_TARGETS = st.sampled_from(
    [
        b"/v1/chat/completions",
        b"/v1/responses",
        b"/v1/chat/completions?a=5",
        b"/v1/other",
        b"/v1/chat/completions?a=%0d%0aContent-Length:%205",
    ]
)


def _head(target: bytes, version: bytes, fields: list[bytes]) -> bytes:
    """As the lane cuts one off: up to the first blank line."""
    whole = b"POST %b HTTP/%b\r\n%b\r\n\r\n" % (target, version, b"\r\n".join(fields))
    return whole[: whole.find(b"\r\n\r\n") + 4]


_HEADS = st.builds(_head, _TARGETS, st.sampled_from([b"1.1"] * 5 + [b"1.0", b"5.5"]), _LINES)
_ALIKE = st.builds(
    lambda target, before, name, after, said: [
        _head(target, b"1.1", [*before, name + b": " + digits, *after]) for digits in said
    ],
    _TARGETS,
    st.lists(_OTHERS, max_size=2),
    _NAMES,
    st.lists(_OTHERS, max_size=2),
    st.lists(_DIGITS, min_size=2, max_size=6),
)
"""They differ in a length alone."""
_PLAIN = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n%b\r\n"


def _said(found: Read | None) -> object:
    if found is None:
        return None
    head, length = found
    return head.method, head.path, head.query, list(head.headers.items()), head.kept, length


def _told(like: Like | None, data: bytes) -> Read | None:
    """What a head says by what it is like, if it is that."""
    if like is None or not like.fits(data + b"body"):
        return None
    assert like.start == len(data)
    return like.head, like.end - like.start


@given(st.one_of(st.lists(_HEADS, min_size=1, max_size=12), _ALIKE))
@example([_PLAIN % (digits, b"") for digits in (b"5", b"4096", b"007", b"0", b"1" * 9, b"1" * 10, b"5 ", b"+5", b"")])
@example([_PLAIN % (b"5", b"Content-Length: 5\r\n"), _PLAIN % (b"6", b""), _PLAIN % (b"6", b"Content-Length: 5\r\n")])
@example([_PLAIN % (b"5", b""), _PLAIN % (b"5", b" 6\r\n"), _PLAIN % (b"5\r\n 6", b"")])
def test_a_known_head_says_what_it_would_if_it_were_read(sent: list[bytes]) -> None:
    """Lengths twice, folded, signed, overlong, at the end, within another value: none is taken for another head."""
    known, likes = Heads(), set[Like]()
    for data in [*sent, *reversed(sent)]:
        said = _said(heads.read(data))
        like = known.like(data)
        assert _said(_told(like, data)) == said
        # Whichever of them was the last one of its connection: what it is like is what it says, or it is not like that.
        for each in likes:
            assert (told := _told(each, data)) is None or _said(told) == said
        likes |= {like} if like is not None else set()


@given(_HEADS, st.data())
def test_one_changed_byte_makes_another_head(first: bytes, data: st.DataObject) -> None:
    """What differs from a known head anywhere is read by itself."""
    known = Heads()
    like = known.like(first)
    at = data.draw(st.integers(0, len(first) - 1))
    changed = first[:at] + data.draw(st.binary(max_size=2)) + first[at + 1 :]
    # The lane cuts at the first blank line, and looks at the method.
    changed = changed[: changed.find(b"\r\n\r\n") + 4]
    if changed.startswith(b"POST /v1/") and changed.endswith(b"\r\n\r\n"):
        said = _said(heads.read(changed))
        assert _said(_told(known.like(changed), changed)) == said
        assert (told := _told(like, changed)) is None or _said(told) == said


def test_heads_alike_are_one_object() -> None:
    """That is how what follows from one is found; one that differs in more than its length is another."""
    known = Heads()
    first, second = _PLAIN % (b"5", b"X: 5\r\n"), _PLAIN % (b"61", b"X: 5\r\n")
    like = known.like(first)
    assert like is not None
    again = known.like(second)
    assert again is not None
    assert again.head is like.head
    for each, length in ((first, 5), (second, 61)):
        assert like.fits(each + b"body")
        assert (like.start, like.end) == (len(each), len(each) + length)
    other = _PLAIN % (b"5", b"X: 6\r\n")
    assert not like.fits(other)
    changed = known.like(other)
    assert changed is not None
    assert changed.head is not like.head


def _with_name(like: Like | None, found: Read | None) -> Read | None:
    """What is read, without the first field that says a name where that is kept apart."""
    if found is None or like is None or not like.head.apart:
        return found
    head, length = found
    fields = list(head.headers.items())
    first = next(at for at, (name, _) in enumerate(fields) if name.lower() == _APART)
    assert fields.pop(first)[1] == like.named
    return replace(head, headers=CIMultiDict(fields)), length


_APART = "x-assistant-id"
_WHO = st.builds(
    lambda name, colon, said: name + colon + said,
    st.sampled_from([b"X-Assistant-Id", b"x-assistant-id", b"X-ASSISTANT-ID", b"X-Assistant-Id-2"]),
    st.sampled_from([b": "] * 3 + [b":", b":\t", b" : "]),
    st.sampled_from([b"bot", b"a,b", b"5", b"two words", b"trailing ", b"", b"\xff", b"x" * 129, b"a\rb", b"a\tb"]),
)
_NAMED = st.builds(
    lambda before, between, after, who, digits, turned: [
        _head(
            b"/v1/chat/completions",
            b"1.1",
            [
                *before,
                *(
                    [b"Content-Length: " + size, *between, name]
                    if turned
                    else [name, *between, b"Content-Length: " + size]
                ),
                *after,
            ],
        )
        for name, size in zip(who, digits, strict=False)
    ],
    st.lists(_OTHERS, max_size=2),
    st.lists(_OTHERS, max_size=2),
    st.lists(st.one_of(_OTHERS, _WHO), max_size=2),
    st.lists(_WHO, min_size=2, max_size=6),
    st.lists(_DIGITS, min_size=2, max_size=6),
    st.booleans(),
)
"""They differ in a length and in a name alone."""


@given(st.lists(_NAMED, min_size=1, max_size=3).map(lambda lists: [each for some in lists for each in some]))
def test_a_head_without_its_name_says_what_it_would_if_it_were_read(sent: list[bytes]) -> None:
    """Whatever the name holds, however often it is said, before the length or behind it."""
    known, likes = Heads(_APART), list[Like]()
    for data in [*sent, *reversed(sent)]:
        read, like = heads.read(data), known.like(data)
        assert _said(_told(like, data)) == _said(_with_name(like, read))
        for each in likes:
            assert (told := _told(each, data)) is None or _said(told) == _said(_with_name(each, read))
        likes += [like] if like is not None else []


def test_heads_of_other_assistants_are_one_object() -> None:
    """Where nothing but a name differs, and a length."""
    known = Heads(_APART)
    found = [
        known.like(_PLAIN % (b"%d" % number, b"X-Assistant-Id: bot-%d\r\n" % number)) for number in range(2 * KEPT)
    ]
    assert {each.head for each in found if each is not None} == {found[0].head} if found[0] else False
    assert [each.named for each in found if each is not None] == [f"bot-{number}" for number in range(2 * KEPT)]
    assert known.kept == 1


@pytest.mark.parametrize("turned", [False, True])
def test_a_connection_may_name_one_assistant_after_another(turned: bool) -> None:
    """Its last head is like the next one, whose name is the one that it has then."""
    known = Heads(_APART)

    def head(name: bytes) -> bytes:
        lines = [b"Content-Length: 61", b"X-Assistant-Id: " + name]
        return _head(b"/v1/responses", b"1.1", lines if turned else lines[::-1])

    like = known.like(head(b"bot"))
    assert like is not None
    for name in (b"other", b"b", b"x" * 128, b"bot"):
        assert like.fits(head(name))
        assert (like.named, like.start, like.end) == (name.decode(), len(head(name)), len(head(name)) + 61)
    for name in (b"", b" other", b"other ", b"two words", b"x" * 129, b"\xff", b"a\tb", b"a\nb", b"a\r\nX: b", b"a\0b"):
        assert not like.fits(head(name))
    assert not like.fits(head(b"bot")[:-3])


def test_what_is_kept_is_bounded() -> None:
    """In number, in bytes of one and in bytes of all; what is not kept is read as well."""
    known = Heads()
    for number in range(3 * KEPT):
        assert known.like(_PLAIN % (b"5", b"X: %d\r\n" % number)) is not None
        assert known.kept <= KEPT
    long = _PLAIN % (b"5", b"X: %b\r\n" % (b"y" * 3000))
    for number in range(KEPT):
        assert known.like(long.replace(b"X:", b"X-%d:" % number)) is not None
    assert known.kept < KEPT / 2
    before = known.kept
    longer = _PLAIN % (b"5", b"X: %b\r\n" % (b"y" * 5000))
    assert _said(_told(known.like(longer), longer)) == _said(heads.read(longer))
    assert known.kept == before


def test_nothing_of_a_head_is_shown() -> None:
    """Its fields hold a caller's key."""
    known = Heads()
    found = known.like(_PLAIN % (b"5", b"Authorization: Bearer sk-secret\r\n"))
    assert found is not None
    assert "sk-secret" not in repr(known) + repr(found)

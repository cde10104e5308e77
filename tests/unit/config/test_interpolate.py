"""References in a configuration's values: what they become, what is refused, and that nothing of it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.fault import Wrong
from proxy.config.interpolate import Interpolation, shield, unshield

_ENV = {"NAME": "value", "EMPTY": "", "TWO": "a\nb", "SECRET": "sk-abc123", "BAD": "\udcff"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain $ and {braces}", "plain $ and {braces}"),
        ("${NAME}", "value"),
        ("a-${NAME}-${NAME}", "a-value-value"),
        ("${EMPTY}", ""),
        ("${EMPTY:-other}", "other"),
        ("${NOBODY:-other}", "other"),
        ("${NOBODY:-}", ""),
        ("${NOBODY:-a:b, c}", "a:b, c"),
        ("${NAME:-other}", "value"),
        ("$${NAME}", "${NAME}"),
        ("$${NAME}${NAME}", "${NAME}value"),
        ("${TWO}", "a\nb"),
    ],
)
def test_references_become_values(text: str, value: str) -> None:
    """Variables, defaults and escapes, as a shell has them."""
    assert Interpolation(_ENV, Path())(text) == value


def test_a_value_is_not_read_again() -> None:
    """What a variable holds is never taken for a reference."""
    assert Interpolation({"A": "${B}", "B": "no"}, Path())("${A}") == "${B}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${NOBODY}", "the environment has no NOBODY"),
        ("${NAME", "a `${` without its `}`"),
        ("${}", "expected ${NAME}, ${NAME:-default} or ${file:PATH}"),
        ("${1A}", "expected ${NAME}, ${NAME:-default} or ${file:PATH}"),
        ("${NAME:?no}", "expected ${NAME}, ${NAME:-default} or ${file:PATH}"),
        ("${BAD}", "the value of BAD is not UTF-8"),
        ("${file:}", "a file cannot be read: Is a directory"),
        ("${file:nowhere}", "nowhere cannot be read: No such file or directory"),
        ("${file:a\x00b}", "expected the path of a file"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, problem: str) -> None:
    """A reference without a value is refused, never empty."""
    with pytest.raises(Wrong) as refused:
        Interpolation(_ENV, Path(__file__).parent)(text)
    assert refused.value.problem == problem
    assert refused.value.remedy


def test_files_are_read_beside_the_configuration(tmp_path: Path) -> None:
    """A relative path starts at the configuration; the closing line break is no part of the value."""
    (tmp_path / "key").write_bytes(b"sk-file\r\n")
    assert Interpolation({}, tmp_path)("${file:key}") == "sk-file"
    assert Interpolation({}, Path("/"))(f"x${{file:{tmp_path}/key}}") == "xsk-file"


def test_files_that_are_no_value_are_refused(tmp_path: Path) -> None:
    """A file too large or not text is refused without its content."""
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(Wrong, match="large holds more than 64 KiB"):
        Interpolation({}, tmp_path)("${file:large}")
    with pytest.raises(Wrong, match="bytes is not UTF-8"):
        Interpolation({}, tmp_path)("${file:bytes}")


def test_masking_hides_what_was_substituted() -> None:
    """A value that came from elsewhere is shown as it was written, whole or within another; prose is left alone."""
    interpolation = Interpolation({"SECRET": "sk-abc123", "X": "a"}, Path())
    interpolation("${SECRET}")
    interpolation("x-${X}")
    assert interpolation.mask("`sk-abc123` and `pre-sk-abc123` and `x-a` are a value") == (
        "`${SECRET}` and `pre-${SECRET}` and `x-${X}` are a value"
    )


def test_shielding_keeps_length_and_comes_back() -> None:
    """The parser sees a text of the same shape without a brace of a reference."""
    text = "{a: ${X}, b: $${Y:-{z}, 'c': '${file:/a b}'}\n${open\n"
    assert len(shield(text)) == len(text)
    assert "${X}" not in shield(text)
    assert unshield(shield(text)) == text

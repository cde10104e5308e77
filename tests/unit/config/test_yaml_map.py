"""How YAML is read here: what plain words mean, where things stand, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config import yaml_map


def _read(text: str) -> Any:
    root, faults = yaml_map.compose(text, "f", lambda value: value)
    assert root is not None
    assert faults == []
    return yaml_map.plain(root)


def _refused(text: str) -> list[str]:
    _, faults = yaml_map.compose(text, "f", lambda value: value)
    return [str(fault) for fault in faults]


@pytest.mark.parametrize(
    "word", ["on", "off", "yes", "no", "012", "22:30", "0x1F", "1_000", ".5", "True", "2026-01-01", "=", ".inf"]
)
def test_plain_words_stay_text(word: str) -> None:
    """What only older YAML takes for something else is the text that it looks like."""
    assert _read(f"a: {word}") == {"a": word}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-7", -7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
    ],
)
def test_json_values_are_values(text: str, value: object) -> None:
    """What JSON would read as a number, a truth or nothing is that."""
    assert _read(f"a: {text}") == {"a": value}
    assert type(_read(f"a: {text}")["a"]) is type(value)


@pytest.mark.parametrize("text", ["'1'", '"1"', "!!str 1"])
def test_quoted_numbers_are_text(text: str) -> None:
    """Quotes make text of anything."""
    assert _read(f"a: {text}") == {"a": "1"}


def test_keys_are_text_whatever_they_look_like() -> None:
    """A key that looks like a number or a truth is still a name."""
    assert _read("1: a\ntrue: b\nnull: c") == {"1": "a", "true": "b", "null": "c"}


def test_every_value_knows_its_place() -> None:
    """Lines and columns count from one, for keys and for values, in block and in flow style."""
    root, _ = yaml_map.compose("a:\n  - x\n  - {b: 1, c: [y]}\n", "f", lambda value: value)
    assert root is not None
    assert yaml_map.position(root, ("a", 0)) == (2, 5)
    assert yaml_map.position(root, ("a", 1, "b")) == (3, 9)
    assert yaml_map.position(root, ("a", 1, "c"), of_key=True) == (3, 12)
    assert yaml_map.position(root, ("a", 1, "c", 0)) == (3, 16)


def test_what_does_not_exist_stands_where_its_surroundings_do() -> None:
    """A missing key is told at the mapping that lacks it."""
    root, _ = yaml_map.compose("a:\n  b: {c: 1}\n", "f", lambda value: value)
    assert root is not None
    assert yaml_map.position(root, ("a", "b", "zzz", "deeper")) == (2, 6)


def test_positions_survive_what_was_left_out() -> None:
    """After an item was left out of a list, the others are still found where they stand."""
    root, _ = yaml_map.compose("a: [x, y, z]", "f", lambda value: value)
    assert root is not None
    assert yaml_map.plain(root, {("a", 0)}) == {"a": ["y", "z"]}
    assert yaml_map.locate(root, ("a", 1), {("a", 0)}) == ("a", 2)


def test_a_key_written_twice_is_a_fault() -> None:
    """Of two values one would be lost; the fault stands at the second."""
    assert _refused("a: 1\nb:\n  c: 1\n  c: 2\n") == [
        "f:4:3: b.c: the key is written twice, first in line 3; keep one of them"
    ]


def test_aliases_repeat_a_value() -> None:
    """An alias is the value of its anchor."""
    assert _read("a: &x {b: [1]}\nc: *x") == {"a": {"b": [1]}, "c": {"b": [1]}}


def test_aliases_cannot_blow_up() -> None:
    """Nested aliases stop at a bound on what they unfold to, not at the end of memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert _refused("\n".join(lines)) == ["f:6:10: a5.0: more than 200000 values; use fewer aliases, or fewer values"]


def test_an_alias_within_its_own_anchor_is_refused() -> None:
    """A value cannot hold itself."""
    problem = "an alias stands within what it names; put the value in quotes if it is text that begins with *"
    assert _refused("a: &x [*x]") == [f"f:1:8: a.0: {problem}"]


@pytest.mark.parametrize("text", ["[" * 50 + "]" * 50, "[" * 100_000, "- " * 100_000, "{a: " * 5000])
def test_depth_is_bounded(text: str) -> None:
    """Nesting without end is refused, not followed."""
    assert len(_refused(text)) == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: b: c", "f:1:5: this is not YAML: mapping values are not allowed in this context; "),
        ("a: [1", "f:2:1: this is not YAML: did not find expected ',' or ']'; "),
        ("a:\n\t- b", "f:2:1: this is not YAML: found character that cannot start any token; "),
        ("a: 'b", "f:1:6: this is not YAML: found unexpected end of stream; "),
        ("a: *sk-1", "f:1:4: a: an alias that no anchor goes before; "),
        ("a: !x b", "f:1:4: a: tags are not read; remove the tag, the word that begins with !"),
        ("a: !!int 1", "f:1:4: a: tags are not read; "),
        ("a: 1\n---\nb: 1", "f:2:1: a second document begins here; remove the `---`"),
        ("? [a]\n: b", "f:1:3: a key must be plain text; write it like `key: value`"),
        ("ab\x07c", "f:1:3: the character U+0007 may not stand in a configuration; remove it"),
        ("a: 1\nb: \ufeffx", "f:2:4: the character U+FEFF may not stand in a configuration; remove it"),
        ("a: \ud800", "f:1:4: the character U+D800 may not stand in a configuration; remove it"),
        ("a: \U000f0041", "f:1:4: the character U+F0041 may not stand in a configuration; remove it"),
        ("a: 1e999", "f:1:4: a: the number is too large; "),
        ("a: 18446744073709551616", "f:1:4: a: the number is too large; "),
        (f"a: {'9' * 5000}", "f:1:4: a: the number is too large; write one that fits in 64 bits, or put it in quotes"),
    ],
)
def test_what_is_not_read_is_refused_in_its_place(text: str, fault: str) -> None:
    """Every refusal says where; none repeats a value."""
    refused = _refused(text)
    assert len(refused) == 1
    assert refused[0].startswith(fault)
    assert "sk-1" not in refused[0]


def test_a_fault_is_one_line() -> None:
    """A key cannot break the line that tells of it."""
    assert _refused('"a\\nb": 1\n"a\\nb": 2') == [
        "f:2:1: a?b: the key is written twice, first in line 1; keep one of them"
    ]

"""Migrations over any data: an operator's value is never changed, and a text never holds anything but the result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import yaml_map
from proxy.config.fault import Loc
from proxy.config.interpolate import Interpolation
from proxy.config.migrations import Edit, Fill, Migrated, Move, Step, migrate
from proxy.config.rewrite import rewrite
from proxy.config.yaml_text import flow, plain_text

_KEYS = st.sampled_from("abcde")
_LOCS = st.lists(_KEYS, min_size=1, max_size=3).map(tuple)
_LEAVES: st.SearchStrategy[Any] = st.none() | st.just("mine") | st.just([])
_DATA = st.dictionaries(
    _KEYS, st.recursive(_LEAVES, lambda inner: st.dictionaries(_KEYS, inner, max_size=3), max_leaves=6), max_size=4
)


def _apart(locs: tuple[Loc, Loc]) -> bool:
    shorter = min(map(len, locs))
    return locs[0][:shorter] != locs[1][:shorter]


_EDITS = st.lists(
    st.builds(Fill, _LOCS, st.just("filled")) | st.tuples(_LOCS, _LOCS).filter(_apart).map(lambda pair: Move(*pair)),
    max_size=6,
)


def _leaves(data: Any, loc: Loc = ()) -> Iterator[tuple[Loc, Any]]:
    if isinstance(data, dict) and data:
        for key, each in data.items():
            yield from _leaves(each, (*loc, key))
    else:
        yield loc, data


def _numbered(data: dict[str, Any]) -> dict[str, Any]:
    """The same data, each of whose texts is its own."""
    count = iter(range(1000))

    def each(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: each(inner) for key, inner in value.items()}
        return f"mine-{next(count)}" if value == "mine" else value

    return {key: each(value) for key, value in data.items()}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _run(data: dict[str, Any], edits: list[Edit]) -> Migrated:
    return migrate(data, 0, [Step(1, "s", "r", lambda _: edits)])


@given(_DATA.map(_numbered), _EDITS)
def test_a_migration_never_touches_an_operators_value(data: dict[str, Any], edits: list[Edit]) -> None:
    """Each value, null or empty list is where it was, or where a change says it went, or dropped and told to be."""
    done = _run(data, edits)
    expected = dict(_leaves(data)) if data else {}
    for change in done.changes:
        below = [loc for loc in expected if loc[: len(change.loc)] == change.loc]
        for loc in below if change.kind != "filled" else ():
            value = expected.pop(loc)
            if change.kind == "moved":
                expected[change.to + loc[len(change.loc) :]] = value
        if change.kind == "filled":
            assert not any(loc[: len(change.to)] == change.to for loc in expected)
            # An empty mapping is filled by what comes into it.
            expected = {loc: value for loc, value in expected.items() if change.to[: len(loc)] != loc or value != {}}
            expected[change.to] = "filled"
    found = dict(_leaves(done.data)) if done.data else {}
    kept = {loc: value for loc, value in expected.items() if value != {}}
    assert {loc: value for loc, value in found.items() if value != {}} == kept


@given(_DATA.map(_numbered), _EDITS, st.sampled_from([None, False, True]), st.integers(1, 4))
def test_the_text_holds_what_the_data_says(
    data: dict[str, Any], edits: list[Edit], style: bool | None, indent: int
) -> None:
    """In block form, in flow form and mixed: the rewritten text reads as the migrated data, and its comments stay."""
    before = {"version": 0, **data}
    dumped = yaml.dump(before, Dumper=_Dumper, default_flow_style=style, indent=indent, sort_keys=False, width=1000)
    text = f"# above\n\n{dumped}# below\n"
    done = _run(before, edits)
    after = rewrite(text, done.changes, done.data)
    root, faults = yaml_map.compose(after, "f", lambda value: value)
    assert root is not None
    assert (yaml_map.plain(root), faults) == (done.data, [])
    assert after.startswith("# above\n")
    assert after.endswith("# below\n")


_MARKS = st.sampled_from(["${", "$${", "}", "${A}", "$", '"', "\\", ": ", " #", "- ", "\n", "null", "1"])
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Co"])) | st.lists(_MARKS, max_size=5).map("".join)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(_VALUES)
def test_values_are_written_so_that_they_are_read_back(value: Any) -> None:
    """On its own line and within a mapping: whatever is written is what the loader reads."""
    root, faults = yaml_map.compose(f"a: {flow(value)}\nb: {{c: {flow(value)}}}", "f", lambda text: text)
    assert root is not None
    assert (yaml_map.plain(root), faults) == ({"a": value, "b": {"c": value}}, [])


@given(_TEXT)
def test_foreign_text_is_never_a_reference(value: str) -> None:
    """A `${` that comes from elsewhere is read as the characters that it is."""
    root, faults = yaml_map.compose(f"a: {plain_text(value)}", "f", Interpolation({}, Path()))
    assert root is not None
    assert (yaml_map.plain(root), faults) == ({"a": value}, [])

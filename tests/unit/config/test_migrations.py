"""From an older form to this one: what steps may do, what they may never do, and where faults then point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.config import load, migrations
from proxy.config.migrations import Fill, Move, Step, migrate
from proxy.config.schema import Config
from tests.unit.config.steps import NAMES, PLACES, STEPS

_OLD = """\
version: -1
listen_on: 127.0.0.1:7070
gateway:
  sources:
    one: {kind: openai, api_key: k}
bots:
  a: {main: {source: one, model: m}, wait: 60000}
  b: {main: null}
"""


def _load(text: str) -> Config:
    config = load.parse(text, "f", {}, Path(), STEPS)
    assert isinstance(config, Config), config
    return config


def _faults(text: str) -> list[str]:
    read = load.parse(text, "f", {}, Path(), STEPS)
    assert isinstance(read, tuple)
    return [str(fault) for fault in read]


def _said(data: dict[str, Any], *edits: migrations.Edit) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    done = migrate(data, 0, [Step(1, "s", "r", lambda _: edits)])
    return done.data, [(change.kind, ".".join(map(str, change.to))) for change in done.changes]


def test_an_old_file_is_served_as_one_of_today() -> None:
    """Each step runs in turn, values arrive in their new places, and the configuration knows how it came by them."""
    config = _load(_OLD)
    assert config.listen.port == 7070
    a, b = config.assistants["a"], config.assistants["b"]
    assert (a.primary is not None, a.timeouts.total, a.timeouts.hold) == (True, 60.0, 2.0)
    assert (b.primary, b.timeouts.hold) == (None, 2.0)
    assert config.breaker is not None
    assert config.breaker.cooldown == 20.0
    origins = {".".join(map(str, change.to)): change.origin for change in config.migrated}
    assert origins == {
        "listen": "operator",
        "assistants": "operator",
        "assistants.a.primary": "operator",
        "assistants.a.timeouts.total": "operator",
        "assistants.a.timeouts.hold": "migration",
        "assistants.b.primary": "operator",
        "assistants.b.timeouts.hold": "migration",
        "breaker.cooldown": "migration",
        "sources": "operator",
    }
    assert load.notices(config)[0] == (
        "listen_on is now listen: names are the ones that the documents use; `homeport migrate --write` writes it"
    )


def test_steps_before_the_files_version_are_left_out() -> None:
    """A file of the version between meets only the step that is still ahead of it."""
    config = _load("version: 0\nlisten: 127.0.0.1:7070\nassistants: {a: {main: null}}\n")
    assert {change.step for change in config.migrated} == {PLACES}
    assert _faults("version: 0\nlisten_on: 127.0.0.1:7070\n") == [
        "f:2:1: listen_on: unknown key; did you mean `listen`?"
    ]
    assert _load("version: 1\n").migrated == ()


def test_a_file_older_than_any_step_is_refused() -> None:
    """There is no way from a version that never was."""
    assert _faults("version: -2") == [
        "f:1:10: version: there is no such version; this Homeport reads 1; write version: 1"
    ]


def test_a_missing_version_is_not_taken_for_an_old_one() -> None:
    """Without a version nothing is migrated: a lost line must not change what the rest means."""
    assert _faults("listen_on: 127.0.0.1:1") == [
        "f:1:1: listen_on: unknown key; did you mean `listen`?",
        "f:1:1: version: `version` is missing; add version: 1",
    ]


def test_faults_point_to_the_line_that_was_written() -> None:
    """A moved value is faulted under its name of today, where it was written; a broken one is still one fault."""
    text = _OLD.replace("source: one", "source: two").replace("api_key: k", "api_key: ${NOBODY}")
    assert _faults(text) == [
        "f:5:34: gateway.sources.one.api_key: the environment has no NOBODY; set NOBODY, or write ${NOBODY:-default}",
        "f:7:22: assistants.a.primary.source: `two` does not stand under `sources`; sources has `one`",
    ]
    assert _faults(_OLD.replace("60000", "long")) == [
        "f:7:44: assistants.a.wait: expected milliseconds; write it in digits"
    ]


def test_what_is_filled_gives_way_to_what_could_not_be_read() -> None:
    """A value that is written and broken counts as written: nothing is filled in its place."""
    text = "version: 0\nbreaker: {cooldown: ${NOBODY}}\n"
    assert _faults(text) == [
        "f:2:21: breaker.cooldown: the environment has no NOBODY; set NOBODY, or write ${NOBODY:-default}"
    ]
    held = migrate({"breaker": {}}, 0, [PLACES], {("breaker", "cooldown")})
    assert (held.data, held.changes) == ({"breaker": {}}, ())


def test_an_alias_is_migrated_in_each_of_its_places() -> None:
    """What two places share in the file is two values to a migration."""
    config = _load("version: 0\nassistants: {a: &x {wait: 50000}, b: *x}\n")
    assert [each.timeouts.total for each in config.assistants.values()] == [50.0, 50.0]


@pytest.mark.parametrize("stands", [None, 1, "", [], {}, False], ids=repr)
def test_a_value_that_stands_is_never_filled(stands: object) -> None:
    """Whatever an operator has written stays, nothing at all included; so does everything below it."""
    assert _said({"a": stands}, Fill(("a",), 9)) == ({"a": stands}, [])
    if stands != {}:
        assert _said({"a": stands}, Fill(("a", "b"), 9)) == ({"a": stands}, [])
    else:
        assert _said({"a": stands}, Fill(("a", "b"), 9)) == ({"a": {"b": 9}}, [("filled", "a.b")])


@pytest.mark.parametrize("stands", [None, 1, {}], ids=repr)
def test_a_newer_value_wins_over_an_older_one(stands: object) -> None:
    """Where both are written, an explicit null included, the older goes and is told of."""
    both: dict[str, Any] = {"old": 5, "new": stands}
    assert _said(both, Move(("old",), ("new",))) == ({"new": stands}, [("superseded", "new")])
    assert _said({"old": 5, "new": None}, Move(("old",), ("new", "inner"))) == ({"new": None}, [("superseded", "new")])


def test_a_null_moves_as_a_null() -> None:
    """Nobody is asked how to write a null: it is one in every form."""

    def never(_: object) -> object:
        raise AssertionError

    assert _said({"old": None}, Move(("old",), ("x", "new"), never)) == ({"x": {"new": None}}, [("moved", "x.new")])


def test_what_moves_takes_its_empty_surroundings_along() -> None:
    """A mapping that held nothing else goes with the value; one that holds more stays, and so does a list's item."""
    assert _said({"a": {"b": {"c": 1}}}, Move(("a", "b", "c"), ("d",)))[0] == {"d": 1}
    assert _said({"a": {"b": {"c": 1}, "x": 2}}, Move(("a", "b", "c"), ("d",)))[0] == {"a": {"x": 2}, "d": 1}
    assert _said({"a": [{"b": 1}]}, Move(("a", 0, "b"), ("d",)))[0] == {"a": [{}], "d": 1}
    edits = (Move(("a", 0, "b"), ("a", 0, "c")), Fill(("a", 1, "c"), 2))
    assert _said({"a": [{"b": 1}]}, *edits)[0] == {"a": [{"c": 1}]}


def test_the_input_is_left_alone() -> None:
    """A migration gives new data, and values filled from one step are nobody else's."""
    value: dict[str, Any] = {"deep": [1]}
    data: dict[str, Any] = {"version": 0, "old": {"x": [1]}}
    done = migrate(data, 0, [Step(1, "s", "r", lambda _: [Move(("old",), ("new",)), Fill(("more",), value)])])
    done.data["new"]["x"].append(2)
    done.data["more"]["deep"].append(2)
    assert (data, value) == ({"version": 0, "old": {"x": [1]}}, {"deep": [1]})
    assert done.data["version"] == 1


def test_a_value_cannot_move_into_itself() -> None:
    """Such a step is a mistake of whoever writes it, and says so at once."""
    for to in (("a",), ("a", "b"), ()):
        with pytest.raises(ValueError, match="into itself"):
            Move(("a",), to)


def test_every_real_step_is_one_version_and_says_what_it_does() -> None:
    """The chain has no gap, ends at the version of today, and each step has a name of its own and a rule."""
    steps = migrations.STEPS
    numbers = [step.to for step in steps]
    assert numbers == list(range(2 - len(steps), 2))
    assert len({step.name for step in steps}) == len(steps)
    assert all(step.rule for step in (*steps, NAMES))

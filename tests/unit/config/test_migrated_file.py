"""A migrated file: only the migration shows in its diff, and the original is kept whatever happens."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from proxy import cli
from proxy.config import migrated_file
from proxy.config.migrated_file import CannotWrite, Plan
from tests.unit.config.steps import STEPS

_OLD = """\
# Ours, since spring.
version: -1
listen_on: 127.0.0.1:7070   # data
# Where models are.
gateway:
  # The one that we pay.
  sources:
    one:   {kind: openai, api_key: ${KEY}}   # aligned by hand

    # The other.
    two:
      kind: openai-compatible
      base_url: 'http://127.0.0.1:1/v1'

bots:
  a:
    main: {source: one,   model: m}  # the big one
    # A minute.
    wait: 60000  # ms
  b: {main: null, wait: 70000}
  c: {primary: null, main: {source: two, model: n}}
# The end.
"""
_NEW = """\
# Ours, since spring.
version: 1
listen: 127.0.0.1:7070   # data
# Where models are.

assistants:
  a:
    primary: {source: one,   model: m}  # the big one
    timeouts:
      # A minute.
      total: 60000ms  # ms
      hold: 2s
  b: {primary: null, timeouts: {total: 70000ms, hold: 2s}}
  c: {primary: null, timeouts: {hold: 2s}}
breaker:
  cooldown: 20s
# The one that we pay.
sources:
  one:   {kind: openai, api_key: ${KEY}}   # aligned by hand

  # The other.
  two:
    kind: openai-compatible
    base_url: 'http://127.0.0.1:1/v1'
# The end.
"""


def _plan(directory: Path, text: str) -> Plan:
    file = directory / "homeport.yaml"
    file.write_text(text, newline="")
    planned = migrated_file.plan(file, STEPS)
    assert isinstance(planned, Plan), [str(fault) for fault in planned]
    return planned


def _refused(directory: Path, text: str) -> str:
    file = directory / "homeport.yaml"
    file.write_text(text)
    faults = migrated_file.plan(file, STEPS)
    assert isinstance(faults, tuple)
    (fault,) = faults
    return str(fault).removeprefix(f"{directory}/")


def test_comments_references_and_form_are_kept(tmp_path: Path) -> None:
    """What a migration does not touch stays as it was written, and a comment goes where its value goes."""
    planned = _plan(tmp_path, _OLD)
    assert planned.after == _NEW
    assert planned.notes == [
        f"{each}: {rule}"
        for rule, told in (
            ("names are the ones that the documents use", ["listen_on is now listen", "bots is now assistants"]),
            ("limits stand together, and probes come later", [
                "assistants.a.main is now assistants.a.primary",
                "assistants.a.wait is now assistants.a.timeouts.total",
                "assistants.a.timeouts.hold is filled in",
                "assistants.b.main is now assistants.b.primary",
                "assistants.b.wait is now assistants.b.timeouts.total",
                "assistants.b.timeouts.hold is filled in",
                "assistants.c.main is dropped, because assistants.c.primary is set",
                "assistants.c.timeouts.hold is filled in",
                "breaker.cooldown is filled in",
                "gateway.sources is now sources",
            ]),
        )
        for each in told
    ]  # fmt: skip


def test_windows_line_ends_stay(tmp_path: Path) -> None:
    """A file of CRLF lines has CRLF lines only, the new ones as well."""
    after = _plan(tmp_path, _OLD.replace("\n", "\r\n")).after
    assert after == _NEW.replace("\n", "\r\n")


def test_the_diff_shows_the_migration_alone(tmp_path: Path) -> None:
    """A unified diff of what changes; nothing for a file that is new enough, which then says so."""
    planned = _plan(tmp_path, "version: 0\nbreaker: {cooldown: 5s}\nassistants: {a: {main: null}}")
    lines = planned.diff.splitlines()
    assert lines[:2] == [f"--- {tmp_path}/homeport.yaml", f"+++ {tmp_path}/homeport.yaml (version 1)"]
    assert lines[3:] == [
        "-version: 0",
        "+version: 1",
        " breaker: {cooldown: 5s}",
        "-assistants: {a: {main: null}}",
        "\\ No newline at end of file",
        "+assistants: {a: {primary: null, timeouts: {hold: 2s}}}",
        "\\ No newline at end of file",
    ]
    current = _plan(tmp_path, "version: 1 # new\n")
    assert (current.due, current.diff, current.before) == (False, "", current.after)
    assert current.notes == [f"{tmp_path}/homeport.yaml is of version 1, the newest: there is nothing to migrate"]


@pytest.mark.parametrize(
    "text",
    [
        "version: 0\nassistants: {a: &x {wait: 50000}, b: *x}\n",
        "version: 0\nassistants:\n  a:\n    ? wait\n    : 50000\n    primary: null\n",
        "version: &v 0\nlimits: {in_flight: *v}\n",
    ],
)
def test_what_cannot_be_changed_safely_is_left_to_a_person(tmp_path: Path, text: str) -> None:
    """Never a text that holds anything but the migrated data: the changes are told, to be made by hand."""
    refusal = _refused(tmp_path, text)
    assert refusal.startswith("homeport.yaml:1:1: written in a way ")
    assert "change it by hand: " in refusal
    assert refusal.endswith("version is now 1")


def test_faults_that_hide_the_meaning_come_first(tmp_path: Path) -> None:
    """A newer file, a missing or unknown version, a value that cannot be rewritten, no YAML: a fault with its place."""
    assert _refused(tmp_path, "version: 2").startswith("homeport.yaml:1:10: version: a newer version than")
    assert _refused(tmp_path, "listen: x").startswith("homeport.yaml:1:1: version: expected the version")
    assert _refused(tmp_path, "version: -2").startswith("homeport.yaml:1:10: version: there is no such version")
    assert _refused(tmp_path, "version: 0\nassistants: {a: {wait: x}}").startswith(
        "homeport.yaml:2:24: assistants.a.wait: expected milliseconds"
    )
    assert _refused(tmp_path, "{").startswith("homeport.yaml:")
    assert _refused(tmp_path, "[]").startswith("homeport.yaml:1:1: expected a mapping")
    assert isinstance(migrated_file.plan(tmp_path / "absent.yaml"), tuple)


def test_writing_keeps_the_original_under_a_free_name(tmp_path: Path) -> None:
    """The new text with the old rights, the original byte for byte, earlier originals untouched, nothing else left."""
    planned = _plan(tmp_path, _OLD)
    planned.file.chmod(0o640)
    (tmp_path / "homeport.yaml.orig-1").write_text("earlier")
    assert migrated_file.write(planned) == tmp_path / "homeport.yaml.orig-2"
    assert planned.file.read_text() == _NEW
    assert planned.file.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "homeport.yaml.orig-1").read_text() == "earlier"
    assert (tmp_path / "homeport.yaml.orig-2").read_text() == _OLD
    assert len(os.listdir(tmp_path)) == 3


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What a symbolic link leads to is written, and kept beside it."""
    real = tmp_path / "real"
    real.mkdir()
    (real / "a.yaml").write_text(_OLD)
    link = tmp_path / "homeport.yaml"
    link.symlink_to(real / "a.yaml")
    planned = migrated_file.plan(link, STEPS)
    assert isinstance(planned, Plan)
    assert migrated_file.write(planned) == real / "a.yaml.orig-1"
    assert link.is_symlink()
    assert link.read_text() == _NEW


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    """Somebody else's edit is never lost: nothing is written, nothing left behind."""
    planned = _plan(tmp_path, _OLD)
    planned.file.write_text(_OLD + "# mine\n")
    with pytest.raises(CannotWrite, match="changed meanwhile"):
        migrated_file.write(planned)
    assert planned.file.read_text() == _OLD + "# mine\n"
    assert os.listdir(tmp_path) == ["homeport.yaml"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """Whatever stands in the way, the answer is a reason and not a traceback."""
    planned = _plan(tmp_path, _OLD)
    planned.file.unlink()
    with pytest.raises(CannotWrite, match="cannot be migrated: No such file"):
        migrated_file.write(planned)
    assert os.listdir(tmp_path) == []


def test_the_command_prints_first_and_writes_when_told_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`migrate` prints the whole new text and leaves the file; `--write` writes it and names the original."""
    planned = _plan(tmp_path, _OLD)
    notes = "".join(f"note: {note}\n" for note in planned.notes)
    options = argparse.Namespace(file=planned.file, write=False)
    assert cli._migrate(options, STEPS) == 0
    assert capsys.readouterr() == (_NEW, notes)
    assert planned.file.read_text() == _OLD
    options.write = True
    assert cli._migrate(options, STEPS) == 0
    assert capsys.readouterr() == (f"Wrote {planned.file}; the original is {planned.file}.orig-1.\n", notes)
    assert planned.file.read_text() == _NEW

"""The book on disk: whenever whoever writes it dies, it is the old one or the new one; what cannot be written changes
nothing."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import proxy
from proxy.config.ledger import Ledger, encoded
from proxy.config.state_dir import KeepError, StateDir
from tests.unit.config.books import primaries

_ROOT = Path(proxy.__file__).parents[1]
_PATIENCE = 60.0


def _keep(folder: Path, book: Ledger) -> None:
    disk = StateDir(folder)
    disk.prepare(book)
    disk.keep()


def test_a_book_that_was_kept_is_read(tmp_path: Path) -> None:
    """By another process too; folders are made as they are needed, and before the first there is an empty book."""
    folder = tmp_path / "a" / "b"
    assert StateDir(folder).read() == Ledger()
    for count in (1, 5, 2):
        _keep(folder, primaries(count))
        assert StateDir(folder).read() == primaries(count)
    assert [each.name for each in folder.iterdir()] == ["revisions.json"]
    assert (folder / "revisions.json").read_bytes() == encoded(primaries(2))


def test_what_is_prepared_is_not_the_book_until_it_is_kept(tmp_path: Path) -> None:
    """Nor ever, where it is discarded; which may be said when there is nothing too."""
    _keep(tmp_path, primaries(1))
    disk = StateDir(tmp_path)
    disk.prepare(primaries(2))
    assert (tmp_path / "revisions.json").read_bytes() == encoded(primaries(1))
    disk.discard()
    disk.discard()
    assert [each.name for each in tmp_path.iterdir()] == ["revisions.json"]


def test_whatever_of_a_write_had_reached_the_disk_the_book_is_whole(tmp_path: Path) -> None:
    """At every byte: the old one, and what was begun is gone after the next start."""
    _keep(tmp_path, primaries(1))
    new, left = encoded(primaries(2)), tmp_path / ".revisions.json.4711"
    for cut in range(len(new) + 1):
        left.write_bytes(new[:cut])
        assert StateDir(tmp_path).read() == primaries(1)
        assert not left.exists()
    left.write_bytes(new)
    left.replace(tmp_path / "revisions.json")
    assert StateDir(tmp_path).read() == primaries(2)


@pytest.mark.parametrize("text", [b"", b"{}x", b"\x00" * 4096, encoded(primaries(2))[:-5], b"[]"], ids=range(5))
def test_what_is_no_book_is_told_and_left_alone(tmp_path: Path, text: bytes) -> None:
    """It may be an operator's only copy."""
    path = tmp_path / "revisions.json"
    path.write_bytes(text)
    with pytest.raises(KeepError, match=f"^{re.escape(str(path))} is no book of revisions; mend it, or move it away"):
        StateDir(tmp_path).read()
    assert path.read_bytes() == text


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """With what stands in the way."""
    (tmp_path / "revisions.json").mkdir()
    with pytest.raises(KeepError, match=r"cannot be read: Is a directory; make it readable"):
        StateDir(tmp_path).read()


def test_where_nothing_can_be_written_the_book_stays(tmp_path: Path) -> None:
    """A folder that is none, and a book's place that is taken: neither a book nor a piece of one is left."""
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(KeepError, match=r"cannot keep it: .*; make room there, or let Homeport write to it$"):
        StateDir(file).prepare(primaries(1))
    assert file.read_text() == "mine"
    folder = tmp_path / "folder"
    (folder / "revisions.json").mkdir(parents=True)
    disk = StateDir(folder)
    disk.prepare(primaries(1))
    with pytest.raises(KeepError):
        disk.keep()
    assert [each.name for each in folder.iterdir()] == ["revisions.json"]


_FULL = """
import resource, sys
from pathlib import Path
from proxy.config.state_dir import KeepError, StateDir
from tests.unit.config.books import primaries
disk = StateDir(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    disk.prepare(primaries(2))
except KeepError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
disk.prepare(primaries(3))
disk.keep()
"""


@pytest.mark.parametrize("room", [0, 1, 100, len(encoded(primaries(2))) - 1])
def test_a_disk_that_fills_up_in_the_midst_of_a_write_leaves_nothing_behind(tmp_path: Path, room: int) -> None:
    """The old book stays, the error says what to do, and once there is room the next one is kept."""
    _keep(tmp_path, primaries(1))
    ran = subprocess.run(
        [sys.executable, "-c", _FULL, tmp_path, str(room)], cwd=_ROOT, capture_output=True, text=True, timeout=_PATIENCE
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"{tmp_path} cannot keep it: File too large; make room there, or let Homeport write to it\n"
    assert [each.name for each in tmp_path.iterdir()] == ["revisions.json"]
    assert StateDir(tmp_path).read() == primaries(3)


# For every line it is sent, a process of its own writes one book after the other until it is killed.
_WRITERS = """
import os, sys
from pathlib import Path
from proxy.config.state_dir import StateDir
from tests.unit.config.books import primaries
books = [primaries(count) for count in range(1, 40)]
for line in sys.stdin:
    child = os.fork()
    if not child:
        disk = StateDir(Path(sys.argv[1]))
        print(os.getpid(), flush=True)
        while True:
            for book in books:
                disk.prepare(book)
                disk.keep()
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


def test_killed_at_any_moment_the_book_is_one_that_was_kept(tmp_path: Path) -> None:
    """Thirty times at random; and no more of an unfinished write is left than one start sweeps away."""
    _keep(tmp_path, primaries(1))
    kept = {encoded(primaries(count)) for count in range(1, 40)}
    chance, book = random.Random(5), tmp_path / "revisions.json"
    host = subprocess.Popen(
        [sys.executable, "-c", _WRITERS, tmp_path], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert host.stdin is not None
    assert host.stdout is not None
    seen, unfinished = set(), 0
    try:
        for _ in range(30):
            host.stdin.write("go\n")
            host.stdin.flush()
            before, writer = book.stat().st_ino, int(host.stdout.readline())
            deadline = time.monotonic() + _PATIENCE
            while book.stat().st_ino == before:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.04))
            os.kill(writer, signal.SIGKILL)
            assert host.stdout.readline() == "dead\n"
            text = book.read_bytes()
            assert text in kept
            seen.add(text)
            unfinished += len(list(tmp_path.iterdir())) - 1
            assert encoded(StateDir(tmp_path).read()) == text
            assert [each.name for each in tmp_path.iterdir()] == ["revisions.json"]
    finally:
        host.stdin.close()
        host.stdout.close()
        assert host.wait(_PATIENCE) == 0
    assert len(seen) > 2
    assert unfinished > 0

"""What each worker has of a configuration, and which ones cannot be shared."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from proxy.config import load
from proxy.config.schema import Config
from proxy.workers import shares


def _config(head: str = "store: redis://127.0.0.1:6379/0") -> Config:
    config = load.parse(f"version: 1\n{head}\n", "test", {}, Path("/etc/homeport"))
    assert isinstance(config, Config)
    return config


def _told(config: Config, count: int) -> list[str]:
    return [str(fault) for fault in shares.faults(config, count)]


def test_the_first_worker_has_what_a_replica_by_itself_has() -> None:
    """So its revisions are found by either; the others have ports after its own, and folders within its folder."""
    config = _config()
    assert shares.own(config, 1) is config
    third = shares.own(config, 3)
    assert (str(third.listen), str(third.admin.listen)) == ("127.0.0.1:8080", "127.0.0.1:8083")
    assert (config.state_dir, third.state_dir) == (
        "/etc/homeport/homeport-state",
        "/etc/homeport/homeport-state/worker-3",
    )
    assert third.fingerprint == config.fingerprint


def test_any_free_port_and_no_folder_are_the_same_for_all() -> None:
    """Port 0 stays 0, null stays null."""
    third = shares.own(_config("admin: {listen: 127.0.0.1:0}\nstate_dir: null"), 3)
    assert (third.admin.listen.port, third.state_dir) == (0, None)


def test_one_worker_needs_nothing_and_more_need_a_store() -> None:
    """Without one, what an answer is would be chance."""
    alone = _config("store: memory")
    assert _told(alone, 1) == []
    (fault,) = _told(alone, 2)
    assert fault.startswith("--workers: with `store: memory` each worker")
    assert _told(_config(), 128) == []


@pytest.mark.parametrize(
    ("addresses", "count", "said"),
    [
        ("listen: 127.0.0.1:8080\nadmin: {listen: 127.0.0.1:8078}", 2, ""),
        (
            "listen: 127.0.0.1:8080\nadmin: {listen: 127.0.0.1:8078}",
            3,
            "`listen` is the operators' address of worker 3",
        ),
        ("listen: 127.0.0.1:8080\nadmin: {listen: 127.0.0.2:8078}", 3, ""),
        ("listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}", 128, ""),
        ("admin: {listen: 127.0.0.1:65534}", 2, ""),
        ("admin: {listen: 127.0.0.1:65534}", 3, "the operators' port of worker 3 would be 65536"),
    ],
)
def test_ports_in_a_row_have_to_be_there(addresses: str, count: int, said: str) -> None:
    """The row ends before the API's own port and before the last there is."""
    told = _told(_config(f"store: redis://127.0.0.1:6379/0\n{addresses}"), count)
    assert [line.removeprefix("--workers: ").partition(";")[0] for line in told] == ([said] if said else [])


@pytest.mark.parametrize("text", ["0", "-1", "129", "1.5", "", "two", "٣", "9" * 5000])
def test_a_number_of_workers_is_one(text: str) -> None:
    """From 1 to 128, or auto."""
    with pytest.raises(argparse.ArgumentTypeError, match="1 to 128"):
        shares.count(text)
    assert (shares.count("1"), shares.count("128")) == (1, 128)


def test_auto_is_what_this_process_may_use(tmp_path: Path) -> None:
    """A quota counts, rounded up; its absence, or anything else that stands there, does not."""
    group, quota = tmp_path / "cgroup", tmp_path / "system.slice" / "ours" / "cpu.max"
    mine = len(os.sched_getaffinity(0))
    assert shares.processors(group, tmp_path) == mine
    group.write_text("1:name=systemd:/elsewhere\n0::/system.slice/ours\n")
    assert shares.processors(group, tmp_path) == mine
    quota.parent.mkdir(parents=True)
    for text, expected in (("max 100000", mine), ("50000 100000", 1), ("100001 100000", min(mine, 2)), ("?", mine)):
        quota.write_text(text + "\n")
        assert shares.processors(group, tmp_path) == expected
    assert 1 <= shares.count("auto") <= 128

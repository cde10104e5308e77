"""What each worker has of a configuration: the API's address in common, an operators' address and a folder of its own.

1. Worker 1 has what a replica by itself would have, so that one worker becomes many, and many one, without a loss.
2. More than one worker share a store: any of them may get a request, and all must answer it alike.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator
from pathlib import Path

from proxy.config.addresses import Address
from proxy.config.fault import Fault
from proxy.config.schema import Config

MOST = 128
_GROUP, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def own(config: Config, number: int) -> Config:
    """The configuration as worker `number` serves it."""
    if number == 1:
        return config
    folder = None if config.state_dir is None else str(Path(config.state_dir) / f"worker-{number}")
    admin = config.admin.model_copy(update={"listen": operators(config, number)})
    return config.model_copy(update={"admin": admin, "state_dir": folder})


def operators(config: Config, number: int) -> Address:
    """Where worker `number` answers operators: ports in a row, or any free ones."""
    first = config.admin.listen
    return Address(first.host, first.port + number - 1) if first.port else first


def faults(config: Config, count: int) -> tuple[Fault, ...]:
    """Why so many workers cannot serve it."""
    return tuple(Fault("--workers", 0, 0, "", *each) for each in _found(config, count)) if count > 1 else ()


def _found(config: Config, count: int) -> Iterator[tuple[str, str]]:
    if config.shared_store is None:
        yield (
            "with `store: memory` each worker would have breakers, records and edits of its own",
            "set `store` to a Redis, which they share, or serve with one worker",
        )
    listen, last = config.listen, operators(config, count)
    if last.port > 65535:
        yield f"the operators' port of worker {count} would be {last.port}", "choose a lower one for `admin.listen`"
    elif listen.host == last.host and listen.port and config.admin.listen.port < listen.port <= last.port:
        yield (
            f"`listen` is the operators' address of worker {listen.port - config.admin.listen.port + 1}",
            f"leave {count} ports free from that of `admin.listen` on",
        )


def count(text: str) -> int:
    """Read a number of workers, or `auto`. Raises what argparse expects."""
    if text == "auto":
        return min(processors(), MOST)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MOST}, or auto")
    return int(text)


def processors(group: Path = _GROUP, groups: Path = _GROUPS) -> int:
    """CPUs that this process may use: those that it may run on, and no more than its control group's quota is worth."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        own = group.read_text().rpartition("0::/")[2].strip()
        most, period = (groups / own / "cpu.max").read_text().split()
        return max(1, min(mine, math.ceil(int(most) / int(period))))
    except (OSError, ValueError):  # no control groups, or no quota: "max 100000"
        return mine

"""What a process tree cost: CPU time and resident memory, as the kernel counts them. Linux only.

1. A process is measured with all its descendants, so nginx's worker counts as nginx.
2. CPU is user plus system time of every thread: what /proc/PID/stat shows in ticks of 10 ms, here in ns.
"""

from __future__ import annotations

import time
from pathlib import Path

_PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """`pid` and its descendants that run now."""
    found = [pid]
    for parent in found:
        for thread in (_PROC / str(parent) / "task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def cpu(pid: int) -> float:
    """Seconds on a CPU since they started, over the tree of `pid`."""
    return sum(cpus(pid).values())


def cpus(pid: int) -> dict[int, float]:
    """The same, process by process."""
    return {each: time.clock_gettime(_clock(each)) for each in tree(pid)}


def rss(pid: int) -> float:
    """MiB resident, over the tree of `pid`; pages that its processes share count once for each."""
    return sum(_resident(each) for each in tree(pid)) / 1024


def _clock(pid: int) -> int:
    # What clock_getcpuclockid(3) returns for another process; Python wraps only its sibling for threads.
    return (~pid << 3) | 2


def _resident(pid: int) -> int:
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0

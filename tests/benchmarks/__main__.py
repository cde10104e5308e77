"""`python -m tests.benchmarks`: run it, print the table.

1. Exit codes: 0 measured, bounds met or not; 1 a candidate would not start or answered wrongly; 130 stopped.
2. Nothing is written but to stdout, stderr and the file that `--json` names.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.benchmarks import candidates, fleet, fleet_measures, load, process, report, rounds, scrape
from tests.benchmarks.candidates import CANDIDATES, NGINX, Candidate

SECTIONS = {
    "http": "One replica beside nginx",
    "fleet": "Replicas that share their breakers over Redis",
    "scrape": "A scrape at full size, beside requests",
}


def main() -> int:
    """Run the command line; the exit code."""
    options = _parser().parse_args()
    quick = rounds.Plan(rounds=2, requests=3000) if options.quick else rounds.Plan()
    plan = rounds.Plan(options.rounds or quick.rounds, options.requests or quick.requests)
    sections = _sections(options.only)
    chosen = _chosen(options.without, options.beside) if "http" in sections else []
    if not sections:
        return 1
    began = time.monotonic()
    where = report.machine()
    process.settle_here()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(_run(plan, chosen, sections))
    except (process.NotStarted, load.WrongAnswer) as error:
        sys.stderr.write(f"benchmark: {error}\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("benchmark: stopped\n")
        return 130
    for name, value in where.items():
        print(f"{name:<13} {value}")
    print(f"{'run':<13} {plan.rounds} rounds of {plan.requests} requests, {time.monotonic() - began:.0f} s\n")
    for section, rows in found.items():
        print(f"{SECTIONS[section]}\n{report.table(rows)}\n")
    if options.json:
        rows = [row for each in found.values() for row in each]
        options.json.write_text(json.dumps(report.document(rows, where), indent=2, ensure_ascii=False) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__.partition(":")[2].splitlines()[0]
    )
    parser.add_argument("--rounds", type=_positive, metavar="N", help="3 unless said otherwise")
    parser.add_argument("--requests", type=_positive, metavar="N", help="JSON requests per candidate and round: 10000")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 3000: to see that it works, not to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there too")
    parser.add_argument("--only", choices=SECTIONS, help="one section")
    names = [each.name for each in CANDIDATES]
    parser.add_argument("--beside", type=_tree, metavar="TREE", help="measure the Homeport of another checkout as well")
    parser.add_argument("--without", action="append", default=[], choices=names, help="leave a candidate out")
    return parser


def _sections(only: str | None) -> list[str]:
    sections = [only] if only else list(SECTIONS)
    if "fleet" in sections and not fleet.possible():
        sys.stderr.write(
            "benchmark: no redis-server here, so no shared store; install it with: sudo apt-get install redis-server\n"
        )
        sections.remove("fleet")
    return sections


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _tree(text: str) -> Path:
    path = Path(text).resolve()
    if not (path / "proxy" / "__main__.py").is_file():
        raise argparse.ArgumentTypeError("must be a checkout of Homeport")
    return path


def _chosen(without: list[str], tree: Path | None) -> list[Candidate]:
    chosen = [each for each in CANDIDATES if each.name not in without]
    if tree is not None:
        chosen.append(candidates.beside(tree))
    if NGINX in chosen and candidates.find_nginx() is None:
        sys.stderr.write("benchmark: no nginx here, so no ratios; install it with: sudo apt-get install nginx-light\n")
        chosen.remove(NGINX)
    return chosen


async def _run(plan: rounds.Plan, chosen: list[Candidate], sections: list[str]) -> dict[str, list[report.Row]]:
    # SIGTERM unwinds like Ctrl-C: the processes are ended on the way out.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    found = {}
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as folder:
        if "http" in sections:
            with contextlib.ExitStack() as stack:
                run = rounds.Run(plan, Path(folder), stack)
                await run.go(chosen)
                found["http"] = report.rows(run.samples)
        if "scrape" in sections:
            with contextlib.ExitStack() as stack:
                beside = scrape.Scrape(plan, Path(folder), stack)
                await beside.go()
                found["scrape"] = report.rows(beside.samples, scrape.MEASURES)
        if "fleet" in sections:
            with contextlib.ExitStack() as stack:
                shared = fleet.Fleet(plan, Path(folder), stack)
                await shared.go()
                found["fleet"] = report.rows(shared.samples, fleet_measures.MEASURES)
    return found


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.benchmarks`: run it, print the table.

1. Exit codes: 0 measured, bounds met or not; 1 a candidate would not start or answered wrongly; 130 stopped. What was
   measured until then is printed all the same.
2. Nothing is written but to stdout, stderr and, by a run that came to its end, the files of `--json` and `--write`.
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
from dataclasses import replace
from pathlib import Path

import uvloop

import proxy
from tests.benchmarks import candidates, load, peers, process, report, rounds, written
from tests.benchmarks.candidates import CANDIDATES, HAPROXY, INTERPRETED, NGINX, Candidate
from tests.benchmarks.sections import NAMES, Section, sections

Found = dict[str, list[report.Row]]
"""The rows of each section, by its title."""


def main() -> int:
    """Run the command line; the exit code."""
    parser = _parser()
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write is for the whole run: figures of several runs do not belong into one document")
    quick = rounds.QUICK if options.quick else rounds.Plan()
    plan = replace(quick, rounds=options.rounds or quick.rounds, requests=options.requests or quick.requests)
    chosen = _sections(options.only, _chosen(options.without, options.beside))
    if not chosen:
        return 1
    began = time.monotonic()
    where = report.machine(peers.versions())
    process.settle_here()
    found: Found = {}
    code = _measured(plan, chosen, found)
    where["run"] = f"{plan.rounds} rounds of {plan.requests} requests, {time.monotonic() - began:.0f} s"
    for name, value in where.items():
        print(f"{name:<13} {value}")
    for title, rows in found.items():
        print(f"\n{title}\n{report.table(rows)}")
    if code:
        return code
    if options.json:
        rows = [row for each in found.values() for row in each]
        options.json.write_text(json.dumps(report.document(rows, where), indent=2, ensure_ascii=False) + "\n")
    if options.write:
        written.write(options.write, where, found)
    return 0


def _measured(plan: rounds.Plan, chosen: list[Section], found: Found) -> int:
    """Fill `found`, section by section, as far as it comes; the exit code."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(plan, chosen, found))
    except (process.NotStarted, load.WrongAnswer) as error:
        sys.stderr.write(f"benchmark: {error}\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("benchmark: stopped\n")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__.partition(":")[2].splitlines()[0]
    )
    parser.add_argument("--rounds", type=_positive, metavar="N", help="3 unless said otherwise")
    parser.add_argument("--requests", type=_positive, metavar="N", help="JSON requests per candidate and round: 10000")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 3000: to see that it works, not to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there too")
    parser.add_argument(
        "--only", action="append", choices=NAMES, metavar="SECTION", help=f"one of {', '.join(NAMES)}; may be repeated"
    )
    parser.add_argument("--write", type=_document, metavar="FILE", help="put the tables between its two marks, too")
    names = [each.name for each in CANDIDATES]
    parser.add_argument("--beside", type=_tree, metavar="TREE", help="measure the Homeport of another checkout as well")
    parser.add_argument("--without", action="append", default=[], choices=names, help="leave a candidate out")
    return parser


def _sections(only: list[str] | None, candidates: list[Candidate]) -> list[Section]:
    chosen = [each for each in sections(candidates) if not only or each.name in only]
    possible = [each for each in chosen if each.needs()]
    for each in chosen:
        if each not in possible:
            sys.stderr.write(f"benchmark: no section {each.name}: {each.remedy}\n")
    return possible


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _document(text: str) -> Path:
    path = Path(text)
    if not written.marked(path):
        raise argparse.ArgumentTypeError(f"has no lines {written.BEGIN} and {written.END}")
    return path


def _tree(text: str) -> Path:
    path = Path(text).resolve()
    if not (path / "proxy" / "__main__.py").is_file():
        raise argparse.ArgumentTypeError("must be a checkout of Homeport")
    return path


def _chosen(without: list[str], tree: Path | None) -> list[Candidate]:
    chosen = [each for each in CANDIDATES if each.name not in without]
    if tree is not None:
        chosen.append(candidates.beside(tree))
    if NGINX in chosen and candidates.find("nginx") is None:
        sys.stderr.write("benchmark: no nginx here, so no ratios; install it with: sudo apt-get install nginx-light\n")
        chosen.remove(NGINX)
    if not proxy.compiled() and INTERPRETED in chosen:
        chosen.remove(INTERPRETED)  # it is the same
    if HAPROXY in chosen and candidates.find("haproxy") is None:
        chosen.remove(HAPROXY)  # it is but one more to compare with
    return chosen


async def _run(plan: rounds.Plan, chosen: list[Section], found: Found) -> None:
    # SIGTERM unwinds like Ctrl-C: the processes are ended on the way out.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    for section in chosen:
        with tempfile.TemporaryDirectory(prefix="homeport-bench-") as folder, contextlib.ExitStack() as stack:
            running = section.make(plan, Path(folder), stack)
            await running.go()
            found[section.title] = report.rows(running.samples, section.measures)


if __name__ == "__main__":
    sys.exit(main())

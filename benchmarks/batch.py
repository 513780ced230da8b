"""`aorch run --batch` end to end: `python benchmarks/batch.py [ROUNDS]`.

The whole command, from its start to its end, against as many `orchestrate` calls in process with as many in flight
(throughput.py), which pay for no start, no reading and no printing; every result and every row is checked. Then its peak
memory on few and on many lines, also in their order and resumed.
"""

import asyncio
import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from measure import AORCH, Goals, child, interleaved, machine, peak_memory
from throughput import check_rows, ours

LINES, PARALLEL = 20_000, 32
FEW, MANY = 10_000, 100_000


def write_lines(file: Path, lines: int) -> Path:
    """Tasks such as those that `throughput.drive` calls."""
    with file.open("w") as out:
        for number in range(lines):
            task = {"capability": "echo", "parameters": {"text": f"text {number}"}}
            out.write(json.dumps({**task, "session_id": f"session_{number % 10}"}) + "\n")
    return file


def check_results(results: Path, lines: int) -> None:
    """Each line has one result, and it is its own."""
    found = {}
    with results.open() as printed:
        for text in printed:
            result = json.loads(text)
            found[result["id"]] = result["data"]["message"]
    assert found == {number + 1: f"Echo: text {number}" for number in range(lines)}


def main(rounds: int) -> None:
    """Measure, check, print."""
    goals = Goals(f"{LINES:,} lines of echo with --parallel {PARALLEL}; medians of {rounds} interleaved rounds")
    with machine() as (folder, environment):
        template, fresh = folder / "template.db", count()
        asyncio.run(ours(template, 0, 1))
        file, results = write_lines(folder / "tasks.jsonl", LINES), folder / "results.jsonl"

        def on_new_ledger(work: Callable[[Path], Any]) -> float:
            ledger = folder / f"{next(fresh)}.db"
            shutil.copy(template, ledger)
            rate = float(work(ledger))
            check_rows(ledger, LINES)
            ledger.unlink()
            return rate

        def in_process(ledger: Path) -> float:
            return asyncio.run(ours(ledger, LINES, PARALLEL))

        def batch(*options: str) -> Callable[[Path], float]:
            def run(ledger: Path) -> float:
                command = f'exec "$0" run --ledger "$1" --parallel {PARALLEL} {" ".join(options)} > "$2"'
                done = child(["sh", "-c", command, AORCH, str(ledger), str(results)], folder, environment)
                check_results(results, LINES)
                return LINES / done.seconds

            return run

        sides = {
            "in process": in_process,
            "--batch FILE": batch("--batch", str(file)),
            "--batch -": batch("--batch", "-", "<", str(file)),
        }
        cases = {name: (lambda side=side: on_new_ledger(side)) for name, side in sides.items()}
        rate = interleaved(cases, rounds)
        for name in sides:
            goals.note(name, f"{rate[name]:,.0f} lines/s")
        goals.at_least("--batch FILE, end to end / in process", rate["--batch FILE"] / rate["in process"], 0.8, " ×")
        goals.note("--batch - / in process", f"{rate['--batch -'] / rate['in process']:.3g} ×")
        measure_memory(goals, folder, environment, template)
    goals.end()


def measure_memory(goals: Goals, folder: Path, environment: dict[str, str], template: Path) -> None:
    """Peaks on FEW and on MANY lines, each on a new ledger."""
    peaks = {}
    for lines in (FEW, MANY):
        file = write_lines(folder / f"{lines}.jsonl", lines)
        for options in ((), ("--ordered",), ("--resume",)):
            ledger = folder / f"memory-{lines}.db"
            if "--resume" not in options:
                shutil.copy(template, ledger)
            command = [
                AORCH,
                "run",
                "--ledger",
                str(ledger),
                "--batch",
                str(file),
                "--parallel",
                str(PARALLEL),
                *options,
            ]
            started = time.perf_counter()
            peaks[lines, options], _ = peak_memory(command, folder, environment)
            goals.note(
                f"{' '.join(['--batch', *options])}, {lines:,} lines", f"{peaks[lines, options] / 2**20:.0f} MiB"
            )
            if options:
                goals.note("  done in", f"{time.perf_counter() - started:.1f} s")
            with closing(sqlite3.connect(ledger)) as connection:
                assert connection.execute("SELECT count(*) FROM contracts").fetchone() == (2 * lines,)
    for options in ((), ("--ordered",), ("--resume",)):
        more = (peaks[MANY, options] - peaks[FEW, options]) / 2**20
        goals.at_most(f"{' '.join(['--batch', *options])}: memory that {MANY:,} lines need more", more, 10, " MiB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

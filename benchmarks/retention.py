"""A prune beside a writer: `python benchmarks/retention.py [ROUNDS]`.

A process writes exchanges, eight at a time; another one prunes old exchanges as a service does, in every second slice of a
second. The rates of neighbouring slices are compared. Then a prune alone: the processor time for an exchange, and for a
transaction.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import PYTHON, Goals, machine

from aorch.clock import now
from aorch.ids import new_id
from aorch.ledger import pruning
from aorch.ledger.database import Database, commit_without_sync, statements, transaction
from aorch.ledger.ledger import Ledger
from aorch.ledger.pruning import Pruner, Rules
from aorch.ledger.record import Record

AGED, CUT = "2020-01-01T00:00:00.000Z", "2021-01-01T00:00:00.000Z"
OLD, ALONE = 100_000, 10_000
SLICE_S, AT_ONCE = 1.0, 8
PRUNE = """
import pathlib, sys, time
from contextlib import closing
from aorch.govern import retention
from aorch.ledger.database import LockedState
from aorch.ledger.pruning import Rules
ledger, pause = map(pathlib.Path, sys.argv[1:3])
def wanted():
    while pause.exists():
        time.sleep(0.005)
    return True
rules = Rules(sys.argv[3], None, sys.argv[3], sys.argv[3])
with closing(LockedState(ledger, "retention")) as state:
    retention._prune(ledger, rules, state, wanted=wanted, rest=retention.REST, counts_kept=False)
"""


def exchange(moment: str, **more: Any) -> tuple[Record, Record]:
    """A REQUEST that ended, and its RESPONSE."""
    asked = Record(
        new_id(), "s", "REQUEST", "orchestrator", "agent", "echo", '{"text":"hi"}', "completed", moment, moment, **more
    )
    answer = asked._replace(contract_id=new_id(), contract_type="RESPONSE", payload="{}", result='"hi"')
    return asked, answer._replace(request_id=asked.contract_id, from_agent="agent", to_agent="orchestrator")


def fill(ledger: Path, exchanges: int) -> None:
    """Write old exchanges."""
    with Database(ledger) as database, database.write() as connection:
        connection.executemany(statements.INSERT_CONTRACT, (row for _ in range(exchanges) for row in exchange(AGED)))


async def rate(ledger: Ledger) -> float:
    """Exchanges a second for SLICE_S, each as two durable writes."""
    written, end = 0, time.monotonic() + SLICE_S

    async def write() -> None:
        nonlocal written
        while time.monotonic() < end:
            asked, answer = exchange(now())
            await ledger.write_request(asked._replace(status="in_progress", claimed_by=ledger.owner_id))
            await ledger.write_response(answer, "completed")
            written += 1

    await asyncio.gather(*(write() for _ in range(AT_ONCE)))
    return written / SLICE_S


async def beside_a_writer(goals: Goals, folder: Path, rounds: int) -> None:
    path, pause = folder / "beside.db", folder / "pause"
    ledger = Ledger(path)
    fill(path, OLD)
    pause.touch()
    process = subprocess.Popen([PYTHON, "-c", PRUNE, str(path), str(pause), CUT])  # noqa: ASYNC220  it returns at once
    ratios = []
    await rate(ledger)
    for number in range(rounds):
        rates = {}
        for prunes in (False, True) if number % 2 else (True, False):
            pause.unlink(missing_ok=True) if prunes else pause.touch()
            await asyncio.sleep(0.1)
            rates[prunes] = await rate(ledger)
        ratios.append(rates[True] / rates[False])
    assert process.poll() is None, "everything was pruned before the end"
    process.kill()
    process.wait()
    ledger.close()
    goals.at_least("rate of a writer while a service prunes, beside its rate alone", statistics.median(ratios), 0.9)


@contextmanager
def timed(connection: Any) -> Iterator[None]:
    """A transaction whose processor time is added to TIMES."""
    with transaction(connection):
        started = time.thread_time()
        yield
    TIMES.append((time.thread_time() - started) * 1000)


TIMES: list[float] = []


def alone(goals: Goals, folder: Path) -> None:
    path = folder / "alone.db"
    fill(path, ALONE)
    pruning.transaction = timed  # type: ignore[assignment]  # to measure it
    started = time.thread_time()
    with Database(path) as database, database.transactions() as connection:
        commit_without_sync(connection)
        done = Pruner(connection, Rules(CUT, None, CUT, CUT), rest=0).run()
    assert done.exchanges == ALONE
    goals.at_most("processor time for an exchange", (time.thread_time() - started) / ALONE * 1e6, 150, " µs")
    goals.at_most("processor time of a transaction, 95th percentile", sorted(TIMES)[len(TIMES) * 95 // 100], 10, " ms")


def main(rounds: int) -> None:
    """Measure and print."""
    goals = Goals("a prune, beside a writer and alone")
    with machine() as (folder, _):
        asyncio.run(beside_a_writer(goals, folder, rounds))
        alone(goals, folder)
    goals.end()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)

"""What `GET /metrics` costs a server on a ledger of 1,000,000 contracts: `python benchmarks/metrics.py [ROUNDS] [--keep FOLDER]`.

Processor time of reading and rendering, without HTTP, on that ledger and on one of 1,000 contracts. `--keep` is the folder of
million.py, which makes the ledgers. The totals are compared with those that SQL counts.
"""

import argparse
import shutil
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from measure import Goals, machine
from million import LARGE, SMALL, make_both

from aorch.config.settings import Config
from aorch.ledger.ledger import Ledger
from aorch.ledger.metric_totals import STORE_EVERY, MetricStore
from aorch.ledger.record import Record
from aorch.ledger.sqlite.opening import connect
from aorch.ledger.sqlite.statements import INSERT_CONTRACT

sys.path.pop(0)  # http.py of this folder would hide the module of the standard library that prometheus_client needs
from aorch.telemetry.exposition import render
from aorch.telemetry.metrics import Metrics

NEW = 1000
"""Number of new exchanges between two scrapes: 67 a second, if Prometheus scrapes every 15 s."""


def main(rounds: int, keep: Path | None) -> None:
    """Measure, check, print."""
    with machine() as (home, environment):
        ledgers = make_both(keep or home, environment)
        goals = Goals(f"a scrape on {LARGE:,} contracts, processor time, medians of {rounds} rounds")
        copies = {many: Path(shutil.copy(ledger, home / f"copy-{many}.db")) for many, ledger in ledgers.items()}
        measure_storing(goals, copies)
        measure_scrapes(goals, copies, rounds)
    goals.end()


def measure_storing(goals: Goals, ledgers: dict[int, Path]) -> None:
    """The first time that a service runs on such a ledger."""
    with MetricStore(ledgers[LARGE]) as store:
        goals.at_most("the first scrape, while nothing is stored", _took(store.current), 10, " s")
    with MetricStore(ledgers[LARGE]) as store:
        goals.at_most("storing the totals, in 500 transactions", _took(store.catch_up), 15, " s")
        assert store.behind() == 0
    with MetricStore(ledgers[SMALL]) as store:
        store.catch_up()


def measure_scrapes(goals: Goals, ledgers: dict[int, Path], rounds: int) -> None:
    """The scrapes after that, and the first one of a process that starts."""
    opened = {many: Ledger(path) for many, path in ledgers.items()}
    metrics = {many: Metrics(Config(path, trace_url=""), opened[many], "serve") for many, path in ledgers.items()}
    idle: dict[int, list[float]] = {many: [] for many in ledgers}
    busy: dict[int, list[float]] = {many: [] for many in ledgers}
    for _ in range(rounds + 1):
        for many, each in metrics.items():
            idle[many].append(_took(lambda each=each: render(each.values([]), "1", "")))  # type: ignore[misc]
        for many, each in metrics.items():
            add(ledgers[many], NEW)
            busy[many].append(_took(lambda each=each: render(each.values([]), "1", "")))  # type: ignore[misc]
    idle_ms = {many: 1000 * statistics.median(times[1:]) for many, times in idle.items()}
    busy_ms = {many: 1000 * statistics.median(times[1:]) for many, times in busy.items()}
    goals.at_most("a scrape with nothing new", idle_ms[LARGE], 5, " ms")
    goals.at_most("the same, divided by that of 1,000 contracts", idle_ms[LARGE] / idle_ms[SMALL], 1.5)
    goals.at_most(f"a scrape with {NEW:,} new exchanges", busy_ms[LARGE], 30, " ms")
    goals.at_most("the same, divided by that of 1,000 contracts", busy_ms[LARGE] / busy_ms[SMALL], 1.5)
    check(ledgers[LARGE], metrics[LARGE])
    for each in (*metrics.values(), *opened.values()):
        each.close()
    with MetricStore(ledgers[LARGE]) as store:
        store.catch_up()
    add(ledgers[LARGE], STORE_EVERY // 2)
    with MetricStore(ledgers[LARGE]) as store:
        goals.at_most("the first scrape of a process that starts", 1000 * _took(store.current), 100, " ms")


def add(ledger: Path, count: int) -> None:
    """Copy the last `count` exchanges under new ids."""
    columns = ", ".join(Record._fields)
    with closing(connect(ledger)) as connection:
        (last,) = connection.execute("SELECT max(position) FROM contracts").fetchone()
        rows = connection.execute(
            f"SELECT {columns} FROM contracts ORDER BY position DESC LIMIT ?", (2 * count,)
        ).fetchall()
        connection.execute("BEGIN IMMEDIATE")
        for row in reversed(rows):
            request_id = None if row[13] is None else f"{row[13]}-{last}"
            connection.execute(INSERT_CONTRACT, (f"{row[0]}-{last}", *row[1:13], request_id, *row[14:]))
        connection.execute("COMMIT")


def check(ledger: Path, metrics: Metrics) -> None:
    """The totals are those that SQL counts."""
    sql = "SELECT status, count(*) FROM contracts WHERE contract_type = 'RESPONSE' GROUP BY status"
    with closing(sqlite3.connect(ledger)) as connection:
        counted = dict(connection.execute(sql))
    found: dict[str, int] = {}
    for (metric, *labels), value in metrics.values([]).totals.items():
        if metric == "exchanges":
            found[labels[-1]] = found.get(labels[-1], 0) + value
    assert found == counted, (found, counted)


def _took(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("rounds", nargs="?", type=int, default=7)
    options.add_argument("--keep", type=Path)
    given = options.parse_args()
    main(given.rounds, given.keep)

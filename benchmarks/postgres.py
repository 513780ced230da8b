"""Durable exchanges and queued tasks a second on PostgreSQL, with several processes:
`python benchmarks/postgres.py [PROCESSES [CALLS [TASKS]]]`; `uv sync --group benchmarks` installs what it is compared with.

Starts a server of its own (durable: `fsync` and `synchronous_commit` are on). Each process runs the echo agent with 32 calls in
flight. Compared in the same run: the same processes on one SQLite file, and processes that write the same three rows with plain
psycopg, in two transactions for each exchange, one connection each. Every row is counted.

Then TASKS queued tasks of each process from end to end, by aorch, procrastinate and pgqueuer (postgres_queues.py), on the same
server, each in a database of its own. Goal: 5 times the rate of procrastinate.
"""

import asyncio
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from postgres_queues import IN_FLIGHT, QUEUES, Queue
from postgres_servers import Cluster, started

PROCESSES, CALLS, TASKS = 4, 2000, 500
GOAL = 5.0
LIMIT_S = 300.0
INSERT = (
    "INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status,"
    " created_at, metadata, request_id) VALUES (%s, %s, %s, 'orchestrator', 'agent', 'echo', '{}', %s, '', '{}', %s)"
)


def of_aorch(location: Any, calls: int, begin: Barrier) -> None:
    """`calls` exchanges of the echo agent."""
    from aorch import Orchestrator

    async def drive() -> None:
        async with Orchestrator(location) as orchestrator:
            orchestrator.executor  # noqa: B018  opens the ledger, which is no call's work
            await asyncio.to_thread(begin.wait)
            numbers = iter(range(calls))

            async def work() -> None:
                for number in numbers:
                    answer = await orchestrator.orchestrate(
                        f"session_{number % 10}", {"capability": "echo", "parameters": {"text": str(number)}}
                    )
                    assert answer["data"] == {"message": f"Echo: {number}"}, answer

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    asyncio.run(drive())


def of_psycopg(location: Any, calls: int, begin: Barrier) -> None:
    """The same rows, each exchange in two transactions."""
    import psycopg

    from aorch.ids import new_id

    with psycopg.connect(str(location)) as connection:
        begin.wait()
        for _ in range(calls):
            request, response = new_id(), new_id()
            connection.execute(INSERT, (request, "session", "REQUEST", "in_progress", None))
            connection.commit()
            connection.execute(INSERT, (response, "session", "RESPONSE", "completed", request))
            connection.execute("UPDATE contracts SET status = 'completed' WHERE contract_id = %s", (request,))
            connection.commit()


def rate(work: Any, location: Any, processes: int, calls: int) -> float:
    """Exchanges a second of all processes together, from when all are ready until the last one has ended."""
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(processes + 1)
    running = [context.Process(target=work, args=(location, calls, begin)) for _ in range(processes)]
    for process in running:
        process.start()
    begin.wait(60)
    started_at = time.perf_counter()
    for process in running:
        process.join()
        assert process.exitcode == 0
    return processes * calls / (time.perf_counter() - started_at)


def queue_rate(queue: Queue, url: str, processes: int, tasks: int) -> float:
    """Queued tasks a second, from the first submission until the last end is committed."""
    import psycopg

    queue.install(url)
    context = multiprocessing.get_context("spawn")
    begin, end = context.Barrier(processes + 1), context.Event()
    running = [context.Process(target=queue.work, args=(url, tasks, begin, end)) for _ in range(processes)]
    for process in running:
        process.start()
    with psycopg.connect(url, autocommit=True) as connection:
        begin.wait(60)
        started_at = time.perf_counter()
        while (found := connection.execute(queue.done).fetchone()) != (processes * tasks,):
            assert all(process.is_alive() for process in running), "a process failed"
            assert time.perf_counter() < started_at + LIMIT_S, f"{found} tasks were done within {LIMIT_S:g} s"
            time.sleep(0.02)
        seconds = time.perf_counter() - started_at
        end.set()
        for process in running:
            process.join()
            assert process.exitcode == 0
        assert connection.execute(queue.done).fetchone() == (processes * tasks,), "a task was executed twice"
    return processes * tasks / seconds


def compare_queues(cluster: Cluster, processes: int, tasks: int) -> None:
    """Measure the queues in turn, and print a line for each, with its ratio."""
    rates = {}
    for name, queue in QUEUES.items():
        with cluster.database() as database:
            rates[name] = queue_rate(queue, cluster.url(database), processes, tasks)
    for name, found in rates.items():
        ratio = (
            f"aorch is {rates['aorch'] / found:.1f} × as fast" if name != "aorch" else "submitted, executed, answered"
        )
        goal = f" (goal: {GOAL:g})" if name == "procrastinate" else ""
        print(f"{name:<20} {found:8,.0f} queued tasks/s  ({processes} processes, {tasks} each; {ratio}{goal})")


def main(processes: int, calls: int, tasks: int) -> None:
    """Measure, and print a line for each."""
    from aorch.config.ledger_location import PostgresUrl
    from aorch.ledger.database import connect, statements

    cluster = started(fsync="on")
    try:
        with tempfile.TemporaryDirectory() as folder, cluster.database() as ours, cluster.database() as theirs:
            for name, work, location in (
                ("aorch on PostgreSQL", of_aorch, PostgresUrl(cluster.url(ours))),
                ("plain psycopg", of_psycopg, PostgresUrl(cluster.url(theirs))),
                ("aorch on SQLite", of_aorch, Path(folder) / "ledger.db"),
            ):
                connect(location).close()
                found = rate(work, location, processes, calls)
                connection = connect(location)
                (rows,) = connection.execute(statements.CONTRACT_TOTAL).fetchone()
                connection.close()
                assert rows == 2 * processes * calls, rows
                print(f"{name:<20} {found:8,.0f} exchanges/s  ({processes} processes, {calls} each)")
        compare_queues(cluster, processes, tasks)
    finally:
        cluster.stop()


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    main(*given, *(PROCESSES, CALLS, TASKS)[len(given) :])

"""Queued tasks from end to end on PostgreSQL, by aorch, procrastinate and pgqueuer; benchmarks/postgres.py measures them.

Each process submits its tasks, IN_FLIGHT at a time and each with a commit of its own, and executes tasks of all processes,
IN_FLIGHT at a time. A task is done when its end is committed. Commits wait for the disk, and all tables are logged everywhere.

procrastinate: an asynchronous task and a worker with `concurrency`, as its documentation recommends for throughput. pgqueuer: a
pool of asyncpg, the faster driver by its own figures; `batch_size` raised for short tasks, as its guide to tuning says, with
`max_concurrent_tasks` of twice that. Both have CONNECTIONS open before the first task.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from multiprocessing.synchronize import Barrier, Event
from typing import Any, NamedTuple

IN_FLIGHT = 32
CONNECTIONS = 10
"""In each process for the other two queues; with 34, both were slower (4 processes, 150 tasks each)."""

Submit = Callable[[int], Awaitable[Any]]


class Queue(NamedTuple):
    """What is measured: `install` prepares an empty database, `work` runs in each process, and `done` counts what has ended."""

    install: Callable[[str], None]
    work: Callable[[str, int, Barrier, Event], None]
    done: str


async def submit_while_working(
    submit: Submit, working: Coroutine[Any, Any, Any], tasks: int, begin: Barrier, end: Event
) -> None:
    """Submit `tasks`, IN_FLIGHT at a time, while `working` executes what is queued, until `end` is set."""
    await asyncio.to_thread(begin.wait)
    worker = asyncio.create_task(working)
    numbers = iter(range(tasks))

    async def produce() -> None:
        for number in numbers:
            await submit(number)

    await asyncio.gather(*(produce() for _ in range(IN_FLIGHT)))
    ended = asyncio.create_task(asyncio.to_thread(end.wait))
    await asyncio.wait((ended, worker), return_when=asyncio.FIRST_COMPLETED)
    if worker.done():
        worker.result()
        raise AssertionError("the worker ended before the tasks")
    worker.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await worker


def install_aorch(url: str) -> None:
    """Create the ledger."""
    from aorch.config.ledger_location import PostgresUrl
    from aorch.ledger.database import connect

    connect(PostgresUrl(url)).close()


def of_aorch(url: str, tasks: int, begin: Barrier, end: Event) -> None:
    """Tasks of the echo agent."""
    from aorch import Orchestrator
    from aorch.config.ledger_location import PostgresUrl
    from aorch.worker.queue_worker import QueueWorker

    async def drive() -> None:
        async with Orchestrator(PostgresUrl(url)) as orchestrator:
            worker = QueueWorker(orchestrator.executor, IN_FLIGHT, print)

            async def submit(number: int) -> None:
                task = {"capability": "echo", "parameters": {"text": str(number)}}
                await orchestrator.submit(f"session_{number % 10}", task)

            await submit_while_working(submit, worker.run(), tasks, begin, end)

    asyncio.run(drive())


def _procrastinate(url: str) -> tuple[Any, Any]:
    import procrastinate

    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=CONNECTIONS, max_size=CONNECTIONS)
    app = procrastinate.App(connector=connector)

    @app.task(queue="echoes", name="echo")
    async def echo(text: str) -> str:
        return f"Echo: {text}"

    return app, echo


def install_procrastinate(url: str) -> None:
    """Create its tables."""

    async def install() -> None:
        app, _ = _procrastinate(url)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    asyncio.run(install())


def of_procrastinate(url: str, tasks: int, begin: Barrier, end: Event) -> None:
    """The same tasks of procrastinate."""

    async def drive() -> None:
        app, echo = _procrastinate(url)
        async with app.open_async():
            working = app.run_worker_async(
                queues=["echoes"], concurrency=IN_FLIGHT, install_signal_handlers=False, shutdown_graceful_timeout=5
            )
            await submit_while_working(lambda n: echo.defer_async(text=str(n)), working, tasks, begin, end)

    asyncio.run(drive())


def _of_asyncpg(url: str) -> dict[str, Any]:
    """The parameters of `url` for asyncpg, which does not read a URL with a socket as libpq does."""
    from psycopg.conninfo import conninfo_to_dict

    found = conninfo_to_dict(url)
    return {name: found[name] for name in ("host", "port", "user")} | {"database": found["dbname"]}


def install_pgqueuer(url: str) -> None:
    """Create its tables; `durable` (all tables logged) is its default."""
    import asyncpg
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    async def install() -> None:
        connection = await asyncpg.connect(**_of_asyncpg(url))
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    asyncio.run(install())


def of_pgqueuer(url: str, tasks: int, begin: Barrier, end: Event) -> None:
    """The same tasks of pgqueuer."""
    import asyncpg
    from pgqueuer import PgQueuer

    async def drive() -> None:
        async with asyncpg.create_pool(**_of_asyncpg(url), min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
            queue = PgQueuer.from_asyncpg_pool(pool)

            @queue.entrypoint("echo")
            async def echo(job: Any) -> None:
                assert job.payload

            working = queue.run(batch_size=IN_FLIGHT // 2, max_concurrent_tasks=IN_FLIGHT)
            await submit_while_working(
                lambda n: queue.qm.queries.enqueue("echo", str(n).encode()), working, tasks, begin, end
            )

    asyncio.run(drive())


QUEUES = {
    "aorch": Queue(install_aorch, of_aorch, "SELECT count(*) FROM contracts WHERE contract_type = 'RESPONSE'"),
    "procrastinate": Queue(
        install_procrastinate,
        of_procrastinate,
        "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
    ),
    "pgqueuer": Queue(install_pgqueuer, of_pgqueuer, "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"),
}

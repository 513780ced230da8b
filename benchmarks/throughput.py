"""Durable exchanges a second in process: `python benchmarks/throughput.py [ROUNDS]`.

`Orchestrator.orchestrate` of the echo agent, against the same calls as a plain program writes them with SQLModel: a session
and two commits for each. Both on one file system, in WAL with `synchronous=FULL`, on the same migrated schema, with both
contracts of each call; every answer and every row is checked. The plain one does fewer calls a round and counts by rate;
how many are in flight is nothing to it, since its commits keep the loop.
"""

import asyncio
import shutil
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from measure import PYTHON, Goals, interleaved, machine, peak_memory

CALLS = 1000
PLAIN_CALLS = 100
PAIRS = (
    "SELECT q.session_id, q.payload, r.result FROM contracts q JOIN contracts r ON r.request_id = q.contract_id"
    " WHERE q.contract_type = 'REQUEST' AND q.status = 'completed' AND q.completed_at IS NOT NULL"
    " AND r.contract_type = 'RESPONSE' AND r.status = 'completed'"
)

Call = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""From a session id and a task to the answer."""


async def drive(call: Call, calls: int, in_flight: int) -> float:
    """The rate (calls a second) of `calls` calls with `in_flight` at a time; every answer is checked."""
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            text = f"text {number}"
            task = {"capability": "echo", "parameters": {"text": text}}
            answer = await call(f"session_{number % 10}", task)
            assert answer["success"] is True, answer
            assert answer["data"] == {"message": f"Echo: {text}"}, answer

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return calls / (time.perf_counter() - started)


def check_rows(ledger: Path, calls: int) -> None:
    """Each call's REQUEST stands there, completed, with the RESPONSE that answers it; and nothing else."""
    with closing(sqlite3.connect(ledger)) as connection:
        found = sorted(connection.execute(PAIRS).fetchall())
        (rows,) = connection.execute("SELECT count(*) FROM contracts").fetchone()
    expected = sorted(
        (f"session_{number % 10}", f'{{"text":"text {number}"}}', f'{{"message":"Echo: text {number}"}}')
        for number in range(calls)
    )
    assert [(session, *(text.replace('": "', '":"') for text in texts)) for session, *texts in found] == expected
    assert rows == 2 * calls, f"{calls} calls left {rows} rows"


async def ours(ledger: Path, calls: int, in_flight: int) -> float:
    """The rate of aorch on `ledger`."""
    from aorch import Orchestrator

    async with Orchestrator(ledger) as orchestrator:
        orchestrator.executor  # noqa: B018  opens the ledger, which is no call's work
        return await drive(orchestrator.orchestrate, calls, in_flight)


async def plain(ledger: Path, calls: int, in_flight: int) -> float:
    """The rate of a SQLModel session and two commits for each call on `ledger`."""
    from sqlalchemy import create_engine, event

    engine = create_engine(f"sqlite:///{ledger}")
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = FULL"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    try:
        return await drive(plain_call(engine), calls, in_flight)
    finally:
        engine.dispose()


def plain_call(engine: Any) -> Call:
    """A call as a plain program writes it."""
    from datetime import UTC, datetime

    from sqlmodel import Session

    from aorch.agents.example import ExampleAgent
    from aorch.ids import new_id
    from aorch.ledger.schema import Contract

    agent = ExampleAgent()

    async def call(session_id: str, task: dict[str, Any]) -> dict[str, Any]:
        with Session(engine) as session:
            request = Contract(
                contract_id=new_id(),
                session_id=session_id,
                contract_type="REQUEST",
                from_agent="orchestrator",
                to_agent=agent.agent_id,
                capability=task["capability"],
                payload=task["parameters"],
                status="in_progress",
                created_at=datetime.now(UTC),
            )
            session.add(request)
            session.commit()
            answer = await agent.execute({"task_id": request.contract_id, "session_id": session_id, **task})
            request.status, request.completed_at = "completed", datetime.now(UTC)
            response = Contract(
                contract_id=new_id(),
                session_id=session_id,
                contract_type="RESPONSE",
                from_agent=agent.agent_id,
                to_agent="orchestrator",
                capability=task["capability"],
                payload={},
                status="completed",
                created_at=datetime.now(UTC),
                completed_at=datetime.now(UTC),
                result=answer["data"],
                request_id=request.contract_id,
            )
            session.add(response)
            session.commit()
            return {**answer, "contract_id": request.contract_id}

    return call


def main(rounds: int) -> None:
    """Measure, check, print."""
    goals = Goals(f"{CALLS:,} calls of the echo agent, both contracts durable; medians of {rounds} interleaved rounds")
    with machine() as (folder, environment):
        template = folder / "template.db"
        environment["AORCH_LEDGER"] = str(template)
        asyncio.run(ours(template, 0, 1))
        fresh = count()

        def case(side: Callable[[Path, int, int], Any], calls: int, in_flight: int) -> Callable[[], float]:
            def run() -> float:
                ledger = folder / f"{next(fresh)}.db"
                shutil.copy(template, ledger)
                rate = asyncio.run(side(ledger, calls, in_flight))
                check_rows(ledger, calls)
                return float(rate)

            return run

        at_a_time = (CALLS, 32)
        cases = {f"{in_flight:,} in flight": case(ours, CALLS, in_flight) for in_flight in at_a_time}
        rate = interleaved(cases | {"plain": case(plain, PLAIN_CALLS, PLAIN_CALLS)}, rounds)
        goals.note("SQLModel session, two commits", f"{rate['plain']:,.0f} calls/s")
        for name in cases:
            goals.note(f"aorch, {name}", f"{rate[name]:,.0f} calls/s")
        many, few = (rate[name] / rate["plain"] for name in cases)
        goals.at_least(f"ratio, {CALLS:,} in flight", many, 20, " ×")
        goals.note("ratio, 32 in flight", f"{few:.3g} ×")
        for side, calls in (("ours", 0), ("ours", CALLS), ("plain", 0), ("plain", CALLS)):
            ledger = folder / f"{side}-{calls}.db"
            shutil.copy(template, ledger)
            command = [PYTHON, __file__, "--alone", side, str(ledger), str(calls)]
            peak, _ = peak_memory(command, folder, environment)
            check_rows(ledger, calls)
            what = {"ours": "aorch", "plain": "SQLModel"}[side]
            goals.note(f"peak memory of a process, {what}, {calls:,} calls in flight", f"{peak / 2**20:.0f} MiB")
    goals.end()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        side, file, number = sys.argv[2:]
        asyncio.run({"ours": ours, "plain": plain}[side](Path(file), int(number), max(int(number), 1)))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)

"""The queue: `python benchmarks/tasks.py [ROUNDS]`; `uv sync --group benchmarks` installs what it is compared with.

(It must not be called queue.py: a script's own folder comes before the standard library.)

Durable everywhere: WAL with `synchronous=FULL`, on one file system, in turns. Every row, answer and result is checked.
huey and aorch each have a producer and one worker process; a huey task is one commit to be put in, one to be taken and one
for its result, whatever its settings. dbos does both in one process, and is given WAL, which is faster than its own choice.
"""

import asyncio
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Any

import psutil
from measure import AORCH, PYTHON, Goals, interleaved, machine

ROWS, AT_ONCE = 10_000, 500
CLAIMS, OF = 20, 32
TASKS = {"aorch": 10_000, "huey": 2_000, "dbos": 200}
PARALLEL = 256
HUEY_THREADS = 16
"""The most of those that were tried (1, 2, 4, 8, 16): its rate varies more between runs than between these."""
IDLE_S = 20.0
STARTS = 200
END_S = 300.0

_COLUMNS = (
    "contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status, created_at, completed_at,"
    " result, error, metadata, request_id, parent_id, claimed_by, priority, due_at, expires_at, turn"
)

STARTER = """
import time
from aorch.agents import Agent, AgentCapability

class Starter(Agent):
    def __init__(self):
        super().__init__("starter", "Starter")

    def get_capabilities(self):
        return [AgentCapability("start")]

    async def execute(self, task):
        return {"success": True, "data": time.monotonic()}
"""

HUEY = """
import os
from huey import SqliteHuey

huey = SqliteHuey(filename=os.environ["HUEY_FILE"], fsync=True, timeout=60)

@huey.task()
def echo(text):
    return f"Echo: {text}"
"""

DBOS = """
import sys, time
from dbos import DBOS

DBOS(config={"name": "benchmark", "system_database_url": f"sqlite:///{sys.argv[1]}", "run_admin_server": False,
             "log_level": "ERROR"})

@DBOS.workflow()
def echo(text: str) -> str:
    return f"Echo: {text}"

DBOS.launch()
queue = DBOS.register_queue("queue", polling_interval_sec=0.02)
queue.enqueue(echo, "ready").get_result()
started = time.perf_counter()
handles = [queue.enqueue(echo, str(number)) for number in range(int(sys.argv[2]))]
assert [handle.get_result() for handle in handles] == [f"Echo: {number}" for number in range(len(handles))]
print(len(handles) / (time.perf_counter() - started))
DBOS.destroy()
"""


def task(number: int) -> dict[str, Any]:
    """An echo."""
    return {"capability": "echo", "parameters": {"text": str(number)}}


async def submit(ledger: Path, tasks: int) -> float:
    """Put that many tasks into the queue; how long that took (seconds). One AT_ONCE is made while the last is committed."""
    from aorch import Orchestrator

    async with Orchestrator(ledger) as orchestrator:
        orchestrator.open()
        started = time.perf_counter()
        firsts = iter(range(0, tasks, AT_ONCE))

        async def put() -> None:
            for first in firsts:
                numbers = range(first, min(first + AT_ONCE, tasks))
                await orchestrator.submit_all((f"session_{n % 7}", task(n)) for n in numbers)

        await asyncio.gather(put(), put())
        return time.perf_counter() - started


def put_raw(ledger: Path, rows: list[tuple[Any, ...]]) -> float:
    """The rate (rows a second) of plain executemany, AT_ONCE a transaction."""
    insert = f"INSERT INTO contracts ({_COLUMNS}) VALUES ({', '.join('?' * len(rows[0]))})"
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        started = time.perf_counter()
        for first in range(0, len(rows), AT_ONCE):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert, rows[first : first + AT_ONCE])
            connection.execute("COMMIT")
        seconds = time.perf_counter() - started
        assert ask(ledger, "SELECT count(*) FROM contracts") == [(len(rows),)]
    return len(rows) / seconds


def ask(ledger: Path, sql: str) -> list[tuple[Any, ...]]:
    """What the file holds."""
    with closing(sqlite3.connect(ledger)) as connection:
        return connection.execute(sql).fetchall()


def enqueueing(goals: Goals, fresh: Callable[[], Path], rounds: int) -> None:
    """Goal: 0.4 of executemany's rate."""
    sample = fresh()
    asyncio.run(submit(sample, ROWS))
    rows = ask(sample, f"SELECT {_COLUMNS} FROM contracts ORDER BY position")
    assert len({row[0] for row in rows}) == ROWS

    def ours() -> float:
        ledger = fresh()
        seconds = asyncio.run(submit(ledger, ROWS))
        assert ask(ledger, "SELECT status, count(*) FROM contracts GROUP BY 1") == [("pending", ROWS)]
        return ROWS / seconds

    rate = interleaved({"ours": ours, "raw": lambda: put_raw(fresh(), rows)}, rounds)
    goals.note("executemany of the same rows", f"{rate['raw']:,.0f} rows/s")
    goals.note("Orchestrator.submit_all", f"{rate['ours']:,.0f} tasks/s")
    goals.at_least("put into the queue, 500 a transaction, ratio", rate["ours"] / rate["raw"], 0.4, " ×")


def claiming(goals: Goals, fresh: Callable[[], Path], rounds: int) -> None:
    """Goal: as fast among 1,000,000 as among 1,000."""
    from aorch.clock import now
    from aorch.ids import new_id
    from aorch.ledger.ledger import Ledger
    from aorch.ledger.record import Record
    from aorch.ledger.sqlite.statements import ENQUEUE
    from aorch.ledger.task_queue import Capacity

    def filled(many: int) -> Path:
        ledger = fresh()
        with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            row = Record("", "", "REQUEST", "orchestrator", None, "echo", '{"text":"hi"}', "pending", now())
            named = (row._replace(contract_id=new_id(), session_id=f"session_{n % 100}") for n in range(many))
            connection.executemany(ENQUEUE, ((*each, 3, None, None, None) for each in named))
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return ledger

    used: dict[Path, list[float]] = {}

    async def claim(path: Path) -> float:
        ledger = Ledger(path)
        capacities, took, busy = [Capacity("echo", OF, {"agent_example_001": OF})], [], used.setdefault(path, [])
        for _ in range(CLAIMS):
            started, started_cpu = time.perf_counter(), time.process_time()
            claimed = await ledger.claim(capacities, OF)
            took.append(time.perf_counter() - started)
            busy.append(time.process_time() - started_cpu)
            assert len({row.contract_id for row in claimed}) == OF
        ledger.close()
        return statistics.median(took) * 1000

    few, many = filled(1_000), filled(1_000_000)

    def of_few() -> float:
        copied = fresh()
        shutil.copy(few, copied)
        return asyncio.run(claim(copied))

    took = interleaved({"few": of_few, "many": lambda: asyncio.run(claim(many))}, rounds)
    of_many = statistics.median(used.pop(many))
    few_used = statistics.median(chain.from_iterable(used.values()))
    many.unlink()
    goals.note(f"a claim of {OF} among 1,000 that wait", f"{took['few']:.2f} ms")
    goals.note("processor time of one among 1,000,000, ratio", f"{of_many / few_used:.2f} ×")
    goals.at_most("the same among 1,000,000, ratio", took["many"] / took["few"], 1.3, " ×")


@contextmanager
def worker(ledger: Path, folder: Path, environment: dict[str, str]) -> Iterator[psutil.Process]:
    """`aorch worker` that has done a task already."""
    given = {**environment, "AORCH_LEDGER": str(ledger)}
    process = psutil.Popen([AORCH, "worker", "--parallel", str(PARALLEL)], cwd=folder, env=given)
    try:
        asyncio.run(submit(ledger, 1))
        until(lambda: ask(ledger, "SELECT count(*) FROM contracts WHERE status = 'completed'") == [(2,)])
        yield process
        process.terminate()
        assert process.wait(30) == 0
    finally:
        if process.is_running():
            process.kill()


def until(is_so: Callable[[], bool]) -> None:
    """Ask every 10 ms, at most END_S."""
    end = time.monotonic() + END_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def idling(goals: Goals, ledger: Path, folder: Path, environment: dict[str, str]) -> None:
    """Goals: not one write, less than a hundredth of a core."""
    with worker(ledger, folder, environment) as process, closing(sqlite3.connect(ledger)) as connection:
        time.sleep(1)

        def state() -> list[Any]:
            files = [ledger, ledger.with_name(f"{ledger.name}-wal")]
            return [connection.execute("PRAGMA data_version").fetchone(), *(file.read_bytes() for file in files)]

        before, used, written = state(), sum(process.cpu_times()[:2]), process.io_counters().write_chars
        time.sleep(IDLE_S)
        used, written = sum(process.cpu_times()[:2]) - used, process.io_counters().write_chars - written
        assert state() == before
    goals.at_most(f"bytes that an idle worker writes in {IDLE_S:g} s", written, 0)
    goals.at_most("what it takes of a core", used / IDLE_S * 100, 1, " %")


def starting(goals: Goals, ledger: Path, folder: Path, environment: dict[str, str]) -> None:
    """Goal: 50 ms from another process's commit to the agent's first line."""
    from aorch import Agent, AgentCapability, Orchestrator

    class Declared(Agent):
        def get_capabilities(self) -> list[AgentCapability]:
            return [AgentCapability("start")]

        async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
            raise NotImplementedError

    async def measure() -> list[float]:
        took = []
        async with Orchestrator(ledger) as orchestrator:
            orchestrator.register_agent(Declared("starter", "Starter"))
            for number in range(STARTS):
                await asyncio.sleep(0.03 + number % 7 / 100)
                contract_id = await orchestrator.submit("s", {"capability": "start"})
                committed = time.monotonic()
                answer = await orchestrator.wait(contract_id, 10)
                assert answer
                assert answer["success"]
                took.append((answer["data"] - committed) * 1000)
        return took

    (folder / "starter.py").write_text(STARTER)
    (folder / "aorch.toml").write_text('[agents.starter]\nclass = "starter:Starter"\n')
    with worker(ledger, folder, environment):
        took = sorted(asyncio.run(measure()))
    goals.at_most(f"begun after its commit, median of {STARTS}", statistics.median(took), 50, " ms")
    goals.at_most("begun after its commit, 99th percentile", took[len(took) * 99 // 100], 50, " ms")


def whole_way(goals: Goals, fresh: Callable[[], Path], folder: Path, environment: dict[str, str], rounds: int) -> None:
    """Goals: 5 times huey's rate, 50 times that of dbos."""
    (folder / "work.py").write_text(HUEY)
    (folder / "flow.py").write_text(DBOS)

    def ours() -> float:
        ledger, tasks = fresh(), TASKS["aorch"]
        with worker(ledger, folder, environment):
            started = time.perf_counter()
            asyncio.run(submit(ledger, tasks))
            until(lambda: not ask(ledger, "SELECT 1 FROM contracts WHERE status <> 'completed' LIMIT 1"))
            seconds = time.perf_counter() - started
        results = ask(
            ledger,
            "SELECT count(*), count(DISTINCT q.contract_id) FROM contracts q JOIN contracts r ON r.request_id = q.contract_id"
            " WHERE r.result = json_object('message', 'Echo: ' || json_extract(q.payload, '$.text'))",
        )
        assert results == [(tasks + 1, tasks + 1)], results
        return tasks / seconds

    def huey() -> float:
        file, tasks = fresh(), TASKS["huey"]
        file.unlink()
        program = [PYTHON, __file__, "--huey", str(tasks)]
        return child_s_rate(program, folder, {**environment, "HUEY_FILE": str(file), "PYTHONPATH": str(folder)})

    def dbos() -> float:
        file = fresh()
        file.unlink()
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        rate = child_s_rate([PYTHON, str(folder / "flow.py"), str(file), str(TASKS["dbos"])], folder, environment)
        ended = ask(file, "SELECT status, count(*) FROM workflow_status GROUP BY 1")
        assert ended == [("SUCCESS", TASKS["dbos"] + 1)], ended
        return rate

    rate = interleaved({"aorch": ours, "huey": huey, "dbos": dbos}, rounds)
    for name in rate:
        goals.note(f"{name}, put in and done", f"{rate[name]:,.0f} tasks/s")
    goals.at_least("aorch / huey", rate["aorch"] / rate["huey"], 5, " ×")
    goals.at_least("aorch / dbos", rate["aorch"] / rate["dbos"], 50, " ×")


def child_s_rate(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """The number that it prints last."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=END_S)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


def huey_s_rate(tasks: int) -> None:
    """In a process of its own: a producer beside huey's own consumer."""
    import work  # type: ignore[import-not-found]  # HUEY above

    consumer = "import sys; from huey.bin.huey_consumer import consumer_main; consumer_main()"
    options = ["work.huey", "-w", str(HUEY_THREADS), "-k", "thread", "-d", "0.005", "-q"]
    process = subprocess.Popen([PYTHON, "-c", consumer, *options])
    try:
        work.echo("ready")(blocking=True, timeout=30)
        file = Path(os.environ["HUEY_FILE"])
        assert ask(file, "PRAGMA journal_mode") == [("wal",)]
        started = time.perf_counter()
        results = [work.echo(str(number)) for number in range(tasks)]
        until(lambda: ask(file, "SELECT count(*) FROM kv") == [(tasks,)])
        seconds = time.perf_counter() - started
        assert [result() for result in results] == [f"Echo: {number}" for number in range(tasks)]
        print(tasks / seconds)
    finally:
        process.terminate()
        process.wait(30)


def main(rounds: int) -> None:
    """Measure, check, print."""
    goals = Goals(f"The queue, durable; medians of {rounds} interleaved rounds")
    with machine() as (folder, environment):
        from aorch.ledger.ledger import Ledger

        template, numbers = folder / "template.db", count()
        Ledger(template).close()

        def fresh() -> Path:
            ledger = folder / f"{next(numbers)}.db"
            shutil.copy(template, ledger)
            return ledger

        whole_way(goals, fresh, folder, environment, rounds)
        enqueueing(goals, fresh, rounds)
        starting(goals, fresh(), folder, environment)
        (folder / "aorch.toml").write_text("")
        idling(goals, fresh(), folder, environment)
        claiming(goals, fresh, rounds)
    goals.end()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--huey"]:
        huey_s_rate(int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

"""Load on a PostgreSQL ledger from two `aorch serve`, four `aorch worker` and `aorch run`, and what must hold afterwards."""

import asyncio
import contextlib
import itertools
import random
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psycopg
import trace_checks
from homes import Home
from ports import free_port
from trace_double import Double
from waiting import pause

from aorch.backoff import Backoff

AGENT = """
import asyncio, os, random
from aorch.agents import Agent, AgentCapability

class Counted(Agent):
    '''Writes to a file that it began a task, takes its time, and writes that it did it.'''

    def __init__(self):
        super().__init__("counted", "Counted")
        how = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self.begun, self.done = os.open("begun", how), os.open("done", how)

    def get_capabilities(self):
        return [AgentCapability("once"), AgentCapability("again", idempotent=True)]

    async def execute(self, task):
        line = f"{task['parameters']['n']}\\n".encode()
        os.write(self.begun, line)
        await asyncio.sleep(random.uniform(0, 0.05))
        os.write(self.done, line)
        return {"success": True, "data": {"n": task["parameters"]["n"]}}
"""
SERVERS, WORKERS = 2, 4
RETRY = Backoff(0.5, 5.0, (0.5, 1.0))
"""How long a client waits before it sends a task again. Meanwhile new tasks come, so that this does not delay all of them."""
DRAIN_S = 120.0
RESTART_S = 3.0
EXCHANGES = """
SELECT q.payload::json ->> 'n', q.contract_id, q.capability, q.status, count(r.contract_id), min(r.status), max(r.error)
FROM contracts q LEFT JOIN contracts r ON r.request_id = q.contract_id AND r.contract_type = 'RESPONSE'
WHERE q.contract_type = 'REQUEST' AND q.contract_id NOT IN (
    SELECT refused.request_id FROM contracts refused JOIN contracts other ON other.contract_type = 'REQUEST'
    AND other.contract_id <> refused.request_id AND other.payload::json ->> 'n' = (
        SELECT payload::json ->> 'n' FROM contracts first WHERE first.contract_id = refused.request_id)
    WHERE refused.contract_type = 'RESPONSE' AND refused.metadata::json ->> 'delivered' = 'false'
) GROUP BY q.contract_id, q.payload, q.capability, q.status"""
"""Without those that were refused before an agent was called, and sent again: they do not use up the Idempotency-Key."""
OPEN = """
SELECT count(*) FROM contracts q WHERE contract_type = 'REQUEST'
AND NOT EXISTS (SELECT FROM contracts r WHERE r.request_id = q.contract_id)"""


PROBE = """
INSERT INTO counters (name, value) VALUES ('probe', 1) ON CONFLICT (name) DO UPDATE SET value = counters.value + 1"""
"""Has something to commit each time, so that it waits for the synchronous replica as other commits do."""


@dataclass
class Figures:
    """What a trial measured."""

    sent: int = 0
    acknowledged: int = 0
    queued: int = 0
    completed: int = 0
    interrupted: int = 0
    failed: int = 0
    command_runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    longest_gap_s: float = 0.0
    longest_outage_s: float = 0.0
    events: int = 0
    refusals: Counter[str] = field(default_factory=Counter)


class MachinesLoad:
    """Sends `rate` tasks per second to the ledger at `url`. Each task has a number `n`, which its agent writes to a file.

    A client that gets no answer sends the task again with the same Idempotency-Key, to any server, until it gets one.
    """

    def __init__(self, home: Home, url: str, rate: float) -> None:
        self.home, self.url, self.rate = home, url, rate
        home.environment["AORCH_LEDGER"] = url
        home.write("counted.py", AGENT)
        home.write("aorch.toml", '[agents.counted]\nclass = "counted:Counted"\n')
        self.figures = Figures()
        self.answered: dict[str, str] = {}
        """The contract ids of acknowledged tasks by n: `queued` ones, and those whose answer the client has."""
        self.finished: dict[str, str] = {}
        self.moments: list[float] = []
        self._numbers = itertools.count()
        self._ended_at: dict[int, float] = {}
        self._stopped = asyncio.Event()
        self._ports = [free_port() for _ in range(SERVERS)]
        self._servers: list[Any] = [None] * SERVERS
        self._workers: list[Any] = [None] * WORKERS
        self.positions: list[list[int]] = [[] for _ in range(SERVERS)]
        """The positions that each follower of the event streams received."""

    # Processes

    def start(self) -> None:
        """Start what does not run."""
        for number, process in enumerate(self._servers):
            if process is None or process.poll() is not None:
                self._servers[number] = self._command(f"serve{number}", "serve", "--port", str(self._ports[number]))
        for number, process in enumerate(self._workers):
            if process is None or process.poll() is not None:
                self._workers[number] = self._command(f"worker{number}", "worker", "--parallel", "16")

    async def _keep_running(self) -> None:
        """Start each process again RESTART_S after it ended for any reason, as systemd does."""
        while True:
            await asyncio.sleep(0.2)
            ended = {id(each) for each in (*self._servers, *self._workers) if each.poll() is not None}
            self._ended_at = {each: self._ended_at.get(each, time.monotonic()) for each in ended}
            if any(at + RESTART_S <= time.monotonic() for at in self._ended_at.values()):
                await asyncio.to_thread(self.start)

    def kill_server(self) -> None:
        """Kill one `aorch serve`."""
        self._kill("serve", random.choice(self._servers))

    def kill_worker(self) -> None:
        """Kill one `aorch worker`."""
        self._kill("worker", random.choice(self._workers))

    def stop(self) -> None:
        """Stop all processes."""
        running = [each for each in (*self._servers, *self._workers) if each is not None and each.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _kill(self, kind: str, process: Any) -> None:
        if process.poll() is None:
            process.kill()
            process.wait()
            self.figures.kills[kind] += 1

    def _command(self, name: str, *arguments: str) -> Any:
        with (self.home.folder / f"{name}.log").open("ab") as log:
            return self.home.start(*arguments, stdout=subprocess.DEVNULL, stderr=log)

    # Load

    async def run(self, seconds: float, disturb: Callable[[], Awaitable[None]]) -> None:
        """Send tasks for that time while `disturb` runs, then wait until each has ended."""
        self.start()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await self._until_served(session)
            begun = asyncio.get_running_loop().time()
            self.moments.append(begun)
            following = [asyncio.create_task(self._follow(session, number)) for number in range(SERVERS)]
            clients = [asyncio.create_task(each) for each in (self._send_all(session, begun), self._run_commands())]
            following.append(asyncio.create_task(self._probe()))
            keeping, disturbing = asyncio.create_task(self._keep_running()), asyncio.create_task(disturb())
            await asyncio.wait((disturbing,), timeout=seconds)
            if disturbing.done():
                disturbing.result()
                await asyncio.sleep(max(0.0, begun + seconds - time.monotonic()))
            disturbing.cancel()
            await self._acknowledged_after(time.monotonic())
            self._stopped.set()
            await asyncio.gather(*clients)
            await self._drained()
            await asyncio.sleep(2.0)
            for task in (keeping, *following):
                task.cancel()
            await asyncio.gather(keeping, *following, return_exceptions=True)

    async def _acknowledged_after(self, moment: float) -> None:
        """Wait until a task is acknowledged after that time, and measure the longest time between two acknowledgements.

        Later there are no new tasks, and the last ones may wait for the end of a process that has their keys.
        """
        while self.moments[-1] < moment:
            assert time.monotonic() < moment + DRAIN_S, "no task is acknowledged any more"
            await asyncio.sleep(0.05)
        self.figures.longest_gap_s = max(b - a for a, b in itertools.pairwise(self.moments))

    async def _until_served(self, session: aiohttp.ClientSession) -> None:
        for port in self._ports:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get(f"http://127.0.0.1:{port}/v1/health") as response:
                        if response.status == 200:
                            break
                await asyncio.sleep(0.05)

    async def _send_all(self, session: aiohttp.ClientSession, begun: float) -> None:
        """Send each task at its time, also while earlier ones have no answer yet and while this process is slow. Returns when all
        have one.
        """
        async with asyncio.TaskGroup() as sending:
            while not self._stopped.is_set():
                due = int((time.monotonic() - begun) * self.rate)
                for _ in range(self.figures.sent, due):
                    sending.create_task(self._send(session, f"{next(self._numbers)}"))
                self.figures.sent = due
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(begun + (due + 1) / self.rate):
                        await self._stopped.wait()

    async def _send(self, session: aiohttp.ClientSession, n: str) -> None:
        is_queued = int(n) % 2 == 0
        capability = "again" if int(n) % 4 < 2 else "once"
        body = {"session_id": f"s{int(n) % 20}-{int(n) // 400}", "capability": capability, "parameters": {"n": n}}
        headers = {"Idempotency-Key": f"task-{n}"}
        for attempt in itertools.count():
            port = self._ports[(int(n) + attempt) % SERVERS]
            url = f"http://127.0.0.1:{port}/v1/{'tasks' if is_queued else 'orchestrate'}"
            try:
                async with session.post(url, json=body, headers=headers, timeout=aiohttp.ClientTimeout(60)) as response:
                    answer = await response.json()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self.figures.refusals[type(error).__name__] += 1
            else:
                if response.status in (200, 202):
                    self.moments.append(time.monotonic())
                    self.figures.acknowledged += 1
                    self.figures.queued += is_queued
                    self.answered[n] = answer["contract_id"]
                    if not is_queued:
                        self.finished[n] = "completed" if answer["success"] else "failed"
                    return
                self.figures.refusals[f"{response.status} {answer.get('code')}"] += 1
                if answer.get("code") in ("interrupted", "cancelled"):  # a durable end
                    return
            await asyncio.sleep(RETRY.pause_s(attempt + 1))

    async def _run_commands(self) -> None:
        while not self._stopped.is_set():
            n = f"{next(self._numbers)}"
            command = ("run", "once", f"n={n}")
            done = await asyncio.to_thread(self.home.aorch, *command, timeout=120)
            if done.code == 0:
                self.figures.command_runs += 1
                self.finished[n] = "completed"
            else:
                self.figures.refusals[f"run: exit code {done.code}"] += 1

    async def _follow(self, session: aiohttp.ClientSession, number: int) -> None:
        """Collect the positions of all contracts from the event streams, starting again after the last one."""
        last, is_contract, timeout = "0", False, aiohttp.ClientTimeout(total=None, sock_read=40)
        for attempt in itertools.count(number):
            url = f"http://127.0.0.1:{self._ports[attempt % SERVERS]}/v1/events"
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with session.get(url, headers={"Last-Event-ID": last}, timeout=timeout) as response:
                    async for line in response.content:
                        if line.startswith(b"id: "):
                            last = line[4:].strip().decode()
                        elif line.startswith(b"event: "):
                            is_contract = line[7:] in (b"request\n", b"response\n")
                        elif line == b"\n" and is_contract:
                            self.positions[number].append(int(last))
                            is_contract = False
            await asyncio.sleep(0.1)

    async def _probe(self) -> None:
        """Measure how long the database itself accepts no write."""
        since = time.monotonic()
        while True:
            with contextlib.suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
                    while True:
                        await connection.execute(PROBE)
                        since, waited_s = time.monotonic(), time.monotonic() - since
                        self.figures.longest_outage_s = max(self.figures.longest_outage_s, waited_s)
                        await asyncio.sleep(0.1)
            await asyncio.sleep(0.1)

    async def _drained(self) -> None:
        """Wait until each REQUEST has a RESPONSE."""
        give_up_at = time.monotonic() + DRAIN_S
        while await asyncio.to_thread(self.rows, OPEN) != [(0,)]:
            assert time.monotonic() < give_up_at, f"still open: {self.rows(OPEN)}"
            await asyncio.sleep(0.5)

    # Afterwards

    def rows(self, sql: str) -> list[Any]:
        """The rows that PostgreSQL selects."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql).fetchall()  # type: ignore[call-overload, no-any-return]  # SQL from above

    def check_trace(self, double: Double) -> None:
        """Wait until Trace has received everything, and check that it got each contract once."""
        due, left = -1, trace_checks.status(self.home)["due"]
        while left:
            assert left != due, f"Trace got nothing for {DRAIN_S:g} s: {trace_checks.status(self.home)}"
            due, give_up_at = left, time.monotonic() + DRAIN_S
            while left == due and time.monotonic() < give_up_at:
                pause(0.2)
                left = trace_checks.status(self.home)["due"]
        received = Counter(event["data"]["idempotency_key"] for event in double.events)
        rows = self.rows("SELECT contract_id || ':contract.' || lower(contract_type) FROM contracts")
        missing = {key for (key,) in rows} - received.keys()
        assert not missing, f"Trace did not get {missing}: {self.home.aorch('trace', 'status').out}"
        assert {key for key, times in received.items() if times > 1} == set()
        assert double.collisions == []

    def check(self) -> None:
        """What the ledger contains, beside what the clients were told and what the agents did."""
        begun, done = (Counter((self.home.folder / name).read_text().split()) for name in ("begun", "done"))
        found = self.rows(EXCHANGES)
        ids = {n: contract_id for n, contract_id, *_ in found}
        ends = {n: (capability, *rest) for n, _, capability, *rest in found}
        assert len(ids) == len(found), "a task with an Idempotency-Key has two REQUESTs"
        assert {n: ids.get(n) for n in self.answered} == self.answered, "an acknowledged task is lost"
        assert {n for n, (_, _, responses, *_) in ends.items() if responses != 1} == set(), "not one RESPONSE each"
        assert {n: ends[n][1] for n in self.finished} == self.finished, "a client has another answer than the ledger"
        assert begun.keys() <= ids.keys(), "a task was executed that is not in the ledger"
        twice = {n: begun[n] for n, (capability, *_) in ends.items() if capability == "once" and begun[n] > 1}
        assert not twice, f"executed twice: {twice}"
        for n, (capability, status, _, answer, error) in ends.items():
            if status == "completed":
                assert done[n] >= 1, f"{n} is completed, but was not done"
            elif capability == "again" and n in self.answered and int(n) % 2 == 0:
                raise AssertionError(f"{n} is idempotent and queued, but ended as {answer}: {error}")
            self.figures.completed += status == "completed"
            self.figures.interrupted += answer == "interrupted"
            self.figures.failed += status != "completed" and answer != "interrupted"
        positions = [position for (position,) in self.rows("SELECT position FROM contracts ORDER BY position")]
        for followed in self.positions:
            assert followed == positions, f"a follower missed {len(set(positions) - set(followed))} contracts"
        self.figures.events = len(positions)

"""Workers over HTTP: `python benchmarks/http_workers.py [WORKERS] [TASKS_PER_S] [SECONDS] [SERVER_PROCESSES]`.

All workers are asyncio clients in this process, each with its own lease, waiting claim and renewals; `aorch serve` is real. A
callers' client queues tasks at a steady rate. Every task must be answered once, by the worker that claimed it.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from measure import AORCH, Goals, machine

sys.path.remove(str(Path(__file__).parent))  # http.py there would hide Python's own `http`
import aiohttp

from aorch.ids import new_id

WORKERS, RATE, SECONDS, PROCESSES = 1000, 278.0, 15.0, 1
LEASE_S = 30.0
AGENT = {"agent_id": "bench", "capabilities": [{"name": "bench", "idempotent": True}]}
CAPACITY = {"capability": "bench", "free": 4, "agents": {"bench": {"free": 4}}}


class Fleet:
    """The workers, and what they measured: seconds from the queueing of a task and from its claim to its start."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.queued_at: dict[str, float] = {}
        self.to_start_s: list[float] = []
        self.claim_to_start_s: list[float] = []
        self.done: set[str] = set()
        self.reports: set[asyncio.Task[None]] = set()

    async def post(self, path: str, body: Any) -> Any:
        async with self._session.post(path, json=body) as response:
            answer = await response.json()
            assert response.status < 300, (path, answer)
            return answer

    async def work(self, number: int) -> None:
        """One worker: claim, confirm, report."""
        body = {"worker": f"bench-{number}", "lease_s": LEASE_S, "agents": [AGENT]}
        lease = "/v1/work/leases/" + (await self.post("/v1/work/leases", body))["lease_id"]
        renewing = asyncio.create_task(self._renew(lease))
        try:
            while True:
                claim = {"capacities": [CAPACITY], "limit": 4, "wait_s": 20}
                found = await self.post(f"{lease}/claim", claim)
                if not found["tasks"]:
                    continue
                claimed_at = time.perf_counter()
                confirmed = await self.post(f"{lease}/renew", {"delivery_id": found["delivery_id"]})
                assert confirmed["confirmed"]
                for each in found["tasks"]:
                    started = time.perf_counter()
                    contract_id = each["request"]["contract_id"]
                    self.claim_to_start_s.append(started - claimed_at)
                    if contract_id in self.queued_at:
                        self.to_start_s.append(started - self.queued_at[contract_id])
                    report = asyncio.create_task(self._report(lease, contract_id))
                    self.reports.add(report)
                    report.add_done_callback(self.reports.discard)
        finally:
            renewing.cancel()

    async def _renew(self, lease: str) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 3)
            await self.post(f"{lease}/renew", {})

    async def _report(self, lease: str, contract_id: str) -> None:
        result = {"response_id": new_id(), "agent_id": "bench", "status": "completed", "result": contract_id}
        await self.post(f"{lease}/tasks/{contract_id}/result", result)
        self.done.add(contract_id)

    async def queue(self, rate: float, seconds: float) -> int:
        """Queue tasks at that rate; returns their number."""
        started, count, sending = time.perf_counter(), int(rate * seconds), set()
        for number in range(count):
            await asyncio.sleep(started + number / rate - time.perf_counter())
            task = asyncio.create_task(self._queue_one(number))
            sending.add(task)
            task.add_done_callback(sending.discard)
        if sending:
            await asyncio.wait(sending)
        return count

    async def _queue_one(self, number: int) -> None:
        at = time.perf_counter()
        body = {"capability": "bench", "session_id": f"s{number % 100}", "parameters": {"n": number}}
        self.queued_at[(await self.post("/v1/tasks", body))["contract_id"]] = at


async def measure(url: str, server: psutil.Process, workers: int, rate: float, seconds: float) -> dict[str, float]:
    """Start the workers, let them wait, queue the tasks, and return the figures."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
        fleet = Fleet(session)
        working = []
        for number in range(workers):
            working.append(asyncio.create_task(fleet.work(number)))
            if number % 50 == 49:
                await asyncio.sleep(0.1)
        await asyncio.sleep(3)
        idle_mib, cpu = _mib(server), _cpu_s(server)
        at = time.perf_counter()
        peak = asyncio.create_task(_peak(server))
        count = await fleet.queue(rate, seconds)
        took_s = time.perf_counter() - at
        ends = time.monotonic() + 60
        while len(fleet.done) < count and time.monotonic() < ends:
            assert not any(each.done() for each in working), [each.result() for each in working if each.done()]
            await asyncio.sleep(0.05)
        took_all_s = time.perf_counter() - at
        used_s = _cpu_s(server) - cpu
        peak.cancel()
        for each in working:
            each.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        assert len(fleet.done) == count, f"{len(fleet.done)} of {count} tasks were answered"
        return {
            "rate": count / took_s,
            "tail_s": took_all_s - took_s,
            "start_p99_s": _p99(fleet.to_start_s),
            "claim_p99_s": _p99(fleet.claim_to_start_s),
            "start_p50_s": sorted(fleet.to_start_s)[len(fleet.to_start_s) // 2],
            "idle_mib": idle_mib,
            "peak_mib": max(PEAK),
            "ms": used_s * 1000 / count,
        }


PEAK = [0.0]


async def _peak(server: psutil.Process) -> None:
    while True:
        PEAK.append(_mib(server))
        await asyncio.sleep(0.25)


def _family(server: psutil.Process) -> list[psutil.Process]:
    return [server, *server.children(recursive=True)]


def _mib(server: psutil.Process) -> float:
    return float(sum(each.memory_info().rss for each in _family(server))) / 2**20


def _cpu_s(server: psutil.Process) -> float:
    return float(sum(sum(each.cpu_times()[:2]) for each in _family(server)))


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] if values else float("nan")


def main(workers: int, rate: float, seconds: float, processes: int) -> None:
    goals = Goals(
        f"{workers} workers over HTTP, {rate:g} tasks a second for {seconds:g} s, {processes} server processes"
    )
    with machine() as (folder, environment):
        (folder / "aorch.toml").write_text("[queue]\nparallel = 0\n")
        command = [AORCH, "serve", "--port", "0", "--ledger", "ledger.db", "--workers", str(processes)]
        log = folder / "serve.log"
        with log.open("w") as file, subprocess.Popen(command, cwd=folder, env=environment, stderr=file) as process:
            try:
                url = _url(log)
                found = asyncio.run(measure(url, psutil.Process(process.pid), workers, rate, seconds))
            finally:
                process.terminate()
                process.wait(30)
    goals.note("tasks a second that were queued", f"{found['rate']:.0f}")
    goals.note("seconds after the last one until all were answered", f"{found['tail_s']:.2f}")
    goals.note("median from queueing to the start", f"{found['start_p50_s'] * 1000:.0f} ms")
    goals.at_most("p99 from the claim to the start", found["claim_p99_s"], 1.0, " s")
    goals.at_most("p99 from queueing to the start", found["start_p99_s"], 1.0, " s")
    goals.note("processor time of the server per task, waiting workers included", f"{found['ms']:.2f} ms")
    goals.note("memory of the server while all workers wait", f"{found['idle_mib']:.0f} MiB")
    goals.at_most("peak memory of the server, divided by that", found["peak_mib"] / found["idle_mib"], 1.5)
    goals.end()


def _url(log: Path) -> str:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        for line in log.read_text().splitlines():
            if line.startswith("aorch serves "):
                return line.split()[2]
        time.sleep(0.05)
    raise AssertionError(f"the server did not start: {log.read_text()}")


if __name__ == "__main__":
    given = [float(each) for each in sys.argv[1:]]
    values = [*given, *(WORKERS, RATE, SECONDS, PROCESSES)[len(given) :]]
    main(int(values[0]), values[1], values[2], int(values[3]))

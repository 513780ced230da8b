"""`aorch serve` under load: `python benchmarks/http.py [ROUNDS] [--growth] [--memory] [--readers]`.

(It must not import anything that imports `http` of the standard library: a script's own directory comes first.)

The server has one core and wrk (https://github.com/wg/wrk; `apt-get install wrk`) the other. Rates are compared with a bare
aiohttp handler that parses the same body with msgspec, answers the same JSON and stores nothing, and with a second one that
also commits both contracts: the ceiling of the write path (bare.py). `aorch serve` has its default settings, with
`synchronous=FULL` and its log. The servers take turns; figures are medians. Every body is checked and every row counted,
since status codes alone hide failures.

Without an option: rates and latencies at 1, 32 and 256 clients, over 50 sessions. `--growth`: whether a session of 100,000
contracts is as fast as a new one. `--memory`: what a million requests leave in memory (about ten minutes). `--readers`: what
1,000 readers of events cost that receive nothing.
"""

import json
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from measure import AORCH, PYTHON, Goals, machine

BARE = str(Path(__file__).with_name("bare.py"))
SERVER_CORE, CLIENT_CORE = "0", "1"
SECONDS = 4
SESSIONS = 50
BODY = json.dumps({"session_id": "session_%d", "capability": "echo", "parameters": {"text": "Hello, world!"}})
EXPECTED = {"success": True, "data": {"message": "Echo: Hello, world!"}, "error": None}
LOAD = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local requests, sent = {}, 0
function init(args)
    wrong = 0
    for session = 1, tonumber(args[1]) do requests[session] = wrk.format(nil, nil, nil, string.format('%s', session)) end
end
function request()
    sent = sent + 1
    return requests[sent %% #requests + 1]
end
local this
function setup(thread) this = thread end
function response(status, headers, body)
    if status ~= 200 or (body:sub(1, %d) ~= '%s' and body:sub(1, %d) ~= '%s') then wrong = wrong + 1 end
end
function done(summary, latency)
    local e = summary.errors
    io.write(string.format('{"requests": %%d, "seconds": %%f, "errors": %%d, "wrong": %%d, "p50_ms": %%f, "p99_ms": %%f}\\n',
        summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout, this:get("wrong"),
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True)
class Run:
    """What wrk saw in one run, and what the server's core did for each request."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


class Server:
    """A server on its core; `ledger` is None for a bare one."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str, folder: Path, ledger: Path | None) -> None:
        self.process, self.url, self.folder, self.ledger = process, url, folder, ledger

    def load(self, clients: int, seconds: float = SECONDS, sessions: int = SESSIONS) -> Run:
        """Let wrk send requests for that long; each answer and each row is checked."""
        before, begun = self.rows(), self.cpu_s()
        command = [
            "taskset",
            "-c",
            CLIENT_CORE,
            "wrk",
            "-t1",
            f"-c{clients}",
            f"-d{seconds}s",
            "--timeout",
            "30s",
            "-s",
        ]
        done = subprocess.run(
            [*command, "load.lua", f"{self.url}/v1/orchestrate", "--", str(sessions)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        said = json.loads(done.stdout.splitlines()[-1])
        assert (said["errors"], said["wrong"]) == (0, 0), said
        if self.ledger is not None:
            self.check(self.rows() - before, said["requests"], clients)
        requests, cpu_us = said["requests"], (self.cpu_s() - begun) * 1e6 / said["requests"]
        return Run(requests, requests / said["seconds"], said["p50_ms"], said["p99_ms"], cpu_us)

    def rows(self) -> int:
        """Contracts in the ledger, once nobody is connected and nothing runs any more."""
        if self.ledger is None:
            return 0
        while any(each.status != psutil.CONN_LISTEN for each in psutil.Process(self.process.pid).net_connections()):
            time.sleep(0.01)
        with closing(sqlite3.connect(self.ledger)) as connection:
            while connection.execute("SELECT 1 FROM contracts WHERE status = 'in_progress' LIMIT 1").fetchone():
                time.sleep(0.01)
            return int(connection.execute("SELECT coalesce(max(position), 0) FROM contracts").fetchone()[0])

    def check(self, rows: int, requests: int, clients: int) -> None:
        """Each answered request has left its two contracts; of those that wrk cut off at the end some have as well."""
        assert 2 * requests <= rows <= 2 * (requests + clients), f"{requests} requests left {rows} rows"

    def cpu_s(self) -> float:
        """The processor time that it has used, in seconds."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def memory(self) -> int:
        """Its resident size in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


@contextmanager
def running(command: list[str], folder: Path, environment: Mapping[str, str], ledger: Path | None) -> Iterator[Server]:
    """`command` on the servers' core, which says its address on the first line that holds one."""
    log = folder / f"{ledger.name if ledger else 'bare'}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(["taskset", "-c", SERVER_CORE, *command], cwd=folder, env=environment, stderr=output)
    try:
        while "http://" not in (said := log.read_text()):
            assert process.poll() is None, said
            time.sleep(0.01)
        yield Server(process, "http://" + said.split("http://")[1].split()[0], folder, ledger)
    finally:
        process.terminate()
        process.wait()


class Bench:
    """A home with everything that a run needs, and an empty ledger to copy."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.environment = folder, environment
        begins = [json.dumps(EXPECTED)[:-1], json.dumps(EXPECTED, separators=(",", ":"))[:-1]]
        compared = [value for begin in begins for value in (len(begin), begin)]
        (folder / "load.lua").write_text(LOAD % (BODY, *compared))
        self.template = folder / "template.db"
        with self.serving(self.template):
            pass

    def serving(self, ledger: Path) -> AbstractContextManager[Server]:
        """`aorch serve` over that ledger."""
        return running([AORCH, "serve", "--port", "0", "--ledger", str(ledger)], self.folder, self.environment, ledger)

    def bare(self) -> AbstractContextManager[Server]:
        """The handler without storage."""
        return running([PYTHON, "-P", BARE, "bare"], self.folder, self.environment, None)

    def ceiling(self, ledger: Path) -> AbstractContextManager[Server]:
        """The handler that only commits both contracts to that ledger."""
        return running([PYTHON, "-P", BARE, "ceiling", str(ledger)], self.folder, self.environment, ledger)

    def copy(self, ledger: Path, name: str) -> Path:
        """A copy of that ledger, which nobody has open."""
        return Path(shutil.copy(ledger, self.folder / name))


CLIENTS = (1, 32, 256)
SERVERS = ("bare", "ceiling", "aorch")


def measured(bench: Bench, rounds: int) -> tuple[dict[tuple[str, int], list[Run]], float]:
    """The runs of each server with each number of clients, and how long a sync takes in milliseconds."""
    taken: dict[tuple[str, int], list[Run]] = {}
    syncs: list[float] = []
    with (
        bench.bare() as bare,
        bench.ceiling(bench.copy(bench.template, "ceiling.db")) as ceiling,
        bench.serving(bench.copy(bench.template, "rates.db")) as ours,
    ):
        for number in range(rounds + 1):
            for clients in CLIENTS:
                for name, server in zip(SERVERS, (bare, ceiling, ours), strict=True):
                    run = server.load(clients)
                    if number:
                        taken.setdefault((name, clients), []).append(run)
            syncs.append(sync_ms(bench.folder))
    return taken, statistics.median(syncs)


def rates(bench: Bench, rounds: int) -> None:
    """Rates and latencies against the bare handlers."""
    goals = Goals(f"POST /v1/orchestrate, both contracts durable, against a bare handler; medians of {rounds} rounds")
    taken, one_sync_ms = measured(bench, rounds)

    def median(name: str, clients: int, figure: Callable[[Run], float]) -> float:
        return statistics.median(figure(run) for run in taken[name, clients])

    for clients in CLIENTS:
        for name in SERVERS:
            figures = [median(name, clients, figure) for figure in (rate, p50_ms, p99_ms, cpu_us)]
            what = f"{name}, {clients} clients: requests/s, p50 ms, p99 ms, CPU µs a request"
            goals.note(what, "{:,.0f}  {:.2f}  {:.2f}  {:.0f}".format(*figures))
    for name, least in (("ceiling", {32: 0.52, 256: 0.62}), ("aorch", {32: 0.40, 256: 0.52})):
        for clients in CLIENTS:
            ratio = median(name, clients, rate) / median("bare", clients, rate)
            what = f"rate of {name} / of bare, {clients} clients"
            if clients in least:
                goals.at_least(what, ratio, least[clients])
            else:
                goals.note(what, f"{ratio:.3f}")
            cpu_ratio = median("bare", clients, cpu_us) / median(name, clients, cpu_us)
            goals.note(f"CPU time of bare / of {name}, {clients} clients (also on a busy machine)", f"{cpu_ratio:.3f}")
    goals.at_most("p99 of bare's, 32 clients", median("aorch", 32, p99_ms) / median("bare", 32, p99_ms), 4, " ×")
    floor = 2 * one_sync_ms + median("bare", 1, p50_ms)
    goals.note("one fsync", f"{one_sync_ms:.2f} ms")
    goals.at_most("p50 of (two fsyncs + bare), one client", median("aorch", 1, p50_ms) / floor, 3, " ×")
    goals.end()


def rate(run: Run) -> float:
    """Requests a second."""
    return run.rate


def p50_ms(run: Run) -> float:
    """The median latency."""
    return run.p50_ms


def p99_ms(run: Run) -> float:
    """The latency that one in a hundred exceeds."""
    return run.p99_ms


def cpu_us(run: Run) -> float:
    """Processor time a request."""
    return run.cpu_us


def sync_ms(folder: Path) -> float:
    """How long the disk takes to make 4 KiB at a file's end durable (median of 100)."""
    times = []
    with (folder / "sync").open("wb") as file:
        for _ in range(100):
            file.write(b"x" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def growth(bench: Bench, rounds: int) -> None:
    """A session of 100,000 contracts against a new one."""
    goals = Goals(f"a session of 100,000 contracts against a new one, 32 clients; medians of {rounds} rounds")
    grown = bench.copy(bench.template, "grown.db")
    with bench.serving(grown) as server:
        while server.rows() < 100_000:
            server.load(256, sessions=1)
    taken: dict[str, list[float]] = {"new": [], "grown": []}
    for number in range(rounds + 1):
        for name, ledger in (("new", bench.template), ("grown", grown)):
            with bench.serving(bench.copy(ledger, "round.db")) as server:
                server.load(32, 1, sessions=1)
                measured = server.load(32, sessions=1).rate
            if number:
                taken[name].append(measured)
    for name, measures in taken.items():
        goals.note(name, f"{statistics.median(measures):,.0f} /s")
    goals.at_least("rate", statistics.median(taken["grown"]) / statistics.median(taken["new"]), 0.95)
    goals.end()


def memory(bench: Bench, _: int) -> None:
    """What is resident after 10,000 requests, and after a million."""
    goals = Goals("resident size of the server, 256 clients")
    sizes = {}
    with bench.serving(bench.copy(bench.template, "memory.db")) as server:
        served = 0
        for milestone in (10_000, 100_000, 300_000, 1_000_000):
            while served < milestone:
                served += server.load(256, min(30, 1 + (milestone - served) // 4000)).requests
            sizes[milestone] = server.memory()
            goals.note(f"after {served:,} requests", f"{sizes[milestone] / 2**20:.1f} MiB")
    goals.at_most("more after 1,000,000 than after 10,000", (sizes[1_000_000] - sizes[10_000]) / 2**20, 20, " MiB")
    goals.end()


def readers(bench: Bench, rounds: int) -> None:
    """1,000 readers of events that hear nothing."""
    goals = Goals(f"1,000 readers of events, each of a session where nothing happens; medians of {rounds} rounds")
    taken: dict[str, list[float]] = {"without": [], "with": []}
    with bench.serving(bench.copy(bench.template, "readers.db")) as server:
        before = server.memory()
        with idle_readers(server, 1000):
            size = server.memory() - before
        for number in range(2 * rounds + 2):  # in the order A B B A, so that a ledger that grows favours neither
            name = ("without", "with", "with", "without")[number % 4]
            with idle_readers(server, 1000 if name == "with" else 0):
                measured = server.load(32).rate
            if number > 1:
                taken[name].append(measured)
    for name, measures in taken.items():
        goals.note(f"{name} readers", f"{statistics.median(measures):,.0f} /s")
    goals.at_most("their memory", size / 2**20, 50, " MiB")
    goals.at_least("rate with them", statistics.median(taken["with"]) / statistics.median(taken["without"]), 0.97)
    goals.end()


@contextmanager
def idle_readers(server: Server, count: int) -> Iterator[None]:
    """So many streams, each of which has begun."""
    address = urlsplit(server.url)
    streams = []
    try:
        for number in range(count):
            streams.append(stream := socket.create_connection((address.hostname, address.port)))
            stream.sendall(
                f"GET /v1/events?session_id=idle{number} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
            )
        for stream in streams:
            assert stream.recv(4096).startswith(b"HTTP/1.1 200 ")
        yield
    finally:
        for stream in streams:
            stream.close()


if __name__ == "__main__":
    options = {"--growth": growth, "--memory": memory, "--readers": readers}
    wanted = next((options[argument] for argument in sys.argv[1:] if argument in options), rates)
    rounds = next((int(argument) for argument in sys.argv[1:] if argument.isdecimal()), 7)
    with machine() as (folder, environment):
        wanted(Bench(folder, environment), rounds)

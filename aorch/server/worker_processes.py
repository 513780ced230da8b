"""Several worker processes on one port: their supervisor, and the worker's end of the connection between them.

The supervisor owns the listening socket, and the workers accept from it. A worker is given the configuration that the
supervisor read, says `ready` once it could answer, and `closed` once callers need a token. It is told `go` when it is to
accept connections, `closed` and `hurry`. It stops as well when the supervisor is gone, however that ended.
"""

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from aorch.config.settings import Config
from aorch.errors import AorchError
from aorch.process.signals import hear, hear_no_more
from aorch.process.stop import LONGEST_S
from aorch.server.access_log import RequestLog
from aorch.server.authentication import Access
from aorch.server.listener import announce, bind, listen, stop_listening
from aorch.server.origin_policy import Guard

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 15.0
"""Before a worker that ended is started again: twice as long each time."""
HEALTHY_S = 60.0
"""A worker that lived this long starts with the first pause again."""
KILL_S = LONGEST_S + 1.0
"""After the grace period plus this time, a worker that still runs is killed."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to do. `closed`: callers need a token, even if no token is left."""

    config: Config
    log_json: bool
    insecure: bool
    closed: bool


class Supervised:
    """A worker's end of the connection to its supervisor, and the listening socket, by the numbers of their descriptors."""

    def __init__(self, connection: int, listening: int) -> None:
        os.set_inheritable(connection, False)
        os.set_inheritable(listening, False)
        self.listening = socket.socket(fileno=listening)
        self._socket = socket.socket(fileno=connection)
        self._file = self._socket.makefile("rb")
        try:
            self.order: Order = pickle.load(self._file)  # noqa: S301  from the supervisor, over a socket that nobody else has
        except (EOFError, OSError) as error:
            raise AorchError("the supervisor of this worker is gone") from error

    def say(self, word: str) -> None:
        """Tell the supervisor."""
        with contextlib.suppress(OSError):  # it is gone, which `hear` tells
            self._socket.sendall(f"{word}\n".encode())

    def hear(self, act: Callable[[str], None]) -> None:
        """Call `act` with each word of the supervisor, in a thread of its own; with `gone` once it is gone."""

        def work() -> None:
            with contextlib.suppress(OSError):
                for line in self._file:
                    act(line.decode().strip())
            act("gone")

        threading.Thread(target=work, name="aorch-supervised", daemon=True).start()


def supervise(config: Config, *, log_json: bool, insecure: bool = False) -> int:
    """Run `serve.workers` processes on one port until INT, TERM or HUP. A worker that ends is started again, after a pause.

    Returns the exit code: 0, or that of a worker that could not start the first time, which said why. Raises what
    `running.serve` raises.
    """
    with contextlib.closing(bind(config.serve.host, config.serve.port)) as listening:
        access = Access(config, listening.getsockname()[0], insecure=insecure)
        Guard(config.serve, listening.getsockname()[0])
        order = Order(config, log_json, insecure, not access.open)
        return asyncio.run(_Supervisor(order, listening).run())


@dataclass(eq=False, slots=True)
class _Worker:
    process: asyncio.subprocess.Process
    writer: asyncio.StreamWriter
    ready: bool = False

    def tell(self, word: str) -> None:
        self.writer.write(f"{word}\n".encode())


class _Supervisor:
    def __init__(self, order: Order, listening: socket.socket) -> None:
        self._order = order
        self._listening = listening
        self._closed = order.closed
        self._log = RequestLog(as_json=order.log_json)
        self._workers: set[_Worker] = set()
        self._hearing: set[asyncio.Task[None]] = set()
        self._announced = False
        self._stopping, self._hurry = asyncio.Event(), asyncio.Event()
        self._result = 0
        self._error: AorchError | None = None

    async def run(self) -> int:
        """Run the workers until all have stopped; the exit code."""
        loop = asyncio.get_running_loop()

        def told(_: int) -> None:
            loop.call_soon_threadsafe(self._told)

        hear(told)
        keeping = [asyncio.create_task(self._keep()) for _ in range(self._order.config.serve.workers)]
        await self._stopping.wait()
        await asyncio.to_thread(stop_listening, self._listening)
        self._listening.close()
        for worker in self._workers:
            _signal(worker, signal.SIGTERM)
        await self._end(keeping)
        hear_no_more()
        self._log.flush()
        if self._error is not None:
            raise self._error
        return self._result

    def _told(self) -> None:
        if self._stopping.is_set():
            self._hurry.set()
            self._tell_all("hurry")
        self._stopping.set()

    async def _end(self, keeping: list[asyncio.Task[None]]) -> None:
        """Wait for the workers to end; kill those that do not."""
        ended, hurried = asyncio.gather(*keeping), asyncio.create_task(self._hurry.wait())
        await asyncio.wait(
            (ended, hurried), timeout=self._order.config.serve.grace_s, return_when=asyncio.FIRST_COMPLETED
        )
        hurried.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_S):
                await asyncio.shield(ended)
        for worker in self._workers:
            self._log.tell(f"worker {worker.process.pid} did not stop in time and is killed")
            _signal(worker, signal.SIGKILL)
        await ended

    async def _keep(self) -> None:
        """Keep one worker running until all stop."""
        failures = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            how = await self._run_one()
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - begun > HEALTHY_S else failures + 1
            pause_s = min(FIRST_PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S)
            self._log.tell(f"{how}; it is started again in {pause_s:g} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()

    async def _run_one(self) -> str:
        """Run one worker to its end, and say how it ended."""
        try:
            worker = await self._start()
        except OSError as error:
            if not self._announced:
                self._fail(AorchError(f"cannot start a worker: {error}", "Lower --workers, or raise the limits."))
            return f"a worker could not be started: {error.strerror}"
        code = await worker.process.wait()
        self._workers.discard(worker)
        worker.writer.close()
        if code > 0 and not self._announced and not self._stopping.is_set():
            self._result = self._result or code
            self._stopping.set()
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"worker {worker.process.pid} ended with {ended}" + ("" if worker.ready else " before it was ready")

    async def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = (theirs.fileno(), self._listening.fileno())
            command = ["-P", "-m", "aorch", "serve", "--worker", "{},{}".format(*descriptors)]
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=descriptors
                )
            except OSError:
                ours.close()
                raise
        reader, writer = await asyncio.open_connection(sock=ours)
        worker = _Worker(process, writer)
        self._workers.add(worker)
        order = self._order
        writer.write(pickle.dumps(Order(order.config, order.log_json, order.insecure, self._closed)))
        if self._stopping.is_set():
            _signal(worker, signal.SIGTERM)
        hearing = asyncio.create_task(self._hear(worker, reader))
        self._hearing.add(hearing)
        hearing.add_done_callback(self._hearing.discard)
        return worker

    async def _hear(self, worker: _Worker, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):  # it ended
            async for line in reader:
                if line == b"ready\n":
                    worker.ready = True
                    self._go(worker)
                elif line == b"closed\n" and not self._closed:
                    self._closed = True
                    self._tell_all("closed")

    def _go(self, worker: _Worker) -> None:
        """Let it accept connections; the first time all of them at once, as soon as all are ready."""
        if self._stopping.is_set():
            return
        if self._announced:
            worker.tell("go")
        elif sum(each.ready for each in self._workers) == self._order.config.serve.workers:
            try:
                listen(self._listening)
            except AorchError as error:
                return self._fail(error)
            self._announced = True
            announce(self._order.config, self._listening.getsockname()[1], closed=self._closed)
            self._tell_all("go")
        return None

    def _fail(self, error: AorchError) -> None:
        self._error = self._error or error
        self._stopping.set()

    def _tell_all(self, word: str) -> None:
        for worker in self._workers:
            worker.tell(word)


def _signal(worker: _Worker, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        worker.process.send_signal(number)

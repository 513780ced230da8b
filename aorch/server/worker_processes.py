"""Several worker processes on one port: their supervisor, and the worker's end of the connection between them.

The supervisor owns the listening socket, and the workers accept from it. A worker receives the configuration from the
supervisor, and sends `ready` when it can serve and `closed` when callers need a token. The supervisor sends `go` (accept
connections), `closed` and `hurry`. A worker also stops when its supervisor has exited for any reason.
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

from aorch.backoff import Backoff
from aorch.config.settings import Config
from aorch.errors import AorchError
from aorch.process.signals import handle_signals, ignore_signals
from aorch.process.stop import LONGEST_S
from aorch.server.access_log import RequestLog
from aorch.server.authentication import Authenticator
from aorch.server.listener import announce, bind, listen, stop_listening
from aorch.server.origin_policy import OriginPolicy

BACKOFF = Backoff(0.2, 15.0)
"""Pause before a worker that exited is restarted; it doubles each time."""
HEALTHY_S = 60.0
"""After a worker has run this long, the first pause applies again."""
KILL_S = LONGEST_S + 1.0
"""A worker that still runs this long after the grace period is killed."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of a worker. `closed`: callers need a token, even if no token exists any more."""

    config: Config
    log_json: bool
    insecure: bool
    closed: bool


class SupervisorConnection:
    """A worker's end of the connection to its supervisor, and the listening socket, from their descriptors."""

    def __init__(self, connection: int, listening: int) -> None:
        os.set_inheritable(connection, False)
        os.set_inheritable(listening, False)
        self.listening = socket.socket(fileno=listening)
        self._socket = socket.socket(fileno=connection)
        self._file = self._socket.makefile("rb")
        try:
            self.options: WorkerOptions = pickle.load(self._file)  # noqa: S301  from the supervisor, over a private socket
        except (EOFError, OSError) as error:
            raise AorchError("the supervisor of this worker has exited") from error

    def send(self, word: str) -> None:
        """Send a command word to the supervisor."""
        with contextlib.suppress(OSError):  # it has exited; `listen` reports that
            self._socket.sendall(f"{word}\n".encode())

    def listen(self, act: Callable[[str], None]) -> None:
        """Call `act` with each command word of the supervisor, in a separate thread, and with `gone` once it has exited."""

        def work() -> None:
            with contextlib.suppress(OSError):
                for line in self._file:
                    act(line.decode().strip())
            act("gone")

        threading.Thread(target=work, name="aorch-supervised", daemon=True).start()


def supervise(config: Config, *, log_json: bool, insecure: bool = False) -> int:
    """Run `serve.workers` processes on one port until INT, TERM or HUP. A worker that exits is restarted after a pause.

    Returns the exit code: 0, or that of a worker that failed at its first start and printed the reason. Raises the same
    errors as `http_runner.serve`.
    """
    with contextlib.closing(bind(config.serve.host, config.serve.port)) as listening:
        authenticator = Authenticator(config, listening.getsockname()[0], insecure=insecure)
        OriginPolicy(config.serve, listening.getsockname()[0])
        options = WorkerOptions(config, log_json, insecure, not authenticator.open)
        return asyncio.run(_Supervisor(options, listening).run())


@dataclass(eq=False, slots=True)
class _Worker:
    process: asyncio.subprocess.Process
    writer: asyncio.StreamWriter
    ready: bool = False

    def send(self, word: str) -> None:
        self.writer.write(f"{word}\n".encode())


class _Supervisor:
    def __init__(self, options: WorkerOptions, listening: socket.socket) -> None:
        self._options = options
        self._listening = listening
        self._closed = options.closed
        self._log = RequestLog(as_json=options.log_json)
        self._log.attach()
        self._workers: set[_Worker] = set()
        self._listeners: set[asyncio.Task[None]] = set()
        self._announced = False
        self._stopping, self._hurry = asyncio.Event(), asyncio.Event()
        self._result = 0
        self._error: AorchError | None = None

    async def run(self) -> int:
        """Run the workers until all have stopped, and return the exit code."""
        loop = asyncio.get_running_loop()

        def on_signal(_: int) -> None:
            loop.call_soon_threadsafe(self._stop)

        handle_signals(on_signal, loop)
        keeping = [asyncio.create_task(self._keep()) for _ in range(self._options.config.serve.workers)]
        await self._stopping.wait()
        await asyncio.to_thread(stop_listening, self._listening)
        self._listening.close()
        for worker in self._workers:
            _signal(worker, signal.SIGTERM)
        await self._end(keeping)
        ignore_signals()
        self._log.flush()
        if self._error is not None:
            raise self._error
        return self._result

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._hurry.set()
            self._send_all("hurry")
        self._stopping.set()

    async def _end(self, keeping: list[asyncio.Task[None]]) -> None:
        """Wait until the workers exit, and kill those that do not."""
        ended, hurried = asyncio.gather(*keeping), asyncio.create_task(self._hurry.wait())
        await asyncio.wait(
            (ended, hurried), timeout=self._options.config.serve.grace_s, return_when=asyncio.FIRST_COMPLETED
        )
        hurried.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_S):
                await asyncio.shield(ended)
        for worker in self._workers:
            self._log.tell(f"worker {worker.process.pid} did not stop in time and was killed")
            _signal(worker, signal.SIGKILL)
        await ended

    async def _keep(self) -> None:
        """Keep one worker running until the supervisor stops."""
        failures = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            reason = await self._run_worker()
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - started > HEALTHY_S else failures + 1
            pause_s = BACKOFF.pause_s(failures)
            self._log.tell(f"{reason}; it restarts in {pause_s:g} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()

    async def _run_worker(self) -> str:
        """Run one worker until it exits, and return the reason as a sentence."""
        try:
            worker = await self._start()
        except OSError as error:
            if not self._announced:
                self._fail(AorchError(f"cannot start a worker: {error}", "Lower --workers, or raise ulimit."))
            return f"cannot start a worker: {error.strerror}"
        code = await worker.process.wait()
        self._workers.discard(worker)
        worker.writer.close()
        if code > 0 and not self._announced and not self._stopping.is_set():
            self._result = self._result or code
            self._stopping.set()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"worker {worker.process.pid} exited with {how}" + ("" if worker.ready else " before it was ready")

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
        options = self._options
        writer.write(pickle.dumps(WorkerOptions(options.config, options.log_json, options.insecure, self._closed)))
        if self._stopping.is_set():
            _signal(worker, signal.SIGTERM)
        listening = asyncio.create_task(self._listen_to(worker, reader))
        self._listeners.add(listening)
        listening.add_done_callback(self._listeners.discard)
        return worker

    async def _listen_to(self, worker: _Worker, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):  # the worker exited
            async for line in reader:
                if line == b"ready\n":
                    worker.ready = True
                    self._go(worker)
                elif line == b"closed\n" and not self._closed:
                    self._closed = True
                    self._send_all("closed")

    def _go(self, worker: _Worker) -> None:
        """Let the worker accept connections. At the start, all begin together once all are ready."""
        if self._stopping.is_set():
            return
        if self._announced:
            worker.send("go")
        elif sum(each.ready for each in self._workers) == self._options.config.serve.workers:
            try:
                listen(self._listening)
            except AorchError as error:
                return self._fail(error)
            self._announced = True
            announce(self._options.config, self._listening.getsockname()[1], closed=self._closed)
            self._send_all("go")
        return None

    def _fail(self, error: AorchError) -> None:
        self._error = self._error or error
        self._stopping.set()

    def _send_all(self, word: str) -> None:
        for worker in self._workers:
            worker.send(word)


def _signal(worker: _Worker, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        worker.process.send_signal(number)

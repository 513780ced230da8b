"""Running the application: listening, several workers, and a clean stop."""

import asyncio
import contextlib
import gc
import signal
import socket
import subprocess
import sys
import time

from aiohttp import web

from aorch.config import Config
from aorch.core.orchestrator import Orchestrator
from aorch.core.stopping import hear, hear_no_more
from aorch.errors import UsageError
from aorch.server.app import ENTRANCE, Handler, make_app
from aorch.server.auth import Access
from aorch.server.background import Background
from aorch.server.call import SERVICES
from aorch.server.connection import Connection
from aorch.server.guard import Guard
from aorch.server.log import RequestLog

BACKLOG = 1024
"""Connections that may wait to be accepted."""
CANCEL_S = 5.0
"""How long what was cancelled at the end may take to say so in the ledger."""
END_S = 1.0
"""How long streams may take to end, after all that."""
LISTEN_S = 0.01
"""How often a supervisor looks whether its workers listen by now."""
LOOK_S = 0.5
"""How often a supervisor looks after its workers."""


async def serve(config: Config, *, log_json: bool, worker: bool, insecure: bool = False) -> None:
    """Listen until SIGTERM or SIGINT (or, as a worker, until its supervisor is gone).

    Then new work is refused (503), what runs is finished within `grace_s` or cancelled, and the ledger is flushed. Raises
    UsageError where the address cannot be listened at, or must not be without a token (see auth.py), ConfigInvalid, and
    LedgerError where the ledger cannot be opened.
    """
    listening = _bound(config.serve.host, config.serve.port, shared=worker)
    address = listening.getsockname()[0]
    access = Access(config, address, insecure=insecure)
    guard = Guard(config.serve, address)
    orchestrator = Orchestrator(config=config)
    orchestrator.open()
    log = RequestLog(as_json=log_json)
    app = make_app(orchestrator, config.serve, log, access=access, guard=guard)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=END_S)
    await runner.setup()
    listener = await _listen(runner, app[ENTRANCE], listening, log, config.serve.read_timeout_s)
    background = Background(orchestrator, log, app[SERVICES].supervisor)
    stop, hurry = _told_to_stop(worker=worker)
    if not worker:
        _announce(config, listening.getsockname()[1], access)
    _spare_the_collector()
    background.start()
    await stop.wait()
    gate = app[SERVICES].gate
    if running := gate.inside() + background.running():
        grace = f"{config.serve.grace_s:g} s more for {running} running"
        sys.stderr.write(f"aorch stops: {grace}; Ctrl-C cancels them\n")
        sys.stderr.flush()
    await asyncio.gather(
        gate.close(config.serve.grace_s, CANCEL_S, hurry=hurry),
        background.stop(config.serve.grace_s, CANCEL_S, hurry=hurry),
    )
    listener.close()
    await runner.cleanup()
    hear_no_more()


def supervise(config: Config, arguments: list[str], *, insecure: bool = False) -> int:
    """Run `workers` processes on one port until SIGTERM or SIGINT; one that is killed is started again.

    The kernel deals connections among them (SO_REUSEPORT). A worker ends when its supervisor does: its standard input
    closes. Returns the exit code: 0, or that of a worker that could not start, which said why. Raises what `serve` raises.
    """
    with contextlib.closing(_bound(config.serve.host, config.serve.port, shared=True)) as held:
        address, port = held.getsockname()[:2]
        access = Access(config, address, insecure=insecure)
        Guard(config.serve, address)
        command = [sys.executable, "-m", "aorch", "serve", *arguments, "--port", str(port), "--worker"]
        workers = _Workers(command, config.serve.workers)
        if workers.listen(held):
            _announce(config, port, access)
        return workers.keep_alive()


class _Workers:
    def __init__(self, command: list[str], count: int) -> None:
        self._command = command
        self._stopping = False
        self._workers: list[subprocess.Popen[bytes]] = []
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        while len(self._workers) < count and not self._stopping:
            self._workers.append(self._start())

    def listen(self, held: socket.socket) -> bool:
        """Wait until one of them accepts connections where `held` is bound; False where that will not be."""
        while not self._stopping and all(worker.poll() is None for worker in self._workers):
            with socket.socket(held.family) as connection:
                if connection.connect_ex(held.getsockname()) == 0:
                    return True
            time.sleep(LISTEN_S)
        return False

    def keep_alive(self) -> int:
        refused = 0
        while not self._stopping:
            for place, worker in enumerate(self._workers):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = worker.wait(LOOK_S / len(self._workers))
                    if code > 0:
                        refused = refused or code
                        self._stop()
                    elif not self._stopping:
                        self._workers[place] = self._start()
        for worker in self._workers:
            worker.wait()
        return refused

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command, stdin=subprocess.PIPE)

    def _stop(self, *_: object) -> None:
        self._stopping = True
        for worker in self._workers:
            worker.terminate()


async def _listen(
    runner: web.AppRunner, entrance: Handler, listening: socket.socket, log: RequestLog, read_timeout_s: float
) -> asyncio.Server:
    """Accept connections; what aiohttp's own site does, but for the class of the connections."""
    server = runner.server
    assert server is not None
    loop = asyncio.get_running_loop()

    def connection() -> Connection:
        return Connection(server, entrance, log, read_timeout_s)

    return await loop.create_server(connection, sock=listening, backlog=BACKLOG)


def _announce(config: Config, port: int, access: Access) -> None:
    workers = f", {config.serve.workers} workers" if config.serve.workers > 1 else ""
    workers += "" if access.open else "; callers need a token"
    host = f"[{config.serve.host}]" if ":" in config.serve.host else config.serve.host
    sys.stderr.write(f"aorch serves http://{host}:{port} over {config.ledger}{workers}\n")
    sys.stderr.flush()


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        raise UsageError(
            f"{host}:{port} cannot be listened at: {error.strerror}", "Choose another --host or --port (0: any)."
        ) from error
    return bound


def _spare_the_collector() -> None:
    """Let the cycle collector pass over what start-up made, and look less often: it took a fifth of each request's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _told_to_stop(*, worker: bool) -> tuple[asyncio.Event, asyncio.Event]:
    """Set once somebody wants it to stop; and once a person who sees it stopping presses Ctrl-C.

    A terminal's Ctrl-C reaches a worker twice, as INT and as its supervisor's TERM: there only a second INT is a hurry.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    interrupts = 0

    def told(number: int) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        if interrupts > 1 or (number == signal.SIGINT and stop.is_set() and not worker):
            hurry.set()
        stop.set()

    hear(told)
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(sys.stdin)
        stop.set()

    if worker:
        loop.add_reader(sys.stdin, gone)  # nothing is ever written there: it becomes readable when it closes
    return stop, hurry

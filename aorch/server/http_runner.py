"""Running the application in one process: start, listen, stop cleanly."""

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web
from aiohttp.typedefs import Handler

from aorch.config.settings import Config
from aorch.orchestrator import Orchestrator
from aorch.process.signals import ignore_signals
from aorch.process.stop import CANCEL_S, Stop
from aorch.server.access_log import RequestLog
from aorch.server.application import REQUEST_HANDLER, create_app
from aorch.server.authentication import Authenticator
from aorch.server.background_loops import BackgroundLoops
from aorch.server.connection_limit import ConnectionLimit
from aorch.server.http_protocol import Connection
from aorch.server.listener import Listener, announce, bind, listen, stop_listening, url_of
from aorch.server.origin_policy import OriginPolicy
from aorch.server.request_context import SERVICES
from aorch.server.sse import FOLLOWER
from aorch.server.worker_processes import SupervisorConnection

END_S = 0.2
"""How long the server waits, twice, for handlers that ignore their cancellation."""
IDLE_S = 1.0
"""How long after the start of the stop a client may still send a request on an open connection. The response is 503."""
IDLE_CHECK_S = 0.02
AT_ONCE, AT_ONCE_SHARED = 64, 1
"""Maximum number of connections to accept in a row, so that a burst is spread over the worker processes."""


async def serve(
    config: Config,
    *,
    log_json: bool = False,
    insecure: bool = False,
    supervised: SupervisorConnection | None = None,
    opened: Callable[[str], None] | None = None,
) -> None:
    """Serve until INT, TERM or HUP (a `supervised` worker: also until its supervisor has exited).

    Then stop listening, reject new requests (503), let running ones finish within `grace_s` or cancel them, and flush the
    ledger. Raises UsageError if the address is in use, or may not be open without a token (see authentication.py),
    ConfigInvalid, and LedgerError if the ledger cannot be opened.

    `opened` is called with the URL once the server listens; then it announces and logs nothing itself.
    """
    listening = supervised.listening if supervised else bind(config.serve.host, config.serve.port)
    address, port = listening.getsockname()[:2]
    closed = supervised is not None and supervised.options.closed
    authenticator = Authenticator(config, address, insecure=insecure, closed=closed)
    policy = OriginPolicy(config.serve, address)
    orchestrator = Orchestrator(config=config)
    orchestrator.open()
    log = RequestLog(as_json=log_json)
    if opened is None:
        log.attach()
    app = create_app(orchestrator, config.serve, log, authenticator=authenticator, policy=policy)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=END_S)
    await runner.setup()
    background = BackgroundLoops(orchestrator, log, app[SERVICES].supervisor, app[SERVICES].metrics)
    _relax_garbage_collector()
    accept = _accepting(runner, app[REQUEST_HANDLER], log, config.serve.read_timeout_s)
    runs_code = orchestrator.registry.runs_code()
    if supervised is None:
        stop = Stop(config.serve.grace_s, lambda: stop_listening(listening), runs_code=runs_code)
        stop.on_signals((signal.SIGINT,))
        listen(listening)
        listener: Listener | None = Listener(listening, accept, AT_ONCE)
        if opened is None:
            announce(config, port, closed=not authenticator.open)
        else:
            opened(url_of(config.serve.host, port))
    else:
        stop = Stop(config.serve.grace_s, runs_code=runs_code)
        stop.on_signals((signal.SIGINT,), supervised=True)
        listener = await _follow(supervised, stop, authenticator, accept)
    background.start()
    await stop.requested.wait()
    if listener is not None:
        listener.close()
    await _finish(runner, background, stop, config.serve.grace_s)
    await runner.cleanup()
    ignore_signals()


async def _follow(
    supervised: SupervisorConnection, stop: Stop, authenticator: Authenticator, accept: Callable[[], Connection]
) -> Listener | None:
    """Follow the supervisor's commands, and accept connections after its `go`.

    Returns None if it stops the worker before that.
    """
    loop, go = asyncio.get_running_loop(), asyncio.Event()

    def act(word: str) -> None:
        with suppress(RuntimeError):  # the loop is closed: the worker is exiting
            if word == "go":
                loop.call_soon_threadsafe(go.set)
            elif word == "closed":
                loop.call_soon_threadsafe(authenticator.close)
        if word == "hurry":
            stop.hurry_up()
        elif word == "gone":
            stop_listening(supervised.listening)
            stop.stop()

    authenticator.on_close = lambda: supervised.send("closed")
    if not authenticator.open:
        supervised.send("closed")
    supervised.send("ready")
    supervised.listen(act)
    waits = [asyncio.create_task(event.wait()) for event in (go, stop.requested)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return None if stop.requested.is_set() else Listener(supervised.listening, accept, AT_ONCE_SHARED)


def _accepting(
    runner: web.AppRunner, request_handler: Callable[[Handler], Handler], log: RequestLog, read_timeout_s: float
) -> Callable[[], Connection]:
    """Return the factory of the protocol of new connections."""
    server = runner.server
    assert server is not None
    limit, handler = ConnectionLimit(read_timeout_s, log.tell), request_handler(server.request_handler)
    unsent = runner.app[SERVICES].unsent
    return lambda: Connection(server, handler, log, read_timeout_s, limit, unsent)


async def _finish(runner: web.AppRunner, background: BackgroundLoops, stop: Stop, grace_s: float) -> None:
    """End long polls and streams at once, running work within the grace period, and idle connections after that.

    A client may read its response until the end of the grace period.
    """
    started = time.monotonic()
    services = runner.app[SERVICES]
    services.waiting.end()
    services.dispatcher.end()
    if running := services.concurrency.count() + background.running():
        sys.stderr.write(f"aorch is stopping: waiting up to {grace_s:g} s for {running} running; Ctrl-C cancels them\n")
        sys.stderr.flush()
    await asyncio.gather(
        runner.app[FOLLOWER].end(),
        services.concurrency.close(grace_s, CANCEL_S, hurry=stop.hurry),
        background.stop(grace_s, CANCEL_S, hurry=stop.hurry),
    )
    while _is_answering(runner, time.monotonic() - started, 0 if stop.hurry.is_set() else grace_s):  # noqa: ASYNC110  aiohttp has no event for it
        await asyncio.sleep(IDLE_CHECK_S)


def _is_answering(runner: web.AppRunner, stopping_s: float, grace_s: float) -> bool:
    """Whether a connection still needs time: to send a response, or for a client to send one more request on it."""
    assert runner.server is not None
    connections = runner.server.connections
    if stopping_s < IDLE_S:
        return bool(connections)
    return stopping_s < grace_s and any(isinstance(each, Connection) and each.is_sending() for each in connections)


def _relax_garbage_collector() -> None:
    """Exclude objects from start-up from garbage collection, and collect less often: it took a fifth of the time of a
    request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)

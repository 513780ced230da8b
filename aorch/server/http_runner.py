"""Running the application in one process: starting, listening, and a clean stop."""

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from aorch.config.settings import Config
from aorch.engine import agent_log
from aorch.orchestrator import Orchestrator
from aorch.process.signals import hear_no_more
from aorch.process.stop import CANCEL_S, Stop
from aorch.server.access_log import RequestLog
from aorch.server.application import ENTRANCE, Handler, make_app
from aorch.server.authentication import Access
from aorch.server.background_loops import Background
from aorch.server.connection_limit import ConnectionLimit
from aorch.server.http_protocol import Connection
from aorch.server.listener import Listener, announce, bind, listen, stop_listening
from aorch.server.origin_policy import Guard
from aorch.server.request_context import SERVICES
from aorch.server.sse import FOLLOWER
from aorch.server.worker_processes import Supervised

END_S = 0.2
"""How long handlers that even cancelling did not end may take, twice."""
IDLE_S = 1.0
"""How long after the stop began a client may still send a request over a connection that it kept: it is answered 503."""
IDLE_CHECK_S = 0.02
AT_ONCE, AT_ONCE_SHARED = 64, 1
"""Connections that are accepted in a row: workers take turns, so that none of them gets all of a burst."""


async def serve(
    config: Config, *, log_json: bool, insecure: bool = False, supervised: Supervised | None = None
) -> None:
    """Listen until INT, TERM or HUP (or, as a `supervised` worker, until its supervisor is gone).

    Then it stops listening and refuses new work (503), running work is finished within `grace_s` or cancelled, and the ledger
    is flushed. Raises UsageError if the address is taken, or must not be open without a token (see auth.py), ConfigInvalid,
    and LedgerError if the ledger cannot be opened.
    """
    listening = supervised.listening if supervised else bind(config.serve.host, config.serve.port)
    address, port = listening.getsockname()[:2]
    closed = supervised is not None and supervised.order.closed
    access = Access(config, address, insecure=insecure, closed=closed)
    guard = Guard(config.serve, address)
    orchestrator = Orchestrator(config=config)
    orchestrator.open()
    log = RequestLog(as_json=log_json)
    agent_log.tell_to(log.tell)
    app = make_app(orchestrator, config.serve, log, access=access, guard=guard)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=END_S)
    await runner.setup()
    background = Background(orchestrator, log, app[SERVICES].supervisor)
    _spare_the_collector()
    accept = _accepting(runner, app[ENTRANCE], log, config.serve.read_timeout_s)
    runs_code = orchestrator.registry.runs_code()
    if supervised is None:
        stop = Stop(config.serve.grace_s, lambda: stop_listening(listening), runs_code=runs_code)
        stop.on_signals((signal.SIGINT,))
        listen(listening)
        listener: Listener | None = Listener(listening, accept, AT_ONCE)
        announce(config, port, closed=not access.open)
    else:
        stop = Stop(config.serve.grace_s, runs_code=runs_code)
        stop.on_signals((signal.SIGINT,), supervised=True)
        listener = await _follow(supervised, stop, access, accept)
    background.start()
    await stop.told.wait()
    if listener is not None:
        listener.close()
    await _finish(runner, background, stop, config.serve.grace_s)
    await runner.cleanup()
    hear_no_more()


async def _follow(
    supervised: Supervised, stop: Stop, access: Access, accept: Callable[[], Connection]
) -> Listener | None:
    """Do what the supervisor says, and accept connections once it says so; None if it says stop before."""
    loop, go = asyncio.get_running_loop(), asyncio.Event()

    def act(word: str) -> None:
        with suppress(RuntimeError):  # the loop is closed: it is too late for any word
            if word == "go":
                loop.call_soon_threadsafe(go.set)
            elif word == "closed":
                loop.call_soon_threadsafe(access.close)
        if word == "hurry":
            stop.hasten()
        elif word == "gone":
            stop_listening(supervised.listening)
            stop.stop()

    access.on_close = lambda: supervised.say("closed")
    if not access.open:
        supervised.say("closed")
    supervised.say("ready")
    supervised.hear(act)
    waits = [asyncio.create_task(event.wait()) for event in (go, stop.told)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return None if stop.told.is_set() else Listener(supervised.listening, accept, AT_ONCE_SHARED)


def _accepting(
    runner: web.AppRunner, entrance: Callable[[Handler], Handler], log: RequestLog, read_timeout_s: float
) -> Callable[[], Connection]:
    """What makes the protocol of a new connection."""
    server = runner.server
    assert server is not None
    limit, enter = ConnectionLimit(read_timeout_s, log.tell), entrance(server.request_handler)
    unsent = runner.app[SERVICES].unsent
    return lambda: Connection(server, enter, log, read_timeout_s, limit, unsent)


async def _finish(runner: web.AppRunner, background: Background, stop: Stop, grace_s: float) -> None:
    """End long polls and streams at once, running work within the grace period, and then connections that are idle.

    A client may take its answer until the end of the grace period.
    """
    begun = time.monotonic()
    services = runner.app[SERVICES]
    services.waiting.end()
    if running := services.gate.inside() + background.running():
        sys.stderr.write(f"aorch stops: {grace_s:g} s more for {running} running; Ctrl-C cancels them\n")
        sys.stderr.flush()
    await asyncio.gather(
        runner.app[FOLLOWER].end(),
        services.gate.close(grace_s, CANCEL_S, hurry=stop.hurry),
        background.stop(grace_s, CANCEL_S, hurry=stop.hurry),
    )
    while _is_answering(runner, time.monotonic() - begun, 0 if stop.hurry.is_set() else grace_s):  # noqa: ASYNC110  aiohttp has no event for it
        await asyncio.sleep(IDLE_CHECK_S)


def _is_answering(runner: web.AppRunner, stopping_s: float, grace_s: float) -> bool:
    """Whether a connection still needs time: to send an answer, or a client to send one more request over one it kept."""
    assert runner.server is not None
    connections = runner.server.connections
    if stopping_s < IDLE_S:
        return bool(connections)
    return stopping_s < grace_s and any(isinstance(each, Connection) and each.is_sending() for each in connections)


def _spare_the_collector() -> None:
    """Let the cycle collector pass over what start-up made, and look less often: it took a fifth of each request's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)

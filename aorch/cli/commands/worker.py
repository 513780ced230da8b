"""`aorch worker`: run queued tasks."""

import asyncio
import signal
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.options import CREATES_NEW, MAX_PARALLEL, GraceOption, LedgerOption, warn_of_missing
from aorch.cli.streams import set_aside
from aorch.process.signals import set_handler

if TYPE_CHECKING:
    from aorch.config.settings import Config
    from aorch.engine.supervision import Loop, Turned
    from aorch.errors import AorchError
    from aorch.orchestrator import Orchestrator
    from aorch.worker.queue_worker import QueueWorker

app = typer.Typer(add_completion=False)


@app.command(epilog="Exit code: 0 stopped by a signal, or no tasks left (--drain); 14 ledger error.")
def worker(
    parallel: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            "-j",
            min=1,
            max=MAX_PARALLEL,
            metavar="N",
            help="Number of tasks to run at once (default: queue.parallel of aorch.toml, or 32).",
        ),
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="Exit when no queued task can be started.")] = False,
    grace: GraceOption = None,
    ledger: LedgerOption = None,
) -> None:
    """Run queued tasks (from `aorch run --detach` and POST /v1/tasks), of a ledger or of a server.

    Any number of workers can share a ledger; `aorch serve` is also a worker. If a worker is killed, its idempotent tasks are run
    again and the others end as interrupted. A worker uses the agents of its own aorch.toml, no matter where a task was queued. It
    logs one line per finished task to standard error, and a warning if tasks wait for a capability that no agent here has.

    With --server, it claims tasks over HTTP and needs no access to the ledger, but a token with the scope work (AORCH_TOKEN).
    While it cannot reach the server, it keeps trying.

    \b
    Examples:
      aorch worker
      aorch worker --parallel 4
      aorch worker --drain
      AORCH_TOKEN=… aorch worker --server https://tasks.example.org
    """
    from aorch.cli.ledger_source import chosen_server
    from aorch.config import config_file, settings

    text_in_use = cache(config_file.text_in_use)
    server = chosen_server(ledger, text_in_use)
    if server is not None:
        from aorch.cli.worker_at_server import work_at_server

        config = settings.load(None, text_in_use)
        set_handler(signal.SIGINT, signal.SIG_DFL)
        most, grace_s = parallel or config.queue.parallel or 1, 10.0 if grace is None else grace
        return asyncio.run(work_at_server(config, server, most, grace_s, drain=drain))
    config = settings.load(ledger, text_in_use)
    warn_of_missing(config.ledger, ledger, CREATES_NEW)
    set_handler(signal.SIGINT, signal.SIG_DFL)  # a KeyboardInterrupt can get lost during imports
    asyncio.run(_work(config, parallel or config.queue.parallel or 1, 10.0 if grace is None else grace, drain=drain))


async def _work(config: "Config", parallel: int, grace_s: float, *, drain: bool) -> None:
    from aorch.cli.render.console import note, warn
    from aorch.engine.supervision import Supervisor
    from aorch.logs import LineHandler
    from aorch.orchestrator import Orchestrator
    from aorch.process.signals import ignore_signals
    from aorch.process.stop import CANCEL_S, Stop
    from aorch.telemetry.metrics import Metrics
    from aorch.worker.queue_worker import QueueWorker, unservable
    from aorch.worker.task_log import log_task

    log = LineHandler()
    log.attach()
    set_aside()  # agents print to standard error
    async with Orchestrator(config=config) as orchestrator:
        metrics = Metrics(config, orchestrator.executor.ledger, "worker")
        loops = {**_loops(config, orchestrator), "metrics": metrics.run}
        stop = Stop(grace_s, runs_code=orchestrator.registry.runs_code())
        stop.on_signals()
        failures = _Failures(stop.requested)
        worker = QueueWorker(orchestrator.executor, parallel, failures.report, log_task)
        supervisor = Supervisor(warn)
        working = supervisor.start("queue", partial(failures.run, worker, drain=drain))
        for name, loop in loops.items():
            supervisor.start(name, loop)
        if not drain:
            note(f"running tasks of {config.ledger}, {parallel} at once; press Ctrl-C to stop")
        warned = unservable(orchestrator.executor, config.file)
        for sentence in warned:
            warn(sentence)
        told = asyncio.create_task(stop.requested.wait())
        await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        await worker.stop(grace_s, CANCEL_S, stop.hurry)
        await supervisor.stop()
        metrics.close()
        log.flush()
        for sentence in unservable(orchestrator.executor, config.file) if drain else ():
            if sentence not in warned:
                warn(sentence)
    ignore_signals()
    note(f"{worker.done} {'task' if worker.done == 1 else 'tasks'} finished")
    await _end(failures.exit_code)


async def _end(code: int) -> None:
    from aorch.cli.interrupts import end_now_if_work_remains

    await end_now_if_work_remains(code)
    if code:
        raise typer.Exit(code)


class _Failures:
    """Shows the errors of a worker, and sets `stop` once a newer aorch has upgraded the ledger: nothing more can be written."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self.exit_code = 0

    def report(self, error: "AorchError") -> None:
        from aorch.cli.render.console import complain
        from aorch.errors import LedgerTooNew

        complain(error)
        if isinstance(error, LedgerTooNew):
            self.exit_code = error.exit_code
            self._stop.set()

    async def run(self, worker: "QueueWorker", turned: "Turned", *, drain: bool) -> None:
        from aorch.errors import LedgerTooNew

        try:
            await worker.run(turned, drain=drain)
        except LedgerTooNew as error:  # it is not restarted
            self.report(error)


def _loops(config: "Config", orchestrator: "Orchestrator") -> "dict[str, Loop]":
    """The loops of a worker other than that of the queue, by name. Raises ConfigInvalid for an invalid webhook secret."""
    from aorch.cli.render.console import complain
    from aorch.engine.recovery import keep_recovering
    from aorch.worker.agent_watcher import AgentWatcher
    from aorch.worker.webhooks import Webhooks

    executor = orchestrator.executor
    registrations = executor.registrations()
    loops: dict[str, Loop] = {
        "recovery": partial(keep_recovering, executor.ledger),
        "agents": registrations.follow,
        "agent states": AgentWatcher(registrations, executor.ledger).run,
    }
    if (webhooks := Webhooks.configured(config, executor.ledger, complain)) is not None:
        loops["webhooks"] = webhooks.run
    return loops

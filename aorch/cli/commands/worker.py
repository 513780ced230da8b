"""`aorch worker`: do what waits in the queue."""

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.options import MOST_PARALLEL, LedgerOption, warn_of_missing
from aorch.cli.streams import set_aside
from aorch.process.signals import set_handler

if TYPE_CHECKING:
    from aorch.config.settings import Config

app = typer.Typer(add_completion=False)


@app.command(epilog="Exit code: 0 it was told to stop, or nothing is left to do; 14 ledger.")
def worker(
    parallel: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            "-n",
            min=1,
            max=MOST_PARALLEL,
            metavar="N",
            help="Tasks at a time; else queue.parallel, which is 32.",
        ),
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="Leave once nothing waits that can be done now.")] = False,
    grace: Annotated[
        float, typer.Option("--grace", min=0, metavar="SECONDS", help="For what runs when it is told to stop.")
    ] = 10.0,
    ledger: LedgerOption = None,
) -> None:
    """Do what waits in the queue: what `aorch run --detach` and POST /v1/tasks accepted.

    As many workers as you like share a ledger, and `aorch serve` is one too. When one is killed its tasks are done again
    where their capability is idempotent, and end as interrupted where it is not. The agents are those of the aorch.toml in
    force here, whoever accepted a task. Each task is a line on stderr once it has ended, and what waits for a capability that
    no agent here has is a warning there.

    \b
    Examples:
      aorch worker
      aorch worker --parallel 4
      aorch worker --drain
    """
    from aorch.config import settings

    config = settings.load(ledger)
    warn_of_missing(config.ledger, ledger, "nothing waits in it, and an empty one is made")
    set_handler(signal.SIGINT, signal.SIG_DFL)  # a KeyboardInterrupt can get lost while modules are imported
    asyncio.run(_work(config, parallel or config.queue.parallel or 1, grace, drain=drain))


async def _work(config: "Config", parallel: int, grace_s: float, *, drain: bool) -> None:
    from aorch.cli.interrupts import end_now_if_work_remains
    from aorch.cli.render.console import complain, note, warn
    from aorch.engine.recovery import keep_recovering
    from aorch.engine.supervision import Supervisor
    from aorch.logs import LineHandler
    from aorch.orchestrator import Orchestrator
    from aorch.process.signals import ignore_signals
    from aorch.process.stop import CANCEL_S, Stop
    from aorch.worker.queue_worker import QueueWorker, unservable
    from aorch.worker.task_log import log_task
    from aorch.worker.webhooks import Webhooks, secret

    key, log = secret(config), LineHandler()
    log.attach()
    set_aside()  # what agents print is nobody's answer
    async with Orchestrator(config=config) as orchestrator:
        worker = QueueWorker(orchestrator.executor, parallel, complain, log_task)
        stop = Stop(grace_s, runs_code=orchestrator.registry.runs_code())
        stop.on_signals()
        supervisor = Supervisor(warn)
        working = supervisor.start("queue", partial(worker.run, drain=drain))
        supervisor.start("recovery", partial(keep_recovering, orchestrator.executor.ledger))
        if key is not None:
            ledger, proxy = orchestrator.executor.ledger, config.queue.webhook_proxy
            supervisor.start("webhooks", Webhooks(ledger, key, complain, proxy=proxy).run)
        if not drain:
            note(f"aorch works on {config.ledger}, {parallel} tasks at a time")
        warned = unservable(orchestrator.executor, config.file)
        for sentence in warned:
            warn(sentence)
        told = asyncio.create_task(stop.requested.wait())
        await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        await worker.stop(grace_s, CANCEL_S, stop.hurry)
        await supervisor.stop()
        log.flush()
        for sentence in unservable(orchestrator.executor, config.file) if drain else ():
            if sentence not in warned:
                warn(sentence)
    ignore_signals()
    note(f"{worker.done} {'task' if worker.done == 1 else 'tasks'} done")
    await end_now_if_work_remains(0)

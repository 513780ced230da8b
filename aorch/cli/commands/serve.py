"""`aorch serve`: the /v1 API."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aorch.cli.options import IS_CREATED, LedgerOption, warn_of_missing

if TYPE_CHECKING:
    from aorch.config.settings import Config

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="Where to listen; 127.0.0.1.")] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", "-p", min=0, max=65535, help="Its port: ORCHESTRATOR_PORT, else 8888; 0: any free one."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=256, help="Processes on that port (default: 1).")
    ] = None,  # MOST_WORKERS
    grace: Annotated[
        float | None,
        typer.Option("--grace", min=0, metavar="SECONDS", help="For what runs when it is told to stop; 10."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="Tokens that are let in, one a line, besides the ledger's."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Without any token, let everybody in who reaches that address.")
    ] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON lines.")] = False,
    worker: Annotated[str | None, typer.Option("--worker", hidden=True)] = None,
    ledger: LedgerOption = None,
) -> None:
    """Serve the /v1 API over the same agents and the same ledger.

    Where there are tokens (`aorch tokens create`, --token-file), callers need one. Without any, 127.0.0.1 is open to
    every program of this machine, and any other address is refused unless you say --insecure.

    \b
    Examples:
      aorch serve
      aorch serve --port 0 --log-json
      curl localhost:8888/v1/agents
    """
    import asyncio
    import signal

    import msgspec

    from aorch.cli.streams import set_aside
    from aorch.config import config_file
    from aorch.config import settings as configuration
    from aorch.process.signals import set_handler
    from aorch.server import worker_processes

    if worker is not None:  # "CONNECTION,LISTENING": the descriptors that its supervisor passed
        supervised = worker_processes.SupervisorConnection(*map(int, worker.split(",")))
        options = supervised.options
        set_aside()
        return asyncio.run(
            _serve(options.config, log_json=options.log_json, insecure=options.insecure, supervised=supervised)
        )
    config = configuration.load(ledger)
    warn_of_missing(config.ledger, ledger, IS_CREATED)
    file = str(config_file.absolute(token_file, "--token-file")) if token_file else None
    given = {"host": host, "port": port, "workers": workers, "grace_s": grace, "token_file": file}
    settings = msgspec.structs.replace(
        config.serve, **{key: value for key, value in given.items() if value is not None}
    )
    config = msgspec.structs.replace(config, serve=settings)
    if settings.workers > 1:
        raise typer.Exit(worker_processes.supervise(config, log_json=log_json, insecure=insecure))
    set_handler(signal.SIGINT, signal.SIG_DFL)  # until the server listens: opening the ledger may wait for its lock
    set_aside()
    return asyncio.run(_serve(config, log_json=log_json, insecure=insecure))


async def _serve(config: "Config", **options: Any) -> None:
    from aorch.cli.interrupts import end_now_if_work_remains
    from aorch.server import http_runner

    await http_runner.serve(config, **options)
    await end_now_if_work_remains(0)

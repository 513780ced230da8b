"""`aorch serve`: serve the HTTP API."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aorch.cli.options import CREATES_NEW, GraceOption, LedgerOption, warn_of_missing

if TYPE_CHECKING:
    from aorch.config.settings import Config

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on (default: 127.0.0.1).")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            "-p",
            min=0,
            max=65535,
            metavar="PORT",
            help="Port to listen on; 0 picks a free one (default: ORCHESTRATOR_PORT, or 8888).",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, max=256, metavar="N", help="Number of processes that share the port (default: 1)."
        ),
    ] = None,  # MOST_WORKERS
    grace: GraceOption = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="File of accepted tokens, one per line, in addition to those in the ledger.",
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Accept requests without a token on any address, even if there are no tokens."),
    ] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Write the log as JSON Lines.")] = False,
    worker: Annotated[str | None, typer.Option("--worker", hidden=True)] = None,
    ledger: LedgerOption = None,
) -> None:
    """Serve the HTTP API (/v1) with the agents and the ledger of the command line.

    If any token exists (`aorch tokens create`, --token-file), callers need one. Without tokens, every program on this machine can
    call 127.0.0.1, and aorch refuses to listen on another address unless you pass --insecure.

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

    if worker is not None:  # "CONNECTION,LISTENING": descriptors from the supervisor process
        supervised = worker_processes.SupervisorConnection(*map(int, worker.split(",")))
        options = supervised.options
        set_aside()
        return asyncio.run(
            _serve(options.config, log_json=options.log_json, insecure=options.insecure, supervised=supervised)
        )
    config = configuration.load(ledger)
    warn_of_missing(config.ledger, ledger, CREATES_NEW)
    file = str(config_file.absolute(token_file, "--token-file")) if token_file else None
    given = {"host": host, "port": port, "workers": workers, "grace_s": grace, "token_file": file}
    settings = msgspec.structs.replace(
        config.serve, **{key: value for key, value in given.items() if value is not None}
    )
    config = msgspec.structs.replace(config, serve=settings)
    if settings.workers > 1:
        raise typer.Exit(worker_processes.supervise(config, log_json=log_json, insecure=insecure))
    set_handler(
        signal.SIGINT, signal.SIG_DFL
    )  # until the server listens, because opening the ledger may wait for a lock
    set_aside()
    return asyncio.run(_serve(config, log_json=log_json, insecure=insecure))


async def _serve(config: "Config", **options: Any) -> None:
    from aorch.cli.interrupts import end_now_if_work_remains
    from aorch.server import http_runner

    await http_runner.serve(config, **options)
    await end_now_if_work_remains(0)

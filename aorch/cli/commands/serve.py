"""`aorch serve`: serve the HTTP API and the live page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aorch.cli.options import CREATES_NEW, GraceOption, LedgerOption, OptionGroup, warn_of_missing

if TYPE_CHECKING:
    from aorch.config.settings import Config

app = typer.Typer(add_completion=False)


class ServeOptions(OptionGroup):
    """Options that override the table [serve] of aorch.toml."""

    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on (default: 127.0.0.1).")
    ] = None
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            "-p",
            min=0,
            max=65535,
            metavar="PORT",
            help="Port to listen on; 0 chooses a free one (default: ORCHESTRATOR_PORT, or 8888).",
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, max=256, metavar="N", help="Number of processes that share the port (default: 1)."
        ),
    ] = None
    grace: GraceOption = None
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="File of accepted tokens, one per line, in addition to those in the ledger.",
        ),
    ] = None


@app.command()
def serve(
    serve_options: ServeOptions,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="If there are no tokens, listen on any address and accept every request."),
    ] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Write the log as JSON Lines.")] = False,
    supervisor: Annotated[str | None, typer.Option("--worker", hidden=True)] = None,
    ledger: LedgerOption = None,
) -> None:
    """Serve the HTTP API (/v1) and the live page (/), with the same agents and ledger as the command line.

    If any token exists (`aorch tokens create`, --token-file), callers need one. Without tokens, every program on this machine can
    call 127.0.0.1, and aorch listens on another address only if you pass --insecure.

    \b
    Examples:
      aorch serve
      aorch serve --port 0 --log-json
      curl localhost:8888/v1/agents
    """
    if supervisor is not None:
        return _serve_supervised(supervisor)
    import asyncio
    import signal

    from aorch.cli.streams import set_aside
    from aorch.process.signals import set_handler
    from aorch.server import worker_processes

    config = _configuration(serve_options, ledger)
    if config.serve.workers > 1:
        raise typer.Exit(worker_processes.supervise(config, log_json=log_json, insecure=insecure))
    set_handler(
        signal.SIGINT, signal.SIG_DFL
    )  # until the server listens, because opening the ledger may wait for a lock
    set_aside()
    asyncio.run(_serve(config, log_json=log_json, insecure=insecure))


def _configuration(options: ServeOptions, ledger: str | None) -> "Config":
    import msgspec

    from aorch.config import config_file, settings

    config = settings.load(ledger)
    warn_of_missing(config.ledger, ledger, CREATES_NEW)
    file = str(config_file.absolute(options.token_file, "--token-file")) if options.token_file else None
    given = {
        "host": options.host,
        "port": options.port,
        "workers": options.workers,
        "grace_s": options.grace,
        "token_file": file,
    }
    serve_settings = msgspec.structs.replace(
        config.serve, **{key: value for key, value in given.items() if value is not None}
    )
    return msgspec.structs.replace(config, serve=serve_settings)


def _serve_supervised(descriptors: str) -> None:
    """Serve as one of several processes. `descriptors`: those of the connection to the supervisor and of the socket."""
    import asyncio

    from aorch.cli.streams import set_aside
    from aorch.server.worker_processes import SupervisorConnection

    supervised = SupervisorConnection(*map(int, descriptors.split(",")))
    options = supervised.options
    set_aside()
    asyncio.run(_serve(options.config, log_json=options.log_json, insecure=options.insecure, supervised=supervised))


async def _serve(config: "Config", **options: Any) -> None:
    from aorch.cli.interrupts import end_now_if_work_remains
    from aorch.server import http_runner

    await http_runner.serve(config, **options)
    await end_now_if_work_remains(0)

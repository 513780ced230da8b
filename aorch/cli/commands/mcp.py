"""`aorch mcp`: offer capabilities as tools to an MCP host."""

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.options import CREATES_NEW, LedgerOption, warn_of_missing
from aorch.cli.shell_completion import complete_capabilities
from aorch.cli.streams import is_terminal, set_aside, standard_input, standard_output
from aorch.process.signals import SignalReceiver, set_handler

if TYPE_CHECKING:
    from aorch.config.settings import Config

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Exit code: 0 the host closed the connection or a signal stopped aorch; 3 the package mcp is missing; 14 ledger error."
)
def mcp(
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="CAPABILITY",
            help="Offer only this capability; repeatable (default: all).",
            autocompletion=complete_capabilities,
        ),
    ] = None,
    ledger: LedgerOption = None,
) -> None:
    """Offer capabilities as tools to an MCP host, such as Claude Code, Cursor or VS Code.

    The host starts this command and talks to it over standard input and output. Each call is recorded in the
    ledger; each connection has its own session. The log goes to standard error.

    \b
    Examples:
      claude mcp add aorch -- aorch mcp
      aorch mcp --only files.read_text_file --only translate
      aorch mcp --config ~/project/aorch.toml
    """
    from aorch.config import settings

    config = settings.load(ledger)
    warn_of_missing(config.ledger, ledger, CREATES_NEW)
    set_handler(signal.SIGINT, signal.SIG_DFL)  # a KeyboardInterrupt can get lost during imports
    asyncio.run(_serve(config, only or []))


async def _serve(config: "Config", only: list[str]) -> None:
    from aorch.cli.interrupts import end_now_if_work_remains
    from aorch.cli.render.console import note
    from aorch.errors import ServiceUnreachable
    from aorch.logs import LineHandler
    from aorch.mcp_server.standard_streams import Lines, Output
    from aorch.orchestrator import Orchestrator

    if is_terminal(sys.stdin):
        note(
            "aorch mcp waits for an MCP host on standard input; Ctrl-C ends it. `aorch help --docs mcp` shows how to add it to"
            " one."
        )
    set_aside()  # nothing but the protocol goes to standard output
    log = LineHandler()
    log.attach()
    try:
        from aorch.mcp_server.tool_server import ToolServer
    except ImportError as error:
        raise ServiceUnreachable(
            f"the package mcp cannot be used: {error}",
            "Install it: aorch plugins install 'mcp>=2.3' (or: pip install 'aorch[mcp]').",
        ) from error
    trace_url = config.trace_url if config.trace_configured else None
    async with Orchestrator(config=config, trace_url=trace_url) as orchestrator:
        server = ToolServer(orchestrator, only)
        serving = asyncio.ensure_future(server.serve(Lines(standard_input()), Output(standard_output())))
        SignalReceiver(serving)
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    log.flush()
    await end_now_if_work_remains(0)

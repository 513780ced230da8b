"""`aorch ui`: open the live page."""

import threading
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.options import CREATES_NEW, LedgerOption, warn_of_missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from aorch.config.settings import Config

app = typer.Typer(add_completion=False)


@app.command()
def ui(
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the URL instead of opening a browser.")
    ] = False,
    ledger: LedgerOption = None,
) -> None:
    """Open the live page in a browser: exchanges as they happen, sessions, agents and the queue.

    If `aorch serve` runs at the configured address with this ledger, it has the page. Otherwise this command serves the page on
    a free port of 127.0.0.1, which other machines cannot reach, until you press Ctrl-C. It then also runs queued tasks.

    \b
    Examples:
      aorch ui
      aorch ui --no-browser
    """
    from aorch.cli.browser import page_opener, running_server
    from aorch.cli.render.console import note, print_text, tell
    from aorch.config import settings
    from aorch.server.authentication import Authenticator

    config = settings.load(ledger)
    open_page = None if no_browser else page_opener()
    advice = "" if no_browser or open_page else "No browser was found here: open the URL in one. "

    def show(url: str, more: str, *, needs_token: bool) -> None:
        print_text(f"{url}/")
        if needs_token:
            tell("The page asks for a token. `aorch tokens create NAME` creates one.")
        if advice or more:
            note(advice + more)

    if (running := running_server(config)) is not None:
        url, needs_token = running
        show(url, "", needs_token=needs_token)
        if open_page is not None:
            open_page(f"{url}/")
        return
    warn_of_missing(config.ledger, ledger, CREATES_NEW)

    def opened(url: str) -> None:
        show(url, "Press Ctrl-C to stop.", needs_token=not Authenticator(config, "127.0.0.1").open)
        if open_page is not None:
            threading.Thread(target=open_page, args=(f"{url}/",), daemon=True).start()

    _serve(config, opened)


def _serve(config: "Config", opened: "Callable[[str], None]") -> None:
    """Serve on a free port until a signal, and call `opened` with the URL."""
    import asyncio
    import signal

    import msgspec

    from aorch.cli.interrupts import end_now_if_work_remains
    from aorch.cli.streams import set_aside
    from aorch.process.signals import set_handler
    from aorch.server import http_runner

    async def serve() -> None:
        own = msgspec.structs.replace(config.serve, host="127.0.0.1", port=0, workers=1)
        await http_runner.serve(msgspec.structs.replace(config, serve=own), opened=opened)
        await end_now_if_work_remains(0)

    set_handler(signal.SIGINT, signal.SIG_DFL)  # until it listens, because opening the ledger may wait for a lock
    set_aside()
    asyncio.run(serve())

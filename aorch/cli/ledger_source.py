"""Opens what a command works on: a ledger file, or the ledger of a server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aorch.cli.global_options import server_option
from aorch.cli.options import ledger_to_read

if TYPE_CHECKING:
    from pathlib import Path

    from aorch.client.server_address import ServerAddress
    from aorch.ledger.ledger_view import LedgerView
    from aorch.ledger.search import Progress


def chosen_server(
    ledger: str | None, text_in_use: "Callable[[], tuple[Path | None, str]] | None" = None
) -> "ServerAddress | None":
    """The server that the command uses; None if it uses a ledger file. Raises UsageError and ConfigInvalid.

    `text_in_use` returns the aorch.toml in use and its text (default: it is read now).
    """
    from aorch.config import config_file
    from aorch.config.remote_choice import choose

    choice = choose(ledger, server_option.get(), text_in_use or config_file.text_in_use)
    if choice is None:
        return None
    from aorch.client.server_choice import address_of

    return address_of(choice, _warn)


@contextmanager
def open_view(
    ledger: str | None, progress: "Progress | None" = None, *, recovers: bool = True
) -> "Iterator[LedgerView]":
    """The ledger that the command reads. Tasks of dead processes are answered first (`recovers`); a server does that itself."""
    server = chosen_server(ledger)
    if server is None:
        from aorch.cli.render.progress import warn_unsearched
        from aorch.engine.recovery import recover
        from aorch.ledger.ledger_view import LocalView

        path = ledger_to_read(ledger)
        with LocalView(recover(path) if recovers else path, progress, warn_unsearched) as local:
            yield local
        return
    from aorch.client.remote_view import RemoteView

    with RemoteView(server, warn_of_version) as remote:
        yield remote


def warn_of_version(server_version: str | None) -> None:
    """Warn if the server has a version of aorch that differs too much from this one."""
    from aorch.client.versions import difference

    if server_version is not None and (text := difference(server_version)):
        _warn(text)


def _warn(text: str) -> None:
    from aorch.cli.render.console import warn

    warn(text)

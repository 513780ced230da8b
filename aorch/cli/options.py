"""Options that several commands share, and what the shell completes for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from aorch.config import config_file, environment
from aorch.errors import AorchError

MOST_PARALLEL = 4096
"""Tasks at a time: each takes its memory, and more than some hundred at once are no faster."""


def complete_capabilities(incomplete: str) -> Iterator[str]:
    """The capabilities that start with `incomplete`."""
    names = [name for offered in _known_agents().values() for name in offered]
    yield from _beginning(incomplete, list(dict.fromkeys(names)))


def complete_agents(incomplete: str) -> Iterator[str]:
    """The agents whose id starts with `incomplete`."""
    yield from _beginning(incomplete, list(_known_agents()))


def complete_sessions(incomplete: str) -> Iterator[str]:
    """The sessions that start with `incomplete`."""
    from aorch.ledger.completion import sessions_from

    if (ledger := _ledger()) is not None:
        yield from _beginning(incomplete, sessions_from(ledger, incomplete))


def complete_contracts(incomplete: str) -> Iterator[tuple[str, str]]:
    """The newest contracts whose id starts with `incomplete`, each with its capability and session."""
    from aorch.ledger.completion import newest_contracts

    ledger = _ledger()
    for contract_id, capability, session_id in newest_contracts(ledger) if ledger else ():
        if contract_id.startswith(incomplete.upper()):
            yield contract_id, f"{capability} in {session_id[:40]}"


def _known_agents() -> dict[str, list[str]]:
    """The agents in force with their capabilities, by no agent's code; none if the configuration cannot be used."""
    from aorch.agents import completion_cache
    from aorch.config import settings

    try:
        return completion_cache.known(settings.load())
    except AorchError:  # completion has nowhere to report it; the command itself does
        return {}


def _ledger() -> Path | None:
    from aorch.config import settings

    try:
        return settings.ledger_path()
    except AorchError:  # likewise
        return None


READS_AS_EMPTY = "it reads as empty"
IS_CREATED = "a new one is created"


def ledger_to_read(given: str | None) -> Path:
    """Where the ledger lies that is only read. Warns of one that was named and is not there, which reads as empty."""
    from aorch.config import settings

    path = settings.ledger_path(given)
    warn_of_missing(path, given, READS_AS_EMPTY)
    return path


def warn_of_missing(path: Path, given: str | None, so: str) -> None:
    """Warn where a ledger was named that is not there; `so` is what that comes to. Opening it says so if none can be made."""
    named = given or environment.get(environment.LEDGER)
    if not named or config_file.exists(path):
        return
    from aorch.cli.render.console import warn
    from aorch.ledger.database import Database

    if so == READS_AS_EMPTY or Database(path).can_be_created():
        warn(f"there is no ledger at {path}: {so}")


def _beginning(incomplete: str, names: list[str]) -> Iterator[str]:
    return (name for name in names if name.startswith(incomplete) and name.isprintable())


LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger", metavar="FILE", help="The ledger's file; else AORCH_LEDGER, aorch.toml, your data folder."
    ),
]
SessionOption = Annotated[
    str | None,
    typer.Option("--session", "-s", metavar="ID", help="The session.", autocompletion=complete_sessions),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

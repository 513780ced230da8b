"""Shell completion of arguments and options. Completion runs no code of an agent, and never prints an error."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from aorch.errors import AorchError

if TYPE_CHECKING:
    from aorch.config.ledger_location import LedgerLocation


def complete_capabilities(incomplete: str) -> Iterator[str]:
    """The capabilities that start with `incomplete`."""
    names = [name for capabilities in _known_agents().values() for name in capabilities]
    yield from _matches(incomplete, dict.fromkeys(names))


def complete_parameters(ctx: Any, incomplete: str) -> Iterator[str]:
    """`name=` for each parameter of the capability, except those that are already on the command line."""
    from aorch.agents import completion_cache
    from aorch.config import settings

    given = {item.partition("=")[0].rstrip(":") for item in ctx.params.get("items") or ()}
    try:
        names = completion_cache.parameters(settings.load(), ctx.params.get("capability") or "")
    except AorchError:
        return
    yield from _matches(incomplete, (f"{name}=" for name in names if name not in given))


def complete_commands(ctx: Any, incomplete: str) -> Iterator[str]:
    """The commands that start with `incomplete`, in the group that the words before it name."""
    group = ctx.find_root().command
    for word in ctx.params.get("words") or ():
        group = group.get_command(ctx, word) if hasattr(group, "get_command") else None
    if hasattr(group, "list_commands"):
        yield from _matches(incomplete, group.list_commands(ctx))


def complete_agents(incomplete: str) -> Iterator[str]:
    """The agents whose id starts with `incomplete`."""
    yield from _matches(incomplete, _known_agents())


def complete_sessions(incomplete: str) -> Iterator[str]:
    """The sessions that start with `incomplete`."""
    from aorch.ledger.completion import sessions_from

    if (ledger := _ledger()) is not None:
        yield from _matches(incomplete, sessions_from(ledger, incomplete))


def complete_contracts(incomplete: str) -> Iterator[tuple[str, str]]:
    """The newest contracts whose id starts with `incomplete`, each with its capability and session."""
    from aorch.ledger.completion import newest_contracts

    ledger = _ledger()
    for contract_id, capability, session_id in newest_contracts(ledger) if ledger else ():
        if contract_id.startswith(incomplete.upper()):
            yield contract_id, f"{capability} in {session_id[:40]}"


def complete_fields(ctx: Any, incomplete: str) -> Iterator[str]:
    """The fields of the listing of the command, after the fields that are given already."""
    given, comma, last = incomplete.rpartition(",")
    for group in getattr(ctx.command.callback, "option_groups", ()):
        for name in _matches(last, (name for name in getattr(group, "known", ()) if name not in given.split(","))):
            yield f"{given}{comma}{name}"


def _known_agents() -> dict[str, dict[str, list[str]]]:
    """Agent ids with their capabilities and parameters; empty if the configuration is invalid."""
    from aorch.agents import completion_cache
    from aorch.config import settings

    try:
        return completion_cache.known(settings.load())
    except AorchError:  # completion cannot report the error; the command itself does
        return {}


def _ledger() -> "LedgerLocation | None":
    from aorch.config import settings

    try:
        return settings.ledger_path()
    except AorchError:  # as above
        return None


def _matches(incomplete: str, names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if name.startswith(incomplete) and name.isprintable())

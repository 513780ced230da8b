"""Options that several commands share. A parameter of a command that is an OptionGroup becomes one option per field."""

from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
import typer

from aorch.cli.shell_completion import complete_agents, complete_capabilities, complete_contracts, complete_sessions
from aorch.config import environment
from aorch.config.ledger_location import LedgerLocation

MAX_PARALLEL = 4096
"""Maximum number of tasks at once: each needs memory, and more than a few hundred are not faster."""
DEFAULT_PARALLEL = 8
KEYWORD = Parameter.KEYWORD_ONLY

LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="FILE",
        help="Ledger file or PostgreSQL URL (default: AORCH_LEDGER, then aorch.toml, then your data directory).",
    ),
]
SessionOption = Annotated[
    str | None,
    typer.Option(
        "--session",
        "-s",
        metavar="ID",
        help="Only this session (default: all sessions).",
        autocompletion=complete_sessions,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Output file (default: -, standard output).",
        callback=lambda output: None if output == Path("-") else output,
    ),
]
LimitOption = Annotated[
    int, typer.Option("--limit", "-n", min=1, metavar="N", help="Maximum number of results (default: 50).")
]
GraceOption = Annotated[
    float | None,
    typer.Option(
        "--grace",
        min=0,
        metavar="SECONDS",
        help="Seconds for running tasks to finish after a stop signal (default: 10).",
    ),
]
IdArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="ID of a contract, or its beginning or end.", autocompletion=complete_contracts),
]
RequestIdArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="ID of a REQUEST, or its beginning or end.", autocompletion=complete_contracts),
]
RequestIdsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...",
        help="IDs of REQUESTs, or their beginnings or ends.",
        autocompletion=complete_contracts,
    ),
]

ContractType = StrEnum("ContractType", {"REQUEST": "REQUEST", "RESPONSE": "RESPONSE"})
Status = StrEnum("Status", ["pending", "in_progress", "completed", "failed", "cancelled", "interrupted"])


class OptionGroup(msgspec.Struct, kw_only=True):
    """Options that belong together. Every field has a default and is annotated as an option of Typer."""


class FilterOptions(OptionGroup):
    """Which contracts to read."""

    session: SessionOption = None
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent",
            "-a",
            metavar="ID",
            help="Only contracts from or to this agent.",
            autocompletion=complete_agents,
        ),
    ] = None
    capability: Annotated[
        str | None,
        typer.Option(
            "--capability",
            "-c",
            metavar="NAME",
            help="Only contracts for this capability.",
            autocompletion=complete_capabilities,
        ),
    ] = None
    type_: Annotated[
        ContractType | None,
        typer.Option(
            "--type", metavar="TYPE", case_sensitive=False, help="Only contracts of this type: REQUEST or RESPONSE."
        ),
    ] = None
    status: Annotated[
        Status | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            case_sensitive=False,
            help=f"Only contracts in this status: {', '.join(Status)}.",
        ),
    ] = None
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only contracts created at or after TIME: 2026-01-31T09:00:00Z (UTC if no zone is given), 90s, 2h, "
            "1d12h, '2 days', today or yesterday.",
        ),
    ] = None
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Only contracts created before TIME (see --since)."),
    ] = None
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            "-t",
            metavar="WORDS",
            help="Only contracts with all these words in payload, result or error; word* matches a prefix.",
        ),
    ] = None


def expand_groups(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` in a form that Typer can call: each OptionGroup parameter is replaced by the options of the group."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if isinstance(kind, type) and issubclass(kind, OptionGroup)}
    if not groups:
        return command
    parameters: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        if name in groups:
            fields = get_type_hints(groups[name], include_extras=True)
            for field in msgspec.structs.fields(groups[name]):
                parameters.append(Parameter(field.name, KEYWORD, annotation=fields[field.name], default=field.default))
        else:
            parameters.append(Parameter(name, KEYWORD, annotation=hints[name], default=parameter.default))

    @wraps(command)
    def expanded(**values: Any) -> Any:
        for name, kind in groups.items():
            values[name] = kind(**{field: values.pop(field) for field in kind.__struct_fields__})
        return command(**values)

    expanded.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # read by inspect.signature
    expanded.option_groups = tuple(groups.values())  # type: ignore[attr-defined]  # read by complete_fields
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded


SHOWS_EMPTY = "aorch shows an empty one"
CREATES_NEW = "aorch creates it"


def ledger_to_read(given: str | None) -> LedgerLocation:
    """The path of a ledger that the command only reads. Warns if a ledger was named that does not exist."""
    from aorch.config import settings

    path = settings.ledger_path(given)
    warn_of_missing(path, given, SHOWS_EMPTY)
    return path


def warn_of_missing(path: LedgerLocation, given: str | None, consequence: str) -> None:
    """Warn if a ledger was named that does not exist. No warning if it cannot be created: opening it then fails."""
    if not (given or environment.get(environment.LEDGER)):
        return
    from aorch.cli.render.console import warn
    from aorch.ledger.database import Database

    if Database(path).exists():
        return
    if consequence == SHOWS_EMPTY or Database(path).can_be_created():
        warn(f"no ledger at {path}: {consequence}")

"""The options that select exchanges."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aorch.cli.options import OptionGroup, SessionOption, Status
from aorch.cli.shell_completion import complete_agents, complete_capabilities
from aorch.cli.time_options import past_time

if TYPE_CHECKING:
    from aorch.ledger.exchanges import ExchangeFilter


class SelectedExchanges(OptionGroup):
    """Which exchanges to read, by what they are."""

    session: SessionOption = None
    capability: Annotated[
        str | None,
        typer.Option(
            "--capability",
            "-c",
            metavar="NAME",
            help="Only exchanges of this capability.",
            autocompletion=complete_capabilities,
        ),
    ] = None
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent",
            "-a",
            metavar="ID",
            help="Only exchanges for which this agent was chosen or called.",
            autocompletion=complete_agents,
        ),
    ] = None
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only exchanges created at or after TIME: 2026-01-31T09:00:00Z (UTC if no zone is given), 90s, 2h, "
            "1d12h, '2 days', today or yesterday.",
        ),
    ] = None
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only exchanges created before TIME (see --since).")
    ] = None

    def times(self) -> dict[str, Any]:
        """`since` and `until` as aware times, or None. Raises UsageError for an invalid time."""
        return {
            name: None if text is None else past_time(f"--{name}", text)
            for name, text in (("since", self.since), ("until", self.until))
        }


class ExchangeOptions(SelectedExchanges):
    """Which exchanges to read, also by what became of them."""

    failed: Annotated[bool, typer.Option("--failed", help="Only exchanges that failed or were interrupted.")] = False
    status: Annotated[
        Status | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            case_sensitive=False,
            help=f"Only exchanges in this status: {', '.join(Status)}.",
        ),
    ] = None
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            "-t",
            metavar="WORDS",
            help="Only exchanges with all these words in payload, result or error; word* matches a prefix.",
        ),
    ] = None
    error: Annotated[
        str | None,
        typer.Option("--error", metavar="TEXT", help="Only exchanges whose error contains TEXT (case is ignored)."),
    ] = None
    caller: Annotated[
        str | None,
        typer.Option(
            "--caller",
            "--by",
            metavar="NAME",
            help="Only exchanges of this caller: name or ID of a token, or the calling agent.",
        ),
    ] = None


def exchange_filter(which: ExchangeOptions) -> "ExchangeFilter":
    """The filter that these options describe. Raises UsageError for an invalid time."""
    from aorch.ledger.exchanges import ExchangeFilter

    return ExchangeFilter(
        session_id=which.session,
        agent=which.agent,
        capability=which.capability,
        status=which.status,
        failed=which.failed,
        **which.times(),
        text=which.text,
        error=which.error,
        caller=which.caller,
    )

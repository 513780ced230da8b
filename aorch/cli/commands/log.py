"""`aorch log`: exchanges, one per line, or one in full."""

from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from aorch.cli.exchange_options import ExchangeOptions, exchange_filter
from aorch.cli.listing import ListingOptions, print_listing
from aorch.cli.options import LedgerOption, OptionGroup
from aorch.cli.shell_completion import complete_contracts
from aorch.ledger.exchange_log import ended_exchanges, newest_exchanges
from aorch.ledger.exchanges import EXCHANGE_FIELDS, ExchangeFilter, ExchangeRow

if TYPE_CHECKING:
    from aorch.ledger.ledger_view import LedgerView

app = typer.Typer(add_completion=False)

DEFAULT_LIMIT, FOLLOWED = 50, 10
SAMPLE = 200
"""Number of exchanges by whose content the widths of columns are chosen."""


class ExchangeListing(ListingOptions):
    """A listing of exchanges."""

    items = "exchanges"
    known = EXCHANGE_FIELDS
    as_json = ("result",)
    synonyms: ClassVar[Mapping[str, str]] = {
        "by": "caller",
        "agent": "agent_id",
        "to_agent": "agent_id",
    }


class LogOptions(OptionGroup):
    """Which part of the log to show, and how."""

    last: Annotated[bool, typer.Option("--last", help="Show the newest matching exchange in full.")] = False
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing exchanges as they end. The oldest one comes first.")
    ] = False
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=0,
            metavar="N",
            help="Maximum number of exchanges (default: 50; all in a pager; 10 before --follow).",
        ),
    ] = None
    before: Annotated[
        str | None,
        typer.Option(
            "--before",
            metavar="ID",
            help="Show the next page: exchanges older than this one.",
            autocompletion=complete_contracts,
        ),
    ] = None
    no_pager: Annotated[bool, typer.Option("--no-pager", help="Do not use a pager on a terminal.")] = False


@app.command()
def log(
    which: ExchangeOptions,
    part: LogOptions,
    listing: ExchangeListing,
    contract_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="Show this exchange in full: ID of its REQUEST or RESPONSE, or the beginning or end of the ID.",
            autocompletion=complete_contracts,
        ),
    ] = None,
    ledger: LedgerOption = None,
) -> None:
    """List exchanges, newest first: one line per task, with its result or its error.

    ✓ completed, ✗ failed or interrupted, – cancelled, ● running, ○ queued. Each line has the end of the ID of its REQUEST; `aorch
    log ID` shows that exchange in full. On a terminal, the list is shown in a pager (PAGER, default: less -FRX). In a pipe:
    tab-separated ID, time, status, capability, agent, duration in ms, session, caller and content.

    \b
    Examples:
      aorch log
      aorch log --failed --since yesterday
      aorch log --error timeout
      aorch log --failed --last
      aorch log -s review -f
      aorch log --fields request_id,duration_ms,error --format csv
    """
    from aorch.cli.ledger_source import open_view
    from aorch.cli.render.progress import progress_callback
    from aorch.errors import NotFound, UsageError

    if sum((contract_id is not None, part.last, part.follow)) > 1:
        raise UsageError("only one of ID, --last and --follow can be given", "Give one of them.")
    filter_ = exchange_filter(which)
    with progress_callback("indexing text") as progress, open_view(ledger, progress) as reader:
        if contract_id is not None:
            _show(reader, reader.find(contract_id).contract_id, listing, part)
        elif part.last:
            newest = next(newest_exchanges(reader, filter_, limit=1), None)
            if newest is None:
                raise NotFound("no exchange matches", "`aorch log` lists all exchanges.")
            _show(reader, newest.request_id, listing, part)
        elif part.follow:
            _follow(reader, filter_, listing, FOLLOWED if part.limit is None else part.limit)
        else:
            _list(reader, filter_, listing, part)


def _list(reader: "LedgerView", which: ExchangeFilter, listing: ExchangeListing, part: LogOptions) -> None:
    from aorch.cli.render.console import note, tell
    from aorch.cli.render.pager import pager_command

    pager = pager_command() if listing.shows_table() and not part.no_pager else []
    cursor = None if part.before is None else reader.exchange_cursor(which, reader.find(part.before))
    if pager and part.limit is None:
        return _print_lines(newest_exchanges(reader, which, before=cursor), which, pager)
    limit = DEFAULT_LIMIT if part.limit is None else part.limit
    found = list(newest_exchanges(reader, which, before=cursor, limit=limit + 1))
    page, next_id = found[:limit], found[limit - 1].request_id if 0 < limit < len(found) else None
    print_listing(listing, page, lambda rows: _print_lines(rows, which, pager), ExchangeRow.as_dict, next=next_id)
    if next_id and not listing.json:
        tell(f"next page: --before {next_id}")
    elif not page and listing.shows_table():
        note("no exchanges found")
    return None


def _follow(reader: "LedgerView", which: ExchangeFilter, listing: ExchangeListing, limit: int) -> None:
    after = reader.last_position()
    found = list(newest_exchanges(reader, which, before=after + 1, limit=limit))[::-1]
    rows = chain(found, ended_exchanges(reader, which, after=after))

    def show(rows: Iterable[ExchangeRow]) -> None:
        _print_lines(rows, which, [], sample=len(found), clock=True)

    print_listing(listing, rows, show, ExchangeRow.as_dict, streams=True)


def _show(reader: "LedgerView", contract_id: str, listing: ExchangeListing, part: LogOptions) -> None:
    from aorch.cli.render.console import print_json
    from aorch.cli.render.exchange_view import exchange_lines
    from aorch.cli.render.pager import paged, pager_command

    whole = reader.whole_exchange(contract_id)
    if listing.shows_table():
        with paged([] if part.no_pager else pager_command()) as write:
            for line in exchange_lines(whole):
                write(f"{line}\n")
    elif listing.json and not (listing.fields or listing.jq):
        print_json(whole.as_dict())
    else:
        print_listing(listing, [whole.row], lambda _: None, ExchangeRow.as_dict)


def _print_lines(
    rows: Iterable[ExchangeRow],
    which: ExchangeFilter,
    pager: list[str],
    sample: int = SAMPLE,
    *,
    clock: bool = False,
) -> None:
    from aorch.cli.render.console import note
    from aorch.cli.render.log_views import LogLines, show_piped
    from aorch.cli.render.pager import paged
    from aorch.cli.streams import is_terminal, stdout

    if not is_terminal(stdout()):
        return show_piped(rows)
    rows = iter(rows)
    first = list(islice(rows, sample))
    if not first and not clock:
        return note("no exchanges found") if pager else None
    fixed = {"session": which.session_id, "capability": which.capability, "agent": which.agent}
    lines = LogLines(first, [name for name, value in fixed.items() if value is not None], clock=clock)
    with paged(pager) as write:
        write(f"{lines.header()}\n")
        for row in chain(first, rows):
            write(f"{lines.line(row)}\n")
    return None

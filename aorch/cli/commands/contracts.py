"""`aorch contracts`: list, follow, export, import and erase contracts."""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.commands.cancel import cancel
from aorch.cli.commands.erase import erase, erasures
from aorch.cli.commands.resume import resume
from aorch.cli.commands.wait import wait
from aorch.cli.listing import FieldOptions, ListingOptions, print_listing
from aorch.cli.options import (
    CREATES_NEW,
    FilterOptions,
    IdArgument,
    JsonOption,
    LedgerOption,
    LimitOption,
    OutputOption,
    warn_of_missing,
)
from aorch.cli.shell_completion import complete_contracts
from aorch.cli.time_options import past_time
from aorch.ledger.record import FIELDS, JSON_FIELDS, Record

if TYPE_CHECKING:
    from aorch.ledger.reader import Filter

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, follow, export, import and erase contracts.")


class ContractFields(FieldOptions):
    """Fields of contracts."""

    known = FIELDS
    as_json = JSON_FIELDS


class ContractListing(ListingOptions):
    """A listing of contracts."""

    items = "contracts"
    known = FIELDS
    as_json = JSON_FIELDS


@app.command("list")
def list_(
    which: FilterOptions,
    listing: ContractListing,
    limit: LimitOption = 50,
    before: Annotated[
        str | None,
        typer.Option(
            "--before",
            metavar="ID",
            help="Show the next page: contracts older than this one.",
            autocompletion=complete_contracts,
        ),
    ] = None,
    ledger: LedgerOption = None,
) -> None:
    """List contracts, newest first.

    In a pipe: tab-separated ID, time, type, from, to, capability, status, session and content.

    \b
    Examples:
      aorch contracts list --session review
      aorch contracts list --status failed --since yesterday
      aorch contracts list --text 'connection refused' --jsonl
      aorch contracts list --fields contract_id,status,error --format csv
    """
    from functools import partial

    from aorch.cli.ledger_source import open_view
    from aorch.cli.render.console import note, tell
    from aorch.cli.render.contract_views import show_list
    from aorch.cli.render.progress import progress_callback

    filter_ = _filter(which)
    with progress_callback("indexing text") as progress, open_view(ledger, progress) as reader:
        older = reader.position(reader.find(before).contract_id) if before else None
        found = reader.page(filter_, limit=limit + 1, before=older)
    page, next_id = found[:limit], found[limit - 1].contract_id if len(found) > limit else None
    table = partial(show_list, one_session=which.session is not None)
    print_listing(listing, page, table, Record.as_dict, next=next_id)
    if next_id and not listing.json:
        tell(f"next page: --before {next_id}")
    elif not page and listing.shows_table():
        note("no contracts found")


@app.command()
def show(
    contract_id: IdArgument,
    tree: Annotated[
        bool, typer.Option("--tree", help="Show the whole tree of REQUESTs to which the contract belongs.")
    ] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Show all branches of the tree (default: only the first ones).")
    ] = False,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Show an exchange: its REQUEST, its RESPONSE, and the exchanges that its agent delegated.

    \b
    Examples:
      aorch contracts show 01K8VF9XK83SYH1HAX57ZGJDYS
      aorch contracts show zgjdys --json
      aorch contracts show zgjdys --tree
    """
    from aorch.cli.ledger_source import open_view
    from aorch.cli.render.console import print_json, print_text
    from aorch.cli.render.contract_views import exchange_text
    from aorch.cli.render.tree_view import show_tree

    with open_view(ledger) as reader:
        contract = reader.find(contract_id)
        if tree or all_:
            root = reader.tree(contract, None) if all_ else reader.tree(contract)
            return print_json(root.as_dict()) if json else show_tree(root)
        exchange = reader.exchange(contract)
    if json:
        return print_json(exchange.as_dict())
    print_text(exchange_text(exchange))


@app.command()
def tail(
    which: FilterOptions,
    listing: ContractListing,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", min=0, metavar="N", help="Maximum number of older contracts to show first (default: 10)."
        ),
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new contracts as they are written.")
    ] = False,
    ledger: LedgerOption = None,
) -> None:
    """Show the newest contracts, and optionally follow new ones.

    The oldest contract comes first. Each is printed once, with its status at that time. With --follow, a REQUEST is usually
    in_progress, and its RESPONSE follows. With --json, each contract is one line of JSON, as with --jsonl.

    \b
    Examples:
      aorch contracts tail -n 20
      aorch contracts tail -f --agent agent_example_001 --jsonl
    """
    from aorch.cli.ledger_source import open_view
    from aorch.cli.render.contract_views import show_lines

    filter_ = _filter(which)
    with open_view(ledger) as reader:
        last = reader.last_position()
        found = reversed(reader.page(filter_, limit=limit, before=last + 1))
        new = reader.follow(filter_, after=last) if follow else ()
        print_listing(listing, chain(found, new), show_lines, Record.as_dict, streams=True)


app.command()(wait)
app.command()(cancel)
app.command()(resume)
app.command()(erase)
app.command()(erasures)


@app.command()
def export(
    which: FilterOptions,
    columns: ContractFields,
    output: OutputOption = None,
    ledger: LedgerOption = None,
) -> None:
    """Export contracts, oldest first; JSONL (the default) can be imported again.

    JSONL with --since also contains older REQUESTs that are still open or have ended since then.

    \b
    Examples:
      aorch contracts export > ledger.jsonl
      aorch contracts export --since 7d --format csv --output week.csv
    """
    from aorch.cli.ledger_source import open_view
    from aorch.cli.render.console import binary_output, note
    from aorch.cli.render.progress import progress_callback
    from aorch.ledger.transfer import export_contracts

    to_terminal, out = (False, output) if output else binary_output()
    with (
        progress_callback("exporting", wanted=not to_terminal) as progress,
        open_view(ledger, progress, recovers=False) as view,
    ):
        export_contracts(view, _filter(which), columns.format_ or "jsonl", out, progress, columns.chosen())
        if not isinstance(out, Path):
            out.flush()
    if output:
        note(f"exported to {output}")


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of contracts; - is standard input.")],
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Import exported JSONL, or session files of the old JSON store.

    Contracts that exist already are skipped, and REQUESTs that have ended since the last import are updated, so the same ledger
    can be imported repeatedly. A contract that conflicts with an existing one, or that ends a REQUEST that a process is running
    here, is rejected (exit code 13). The import stops at the first contract that is rejected or invalid and keeps all contracts
    before it: fix the file and import it again.

    \b
    Examples:
      aorch contracts import ledger.jsonl
      aorch contracts import data/contracts/*.json
      ssh elsewhere aorch contracts export | aorch contracts import -
    """
    from aorch.cli.render.console import print_json, print_text, printable, warn
    from aorch.cli.render.progress import progress_callback
    from aorch.config import settings
    from aorch.ledger.transfer import import_contracts

    path = settings.ledger_path(ledger)
    warn_of_missing(path, ledger, CREATES_NEW)
    report = []
    for file in files:
        name = printable(str(file))
        with progress_callback(f"importing {name}") as progress:
            counts = import_contracts(path, file, progress)
        found = {"new": counts.new, "updated": counts.updated, "skipped": counts.present, "erased": counts.erased}
        report.append({"file": str(file), **found})
        updated = f"{counts.updated} updated, " if counts.updated else ""
        if not json:
            erased = f" ({counts.erased} of them erased here)" if counts.erased else ""
            print_text(f"{name}: {counts.new} imported, {updated}{counts.present} skipped{erased}")
        if counts.erased_there:
            warn(
                f"{name}: {counts.erased_there} contracts are erased in the file, but not in this ledger; erase them here with"
                " `aorch contracts erase ID…`"
            )
    if json:
        print_json({"files": report})


def _filter(which: FilterOptions) -> "Filter":
    from aorch.ledger.reader import Filter

    return Filter(
        session_id=which.session,
        agent=which.agent,
        contract_type=which.type_,
        capability=which.capability,
        status=which.status,
        since=None if which.since is None else past_time("--since", which.since),
        until=None if which.until is None else past_time("--until", which.until),
        text=which.text,
    )

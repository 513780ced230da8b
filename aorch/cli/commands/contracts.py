"""`aorch contracts`: list, follow, export and import contracts."""

from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.commands.cancel import cancel
from aorch.cli.commands.resume import resume
from aorch.cli.commands.wait import wait
from aorch.cli.options import (
    CREATES_NEW,
    FilterOptions,
    IdArgument,
    JsonLinesOption,
    JsonOption,
    LedgerOption,
    LimitOption,
    ledger_to_read,
    warn_of_missing,
)
from aorch.cli.shell_completion import complete_contracts
from aorch.cli.time_options import past_time

if TYPE_CHECKING:
    from aorch.ledger.reader import Filter

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, follow, export and import contracts.")

ExportFormat = StrEnum("ExportFormat", ["jsonl", "csv"])


@app.command("list")
def list_(
    which: FilterOptions,
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
    json: JsonOption = False,
    jsonl: JsonLinesOption = False,
    ledger: LedgerOption = None,
) -> None:
    """List contracts, newest first.

    In a pipe: tab-separated ID, time, type, from, to, capability, status, session and content.

    \b
    Examples:
      aorch contracts list --session review
      aorch contracts list --status failed --since yesterday
      aorch contracts list --text 'connection refused' --jsonl
    """
    from aorch.cli.render.console import note, print_json, print_json_lines, tell
    from aorch.cli.render.contract_views import show_list
    from aorch.cli.render.progress import progress_callback
    from aorch.engine.recovery import recover
    from aorch.ledger.reader import Reader

    filter_ = _filter(which)
    with progress_callback("indexing text") as progress, Reader(recover(ledger_to_read(ledger)), progress) as reader:
        older = reader.position(reader.find(before).contract_id) if before else None
        found = reader.page(filter_, limit=limit + 1, before=older)
    page, next_id = found[:limit], found[limit - 1].contract_id if len(found) > limit else None
    if json:
        return print_json({"contracts": [contract.as_dict() for contract in page], "next": next_id})
    if jsonl:
        print_json_lines(contract.as_dict() for contract in page)
    else:
        show_list(page, one_session=which.session is not None)
    if next_id:
        tell(f"next page: --before {next_id}")
    elif not page and not jsonl:
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
    from aorch.cli.render.console import print_json, print_text
    from aorch.cli.render.contract_views import exchange_text
    from aorch.cli.render.tree_view import show_tree
    from aorch.engine.recovery import recover
    from aorch.ledger.reader import Reader

    with Reader(recover(ledger_to_read(ledger))) as reader:
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
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", min=0, metavar="N", help="Maximum number of older contracts to show first (default: 10)."
        ),
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new contracts as they are written.")
    ] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", "--json", help="Print JSON Lines: one contract per line.")] = False,
    ledger: LedgerOption = None,
) -> None:
    """Show the newest contracts, and optionally follow new ones.

    The oldest contract comes first. Each is printed once, with its status at that time. With --follow, a REQUEST is usually
    in_progress, and its RESPONSE follows.

    \b
    Examples:
      aorch contracts tail -n 20
      aorch contracts tail -f --agent agent_example_001 --jsonl
    """
    from aorch.cli.render.console import print_json_line
    from aorch.cli.render.contract_views import show_line
    from aorch.engine.recovery import recover
    from aorch.ledger.reader import Reader

    filter_ = _filter(which)
    with Reader(recover(ledger_to_read(ledger))) as reader:
        last = reader.last_position()
        found = reversed(reader.page(filter_, limit=limit, before=last + 1))
        for contract in chain(found, reader.follow(filter_, after=last) if follow else ()):
            if jsonl:
                print_json_line(contract.as_dict())
            else:
                show_line(contract)


app.command()(wait)
app.command()(cancel)
app.command()(resume)


@app.command()
def export(
    which: FilterOptions,
    format_: Annotated[
        ExportFormat,
        typer.Option(
            "--format", metavar="FORMAT", case_sensitive=False, help="Output format: jsonl or csv (default: jsonl)."
        ),
    ] = ExportFormat.jsonl,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Output file (default: standard output).")
    ] = None,
    ledger: LedgerOption = None,
) -> None:
    """Export contracts, oldest first; JSONL can be imported again.

    JSONL with --since also contains older REQUESTs that are still open or have ended since then.

    \b
    Examples:
      aorch contracts export > ledger.jsonl
      aorch contracts export --since 7d --format csv --output week.csv
    """
    from aorch.cli.render.console import binary_output, note
    from aorch.cli.render.progress import progress_callback
    from aorch.ledger.transfer import export_contracts

    to_terminal, out = (False, output) if output else binary_output()
    with progress_callback("exporting", wanted=not to_terminal) as progress:
        export_contracts(ledger_to_read(ledger), _filter(which), format_, out, progress)
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
    from aorch.cli.render.console import print_json, print_text, printable
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
        report.append({"file": str(file), "new": counts.new, "updated": counts.updated, "skipped": counts.present})
        updated = f"{counts.updated} updated, " if counts.updated else ""
        if not json:
            print_text(f"{name}: {counts.new} imported, {updated}{counts.present} skipped")
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

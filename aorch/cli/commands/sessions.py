"""`aorch sessions`: sessions by last activity, and one session as a timed tree or a diagram."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.listing import ListingOptions, print_listing
from aorch.cli.options import JsonOption, LedgerOption, LimitOption
from aorch.cli.render.session_views import SESSION_FIELDS
from aorch.cli.shell_completion import complete_sessions

if TYPE_CHECKING:
    from aorch.ledger.ledger_view import LedgerView
    from aorch.ledger.tree import TreeNode

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List sessions, and show the exchanges of one.")

IN_A_DIAGRAM = 100
"""Default number of trees in a diagram: more can hardly be read, and Mermaid rejects texts of more than 50,000 characters."""


class SessionListing(ListingOptions):
    """A listing of sessions."""

    items = "sessions"
    known = SESSION_FIELDS


@app.command("list")
def list_(
    listing: SessionListing,
    limit: LimitOption = 50,
    before: Annotated[
        str | None,
        typer.Option(
            "--before",
            metavar="ID",
            help="Show the next page: sessions that were active before this one.",
            autocompletion=complete_sessions,
        ),
    ] = None,
    ledger: LedgerOption = None,
) -> None:
    """List sessions, the last active one first.

    `failed` and `open` are numbers of exchanges. In a pipe: tab-separated ID, time of the last contract, exchanges, failed, open.

    \b
    Examples:
      aorch sessions list
      aorch sessions list --fields session_id,failed --format csv
    """
    from aorch.cli.ledger_source import open_view
    from aorch.cli.render.console import note, tell
    from aorch.cli.render.session_views import show_sessions

    with open_view(ledger) as reader:
        cursor = None if before is None else reader.session_position(before)
        found = reader.sessions_by_activity(before=cursor, limit=limit + 1)
    next_id = found[limit - 1]["session_id"] if len(found) > limit else None
    print_listing(listing, found[:limit], show_sessions, next=next_id)
    if next_id is not None and not listing.json:
        tell(f"next page: --before {next_id}")
    elif not found and listing.shows_table():
        note("no sessions found")


@app.command()
def show(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The session.", autocompletion=complete_sessions)],
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Print a sequence diagram in Mermaid's language instead.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=1,
            metavar="N",
            help="Only the newest N trees (default: all; 100 in a diagram).",
        ),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Show all branches of the trees (default: only the first 50 of each).")
    ] = False,
    json: JsonOption = False,
    no_pager: Annotated[bool, typer.Option("--no-pager", help="Do not use a pager on a terminal.")] = False,
    ledger: LedgerOption = None,
) -> None:
    """Show a session as a tree: each exchange with its time from the start, its duration, and its result or error.

    Tasks that an agent delegated are below the task that it was given. On a terminal, the tree is shown in a pager (PAGER).

    \b
    Examples:
      aorch sessions show review
      aorch sessions show review --json
      aorch sessions show review --mermaid > review.mmd
    """
    from aorch.cli.ledger_source import open_view
    from aorch.cli.render.console import print_json, print_text
    from aorch.ledger.tree import SHOWN

    with open_view(ledger) as reader:
        form, most = reader.session(session), None if all_ else SHOWN
        if mermaid:
            from aorch.cli.render.mermaid import sequence_diagram

            pages = reader.session_trees(session, newest=limit or IN_A_DIAGRAM, most=most)
            trees = [tree for page in pages for tree in page]
            return print_text("\n".join(sequence_diagram(session, trees)))
        pages = reader.session_trees(session, newest=limit, most=most)
        if json:
            return print_json({**form, "roots": [root.as_dict() for page in pages for root in page]})
        return _print_trees(reader, form, pages, no_pager)


def _print_trees(
    reader: "LedgerView", form: dict[str, object], pages: "Iterator[list[TreeNode]]", no_pager: bool
) -> None:
    from aorch.cli.render.pager import paged, pager_command
    from aorch.cli.render.session_views import TreeLines, session_heading
    from aorch.ledger.exchanges import ExchangeFilter

    lines = TreeLines(str(form["first_at"]))
    with paged([] if no_pager else pager_command()) as write:
        write(f"{session_heading(form)}\n")
        for page in pages:
            ids = [node.contract_id for root in page for node in root.walk()]
            rows, _ = reader.exchanges(ExchangeFilter(ids=ids), limit=len(ids))
            by_id = {row.request_id: row for _, row in rows}
            for root in page:
                for line in lines.tree(root, by_id):
                    write(f"{line}\n")

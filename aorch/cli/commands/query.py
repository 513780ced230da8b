"""`aorch query`: SQL over the ledger, read only."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Annotated, Any

import typer

from aorch.cli.listing import ListingFormat, ListingOptions, print_listing
from aorch.cli.options import JsonOption, LedgerOption, ledger_to_read

app = typer.Typer(add_completion=False)

MOST_ROWS = 1000
"""Maximum number of rows that are printed on a terminal."""
NARROWEST = 9
"""Width per column below which a terminal shows each row as a block of lines instead of a table."""


@app.command()
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT statement; - reads it from standard input.")],
    json: JsonOption = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print JSON Lines: one row per line.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header (same as --format csv).")] = False,
    format_: Annotated[
        ListingFormat | None,
        typer.Option("--format", metavar="FORMAT", case_sensitive=False, help="Output format: jsonl, csv or tsv."),
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option(
            "--fields", metavar="FIELDS", help="Print only these columns, separated by commas (default format: jsonl)."
        ),
    ] = None,
    jq: Annotated[
        str | None,
        typer.Option(
            "--jq",
            metavar="EXPR",
            help="Apply a jq expression to each row, or with --json to the whole object. Needs aorch[jq].",
        ),
    ] = None,
    ledger: LedgerOption = None,
) -> None:
    """Query the ledger with SQL. Nothing can be written.

    The views: exchanges (one row per exchange), sessions (one per session), agent_latency (one per agent and capability) and
    attempts_by_agent (one per agent). `aorch help --docs ledger` describes their columns, and the tables. In a pipe:
    tab-separated, without a header.

    \b
    Examples:
      aorch query 'SELECT * FROM agent_latency'
      aorch query 'SELECT * FROM exchanges' --csv
      aorch query 'SELECT * FROM sessions' --format tsv --fields session_id,exchanges
      aorch query - --json < question.sql
    """
    from aorch.cli.streams import standard_input
    from aorch.engine.recovery import recover
    from aorch.errors import NotFound, UsageError
    from aorch.ledger.database import Database
    from aorch.ledger.user_query import answer

    if csv and format_ not in (None, ListingFormat.csv):
        raise UsageError(f"--csv cannot be combined with --format {format_}", "Give one of them.")
    form = ListingFormat.csv if csv else format_
    text = standard_input().read().decode("utf-8", "replace") if sql == "-" else sql
    path = recover(ledger_to_read(ledger))
    if not Database(path).exists():
        raise NotFound(f"no ledger at {path}", "Run a task first, or name a ledger with --ledger.")
    with answer(path, text) as found:
        columns = tuple(found.columns)

        class Rows(ListingOptions):
            items, known = "rows", columns

        options = Rows(json=json, jsonl=jsonl, format_=form, fields=fields, jq=jq)
        rows = (dict(zip(columns, row, strict=True)) for row in found.rows)
        print_listing(options, rows, lambda rows: _show(columns, rows))


def _show(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> None:
    from aorch.cli.render.console import note, print_records, print_table, printable, width
    from aorch.cli.streams import is_terminal, stdout

    texts = (tuple(_text(row[name]) for name in columns) for row in rows)
    if not is_terminal(stdout()):
        return print_table(columns, texts)
    shown = list(islice(texts, MOST_ROWS))
    names = [printable(name) for name in columns]
    if len(names) * NARROWEST > width():
        print_records(names, shown)
    else:
        longest = max(range(len(names)), key=lambda place: max((len(row[place]) for row in shown), default=0))
        print_table(names, shown, cut=names[longest])
    if len(shown) == MOST_ROWS and next(texts, None) is not None:
        note(f"only the first {MOST_ROWS:,} rows; add LIMIT, or print all with --csv")
    return None


def _text(value: object) -> str:
    return "" if value is None else str(value)

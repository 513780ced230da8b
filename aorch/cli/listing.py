"""The options of every listing, and the one function that prints a listing.

A listing has items, each a JSON object with known fields. A command declares a subclass of ListingOptions as a parameter, and
passes its rows to `print_listing`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import typer

from aorch.cli.options import JsonOption, OptionGroup
from aorch.cli.shell_completion import complete_fields
from aorch.errors import UsageError

if TYPE_CHECKING:
    from aorch.cli.jq_filter import JqFilter

Row = TypeVar("Row")
ListingFormat = StrEnum("ListingFormat", ["csv", "tsv", "jsonl"])


class FieldOptions(OptionGroup):
    """Which fields to print, and in which format.

    `known` lists the fields of an item, and `synonyms` other words for them, which an error explains. CSV and TSV contain the
    values of those in `as_json` always as JSON.
    """

    known: ClassVar[tuple[str, ...]] = ()
    as_json: ClassVar[tuple[str, ...]] = ()
    synonyms: ClassVar[Mapping[str, str]] = {}

    format_: Annotated[
        ListingFormat | None,
        typer.Option("--format", metavar="FORMAT", case_sensitive=False, help="Output format: jsonl, csv or tsv."),
    ] = None
    fields: Annotated[
        str | None,
        typer.Option(
            "--fields",
            metavar="FIELDS",
            help="Print only these fields, separated by commas (default format: jsonl).",
            autocompletion=complete_fields,
        ),
    ] = None

    def __post_init__(self) -> None:
        """Raises UsageError for an unknown field."""
        self.chosen()

    def chosen(self) -> Sequence[str]:
        """The fields to print, in order. Raises UsageError for an unknown one."""
        if self.fields is None:
            return self.known
        chosen = [name.strip() for name in self.fields.split(",")]
        for name in chosen:
            if name not in self.known:
                from aorch.suggestions import did_you_mean

                meant = self.synonyms.get(name)
                similar = f"Did you mean {meant}? " if meant else did_you_mean(name, self.known)
                raise UsageError(f"--fields: unknown field {name!r}", f"{similar}Fields: {', '.join(self.known)}.")
        return list(dict.fromkeys(chosen))


class ListingOptions(FieldOptions):
    """How to print a listing. `items` is the member of the object of --json that contains the items."""

    items: ClassVar[str] = "items"

    json: JsonOption = False
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print JSON Lines: one item per line (same as --format jsonl).")
    ] = False
    jq: Annotated[
        str | None,
        typer.Option(
            "--jq",
            metavar="EXPR",
            help="Apply a jq expression to each item, or with --json to the whole object. Needs aorch[jq].",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Raises UsageError for an unknown field, an invalid jq expression, and options that exclude each other."""
        super().__post_init__()
        form = ListingFormat.jsonl if self.jsonl else self.format_
        if self.jsonl and self.format_ not in (None, ListingFormat.jsonl):
            raise UsageError(f"--jsonl cannot be combined with --format {self.format_}", "Give one of them.")
        if self.json and form is not None:
            raise UsageError(f"--json cannot be combined with --format {form}", "Give one of them.")
        if self.jq is not None:
            if form in (ListingFormat.csv, ListingFormat.tsv):
                raise UsageError(
                    f"--jq cannot be combined with --format {form}", "In jq, @csv and @tsv make such lines."
                )
            self.filter()

    def filter(self) -> "JqFilter | None":
        """The compiled expression of --jq. Raises UsageError."""
        from aorch.cli.jq_filter import JqFilter

        return None if self.jq is None else JqFilter(self.jq)

    def shows_table(self) -> bool:
        """Whether the listing is printed for people: no option chooses JSON, CSV or TSV."""
        return not (self.json or self.jsonl or self.format_ or self.fields or self.jq)


def print_listing(
    options: ListingOptions,
    rows: Iterable[Row],
    table: Callable[[Iterable[Row]], None],
    form: Callable[[Row], Mapping[str, Any]] | None = None,
    *,
    streams: bool = False,
    **beside: Any,
) -> None:
    """Print `rows` as the options say, or let `table` print them. `form` makes the JSON object of a row (default: it is one).

    With --json, one object has all items and `beside`; if the listing `streams`, each item is a line instead. All other forms
    print each row before they read the next one.
    """
    if options.shows_table():
        return table(rows)
    items: Iterable[Mapping[str, Any]] = rows if form is None else map(form, rows)  # type: ignore[assignment]  # rows are objects
    if options.fields is not None:
        chosen = options.chosen()
        items = ({name: item.get(name) for name in chosen} for item in items)
    if options.json and not streams:
        return _print_whole(options, {options.items: list(items), **beside})
    if options.format_ in (ListingFormat.csv, ListingFormat.tsv):
        return _print_rows(options, items)
    from aorch.cli.render.console import print_json_line, print_text

    jq = options.filter()
    for item in items:
        if jq is None:
            print_json_line(item)
        else:
            for line in jq.lines(item):
                print_text(line)
    return None


def _print_whole(options: ListingOptions, whole: dict[str, Any]) -> None:
    from aorch.cli.render.console import print_json, print_text

    jq = options.filter()
    if jq is None:
        return print_json(whole)
    for line in jq.lines(whole):
        print_text(line)
    return None


def _print_rows(options: ListingOptions, items: Iterable[Mapping[str, Any]]) -> None:
    from aorch.cli.render.console import binary_output
    from aorch.csvio import RowWriter

    _, out = binary_output()
    writer = RowWriter(out.write, str(options.format_), options.chosen(), options.as_json)
    out.flush()
    for item in items:
        writer.row(item)
        out.flush()

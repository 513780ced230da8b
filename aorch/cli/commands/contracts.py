"""`aorch contracts`: the ledger, read, followed, carried away and taken in."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import typer

from aorch.cli.commands import queued
from aorch.cli.commands.resume import resume
from aorch.cli.options import (
    IS_CREATED,
    JsonOption,
    LedgerOption,
    SessionOption,
    complete_agents,
    complete_capabilities,
    complete_contracts,
    ledger_to_read,
    warn_of_missing,
)
from aorch.cli.time_options import TIME_HELP, ago

if TYPE_CHECKING:
    from aorch.ledger.reader import Filter
    from aorch.ledger.search import Progress
    from aorch.ledger.tree import TreeNode

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Read, follow and carry away the ledger.")
app.command()(queued.wait)
app.command()(queued.cancel)

ContractType = StrEnum("ContractType", {"REQUEST": "REQUEST", "RESPONSE": "RESPONSE"})
Status = StrEnum("Status", ["pending", "in_progress", "completed", "failed", "cancelled", "interrupted"])
Form = StrEnum("Form", ["jsonl", "csv"])


AgentOption = Annotated[
    str | None,
    typer.Option("--agent", "-a", metavar="ID", help="From or to this agent.", autocompletion=complete_agents),
]
TypeOption = Annotated[
    ContractType | None,
    typer.Option("--type", case_sensitive=False, help="Only what was asked, or only the answers."),
]
CapabilityOption = Annotated[
    str | None,
    typer.Option(
        "--capability", "-c", metavar="NAME", help="For this capability.", autocompletion=complete_capabilities
    ),
]
StatusOption = Annotated[Status | None, typer.Option("--status", case_sensitive=False, help="In this status.")]
SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help=f"Not older than {TIME_HELP}.")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Older than that, written likewise.")]
TextOption = Annotated[
    str | None,
    typer.Option(
        "--text", "-t", metavar="WORDS", help="With all these words in payload, result or error; word* is a beginning."
    ),
]
LinesOption = Annotated[bool, typer.Option("--jsonl", help="Print a line of JSON for each contract.")]


@app.command("list")
def list_(
    session: SessionOption = None,
    agent: AgentOption = None,
    contract_type: TypeOption = None,
    capability: CapabilityOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    text: TextOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most so many.")] = 50,
    before: Annotated[
        str | None,
        typer.Option(
            "--before",
            metavar="ID",
            help="The next page: what is older than this contract.",
            autocompletion=complete_contracts,
        ),
    ] = None,
    json: JsonOption = False,
    jsonl: LinesOption = False,
    ledger: LedgerOption = None,
) -> None:
    """List contracts, the newest first.

    In a pipe: tab-separated id, time, type, from, to, capability, status, session, and what was said.

    \b
    Examples:
      aorch contracts list --session review
      aorch contracts list --status failed --since 2d
      aorch contracts list --text 'connection refused' --jsonl
    """
    from aorch.cli.render.console import note, print_json, tell
    from aorch.cli.render.contract_views import show_list
    from aorch.engine.recovery import recover
    from aorch.ledger.reader import Reader

    which = _filter(session, agent, contract_type, capability, status, since, until, text)
    with _progress("indexing text") as progress, Reader(recover(ledger_to_read(ledger)), progress) as reader:
        older = reader.position(reader.find(before).contract_id) if before else None
        found = reader.page(which, limit=limit + 1, before=older)
    page, following = found[:limit], found[limit - 1].contract_id if len(found) > limit else None
    if json:
        return print_json({"contracts": [contract.as_dict() for contract in page], "next": following})
    if jsonl:
        _print_lines(contract.as_dict() for contract in page)
    else:
        show_list(page, one_session=session is not None)
    if following:
        tell(f"There is more: --before {following}, or a greater --limit than {limit}")
    elif not page and not jsonl:
        note("No contract is like that.")


@app.command()
def show(
    contract_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="A contract's id, or how it begins or ends.", autocompletion=complete_contracts
        ),
    ],
    tree: Annotated[
        bool, typer.Option("--tree", help="The tree of REQUESTs: up to its root, and all below it.")
    ] = False,
    all_: Annotated[bool, typer.Option("--all", help="Every branch of the tree, however many.")] = False,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Show a whole exchange: REQUEST, RESPONSE, and what was delegated for it.

    \b
    Examples:
      aorch contracts show 01K8VF9XK83SYH1HAX57ZGJDYS
      aorch contracts show zgjdys --json
      aorch contracts show zgjdys --tree
    """
    from aorch.cli.render.console import print_json, print_text
    from aorch.cli.render.contract_views import exchange_text
    from aorch.engine.recovery import recover
    from aorch.ledger.reader import Reader

    with Reader(recover(ledger_to_read(ledger))) as reader:
        if tree or all_:
            return _show_tree(reader.tree(reader.find(contract_id), *([None] if all_ else [])), as_json=json)
        exchange = reader.exchange(reader.find(contract_id))
    if json:
        return print_json(exchange.as_dict())
    print_text(exchange_text(exchange))


def _show_tree(root: "TreeNode", *, as_json: bool) -> None:
    from aorch.cli.render.console import print_json
    from aorch.cli.render.tree_view import show_tree

    if as_json:
        print_json(root.as_dict())
    else:
        show_tree(root)


@app.command()
def tail(
    session: SessionOption = None,
    agent: AgentOption = None,
    contract_type: TypeOption = None,
    capability: CapabilityOption = None,
    status: StatusOption = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, metavar="N", help="Begin with the last N.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    jsonl: LinesOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Show the last contracts, the newest last, and follow what comes.

    A contract is shown once, as it stood when it was read: a REQUEST mostly in_progress, before its RESPONSE.

    \b
    Examples:
      aorch contracts tail -n 20
      aorch contracts tail -f --agent agent_example_001 --jsonl
    """
    from aorch.cli.render.contract_views import show_line
    from aorch.engine.recovery import recover
    from aorch.ledger.reader import Reader

    which = _filter(session, agent, contract_type, capability, status)
    with Reader(recover(ledger_to_read(ledger))) as reader:
        last = reader.last_position()
        found = reversed(reader.page(which, limit=lines, before=last + 1))
        for contract in chain(found, reader.follow(which, after=last) if follow else ()):
            if jsonl:
                _print_lines([contract.as_dict()])
            else:
                show_line(contract)


@app.command()
def export(
    session: SessionOption = None,
    agent: AgentOption = None,
    contract_type: TypeOption = None,
    capability: CapabilityOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    text: TextOption = None,
    form: Annotated[Form, typer.Option("--format", case_sensitive=False, help="How it is written.")] = Form.jsonl,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; else standard output.")
    ] = None,
    ledger: LedgerOption = None,
) -> None:
    """Write contracts to a file, the oldest first; JSONL can be imported again.

    JSONL with --since also has older REQUESTs that are open or have ended since TIME.

    \b
    Examples:
      aorch contracts export > ledger.jsonl
      aorch contracts export --since 7d --format csv --output week.csv
    """
    from aorch.cli.render.console import is_terminal, note
    from aorch.cli.streams import standard_output
    from aorch.ledger.transfer import export_contracts

    which = _filter(session, agent, contract_type, capability, status, since, until, text)
    watched = output is None and is_terminal(sys.stdout)
    out = output or (cast("BinaryIO", _Screen()) if watched else standard_output())
    with _progress("exporting", wanted=not watched) as progress:
        export_contracts(ledger_to_read(ledger), which, form, out, progress)
        if output is None:
            sys.stdout.flush()
    if output:
        note(f"Written to {output}")


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of contracts; - is standard input.")],
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Take contracts in: JSONL as exported, or session files of the older JSON store.

    A contract that is there already is skipped, and a REQUEST that was open and has ended meanwhile is updated: so the
    same ledger can be imported again and again. A contract that differs otherwise, or ends a REQUEST that a process runs
    here, is refused (exit code 13). The import stops at the first contract that is refused or invalid, with all before it
    imported; once the file is fixed, it can be imported again.

    \b
    Examples:
      aorch contracts import ledger.jsonl
      aorch contracts import data/contracts/*.json
      ssh elsewhere aorch contracts export | aorch contracts import -
    """
    from aorch.cli.render.console import print_json, print_text, printable
    from aorch.config import settings
    from aorch.ledger.transfer import import_contracts

    path = settings.ledger_path(ledger)
    warn_of_missing(path, ledger, IS_CREATED)
    report = []
    for file in files:
        with _progress(f"importing {printable(str(file))}") as progress:
            taken = import_contracts(path, file, progress)
        report.append({"file": str(file), "new": taken.new, "updated": taken.updated, "skipped": taken.present})
        updated = f"{taken.updated} updated, " if taken.updated else ""
        if not json:
            print_text(f"{printable(str(file))}: {taken.new} taken in, {updated}{taken.present} there already")
    if json:
        print_json({"files": report})


app.command()(resume)


def _filter(
    session: str | None,
    agent: str | None,
    contract_type: str | None,
    capability: str | None,
    status: str | None,
    since: str | None = None,
    until: str | None = None,
    text: str | None = None,
) -> "Filter":
    from aorch.ledger.reader import Filter

    return Filter(
        session_id=session,
        agent=agent,
        contract_type=contract_type,
        capability=capability,
        status=status,
        since=None if since is None else ago("--since", since),
        until=None if until is None else ago("--until", until),
        text=text,
    )


def _print_lines(forms: Any) -> None:
    from aorch import jsonio as json
    from aorch.cli.render.console import print_text

    for form in forms:
        print_text(json.encode(form))


@contextmanager
def _progress(what: str, *, wanted: bool = True) -> "Iterator[Progress | None]":
    """A callback that shows on stderr how far long work has come, where a person watches."""
    from aorch.cli.render.console import is_terminal

    if not (wanted and is_terminal(sys.stderr)):
        yield None
        return
    shown = -1

    def tell(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // max(total, 1)
        if percent != shown and (percent < 100 or shown >= 0):  # what is done at once needs no telling
            shown = percent
            print(f"\r{what} … {percent} %", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if shown >= 0:
            print(f"\r{' ' * (len(what) + 9)}\r", end="", file=sys.stderr, flush=True)


class _Screen:
    """A terminal to export to: what strangers wrote cannot steer it."""

    def write(self, data: bytes) -> int:
        from aorch.cli.render.console import printable

        sys.stdout.write(printable(data.decode("utf-8", "replace"), lines=True))
        return len(data)

    def flush(self) -> None:
        sys.stdout.flush()

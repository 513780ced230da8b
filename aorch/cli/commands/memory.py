"""`aorch memory`: memory blocks, listed, shown to people and to models, searched, verified, carried away."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aorch.cli.commands.compress import MaxTokensOption
from aorch.cli.options import JsonOption, LedgerOption, SessionOption, complete_sessions, ledger_to_read

if TYPE_CHECKING:
    from aorch.ledger.memory_blocks import BlockRow
    from aorch.memory.memory_queries import ClaimMatch

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Read, search and verify the memory of sessions.")

As = StrEnum("As", ["text", "prompt", "json"])
ExportAs = StrEnum("ExportAs", ["json", "prompt"])


@app.command("list")
def list_(
    session: Annotated[
        str | None, typer.Argument(metavar="[SESSION]", help="Only of this one.", autocompletion=complete_sessions)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most so many.")] = 50,
    before: Annotated[
        str | None, typer.Option("--before", metavar="ID", help="The next page: what is older than this block.")
    ] = None,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """List memory blocks, the newest first.

    In a pipe: tab-separated id, time, session, contracts, tokens before, tokens after, quality, compressor.

    \b
    Examples:
      aorch memory list
      aorch memory list review --json
    """
    from aorch.cli.render.console import note, print_json, tell
    from aorch.cli.render.memory_views import show_list
    from aorch.ledger.memory_blocks import Memory
    from aorch.memory.memory_queries import decode_block

    with Memory(ledger_to_read(ledger)) as memory:
        found = memory.newest(session, before=before, limit=limit + 1)
    page, following = found[:limit], found[limit - 1].block_id if len(found) > limit else None
    if json:
        return print_json({"blocks": [row.as_dict() for row in page], "next": following})
    show_list([decode_block(row) for row in page])
    if following:
        tell(f"There is more: --before {following}, or a greater --limit than {limit}")
    elif not page:
        note("There is no memory block. See `aorch compress --help`.")


@app.command()
def show(
    reference: Annotated[
        str, typer.Argument(metavar="SESSION|ID", help="A session, or a block.", autocompletion=complete_sessions)
    ],
    form: Annotated[
        As, typer.Option("--as", case_sensitive=False, help="For a person, for a model, or as JSON.")
    ] = As.text,
    max_tokens: MaxTokensOption = 512,
    ledger: LedgerOption = None,
) -> None:
    """Show the memory of a session: its blocks, the oldest first; or one block.

    --as prompt is text to be put before a model, within --max-tokens: the newest and weightiest of all blocks.

    \b
    Examples:
      aorch memory show review
      aorch memory show review --as prompt --max-tokens 256
      aorch memory show mem_01K8VF9XK83SYH1HAX57ZGJDYS --as json
    """
    from aorch.cli.render.console import note, print_json, print_text
    from aorch.cli.render.memory_views import block_text
    from aorch.memory.memory_queries import as_prompt, blocks_of, decode_block

    path = ledger_to_read(ledger)
    rows = blocks_of(path, reference)
    if form == As.json:
        return print_json({"session_id": rows[0].session_id if rows else reference, "blocks": _forms(rows)})
    if not rows:
        return note("This session was not compressed yet. See `aorch compress --help`.")
    if form == As.prompt:
        return print_text(str(as_prompt(path, rows[0].session_id, rows, max_tokens)["text"]))
    print_text("\n\n".join(block_text(decode_block(row), row.as_dict()["beside"]) for row in rows))


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(metavar="WORDS...", help="All of them, in capitals or not.")],
    session: SessionOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most so many.")] = 50,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Find claims in which all these words stand, in the newest blocks first.

    In a pipe: tab-separated block, session, section, text, contract ids.

    \b
    Examples:
      aorch memory search rollback payments
      aorch memory search ORA-01555 --session review --json
    """
    from itertools import islice

    from aorch.cli.render.console import note, print_json
    from aorch.cli.render.memory_views import show_found
    from aorch.memory.memory_queries import search_claims

    path = ledger_to_read(ledger)
    found: list[ClaimMatch] = list(islice(search_claims(path, " ".join(words), session), limit))
    if json:
        return print_json({"found": [one.as_dict() for one in found]})
    show_found(found)
    if not found:
        note("No claim is like that.")


@app.command()
def verify(
    references: Annotated[
        list[str] | None,
        typer.Argument(metavar="SESSION|ID...", help="Sessions or blocks.", autocompletion=complete_sessions),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every block.")] = False,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Follow every citation to its contract, and see that what is quoted stands there.

    Prints what does not hold; exit code 13 where anything does not.

    \b
    Examples:
      aorch memory verify review
      aorch memory verify --all --json
    """
    from aorch.cli.render.console import print_json
    from aorch.cli.render.memory_views import show_faults
    from aorch.errors import Conflict, UsageError
    from aorch.memory.memory_queries import verify_blocks

    if bool(references) == all_:
        raise UsageError("name sessions or blocks, or give --all" if not all_ else "give either names or --all")
    blocks, faults = 0, []
    for row, found in verify_blocks(ledger_to_read(ledger), references or None):
        blocks += 1
        faults += [{"block_id": row.block_id, "session_id": row.session_id, "fault": fault} for fault in found]
    if json:
        print_json({"blocks": blocks, "faults": faults})
    else:
        show_faults(blocks, faults)
    if faults:
        wrong = len({fault["block_id"] for fault in faults})
        raise Conflict(f"{wrong} of {blocks} memory blocks say what their contracts do not")


@app.command()
def export(
    form: Annotated[
        ExportAs, typer.Option("--as", case_sensitive=False, help="The blocks, or text for a model.")
    ] = ExportAs.json,
    max_tokens: MaxTokensOption = 512,
    session: SessionOption = None,
    ledger: LedgerOption = None,
) -> None:
    """Write memory to standard output: a line of JSON for each block, or with --as prompt for each session.

    A line of --as prompt has `session_id`, `text` (within --max-tokens) and `cites`, the contracts that the text cites.

    \b
    Examples:
      aorch memory export > blocks.jsonl
      aorch memory export --as prompt --max-tokens 256 | jq -r .text
    """
    from aorch.cli.render.console import print_json_line
    from aorch.memory.memory_queries import as_prompt, blocks_by_session

    path = ledger_to_read(ledger)
    for session_id, rows in blocks_by_session(path, session):
        if form == ExportAs.prompt and rows:
            print_json_line(as_prompt(path, session_id, rows, max_tokens))
        elif form == ExportAs.json:
            for row in rows:
                print_json_line(row.as_dict())


def _forms(rows: "list[BlockRow]") -> list[dict[str, Any]]:
    return [row.as_dict() for row in rows]

"""`aorch memory`: list, show, search, verify and export memory blocks."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aorch.cli.commands.compress import MaxTokensOption
from aorch.cli.options import JsonOption, LedgerOption, LimitOption, SessionOption, ledger_to_read
from aorch.cli.shell_completion import complete_sessions

if TYPE_CHECKING:
    from aorch.ledger.memory_blocks import BlockRow
    from aorch.memory.memory_queries import ClaimMatch

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show, search and verify the memory of sessions.")

ShowAs = StrEnum("ShowAs", ["text", "prompt"])
ExportAs = StrEnum("ExportAs", ["json", "prompt"])


@app.command("list")
def list_(
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="[SESSION]",
            help="Only blocks of this session (default: all sessions).",
            autocompletion=complete_sessions,
        ),
    ] = None,
    limit: LimitOption = 50,
    before: Annotated[
        str | None,
        typer.Option("--before", metavar="ID", help="Show the next page: blocks older than this one."),
    ] = None,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """List memory blocks, newest first.

    In a pipe: tab-separated ID, time, session, contracts, tokens before, tokens after, quality, compressor.

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
    page, next_id = found[:limit], found[limit - 1].block_id if len(found) > limit else None
    if json:
        return print_json({"blocks": [row.as_dict() for row in page], "next": next_id})
    show_list([decode_block(row) for row in page])
    if next_id:
        tell(f"next page: --before {next_id}")
    elif not page:
        note("no memory blocks; create one with `aorch compress SESSION`")


@app.command()
def show(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="SESSION|ID", help="Session, or ID of a memory block.", autocompletion=complete_sessions
        ),
    ],
    form: Annotated[
        ShowAs,
        typer.Option(
            "--as",
            metavar="FORM",
            case_sensitive=False,
            help="Form: text for people, or prompt for a model (default: text).",
        ),
    ] = ShowAs.text,
    max_tokens: MaxTokensOption = 512,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Show the memory blocks of a session, oldest first, or one block.

    With --as prompt, aorch prints text for a model, at most --max-tokens long: the newest and most important claims.

    \b
    Examples:
      aorch memory show review
      aorch memory show review --as prompt --max-tokens 256
      aorch memory show mem_01K8VF9XK83SYH1HAX57ZGJDYS --json
    """
    from aorch.cli.render.console import note, print_json, print_text
    from aorch.cli.render.memory_views import block_text
    from aorch.memory.memory_queries import as_prompt, blocks_of, decode_block

    path = ledger_to_read(ledger)
    rows = blocks_of(path, reference)
    if json:
        return print_json({"session_id": rows[0].session_id if rows else reference, "blocks": _forms(rows)})
    if not rows:
        return note(f"no memory blocks of this session; create one with `aorch compress {reference}`")
    if form == ShowAs.prompt:
        return print_text(str(as_prompt(path, rows[0].session_id, rows, max_tokens)["text"]))
    print_text("\n\n".join(block_text(decode_block(row), row.as_dict()["beside"]) for row in rows))


@app.command()
def search(
    words: Annotated[
        list[str], typer.Argument(metavar="WORDS...", help="Words that a claim must contain (case is ignored).")
    ],
    session: SessionOption = None,
    limit: LimitOption = 50,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Search for claims that contain all the words; newest blocks first.

    In a pipe: tab-separated block, session, section, text, contract IDs.

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
        note("no claims found")


@app.command()
def verify(
    references: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SESSION|ID...", help="Sessions, or IDs of memory blocks.", autocompletion=complete_sessions
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Check every block.")] = False,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Check that every cited contract exists and contains the quotations from it.

    Prints every mismatch. Exit code: 0 no mismatches, 13 mismatches.

    \b
    Examples:
      aorch memory verify review
      aorch memory verify --all --json
    """
    from aorch.cli.render.console import print_json
    from aorch.cli.render.memory_views import show_mismatches
    from aorch.errors import Conflict, UsageError
    from aorch.memory.memory_queries import verify_blocks

    if bool(references) == all_:
        raise UsageError(
            "sessions cannot be combined with --all" if all_ else "missing session",
            "Name sessions or memory blocks, or pass --all.",
        )
    blocks, faults = 0, []
    for row, found in verify_blocks(ledger_to_read(ledger), references or None):
        blocks += 1
        faults += [{"block_id": row.block_id, "session_id": row.session_id, "fault": fault} for fault in found]
    if json:
        print_json({"blocks": blocks, "faults": faults})
    else:
        show_mismatches(blocks, faults)
    if faults:
        wrong = len({fault["block_id"] for fault in faults})
        raise Conflict(
            f"{wrong} of {blocks} memory blocks do not match their contracts",
            "The mismatches are listed above; `aorch contracts show ID` shows a contract.",
        )


@app.command()
def export(
    form: Annotated[
        ExportAs,
        typer.Option(
            "--as",
            metavar="FORM",
            case_sensitive=False,
            help="Output: json, one block per line, or prompt, one session per line for a model (default: json).",
        ),
    ] = ExportAs.json,
    max_tokens: MaxTokensOption = 512,
    session: SessionOption = None,
    ledger: LedgerOption = None,
) -> None:
    """Export memory blocks as JSON Lines.

    With --as prompt, each line has `session_id`, `text` (at most --max-tokens long) and `cites`, the IDs of the cited contracts.

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

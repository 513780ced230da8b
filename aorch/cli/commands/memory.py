"""`aorch memory`: list, show, search, correct, verify and export memory blocks."""

from collections.abc import Iterator
from enum import StrEnum
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.commands import memory_corrections
from aorch.cli.listing import ListingOptions, print_listing
from aorch.cli.memory_options import MOST_TOKENS, PromptTokensOption, check_export, check_show
from aorch.cli.options import JsonOption, LedgerOption, LimitOption, OutputOption, SessionOption
from aorch.cli.shell_completion import complete_sessions

if TYPE_CHECKING:
    from aorch.cli.memory_source import MemorySource

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Show, search, correct and verify the memory of sessions."
)
app.registered_commands += memory_corrections.app.registered_commands

ShowAs = StrEnum("ShowAs", ["text", "prompt"])
ExportAs = StrEnum("ExportAs", ["json", "prompt", "markdown"])


SharingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--session",
        "-s",
        metavar="ID",
        help="Print a prompt of this session; several share --max-tokens.",
        autocompletion=complete_sessions,
    ),
]
AboutOption = Annotated[
    str | None,
    typer.Option(
        "--about", metavar="TEXT", help="Print a prompt of the claims that are most relevant to TEXT, of all sessions."
    ),
]
DiffOption = Annotated[
    bool, typer.Option("--diff", help="Show what the newest block adds to a prompt, drops and rewords.")
]


class BlockListing(ListingOptions):
    """A listing of memory blocks."""

    items = "blocks"
    known = (
        *("block_id", "session_id", "created_at", "intent", "summary", "aims", "decisions", "failures", "results"),
        *(
            "preferences",
            "open_points",
            "literals",
            "pinned",
            "notes",
            "agents",
            "capabilities",
            "covered",
            "size",
            "compressor",
        ),
        *("quality", "left_out", "answered_before", "ends", "erased", "beside"),
    )


class ClaimListing(ListingOptions):
    """A listing of claims."""

    items = "found"
    known = ("block_id", "session_id", "section", "claim_id", "text", "contract_ids", "quotes")


@app.command("list")
def list_(
    listing: BlockListing,
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
    ledger: LedgerOption = None,
) -> None:
    """List memory blocks, newest first.

    In a pipe: tab-separated ID, time, session, contracts, tokens before, tokens after, quality, compressor.

    \b
    Examples:
      aorch memory list
      aorch memory list review --json
    """
    from aorch.cli.memory_source import open_memory
    from aorch.cli.render.console import note, tell
    from aorch.cli.render.memory_views import show_list
    from aorch.memory.memory_queries import block_in

    with open_memory(ledger) as memory:
        found = memory.newest(session, before, limit + 1)
    page, next_id = found[:limit], found[limit - 1]["block_id"] if len(found) > limit else None
    print_listing(listing, page, lambda rows: show_list(map(block_in, rows)), next=next_id)
    if next_id and not listing.json:
        tell(f"next page: --before {next_id}")
    elif not page and listing.shows_table():
        note("no memory blocks; create one with `aorch compress SESSION`")


@app.command()
def show(
    reference: Annotated[
        str | None,
        typer.Argument(
            metavar="[SESSION|ID]", help="Session, or ID of a memory block.", autocompletion=complete_sessions
        ),
    ] = None,
    form: Annotated[
        ShowAs | None,
        typer.Option(
            "--as",
            metavar="FORM",
            case_sensitive=False,
            help="Form: text for people, or prompt for a model (default: text).",
        ),
    ] = None,
    sessions: SharingOption = None,
    about: AboutOption = None,
    diff: DiffOption = False,
    max_tokens: PromptTokensOption = None,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Show the memory blocks of a session, oldest first, or one block.

    With --as prompt, aorch prints text for a model, at most --max-tokens long: the newest and most important claims. --session
    and --about print such a text about several sessions. With --diff, an ID compares that block with the blocks before it.

    \b
    Examples:
      aorch memory show review
      aorch memory show review --as prompt --max-tokens 256
      aorch memory show --session review --session deploy
      aorch memory show --about 'postgres timeout'
      aorch memory show review --diff
    """
    from aorch.cli.memory_source import open_memory

    check_show(reference, form, sessions=sessions, about=about, diff=diff, max_tokens=max_tokens, as_json=json)
    limit = max_tokens or MOST_TOKENS
    with open_memory(ledger) as memory:
        if reference is None:
            return _show_shared(memory, sessions, about, limit, as_json=json)
        if diff:
            return _show_diff(memory, reference, limit, as_json=json)
        return _show_blocks(memory, reference, form, limit, as_json=json)


def _show_shared(
    memory: "MemorySource", sessions: list[str] | None, about: str | None, max_tokens: int, *, as_json: bool
) -> None:
    from aorch.cli.render.console import note, print_json, print_text

    found = memory.shared_prompt(sessions, about, max_tokens)
    if not found["text"]:
        note("no claims found")
    if found.get("left_out"):
        note(f"no room for {', '.join(found['left_out'])}: pass a higher --max-tokens")
    return print_json(found) if as_json else print_text(found["text"])


def _show_blocks(
    memory: "MemorySource", reference: str, form: ShowAs | None, max_tokens: int, *, as_json: bool
) -> None:
    from aorch.cli.render.console import note, print_json, print_text
    from aorch.cli.render.memory_views import block_text
    from aorch.memory.memory_queries import block_in

    found = memory.blocks(reference)
    if as_json:
        return print_json({"session_id": found[0]["session_id"] if found else reference, "blocks": found})
    if not found:
        return note(f"no memory blocks of this session; create one with `aorch compress {reference}`")
    if form == ShowAs.prompt:
        return print_text(str(memory.prompt(reference, max_tokens)["text"]))
    print_text("\n\n".join(block_text(block_in(each), each["beside"]) for each in found))


def _show_diff(memory: "MemorySource", reference: str, max_tokens: int, *, as_json: bool) -> None:
    from aorch.cli.render.console import note, print_json
    from aorch.cli.render.memory_views import show_changes

    found = memory.changes(reference, max_tokens)
    if found["block_id"] is None:
        return note(f"no memory blocks of this session; create one with `aorch compress {reference}`")
    if as_json:
        return print_json(found)
    show_changes(found["block_id"], found["changes"], max_tokens)


@app.command()
def search(
    words: Annotated[
        list[str], typer.Argument(metavar="WORDS...", help="Words that a claim must contain (case is ignored).")
    ],
    listing: ClaimListing,
    session: SessionOption = None,
    limit: LimitOption = 50,
    ledger: LedgerOption = None,
) -> None:
    """Search for claims that contain all the words; newest blocks first.

    In a pipe: tab-separated block, session, section, text, contract IDs, claim ID.

    \b
    Examples:
      aorch memory search rollback payments
      aorch memory search ORA-01555 --session review --json
    """
    from aorch.cli.memory_source import open_memory
    from aorch.cli.render.console import note
    from aorch.cli.render.memory_views import show_found
    from aorch.memory.memory_queries import ClaimMatch

    with open_memory(ledger) as memory:
        found = memory.search(" ".join(words), session, limit)
    print_listing(listing, found, show_found, ClaimMatch.as_dict)
    if not found and listing.shows_table():
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

    Prints every mismatch, such as a citation of a contract that was erased. Citations of contracts that were pruned are
    listed, but are no mismatch. Exit code: 0 no mismatches, 13 mismatches.

    \b
    Examples:
      aorch memory verify review
      aorch memory verify --all --json
    """
    from aorch.cli.memory_source import open_memory
    from aorch.cli.render.console import print_json, tell
    from aorch.cli.render.memory_views import show_mismatches
    from aorch.errors import Conflict, UsageError

    if bool(references) == all_:
        raise UsageError(
            "sessions cannot be combined with --all" if all_ else "missing session",
            "Name sessions or memory blocks, or pass --all.",
        )
    with open_memory(ledger) as memory:
        found = memory.verify(references or None)
        blocks, faults = found["blocks"], found["faults"]
        unchecked = [] if json else _without_blocks(memory, list(dict.fromkeys(references or [])), blocks)
    if json:
        print_json(found)
    elif blocks:
        show_mismatches(blocks, faults, found["erased_claims"], found["pruned"])
    for name in unchecked:
        tell(f"session {name!r} has no memory blocks; create one with `aorch compress {quote(name)}`")
    if all_ and not blocks and not json:
        tell("no memory blocks; create one with `aorch compress SESSION`")
    if faults:
        wrong = len({fault["block_id"] for fault in faults})
        raise Conflict(
            f"{wrong} of {blocks} memory blocks do not match their contracts",
            "The mismatches are listed above; `aorch contracts show ID` shows a contract.",
        )


def _without_blocks(memory: "MemorySource", references: list[str], blocks: int) -> list[str]:
    """Those that are sessions without blocks. All of them together have `blocks`."""
    if not blocks:
        return references
    return [each for each in references if not memory.blocks(each)] if len(references) > 1 else []


@app.command()
def export(
    form: Annotated[
        ExportAs,
        typer.Option(
            "--as",
            metavar="FORM",
            case_sensitive=False,
            help="Output: json, one block per line; prompt, one session per line for a model; or markdown, one document "
            "for people (default: json).",
        ),
    ] = ExportAs.json,
    max_tokens: PromptTokensOption = None,
    session: SessionOption = None,
    output: OutputOption = None,
    ledger: LedgerOption = None,
) -> None:
    """Export memory blocks as JSON Lines or Markdown.

    With --as prompt, each line has `session_id`, `text` (at most --max-tokens long) and `cites`, the IDs of the cited contracts.
    In Markdown, the text of contracts is escaped: nothing in it is a link, an image or HTML.

    \b
    Examples:
      aorch memory export > blocks.jsonl
      aorch memory export --as prompt --max-tokens 256 | jq -r .text
      aorch memory export --as markdown --output memory.md
    """
    from aorch.cli.memory_source import open_memory
    from aorch.cli.render.console import note, print_text
    from aorch.ledger.transfer import open_output

    check_export(form, max_tokens)
    with open_memory(ledger) as memory:
        lines = _exported(memory, session, form, max_tokens or MOST_TOKENS)
        if output is None:
            for line in lines:
                print_text(line)
            return
        with open_output(output, memory.path) as out:
            out.writelines(f"{line}\n".encode("utf-8", "replace") for line in lines)
    note(f"exported to {output}")


def _exported(memory: "MemorySource", session: str | None, form: ExportAs, max_tokens: int) -> Iterator[str]:
    from aorch import jsonio
    from aorch.memory.memory_markdown import markdown
    from aorch.memory.memory_queries import block_in

    found = memory.by_session(session)
    if session is not None:
        found = iter(list(found))  # an unknown session is an error before the first line
    if form == ExportAs.markdown:
        yield from markdown((session_id, list(map(block_in, blocks))) for session_id, blocks in found)
        return
    for session_id, blocks in found:
        if form == ExportAs.prompt and blocks:
            yield jsonio.encode(memory.prompt(session_id, max_tokens))
        elif form == ExportAs.json:
            yield from map(jsonio.encode, blocks)

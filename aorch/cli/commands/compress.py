"""`aorch compress`: what is new of a session becomes a memory block."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.options import JsonOption, LedgerOption, complete_sessions
from aorch.cli.time_options import TIME_HELP, ago

if TYPE_CHECKING:
    from collections import Counter

    from aorch.config.settings import Config
    from aorch.memory.compressor import CompressionOptions, CompressionResult

app = typer.Typer(add_completion=False)

Via = StrEnum("Via", ["auto", "local", "llm", "memagent"])
MaxTokensOption = Annotated[
    int, typer.Option("--max-tokens", min=64, max=65_536, metavar="N", help="How long it may be, 4 characters a token.")
]


@app.command()
def compress(
    sessions: Annotated[
        list[str] | None, typer.Argument(metavar="SESSION...", help="Sessions.", autocompletion=complete_sessions)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every session that has something new.")] = False,
    intent: Annotated[
        str | None, typer.Option("--intent", metavar="TEXT", help="What the memory is wanted for: kept first.")
    ] = None,
    via: Annotated[
        Via,
        typer.Option("--via", case_sensitive=False, help="What compresses; auto takes what is configured, else local."),
    ] = Via.auto,
    max_tokens: MaxTokensOption = 512,
    idle: Annotated[
        str | None,
        typer.Option("--idle", metavar="TIME", help=f"Leave for later what was written to since {TIME_HELP}."),
    ] = None,
    min_contracts: Annotated[
        int,
        typer.Option("--min-contracts", min=1, metavar="N", help="Leave for later what has fewer new contracts."),
    ] = 1,
    json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what goes wrong.")] = False,
    ledger: LedgerOption = None,
) -> None:
    """Make a memory block of what is new in sessions; every claim in it cites the contracts that it comes from.

    Where nothing is new, nothing is made, and that is no error. A REQUEST at the end that is not answered yet waits for
    the next block. May be killed at any time: a block is in the ledger whole or not at all. While another compression
    runs on the same ledger this one leaves at once (exit code 13).

    In a pipe: tab-separated session, block, contracts, tokens before, tokens after, compressor. --json prints one object
    for one session, else a line for each: with --all for each that had something new.

    \b
    Examples:
      aorch compress review
      aorch compress review --intent 'what is left to do before the release' --max-tokens 1024
      aorch compress --all --idle 1h --min-contracts 10 --quiet
    """
    import asyncio

    from aorch.config import settings
    from aorch.errors import UsageError
    from aorch.memory.compressor import CompressionOptions

    if bool(sessions) == all_:
        raise UsageError("name sessions, or give --all" if not all_ else "give either sessions or --all, not both")
    how = CompressionOptions(str(via), intent, max_tokens, ago("--idle", idle) if idle else None, min_contracts)
    code = asyncio.run(_each(settings.load(ledger), sessions, how, as_json=json, quiet=quiet))
    raise typer.Exit(code)


async def _each(
    config: "Config", sessions: list[str] | None, how: "CompressionOptions", *, as_json: bool, quiet: bool
) -> int:
    """The exit code: that of the first session that could not be compressed."""
    from collections import Counter

    from aorch.memory.compressor import compress_sessions

    tally: Counter[str] = Counter()
    codes = []
    try:
        async for done in compress_sessions(config, sessions, how):
            tally[_kind(done)] += 1
            _show(done, as_json=as_json, quiet=quiet, alone=sessions is not None and len(sessions) == 1)
            codes += [done.error.exit_code] if done.error else []
    finally:
        if tally and not quiet:
            _sum_up(tally)
    if not tally and not quiet:
        _sum_up(tally)
    return next(iter(codes), 0)


def _kind(done: "CompressionResult") -> str:
    if done.error is not None:
        return "failed"
    return "left for later" if done.skipped else "compressed" if done.block else "had nothing new"


def _show(done: "CompressionResult", *, as_json: bool, quiet: bool, alone: bool) -> None:
    from aorch.cli.render.console import complain, print_json, print_json_line, warn

    for warning in done.warnings():
        warn(f"session {done.session_id}: {warning}")
    if done.error is not None:
        complain(done.error)
    if as_json and alone:
        print_json(done.as_dict())
    elif as_json and (done.block or done.error):
        print_json_line(done.as_dict())
    elif done.block is not None and not (as_json or quiet):
        _show_line(done)


def _show_line(done: "CompressionResult") -> None:
    import sys

    from aorch.cli.render.console import is_terminal, print_text, printable

    assert done.block is not None
    size, compressor = done.block.size, done.block.compressor.name
    name = printable(done.session_id)
    if is_terminal(sys.stdout):
        tokens = f"{size.tokens_before} tokens → {size.tokens_after}"
        return print_text(f"{name}: {done.block.block_id}, {done.compressed} contracts, {tokens}, {compressor}")
    cells = (name, done.block.block_id, done.compressed, size.tokens_before, size.tokens_after, compressor)
    return print_text("\t".join(map(str, cells)))


def _sum_up(tally: "Counter[str]") -> None:
    import sys

    done = tally["compressed"]
    parts = [f"{done} session{'' if done == 1 else 's'} compressed"]
    parts += [f"{tally[kind]} {kind}" for kind in ("had nothing new", "left for later", "failed") if tally[kind]]
    print(", ".join(parts), file=sys.stderr)

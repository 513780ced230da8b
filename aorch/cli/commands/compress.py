"""`aorch compress`: summarise the new contracts of sessions in memory blocks."""

from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.memory_options import MAX_TOKENS, MOST_TOKENS
from aorch.cli.options import JsonOption, LedgerOption, OptionGroup
from aorch.cli.shell_completion import complete_sessions
from aorch.cli.time_options import past_time

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator

    from aorch.memory.block import MemoryBlock
    from aorch.memory.compressor import CompressionOptions, CompressionResult

app = typer.Typer(add_completion=False)

_SHORTEST_NAME = 8
"""Minimum length to which the name of a session is cut."""

Via = StrEnum("Via", ["auto", "local", "llm", "memagent"])


class HowOptions(OptionGroup):
    """How sessions are compressed, and which of them are skipped."""

    intent: Annotated[
        str | None,
        typer.Option("--intent", metavar="TEXT", help="What the memory is for; related content is kept first."),
    ] = None
    via: Annotated[
        Via,
        typer.Option(
            "--via",
            metavar="COMPRESSOR",
            case_sensitive=False,
            help="Compressor: local, llm or memagent; auto uses the configured one, or local (default: auto).",
        ),
    ] = Via.auto
    max_tokens: Annotated[int, MAX_TOKENS] = MOST_TOKENS
    idle: Annotated[
        str | None,
        typer.Option(
            "--idle",
            metavar="TIME",
            help="Skip sessions with contracts newer than TIME: 1h, 1d12h, '2 days', today, 2026-01-31T09:00:00Z.",
        ),
    ] = None
    min_contracts: Annotated[
        int | None,
        typer.Option(
            "--min-contracts",
            min=1,
            metavar="N",
            help="Skip sessions with fewer than N new contracts (default: 1; with --all, 4 for the first block of a session).",
        ),
    ] = None

    preview: Annotated[
        bool,
        typer.Option(
            "--preview", help="Show the blocks that would be stored, without writing or sending anything to MemAgent."
        ),
    ] = False

    def check(self, *, every_session: bool) -> "CompressionOptions":
        """Raises UsageError for an invalid time."""
        from aorch.memory.compressor import FEWEST_CONTRACTS, CompressionOptions

        since = past_time("--idle", self.idle) if self.idle else None
        fewest = FEWEST_CONTRACTS if every_session and self.min_contracts is None else 1
        return CompressionOptions(
            str(self.via),
            self.intent,
            self.max_tokens,
            since,
            self.min_contracts or 1,
            min_first=fewest,
            preview=self.preview,
        )


@app.command()
def compress(
    how: HowOptions,
    sessions: Annotated[
        list[str] | None,
        typer.Argument(metavar="SESSION...", help="Sessions to compress.", autocompletion=complete_sessions),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Compress every session with new contracts.")] = False,
    json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only problems.")] = False,
    ledger: LedgerOption = None,
) -> None:
    """Summarise the new contracts of sessions in memory blocks; every claim cites its source contracts.

    A session without new contracts gets no block; this is not an error. Unanswered REQUESTs at the end of a session are left for
    the next block. You can kill the command at any time: a block is written completely or not at all. If another compression is
    running on the same ledger, the command exits at once (exit code 13).

    --preview prints the new blocks in full and stores nothing. `--via llm` calls the model all the same.

    In a pipe: tab-separated session, block, contracts, tokens before, tokens after, compressor. --json prints one line per
    session, or one object if you name a single session. With --all, sessions without new contracts have no line, and sessions of
    fewer than 4 contracts, such as single tasks without --session, are skipped (--min-contracts 1 includes them).

    \b
    Examples:
      aorch compress review
      aorch compress review --intent 'open points' --max-tokens 1024
      aorch compress review --preview
      aorch compress --all --idle 1h --min-contracts 10 --quiet
    """
    import asyncio

    from aorch.errors import UsageError

    if bool(sessions) == all_:
        raise UsageError(
            "sessions cannot be combined with --all" if all_ else "missing session", "Name sessions, or pass --all."
        )
    options = how.check(every_session=all_)
    results = _results(ledger, sessions, options)
    alone = sessions is not None and len(sessions) == 1
    raise typer.Exit(asyncio.run(_each(results, options, as_json=json, quiet=quiet, alone=alone)))


def _results(
    ledger: str | None, sessions: list[str] | None, how: "CompressionOptions"
) -> "AsyncIterator[CompressionResult]":
    """The results of compressing these sessions (None: all), on the ledger or the server that the options choose."""
    from aorch.cli.ledger_source import chosen_server
    from aorch.config import config_file

    text_in_use = cache(config_file.text_in_use)
    server = chosen_server(ledger, text_in_use)
    if server is not None:
        from aorch.cli.remote_memory import compress

        return compress(server, sessions, how)
    from aorch.config import settings
    from aorch.memory.compressor import compress_sessions

    return compress_sessions(settings.load(ledger, text_in_use), sessions, how)


async def _each(
    results: "AsyncIterator[CompressionResult]", how: "CompressionOptions", *, as_json: bool, quiet: bool, alone: bool
) -> int:
    """Return the exit code: that of the first session that could not be compressed."""
    from collections import Counter

    tally: Counter[str] = Counter()
    counts = not (quiet or as_json)
    codes = []
    try:
        async for done in results:
            tally[_kind(done)] += 1
            _show(done, how, as_json=as_json, quiet=quiet, alone=alone)
            codes += [done.error.exit_code] if done.error else []
    finally:
        if tally and counts:
            _print_summary(tally, how)
    if not tally and counts:
        _print_summary(tally, how)
    return next(iter(codes), 0)


def _kind(done: "CompressionResult") -> str:
    if done.error is not None:
        return "failed"
    return "skipped" if done.skipped else "compressed" if done.block else "without new contracts"


def _show(done: "CompressionResult", how: "CompressionOptions", *, as_json: bool, quiet: bool, alone: bool) -> None:
    from aorch.cli.render.console import complain, print_json, print_json_line, warn

    for warning in done.warnings():
        warn(f"session {done.session_id}: {warning}")
    if done.error is not None:
        complain(done.error)
    if as_json and alone:
        print_json(done.as_dict())
    elif as_json and (done.block or done.error):
        print_json_line(done.as_dict())
    elif done.block is not None and how.preview and not as_json:
        _show_preview(done.block)
    elif done.block is not None and not (as_json or quiet):
        _show_line(done)


def _show_preview(block: "MemoryBlock") -> None:
    from aorch.cli.render.console import print_text
    from aorch.cli.render.memory_views import block_text

    print_text(f"{block_text(block, None)}\n")


def _show_line(done: "CompressionResult") -> None:
    import sys

    from aorch.cli.render.console import print_text, printable
    from aorch.cli.streams import is_terminal

    assert done.block is not None
    size, compressor = done.block.size, done.block.compressor.name
    name = printable(done.session_id)
    if is_terminal(sys.stdout):
        tokens = f"{size.tokens_before} → {size.tokens_after} tokens"
        return print_text(_fitted(name, f"{done.compressed} contracts", tokens, compressor, done.block.block_id))
    cells = (name, done.block.block_id, done.compressed, size.tokens_before, size.tokens_after, compressor)
    return print_text("\t".join(map(str, cells)))


def _fitted(name: str, *facts: str) -> str:
    """The line of a session, without its last facts and the end of its name as far as they do not fit the terminal."""
    from aorch.cli.render.cells import cut
    from aorch.cli.render.console import width

    shown = list(facts)
    while len(shown) > 2 and len(f"{name}: {', '.join(shown)}") > width():
        shown.pop()
    rest = f": {', '.join(shown)}"
    return cut(name, max(width() - len(rest), _SHORTEST_NAME)) + rest


def _print_summary(tally: "Counter[str]", how: "CompressionOptions") -> None:
    import sys

    done = tally["compressed"]
    made = "would be compressed (nothing was stored)" if how.preview else "compressed"
    parts = [f"{done} session{'' if done == 1 else 's'} {made}"]
    parts += [f"{tally[kind]} {kind}" for kind in ("without new contracts", "skipped", "failed") if tally[kind]]
    print(", ".join(parts), file=sys.stderr)

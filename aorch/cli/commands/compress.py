"""`aorch compress`: summarise the new contracts of sessions in memory blocks."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.options import JsonOption, LedgerOption, OptionGroup
from aorch.cli.shell_completion import complete_sessions
from aorch.cli.time_options import past_time

if TYPE_CHECKING:
    from collections import Counter

    from aorch.config.settings import Config
    from aorch.memory.compressor import CompressionOptions, CompressionResult

app = typer.Typer(add_completion=False)

Via = StrEnum("Via", ["auto", "local", "llm", "memagent"])
MaxTokensOption = Annotated[
    int,
    typer.Option(
        "--max-tokens",
        min=64,
        max=65_536,
        metavar="N",
        help="Maximum size in tokens of 4 characters (default: 512).",
    ),
]


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
    max_tokens: MaxTokensOption = 512
    idle: Annotated[
        str | None,
        typer.Option(
            "--idle",
            metavar="TIME",
            help="Skip sessions with contracts newer than TIME: 1h, 1d12h, '2 days', today, 2026-01-31T09:00:00Z.",
        ),
    ] = None
    min_contracts: Annotated[
        int,
        typer.Option(
            "--min-contracts", min=1, metavar="N", help="Skip sessions with fewer than N new contracts (default: 1)."
        ),
    ] = 1

    def check(self) -> "CompressionOptions":
        """Raises UsageError for an invalid time."""
        from aorch.memory.compressor import CompressionOptions

        since = past_time("--idle", self.idle) if self.idle else None
        return CompressionOptions(str(self.via), self.intent, self.max_tokens, since, self.min_contracts)


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

    In a pipe: tab-separated session, block, contracts, tokens before, tokens after, compressor. --json prints one line per
    session, or one object if you name a single session. With --all, sessions without new contracts have no line.

    \b
    Examples:
      aorch compress review
      aorch compress review --intent 'open points' --max-tokens 1024
      aorch compress --all --idle 1h --min-contracts 10 --quiet
    """
    import asyncio

    from aorch.config import settings
    from aorch.errors import UsageError

    if bool(sessions) == all_:
        raise UsageError(
            "sessions cannot be combined with --all" if all_ else "missing session", "Name sessions, or pass --all."
        )
    code = asyncio.run(_each(settings.load(ledger), sessions, how.check(), as_json=json, quiet=quiet))
    raise typer.Exit(code)


async def _each(
    config: "Config", sessions: list[str] | None, how: "CompressionOptions", *, as_json: bool, quiet: bool
) -> int:
    """Return the exit code: that of the first session that could not be compressed."""
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
            _print_summary(tally)
    if not tally and not quiet:
        _print_summary(tally)
    return next(iter(codes), 0)


def _kind(done: "CompressionResult") -> str:
    if done.error is not None:
        return "failed"
    return "skipped" if done.skipped else "compressed" if done.block else "without new contracts"


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

    from aorch.cli.render.console import print_text, printable
    from aorch.cli.streams import is_terminal

    assert done.block is not None
    size, compressor = done.block.size, done.block.compressor.name
    name = printable(done.session_id)
    if is_terminal(sys.stdout):
        tokens = f"{size.tokens_before} tokens → {size.tokens_after}"
        return print_text(f"{name}: {done.block.block_id}, {done.compressed} contracts, {tokens}, {compressor}")
    cells = (name, done.block.block_id, done.compressed, size.tokens_before, size.tokens_after, compressor)
    return print_text("\t".join(map(str, cells)))


def _print_summary(tally: "Counter[str]") -> None:
    import sys

    done = tally["compressed"]
    parts = [f"{done} session{'' if done == 1 else 's'} compressed"]
    parts += [f"{tally[kind]} {kind}" for kind in ("without new contracts", "skipped", "failed") if tally[kind]]
    print(", ".join(parts), file=sys.stderr)

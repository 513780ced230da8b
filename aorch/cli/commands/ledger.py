"""`aorch ledger`: size, backup, checks and retention of the ledger."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from aorch.cli.options import JsonOption, LedgerOption, OptionGroup
from aorch.config.ledger_location import LedgerLocation

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Back up, check, prune and measure the ledger.")

FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="The file of the backup.")]


@app.command()
def info(json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Show the path of the ledger, its size by table, and its age.

    Reads the ledger as it is: it is not upgraded, and nothing is written.

    \b
    Examples:
      aorch ledger info
      aorch ledger info --json | jq .file_bytes
    """
    from aorch.cli.render.console import print_json, print_lines
    from aorch.cli.render.ledger_views import info_lines
    from aorch.config import settings
    from aorch.govern.retention import last_prune
    from aorch.ledger import upkeep

    path = settings.ledger_path(ledger)
    found, last = upkeep.info(path), last_prune(path)
    found["last_prune"] = {"ended_at": last.ended_at, "exchanges": last.exchanges} if last else None
    if json:
        return print_json(found)
    print_lines(info_lines(found))


@app.command()
def vacuum(json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Rewrite the file without free pages, so that it shrinks.

    No process can write meanwhile: about 1 s for each 60 MB. It needs free disk space of twice the size of the contracts.

    \b
    Example:
      aorch ledger vacuum
    """
    from aorch.cli.render.console import print_json, print_text, warn
    from aorch.cli.render.ledger_views import shown_size
    from aorch.config import settings
    from aorch.ledger import upkeep

    path = settings.ledger_path(ledger)
    done = upkeep.vacuum(path)
    if json:
        print_json({"path": str(path), **done._asdict()})
    else:
        print_text(f"{path}: {shown_size(done.bytes_before)} before, {shown_size(done.bytes)} now")
    if not done.is_final:
        warn("a process still reads the old pages; the file shrinks when it has finished")


@app.command()
def backup(
    file: FileArgument,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Copy the ledger to FILE while other processes use it, and verify the copy.

    FILE appears once it is complete, verified and on disk; its mode is 0600. An interrupted backup leaves no FILE. The ledger
    may be read-only.

    \b
    Examples:
      aorch ledger backup ledger-2026-01-31.db
      aorch ledger backup --force ledger-backup.db
    """
    from aorch.cli.render.console import print_json, print_text
    from aorch.cli.render.ledger_views import counted, shown_size
    from aorch.cli.render.progress import progress_callback
    from aorch.config import config_file, settings
    from aorch.ledger import upkeep

    path, target = settings.ledger_path(ledger), config_file.file_path(file, "FILE")
    upkeep.require(path)
    with progress_callback("Copying the ledger", wanted=not json) as progress:
        copied = upkeep.back_up(path, target, replace=force, progress=progress)
    if json:
        return print_json({"path": str(path), "file": str(target), "verified": True, **copied._asdict()})
    print_text(f"{target}: {counted(copied.contracts, 'contract')}, {shown_size(copied.bytes)}, verified")


@app.command()
def restore(file: FileArgument, json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Put a backup in the place of the ledger, and keep the old ledger next to it.

    The backup is verified and upgraded first. No process may use the ledger: stop `aorch serve` and all workers. FILE stays as
    it is. The backup of a PostgreSQL database is restored into an empty one.

    \b
    Examples:
      aorch ledger restore ledger-2026-01-31.db
      aorch ledger restore ledger-2026-01-31.db --ledger restored.db
      aorch ledger restore ledger.dump --ledger postgresql://host/restored
    """
    from aorch.cli.render.console import print_json, print_lines, warn
    from aorch.cli.render.ledger_views import due_again, restored_lines
    from aorch.cli.render.progress import progress_callback
    from aorch.config import config_file, settings
    from aorch.ledger import upkeep

    path, source = settings.ledger_path(ledger), config_file.file_path(file, "FILE")
    with progress_callback("Copying the backup", wanted=not json) as progress:
        done = upkeep.restore(source, path, progress)
    if not json:
        print_lines(restored_lines(path, done))
    erased_again = 0 if done.kept_as is None else _erased_again(path, done.kept_as)
    if json:
        found = {"path": str(path), "file": str(source), **done.copied._asdict(), **done._asdict()}
        found |= {"kept_as": str(done.kept_as) if done.kept_as else None, "erased_again": erased_again}
        return print_json({name: value for name, value in found.items() if name != "copied"})
    if done.queued or done.webhooks:
        warn(due_again(done.queued, done.webhooks))


def _erased_again(path: LedgerLocation, kept_as: Path) -> int | None:
    """The number of exchanges that were erased in the old ledger and have their content in the restored one, with a warning.

    None if that is not known.
    """
    from aorch.cli.render.console import warn
    from aorch.cli.render.ledger_views import counted
    from aorch.errors import AorchError
    from aorch.govern.erasure import ErasureSelection, plan_erasure

    try:
        exchanges = len(plan_erasure(path, ErasureSelection(erased_in=kept_as)).exchanges)
    except AorchError as error:
        warn(f"whether the backup contains erased contracts is not known: {error}")
        return None
    if exchanges:
        warn(
            f"{counted(exchanges, 'exchange')} that had been erased since the backup have their content again; erase them with"
            f" `aorch contracts erase --erased-in {shlex.quote(str(kept_as))}`"
        )
    return exchanges


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The ledger to copy: a file or a PostgreSQL URL.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A new file, or the URL of an empty database.")],
    json: JsonOption = False,
) -> None:
    """Copy a whole ledger into a new one, from a file to PostgreSQL or back, and verify the copy.

    Copies contracts with their positions, memory, tokens, agents, the queue, batches, deliveries, erasures and totals of metrics,
    all or nothing. No process may use SOURCE: stop `aorch serve` and all workers. SOURCE stays as it is. After an interrupted
    copy, all commands refuse TARGET; run the same command again.

    \b
    Examples:
      aorch ledger copy ledger.db postgresql://host/aorch
      aorch ledger copy postgresql://host/aorch ledger.db
    """
    from aorch.cli.render.console import print_json, print_text
    from aorch.cli.render.ledger_views import counted
    from aorch.cli.render.progress import progress_bar
    from aorch.config import settings
    from aorch.ledger.copying import copy_ledger

    from_, to = settings.named_ledger(source, "SOURCE"), settings.named_ledger(target, "TARGET")
    with progress_bar("Copying the ledger") as bar:
        done = copy_ledger(
            from_,
            to,
            (lambda table, rows: bar.show(0, f"Copying: {rows:,} rows of {table}")) if bar else lambda *_: None,
        )
    if json:
        return print_json({"source": str(from_), "target": str(to), "verified": True, **done._asdict()})
    rows = sum(done.rows.values())
    print_text(f"{to}: {counted(done.rows['contracts'], 'contract')}, {counted(rows, 'row')} in all, verified")
    if done.replaced:
        print_text(
            f"{counted(done.replaced, 'row')} had U+0000, which PostgreSQL cannot store: the copy has U+FFFD instead"
        )


@app.command()
def check(
    fix: Annotated[bool, typer.Option("--fix", help="Rebuild wrong counts and indexes from the contracts.")] = False,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Check that the file is intact and that everything in the ledger agrees.

    Each RESPONSE has its REQUEST, their states agree, and counts, session index, index of turns and full-text index match the
    contracts. Each finding names its contracts or sessions and the next step. Exit code: 0 nothing found, 14 something found.

    \b
    Examples:
      aorch ledger check
      aorch ledger check --json | jq '.findings[].problem'
    """
    from aorch.cli.render.console import print_json, print_lines
    from aorch.cli.render.ledger_views import counted, finding_lines
    from aorch.cli.render.progress import progress_bar
    from aorch.config import settings
    from aorch.errors import LedgerInvalid
    from aorch.ledger import checking

    path = settings.ledger_path(ledger)
    with progress_bar("Checking the ledger") as bar:
        findings = checking.check(
            path, fix=fix, progress=lambda name: bar.show(0, f"Checking: {name}") if bar else None
        )
    if json:
        print_json({"path": str(path), "ok": not findings, "findings": [each._asdict() for each in findings]})
    else:
        print_lines(finding_lines(findings) if findings else [f"{path}: no problems found"])
    if findings:
        raise LedgerInvalid(
            f"the check of {path} found {counted(len(findings), 'problem')}", "The next steps are listed above."
        )


class PruneOptions(OptionGroup):
    """Which exchanges to remove, instead of `[retention]`."""

    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", metavar="AGE", help="Remove exchanges that ended longer ago: 90d, 12h (default: retention.keep)."
        ),
    ] = None
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            help="Remove the oldest exchanges until the ledger takes at most SIZE: 2GB, 500MB (default: retention.max_size).",
        ),
    ] = None
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help="Remove only exchanges in this status: completed, failed, cancelled or interrupted; repeat for several"
            " (default: retention.only).",
        ),
    ] = None
    without_trace: Annotated[
        bool, typer.Option("--without-trace", help="Remove exchanges that Trace has not received, too.")
    ] = False


@app.command()
def prune(
    options: PruneOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed without removing it.")] = False,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Remove old finished exchanges, by [retention] of aorch.toml or by the options.

    Removes whole exchanges with the tasks they started and their retries, the oldest first, while other processes work.
    Exchanges that are open, that ended less than 10 minutes ago, or that Trace has not received are kept, and so are lines of a
    batch that can still be resumed. `aorch serve` prunes by itself.

    \b
    Examples:
      aorch ledger prune --keep 90d --dry-run
      aorch ledger prune --max-size 2GB --status completed
    """
    from aorch.cli.render.console import print_json, print_lines
    from aorch.cli.render.ledger_views import prune_lines
    from aorch.cli.render.progress import progress_bar
    from aorch.config import settings
    from aorch.config.sections import RetentionConfig
    from aorch.govern import retention

    config = settings.load(ledger)
    own = config.retention
    only: dict[Literal["status"], str | list[str]] = {"status": options.status} if options.status else own.only
    if options.keep is not None or options.max_size is not None:
        own = RetentionConfig(options.keep or "", options.max_size or "")
    own = settings.check_retention(RetentionConfig(own.keep, own.max_size, only), ("--keep", "--max-size", "--status"))
    rules = retention.rules_of(config, own, without_trace=options.without_trace)
    if dry_run:
        report = retention.plan(config.ledger, rules)
    else:
        with progress_bar("Removing exchanges") as bar:
            report = retention.prune(
                config.ledger,
                rules,
                progress=(lambda pruned: bar.show(0, f"{pruned.exchanges:,} exchanges removed")) if bar else None,
            )
    if json:
        return print_json(report.as_dict())
    print_lines(prune_lines(report))

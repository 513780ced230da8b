"""`aorch contracts erase` and `erasures`: destroy the content of contracts, and show who erased what."""

from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.options import JsonOption, LedgerOption, LimitOption, OptionGroup, ledger_to_read
from aorch.cli.shell_completion import complete_contracts, complete_sessions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aorch.govern.erasure import ErasurePlan, ErasureResult, ErasureSelection

MOST_LISTED = 5
"""Number of ids that a message lists; --json lists all."""


class SelectionOptions(OptionGroup):
    """Which contracts to erase."""

    session: Annotated[
        str | None,
        typer.Option("--session", "-s", metavar="ID", help="Erase this session.", autocompletion=complete_sessions),
    ] = None
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="TIME",
            help="Erase contracts created before TIME: 90d, '2 weeks', yesterday, 2026-01-31T09:00:00Z.",
        ),
    ] = None
    text_match: Annotated[
        str | None,
        typer.Option(
            "--text-match",
            metavar="PATTERN",
            help="Erase contracts that contain PATTERN in payload, result, error or metadata, or in copies such as errors of "
            "attempts and memory blocks, and the intent and summary of memory blocks that contain it: exactly this text, or "
            "with --regex a regular expression; - reads it from standard input, so that `ps` does not show it.",
        ),
    ] = None
    regex: Annotated[
        bool, typer.Option("--regex", help="PATTERN of --text-match is a regular expression of Python.")
    ] = False
    ignore_case: Annotated[
        bool, typer.Option("--ignore-case", "-i", help="PATTERN of --text-match also matches in upper or lower case.")
    ] = False
    erased_in: Annotated[
        str | None,
        typer.Option(
            "--erased-in",
            metavar="LEDGER",
            help="Repeat here the erasures of another ledger (a file or a PostgreSQL URL), for example after restoring an old "
            "backup.",
        ),
    ] = None
    with_related: Annotated[
        bool,
        typer.Option(
            "--with-related",
            help="Erase the other tries and reruns of these tasks too, what delegated them, and what they delegated.",
        ),
    ] = False


def erase(
    which: SelectionOptions,
    contract_ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID...",
            help="IDs of contracts, or their beginnings or ends.",
            autocompletion=complete_contracts,
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why you erase them; recorded with the erasure.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Erase (default: only show what would be erased).")] = False,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Erase the content of contracts: payload, result, error and metadata, with all copies in the ledger.

    IDs, times, agents, capability and status are kept. A REQUEST and its RESPONSE are erased together. Without --yes, aorch
    only shows what would be erased, how long other processes would have to wait, and which copies are elsewhere. Afterwards
    the old bytes of these contracts are gone from the ledger's files. Open exchanges are not erased.

    To verify that a text is gone, run the same command again without --yes: it prints `nothing to erase`, and the number of
    open exchanges that still contain the text. See docs/erasure.md for a search of the files themselves.

    \b
    Examples:
      aorch contracts erase --text-match sk-live-2f8a
      aorch contracts erase --text-match ann@example.org --ignore-case
      aorch contracts erase --text-match - --yes --reason 'leaked key' < leaked.txt
      aorch contracts erase --session review --older-than 90d
      aorch contracts erase --erased-in ledger.db --ledger mirror.db --yes
    """
    from itertools import chain

    from aorch.cli.render.console import print_json, print_lines
    from aorch.cli.render.progress import progress_callback
    from aorch.govern import erasure
    from aorch.memory.erased_claims import without_erased

    path, selection = ledger_to_read(ledger), _selection(which, contract_ids)
    with progress_callback("searching", wanted=selection.text is not None) as progress:
        plan = erasure.plan_erasure(path, selection, progress)
    if not yes:
        if json:
            return print_json({"erased": False, **plan.as_dict()})
        return print_lines(chain(_planned(plan), _still(plan, selection)))
    with progress_callback("erasing") as progress:
        done = erasure.erase(path, selection, plan, erasure.user_name(), reason, without_erased, progress)
    if json:
        print_json(
            {"erased": True, **done.as_dict(), "open": len(plan.still_open), "elsewhere": plan.elsewhere.as_dict()}
        )
    else:
        print_lines(chain(_done(plan, done), _still(plan, selection)))
    if not done.cleaned:
        raise _not_cleaned()


def erasures(limit: LimitOption = 50, json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """List erasures, newest first: who erased how many contracts, when and why.

    In a pipe: tab-separated ID, time, who, number of contracts, reason, and when the old bytes were gone.

    \b
    Examples:
      aorch contracts erasures
      aorch contracts erasures --json
    """
    from aorch.cli.render.console import note, print_json, print_table
    from aorch.cli.render.times import shown_time
    from aorch.ledger.erasing import read_erasures

    found = read_erasures(ledger_to_read(ledger), limit)
    if json:
        return print_json({"erasures": [each.as_dict() for each in found]})
    rows = [
        (
            each.erasure_id,
            shown_time(each.erased_at),
            each.erased_by,
            str(each.contracts),
            each.reason,
            shown_time(each.cleaned_at) if each.cleaned_at else "unfinished",
        )
        for each in found
    ]
    print_table(
        ("erasure", "erased", "by", "contracts", "reason", "bytes gone"), rows, cut="reason", drop=("bytes gone", "by")
    )
    if not found:
        note("no erasures")


def _selection(which: SelectionOptions, contract_ids: list[str] | None) -> "ErasureSelection":
    from aorch.cli.time_options import past_time
    from aorch.config import settings
    from aorch.errors import UsageError
    from aorch.govern.erasure import ErasureSelection

    for option, is_given in (("--regex", which.regex), ("--ignore-case", which.ignore_case)):
        if is_given and which.text_match is None:
            raise UsageError(f"{option} needs --text-match", "Give the text or pattern with --text-match PATTERN.")
    erased_in = None if which.erased_in is None else settings.named_ledger(which.erased_in, "--erased-in")
    text = which.text_match if which.text_match != "-" else _text_of_stdin()
    before = past_time("--older-than", which.older_than) if which.older_than is not None else None
    return ErasureSelection(
        ids=tuple(contract_ids or ()),
        session_id=which.session,
        before=before,
        text=text,
        is_pattern=which.regex,
        ignores_case=which.ignore_case,
        erased_in=erased_in,
        with_related=which.with_related,
    )


def _text_of_stdin() -> str:
    import sys

    from aorch.errors import UsageError

    if sys.stdin is None:
        raise UsageError("standard input is closed", "Give it a pipe or a file: … < FILE.")
    return sys.stdin.buffer.read().decode("utf-8", "replace").rstrip("\r\n")


def _planned(plan: "ErasurePlan") -> "Iterator[str]":
    if plan.exchanges:
        from aorch.cli.render.times import shown_time

        times = f"from {shown_time(plan.first_at)} to {shown_time(plan.last_at)}"
        yield f"would erase {_exchanges(plan)} of {_count(plan.sessions, 'session')}, {times}"
    elif not plan.has_work:
        yield "nothing to erase"
    if plan.cited_again:
        yield f"would remove what memory blocks say about {_count(len(plan.cited_again), 'exchange')} erased before"
    if plan.blocks:
        yield f"would remove the intent or summary of {_count(len(plan.blocks), 'memory block')}, which contains the text"
    if plan.unfinished:
        yield "an earlier erasure was interrupted: its old bytes may still be in the ledger's files"
    yield from _left_out(plan)
    if plan.rewrite is not None:
        size = f"{plan.rewrite.disk_bytes / 1e6:,.1f} MB"
        what, can = ("tables", "can neither read nor") if plan.rewrite.blocks_readers else ("file", "cannot")
        yield (
            f"rewriting the {what}: other processes {can} write for about {_seconds(plan.rewrite.lock_s)};"
            f" it needs {size} of free disk"
        )
        yield from _elsewhere(plan)
        yield "next: run the same command with --yes"


def _done(plan: "ErasurePlan", done: "ErasureResult") -> "Iterator[str]":
    counts = done.counts
    if counts.contracts:
        claims = f"; {_count(counts.blocks, 'memory block')} changed" if counts.blocks else ""
        erased = f"{_count(counts.exchanges, 'exchange')} ({_count(counts.contracts, 'contract')})"
        yield f"erased {erased}{claims} ({done.erasure_id})"
    elif counts.blocks:
        yield f"{_count(counts.blocks, 'memory block')} changed ({done.erasure_id})"
    elif not plan.has_work:
        yield "nothing to erase"
    yield from _left_out(plan)
    if done.cleaned and plan.has_work:
        yield "the old bytes of the erased contracts are gone from the ledger's files"
    if counts.contracts:
        yield from _elsewhere(plan)


def _left_out(plan: "ErasurePlan") -> "Iterator[str]":
    if plan.still_open:
        yield f"left out: {_count(len(plan.still_open), 'open exchange')} ({_listed(plan.still_open)})"
    if plan.erased_before:
        yield f"left out: {_count(plan.erased_before, 'exchange')} erased before"
    if plan.related:
        yield (
            f"not selected: {_count(len(plan.related), 'exchange')} that retried, reran or delegated them, or the reverse;"
            " they may repeat the content; --with-related erases them too"
        )


def _still(plan: "ErasurePlan", selection: "ErasureSelection") -> "Iterator[str]":
    """The last line: where the text still is."""
    if selection.text is not None and plan.still_open:
        exchanges = _count(len(plan.still_open), "open exchange")
        contains = "contains" if len(plan.still_open) == 1 else "contain"
        yield (
            f"{exchanges} still {contains} the text ({_listed(plan.still_open)}): wait until they end, or cancel them with"
            " `aorch contracts cancel ID`; then run this command again"
        )


def _elsewhere(plan: "ErasurePlan") -> "Iterator[str]":
    """What aorch knows about copies that it cannot erase."""
    from aorch.cli.render.console import printable

    copies = plan.elsewhere
    if copies.trace:
        yield f"copies in Trace: {_count(len(copies.trace), 'contract')} ({_listed(copies.trace)})"
    if copies.trace_maybe:
        yield f"copies that may be in Trace: {_count(len(copies.trace_maybe), 'contract')} ({_listed(copies.trace_maybe)})"
    if copies.memagent:
        yield f"notes in MemAgent: {_count(len(copies.memagent), 'session')} ({_listed(copies.memagent)})"
    if copies.webhooks:
        yield f"webhooks to {_listed(copies.webhooks)}"
    if copies.files:
        yield "older copies that may contain them:"
        yield from (f"  {printable(file)}" for file in copies.files)
    if plan.rewrite is not None and plan.rewrite.blocks_readers:
        yield "copies that the server keeps for a while: its write-ahead log, archives of that, and replicas"
    yield "copies that aorch does not know: backups and exports of the ledger, and what agents keep"


def _not_cleaned() -> Exception:
    from aorch.errors import LedgerBusy

    return LedgerBusy(
        "the contracts are erased, but another process still reads old bytes of the ledger",
        "End it, then run the same command again: it removes the bytes.",
    )


def _exchanges(plan: "ErasurePlan") -> str:
    return f"{_count(len(plan.exchanges), 'exchange')} ({_count(plan.contracts, 'contract')})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(names: list[str]) -> str:
    from aorch.cli.render.console import printable

    more = f" and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else ""
    return printable(", ".join(names[:MOST_LISTED]) + more)


def _seconds(seconds: float) -> str:
    return "1 s" if seconds < 1 else f"{seconds:,.0f} s"

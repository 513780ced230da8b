"""How the commands of `aorch ledger` show sizes and findings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aorch.cli.render.console import printable
from aorch.cli.render.times import shown_time

if TYPE_CHECKING:
    from aorch.config.ledger_location import LedgerLocation
    from aorch.govern.retention import PruneReport
    from aorch.ledger.checking import Finding
    from aorch.ledger.upkeep import Restored

MOST_TABLES = 6
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def shown_size(size: float) -> str:
    """`12.3 MB`: a number of bytes with three digits."""
    number = 0
    while abs(size) >= 1000 and number < len(_UNITS) - 1:
        size, number = size / 1000, number + 1
    return f"{size:,.0f} {_UNITS[number]}" if number == 0 or size >= 100 else f"{size:.1f} {_UNITS[number]}"


def counted(number: int, noun: str) -> str:
    """`1 exchange`, `1,234 exchanges`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def info_lines(found: dict[str, Any]) -> list[str]:
    """The lines of `aorch ledger info`."""
    wal = f" and {shown_size(found['wal_bytes'])} in its write-ahead log" if found["wal_bytes"] else ""
    span = f", from {shown_time(found['oldest_at'])} to {shown_time(found['newest_at'])}" if found["contracts"] else ""
    lines = [
        f"ledger     {found['path']}",
        f"size       {shown_size(found['file_bytes'])}{wal}",
        f"free       {_free(found)}",
        f"schema     {_schema(found)}{_server(found)}",
        f"contracts  {found['contracts']:,}{span}",
    ]
    if last := found["last_prune"]:
        lines.append(f"pruned     {shown_time(last['ended_at'])}: {counted(last['exchanges'], 'exchange')}")
    if found["tables"] is None:
        return [*lines, "tables     unknown: this SQLite cannot measure tables"]
    tables = list(found["tables"].items())
    shown = tables[:MOST_TABLES]
    if others := tables[MOST_TABLES:]:
        shown.append((f"{len(others)} other tables", sum(size for _, size in others)))
    labels = ["tables", *("" for _ in shown)]
    return lines + [
        f"{label:<9}  {shown_size(size):>9}  {name}" for label, (name, size) in zip(labels, shown, strict=False)
    ]


def restored_lines(path: "LedgerLocation", done: "Restored") -> list[str]:
    """The lines of `aorch ledger restore`."""
    copied = done.copied
    newest = f", the newest of {shown_time(copied.newest_at)}" if copied.newest_at else ""
    lines = [f"{path}: {counted(copied.contracts, 'contract')}{newest}"]
    if done.revision_before != copied.revision:
        lines.append(f"upgraded from revision {done.revision_before} to {copied.revision}")
    if done.kept_as:
        lines.append(f"the old ledger is {done.kept_as}")
    return lines


def due_again(queued: int, webhooks: int) -> str:
    """The warning about the queued tasks and webhooks of a restored backup, of which there is at least one."""
    parts = [counted(number, noun) for number, noun in ((queued, "queued task"), (webhooks, "webhook")) if number]
    done = " or ".join(("ran",) * bool(queued) + ("were sent",) * bool(webhooks))
    one = queued + webhooks == 1
    text = f"{' and '.join(parts)} of the backup {'is' if one else 'are'} due again, even if "
    text += f"{'it' if one else 'they'} {done.replace('were', 'was') if one else done} after the backup"
    if queued:
        text += "; `aorch contracts list --status pending` shows the tasks, `aorch contracts cancel` cancels them"
    return text


_REASONS = {
    "open": "open: in the queue, or running",
    "trace": "not yet received by Trace (--without-trace removes them too)",
    "webhook": "with a webhook that is due",
    "key": "with an Idempotency-Key that is less than a day old",
    "batch": "in a batch that can still be resumed",
    "status": "in another status",
    "correction": "that correct memory (pins, notes, forgotten claims)",
}


def prune_lines(report: "PruneReport") -> list[str]:
    """The lines of `aorch ledger prune`."""
    pruned = report.pruned
    removed = "would remove" if report.dry_run else "removed"
    exchanges, contracts = counted(pruned.exchanges, "exchange"), counted(pruned.contracts, "contract")
    lines = [f"{removed}  {exchanges} ({contracts}, {shown_size(pruned.content_bytes)} of content)"]
    if pruned.oldest_at and pruned.newest_at:
        lines.append(f"from  {shown_time(pruned.oldest_at)} to {shown_time(pruned.newest_at)}")
    lines += [f"batch {name!r}: can no longer be resumed" for name in pruned.batches]
    lines += [f"kept  {counted(number, 'exchange')} {_REASONS[name]}" for name, number in sorted(pruned.kept.items())]
    about = "about " if report.dry_run and pruned.exchanges else ""
    lines.append(f"size  {about}{shown_size(report.used_bytes)}, {shown_size(report.used_bytes_before)} before")
    if report.is_small_enough is False:
        lines.append("still larger than the maximum size: no other exchange may be removed")
        lines.append("(exchanges that ended less than 10 minutes ago always stay)")
    keeps = "would keep" if report.dry_run else "keeps"
    if not report.shrinks and pruned.exchanges:
        lines.append(
            f"file  {keeps} its {shown_size(report.file_bytes)}: new contracts use the free pages\n"
            "      `aorch ledger vacuum` shrinks it once; in an SQLite file, later prunes\n"
            "      then do so themselves"
        )
    return lines


def finding_lines(findings: "Sequence[Finding]") -> list[str]:
    """The lines of `aorch ledger check`."""
    lines = []
    for each in findings:
        times = f" ({each.times:,} times)" if each.times and each.times > 1 else ""
        lines.append(f"{each.check}: {each.problem}{times}")
        more = ", …" if (each.times or 0) > len(each.subjects) else ""
        if each.subjects:
            lines.append(f"  {printable(', '.join(each.subjects))}{more}")
        lines.append(f"  next: {each.next_step}")
    return lines


def _free(found: dict[str, Any]) -> str:
    if found["free_bytes"] is None:
        return "unknown; the server uses free space for new contracts, `aorch ledger vacuum` returns it to the disk"
    free = shown_size(found["free_bytes"])
    if not found["free_bytes"]:
        return free
    return f"{free}, for new contracts; `aorch ledger vacuum` returns them to the disk"


def _server(found: dict[str, Any]) -> str:
    return f" on {found['server']}" if found["server"] else ""


def _schema(found: dict[str, Any]) -> str:
    if found["revision"] == found["newest_revision"]:
        return str(found["revision"])
    if found["revision"] < found["newest_revision"]:
        return f"{found['revision']} (the next command that writes upgrades it to {found['newest_revision']})"
    return f"{found['revision']}, of a newer aorch (this one supports {found['newest_revision']})"

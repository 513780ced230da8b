"""Shows statistics as a table."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from aorch.cli.render.console import print_table, tell
from aorch.cli.render.times import age, local_time
from aorch.cli.streams import is_terminal

PERIODS = {"minute": "%Y-%m-%d %H:%M", "hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d"}
PIPED = ("key", "count", "failed", "p50_ms", "p95_ms", "max_ms", "wait_p95_ms", "tokens_in", "tokens_out", "cost")
PIPED_ERRORS = ("key", "count", "last_error_at", "last_error_id", "last_error")
"""The tab-separated columns in a pipe."""
NONE, TOTAL = "-", "total"
_MARK = 8
"""How many characters of the end of an id are shown; `aorch contracts show` accepts them."""
_DROPPED = ("cost", "tokens in", "tokens out", "wait p95", "max", "open")
"""Columns that a narrow terminal leaves out, the first one first."""


def show_stats(found: dict[str, Any]) -> None:
    """Print a line for each group and one for the total; in a pipe, the columns of PIPED without a total."""
    by, groups = found["by"], found["groups"]
    is_errors = by == "error"
    if not is_terminal(sys.stdout):
        columns = PIPED_ERRORS if is_errors else PIPED
        return print_table(columns, [[_text(group[name]) for name in columns] for group in groups])
    if is_errors:
        _show_errors(groups)
    elif groups:
        _show_groups(by, groups, found["total"])
    tell(_summary(found))
    return None


def _show_errors(groups: Iterable[dict[str, Any]]) -> None:
    rows = [
        (f"{group['count']:,}", age(group["last_error_at"]), group["last_error_id"][-_MARK:], group["key"] or NONE)
        for group in groups
    ]
    if rows:
        columns = ("count", "last", "example", "error")
        print_table(columns, _right_aligned(columns, rows, 1), cut="error", drop=("last",))


def _show_groups(by: str, groups: list[dict[str, Any]], total: dict[str, Any]) -> None:
    columns = (by, "count", "failed", "open", "p50", "p95", "max", "wait p95", "tokens in", "tokens out", "cost")
    shown = [*groups, {**total, "key": TOTAL}] if len(groups) > 1 else groups
    rows = [_cells(by, group) for group in shown]
    empty = {name for name, *cells in zip(columns, *rows, strict=True) if set(cells) <= {NONE, "0"}} - {
        "count",
        "failed",
    }
    kept = [index for index, name in enumerate(columns) if name not in empty]
    table = [[row[index] for index in kept] for row in rows]
    names = [columns[index] for index in kept]
    numbers = _right_aligned(names, table, len(names), first=1)
    print_table(names, numbers, cut=by, drop=[name for name in _DROPPED if name in names])


def _right_aligned(
    names: Sequence[str], rows: Sequence[Sequence[str]], last: int, first: int = 0
) -> list[tuple[str, ...]]:
    """`rows` with the columns from `first` up to `last` aligned to the right."""
    widths = [max(map(len, (name, *cells))) for name, *cells in zip(names, *rows, strict=True)]
    return [
        tuple(cell.rjust(widths[index]) if first <= index < last else cell for index, cell in enumerate(row))
        for row in rows
    ]


def _cells(by: str, group: dict[str, Any]) -> tuple[str, ...]:
    key = group["key"]
    if key is None:
        key = NONE
    elif by in PERIODS and key != TOTAL:
        key = local_time(key, seconds=False) if by != "day" else key[:10]
    return (
        key,
        *(f"{group[name]:,}" for name in ("count", "failed", "open")),
        *(shown_duration(group[name]) for name in ("p50_ms", "p95_ms", "max_ms", "wait_p95_ms")),
        *(NONE if group[name] is None else f"{group[name]:,}" for name in ("tokens_in", "tokens_out")),
        _cost(group),
    )


def _cost(group: dict[str, Any]) -> str:
    """The cost; `≥` if that of some exchanges is not known."""
    if group["cost"] is None:
        return "unknown" if group["unpriced"] else NONE
    return f"{'≥ ' if group['unpriced'] else ''}{group['cost']:,.4f}"


def _summary(found: dict[str, Any]) -> str:
    """Since when exchanges count, and how many groups were left out."""
    more = f"; {found['more']:,} more: --limit N" if found["more"] else ""
    none = "" if found["groups"] else "no failed exchanges " if found["by"] == "error" else "no exchanges "
    return f"{none}since {local_time(found['since'], seconds=False)}{found['window']}{more}"


def shown_duration(ms: float | None) -> str:
    """`0.4 ms`, `12 ms`, `1.5 s`, `2.5 min` or `3.1 h`; `-` if there is none."""
    if ms is None:
        return NONE
    if ms < 1000:
        return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"
    if ms < 100_000:
        return f"{ms / 1000:.1f} s"
    return f"{ms / 60_000:.1f} min" if ms < 6_000_000 else f"{ms / 3_600_000:.1f} h"


def _text(value: Any) -> str:
    return (
        ""
        if value is None
        else value
        if isinstance(value, str)
        else f"{value:g}"
        if isinstance(value, float)
        else f"{value}"
    )

"""Shows exchanges as lines of a log. Control characters in them are always escaped."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aorch import jsonio
from aorch.cli.render.cells import cells, cut, cut_middle
from aorch.cli.render.console import print_table, printable, width
from aorch.cli.render.times import local_clock
from aorch.cli.streams import has_colors
from aorch.clock import from_rfc3339
from aorch.errors import InvalidJSON

if TYPE_CHECKING:
    from aorch.ledger.exchanges import ExchangeRow

PIPED = (
    "request_id",
    "created_at",
    "status",
    "capability",
    "agent_id",
    "duration_ms",
    "session_id",
    "caller",
    "content",
)
"""The tab-separated columns in a pipe. `content` is the error, or the result as JSON."""
MARKS = {
    "completed": ("✓", "32"),
    "failed": ("✗", "31"),
    "interrupted": ("✗", "31"),
    "cancelled": ("–", "33"),
    "in_progress": ("●", "36"),
    "pending": ("○", "2"),
}
"""The mark of each status, and its color (SGR, ECMA-48)."""
RED, DIM, BOLD = "31", "2", "1"
ID_LENGTH = 6
"""How many of the last characters of an id a line shows; commands accept such an ending."""
_GAP = "  "
_WIDEST = {"capability": 20, "agent": 24, "took": 7, "session": 24}
_NARROWEST = {"capability": 10, "agent": 8, "session": 8}
_TEXT = {80: 26, 0: 16}
"""Minimum width of the text, for terminals of at least so many columns."""
_COMFORTABLE = 40
"""Width of the text above which columns get the rest."""
_DROPPED = ("session", "agent", "took", "age", "capability")
"""Columns that a narrow terminal leaves out, the first one first."""
_YEAR_D = 365


class LogLines:
    """Makes the lines of exchanges, in columns that fit the terminal and `sample`, the first of them.

    `clock` shows the time of day instead of the age. `hidden` are columns in which all rows are equal.
    """

    def __init__(self, sample: Sequence["ExchangeRow"], hidden: Iterable[str] = (), *, clock: bool = False) -> None:
        self._clock, self._colors, self._columns = clock, has_colors(sys.stdout), width()
        found = [self._texts(row) for row in sample]
        names = ("id", "age", "capability", "agent", "took", "session")
        natural = {name: max([cells(name), *(cells(row[name]) for row in found)]) for name in names}
        self._widths = _fitted({name: natural[name] for name in names if name not in hidden}, self._columns)

    def header(self) -> str:
        """The names of the columns."""
        names = [_padded("at" if name == "age" and self._clock else name, size) for name, size in self._widths.items()]
        line = "  " + _GAP.join((*names, "result or error"))
        return self._colored(cut(line, self._columns), BOLD)

    def line(self, row: "ExchangeRow") -> str:
        """The line of an exchange."""
        mark, color = MARKS.get(row.status, ("?", DIM))
        texts = self._texts(row)
        columns = _GAP.join(_padded(texts[name], size) for name, size in self._widths.items())
        room = self._columns - 2 - cells(columns) - len(_GAP)
        text = cut(printable(summary(row)[: max(0, room) + 1]), room) if room > 0 else ""
        shown = self._colored(text, RED if color == RED else DIM if color == DIM else "")
        return f"{self._colored(mark, color)} {columns}{_GAP}{shown}".rstrip()

    def _texts(self, row: "ExchangeRow") -> dict[str, str]:
        return {
            "id": printable(row.request_id[-ID_LENGTH:]),
            "age": local_clock(row.completed_at or row.created_at)[:8] if self._clock else short_age(row.created_at),
            "capability": printable(row.capability[:100]),
            "agent": printable((row.agent_id or "-")[:100]),
            "took": "" if row.duration_ms is None else short_duration(row.duration_ms),
            "session": printable(row.session_id[:100]),
        }

    def _colored(self, text: str, color: str) -> str:
        return colored(text, color, wanted=self._colors)


def show_piped(rows: Iterable["ExchangeRow"]) -> None:
    """Print the columns of PIPED in full, tab-separated."""
    print_table(PIPED, map(_piped, rows))


def summary(row: "ExchangeRow") -> str:
    """What became of an exchange: its error, its result, or that it has not ended."""
    if row.erased is not None:
        return str(row.erased)
    if row.error is not None:
        return row.error
    if row.result is None:
        return {"in_progress": "running", "pending": "queued", "completed": "no result"}.get(row.status, row.status)
    if row.result.startswith('"'):
        try:
            return str(jsonio.decode(row.result))
        except InvalidJSON:
            return row.result
    return row.result


def _content(row: "ExchangeRow") -> str | None:
    if row.erased is not None:
        return str(row.erased)
    return row.error if row.error is not None else row.result


def short_age(moment: str) -> str:
    """`42s`, `5m`, `3h`, `12d` or `3y`; `now` for the future."""
    seconds = (datetime.now(UTC) - from_rfc3339(moment)).total_seconds()
    if seconds < 0:
        return "now"
    for unit, size, limit in (("s", 1, 60), ("m", 60, 60), ("h", 3600, 24), ("d", 86400, 2 * _YEAR_D)):
        if seconds < size * limit:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds // (86400 * _YEAR_D))}y"


def short_duration(milliseconds: float) -> str:
    """`4ms`, `1.2s`, `3m12s` or `2h05m`."""
    if milliseconds < 999.5:
        return f"{milliseconds:.0f}ms"
    seconds = milliseconds / 1000
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes}m{left:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def _piped(row: "ExchangeRow") -> tuple[str, ...]:
    form = {**row.as_dict(), "content": _content(row)}
    return tuple("" if form[name] is None else str(form[name]) for name in PIPED)


def _fitted(natural: dict[str, int], columns: int) -> dict[str, int]:
    """The widths of the columns that fit beside a text: without some columns if necessary, and narrower than their cells."""
    text = next(size for least, size in _TEXT.items() if columns >= least)
    wanted = {name: min(size, _WIDEST.get(name, size)) for name, size in natural.items()}
    for dropped in ("", *_DROPPED):
        wanted.pop(dropped, None)
        widths = {name: min(size, _NARROWEST.get(name, size)) for name, size in wanted.items()}
        room = columns - text - 2 - sum(size + len(_GAP) for size in widths.values())
        if room >= 0:
            break
    room -= _COMFORTABLE - text
    for name in ("capability", "agent", "session"):
        if name in widths and room > 0:
            more = min(room, wanted[name] - widths[name])
            widths[name] += more
            room -= more
    return widths


def _padded(text: str, size: int) -> str:
    shown = cut_middle(text, size)
    return shown + " " * (size - cells(shown))


def colored(text: str, color: str, *, wanted: bool) -> str:
    """`text` in a color (SGR), if colors are wanted and there is something to color."""
    return f"\033[{color}m{text}\033[0m" if wanted and color and text else text

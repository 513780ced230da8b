"""How answers, tables and errors look: for a person at a terminal, and for the next program in a pipe."""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from aorch import jsonio
from aorch.cli.streams import standard_output, stdout
from aorch.config import environment
from aorch.errors import AorchError

SHORTEST_CUT = 12
"""Characters below which a column that is cut says nothing any more."""
FALLBACK_WIDTH = 80
"""Columns of a terminal that does not say how many it has."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person watches that stream; a closed one nobody does."""
    return stream is not None and stream.isatty()


def printable(text: str, *, lines: bool = False) -> str:
    """`text` with control characters shown as escapes, so that what an agent wrote cannot steer a terminal.

    With `lines`, newlines and tabs stand; without, they are escaped too.
    """
    shown = _CONTROL.sub(lambda match: _escape(match[0]), text)
    return shown if lines else shown.replace("\n", "\\n").replace("\t", "\\t")


def _escape(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"


def complain(error: AorchError) -> None:
    """One sentence on stderr, and the next step below it."""
    print(f"{_red('error:')} {printable(str(error), lines=True)}", file=sys.stderr)
    if error.hint:
        print(f"       {printable(error.hint, lines=True)}", file=sys.stderr)


def warn(text: str) -> None:
    """Something that is not right, though what was asked was done."""
    print(f"{_red('warning:')} {printable(text)}", file=sys.stderr)


def note(text: str) -> None:
    """Something beside the answer, on stderr, for a person who watches it; silent otherwise."""
    if is_terminal(sys.stderr):
        print(_dim(printable(text)), file=sys.stderr)


def tell(text: str) -> None:
    """Something that whoever reads the answer must know, on stderr, also where nobody watches it."""
    print(_dim(printable(text)), file=sys.stderr)


def print_text(text: str) -> None:
    """`text` on stdout, byte for byte in a pipe, with exactly one newline at the end where it has none."""
    if is_terminal(stdout()):
        text = printable(text, lines=True)
    _write(text if text.endswith("\n") else f"{text}\n")


def print_stderr(text: str) -> None:
    """What a program wrote on its standard error, on ours."""
    shown = printable(text, lines=True) if is_terminal(sys.stderr) else text
    print(shown, end="" if text.endswith("\n") else "\n", file=sys.stderr)


def print_json(value: Any) -> None:
    """`value` as one line of JSON on stdout; several, indented, where a person watches."""
    text = jsonio.encode(value)
    if is_terminal(stdout()):
        import msgspec

        text = printable(msgspec.json.format(text, indent=2), lines=True)
    _write(f"{text}\n")


def print_json_line(value: Any) -> None:
    """`value` as one line of JSON on stdout, wherever it goes."""
    print_text(jsonio.encode(value))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, cut: str = "", wrap: str = "", drop: Sequence[str] = ()
) -> None:
    """A table at a terminal; in a pipe tab-separated lines, whole and without a header (as `gh` does).

    `cut` names the column that is cut where the terminal is too narrow, `wrap` the one that goes on below, and `drop` those
    that are left out, the first of them first, before the one that is cut has less than SHORTEST_CUT characters.
    """
    if not is_terminal(stdout()):
        for row in rows:
            _write("\t".join(printable(cell) for cell in row) + "\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns, rows = _fitting(columns, [[printable(text) for text in row] for row in rows], cut or wrap, drop)
    table = Table(box=None, pad_edge=False, header_style="bold")
    cell = {name: {} if name == wrap else {"no_wrap": True, "overflow": "ellipsis"} for name in columns}
    for name in columns:
        table.add_column(Text(name, **cell[name]), no_wrap=name not in (cut, wrap))  # type: ignore[arg-type]  # its options
    for row in rows:
        table.add_row(*(Text(text, **cell[name]) for name, text in zip(columns, row, strict=True)))  # type: ignore[arg-type]  # likewise
    Console(file=stdout(), width=_width()).print(table)


def _fitting(
    columns: Sequence[str], rows: list[list[str]], yielding: str, drop: Sequence[str]
) -> tuple[Sequence[str], list[list[str]]]:
    """What of a table has room: without those to drop that have none."""
    from rich.cells import cell_len

    widths = {name: max(map(cell_len, (name, *cells))) for name, *cells in zip(columns, *rows, strict=True)}
    widths[yielding] = min(widths.get(yielding, 0), SHORTEST_CUT)
    room, kept = _width(), list(columns)
    for name in drop:
        if sum(widths[column] + 2 for column in kept) - 2 <= room:
            break
        kept.remove(name)
    places = [columns.index(name) for name in kept]
    return kept, [[row[place] for place in places] for row in rows]


def _width() -> int:
    """Columns of the terminal that standard output is, wherever descriptor 1 leads."""
    said = environment.get(environment.COLUMNS) or ""
    if said.isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(standard_output().fileno()).columns or FALLBACK_WIDTH
    except OSError:
        return FALLBACK_WIDTH


def _write(text: str) -> None:
    data = text.encode("utf-8", "replace")
    out = standard_output()
    out.write(data)
    out.flush()


def _colour(code: str, text: str) -> str:
    if environment.no_colors() or not is_terminal(sys.stderr):
        return text
    return f"\033[{code}m{text}\033[0m"


def _red(text: str) -> str:
    return _colour("1;31", text)


def _dim(text: str) -> str:
    return _colour("2", text)

"""Prints answers, tables and errors: for a person at a terminal, or for the next program in a pipe."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, cast

from aorch import jsonio
from aorch.cli.global_options import json_errors
from aorch.cli.render.cells import cells
from aorch.cli.streams import has_colors, is_terminal, standard_output, stdout
from aorch.config import environment
from aorch.errors import AorchError

SHORTEST_CUT = 12
"""Minimum width of a column that is cut."""
FALLBACK_WIDTH = 80
"""Columns of a terminal that does not report its width."""
_CONTROL = (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {number: f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" for number in _CONTROL}
"""Characters that control a terminal or the direction of text. A regular expression for them takes 4 ms to compile."""


def printable(text: str, *, lines: bool = False) -> str:
    """`text` with control characters escaped, so that an agent's output cannot control the terminal. With `lines`, newlines
    and tabs are kept.
    """
    shown = text.translate(_ESCAPES)
    return shown if lines else shown.replace("\n", "\\n").replace("\t", "\\t")


def complain(error: AorchError) -> None:
    """Print an error on stderr, and its hint below; with --json as one line of JSON."""
    if json_errors.get():
        print(jsonio.encode(_problem(error)), file=sys.stderr)
        return
    _say("error:", printable(str(error), lines=True), _red)
    if error.hint:
        _say("hint:", printable(error.hint, lines=True), _dim)


def _problem(error: AorchError) -> dict[str, Any]:
    """The members of the API's application/problem+json that describe an error, and the exit code."""
    return {
        "type": f"urn:aorch:error:{error.code}",
        "detail": str(error),
        "code": error.code,
        "hint": error.hint or None,
        "exit_code": error.exit_code,
        "success": False,
    }


def warn(text: str) -> None:
    """Print a warning on stderr."""
    _say("warning:", printable(text), _red)


def note(text: str) -> None:
    """Print additional information on stderr if that is a terminal."""
    if sys.stderr.isatty():
        tell(text)


def tell(text: str) -> None:
    """Print additional information on stderr, also if that is not a terminal."""
    print(_dim(_at_spaces(printable(text))), file=sys.stderr)


def _say(label: str, text: str, color: Callable[[str], str]) -> None:
    print(_at_spaces(f"{label} {text}").replace(label, color(label), 1), file=sys.stderr)


def _at_spaces(text: str) -> str:
    """`text` for standard error: at a terminal, lines that are too long for it are wrapped at spaces, not inside words."""
    if not is_terminal(sys.stderr):
        return text
    columns = _columns_of(sys.stderr.fileno())
    return "\n".join(_wrapped(line, columns) if len(line) > columns else line for line in text.split("\n"))


def _wrapped(line: str, columns: int) -> str:
    from aorch.cli.render.wrapping import wrapped

    return wrapped(line, columns)


def print_lines(lines: Iterable[str]) -> None:
    """Print `lines` on stdout; at a terminal, those that are too long for it are wrapped at spaces, below their text."""
    if not is_terminal(stdout()):
        return print_text("\n".join(lines))
    columns, each = width(), (printable(line) for text in lines for line in text.split("\n"))
    return print_text("\n".join(_wrapped(line, columns) if len(line) > columns else line for line in each))


def print_text(text: str) -> None:
    """Print `text` on stdout, unchanged in a pipe. A newline is added if it does not end with one."""
    out = standard_output()
    if out.isatty():
        text = printable(text, lines=True)
    out.write((text if text.endswith("\n") else f"{text}\n").encode("utf-8", "replace"))
    out.flush()


def write_stdout(text: str) -> None:
    """Write `text` on stdout unchanged, with the colors in it. Control characters in it must have been escaped."""
    _write(text)


def print_stderr(text: str) -> None:
    """Print the standard error of a program on stderr."""
    shown = printable(text, lines=True) if is_terminal(sys.stderr) else text
    print(shown, end="" if text.endswith("\n") else "\n", file=sys.stderr)


def print_json(value: Any) -> None:
    """Print `value` as JSON on stdout: one line, or indented at a terminal."""
    text = jsonio.encode(value)
    if is_terminal(stdout()):
        import msgspec

        text = printable(msgspec.json.format(text, indent=2), lines=True)
    _write(f"{text}\n")


def print_json_line(value: Any) -> None:
    """Print `value` as one line of JSON on stdout, also at a terminal."""
    print_text(jsonio.encode(value))


def print_json_lines(values: Iterable[Any]) -> None:
    """Print each of `values` as one line of JSON on stdout."""
    for value in values:
        print_json_line(value)


def binary_output() -> tuple[bool, BinaryIO]:
    """Whether stdout is a terminal, and stdout for bytes; at a terminal, control characters in them are escaped."""
    if is_terminal(sys.stdout):
        return True, cast("BinaryIO", _Screen())
    return False, standard_output()


class _Screen:
    def write(self, data: bytes) -> int:
        sys.stdout.write(printable(data.decode("utf-8", "replace"), lines=True))
        return len(data)

    def flush(self) -> None:
        sys.stdout.flush()


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, cut: str = "", wrap: str = "", drop: Sequence[str] = ()
) -> None:
    """Print a table at a terminal; in a pipe, whole tab-separated lines without a header (as `gh` does).

    At a terminal that is too narrow, the column `cut` is cut, or the column `wrap` is wrapped. If the cut column would get
    narrower than SHORTEST_CUT, the columns in `drop` are left out, in that order.
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
    Console(file=stdout(), width=width()).print(table)


def print_records(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print each row at a terminal as a block of lines, one for each column that is not empty."""
    size = max(map(len, columns))
    for number, row in enumerate(rows):
        if number:
            _write("\n")
        for name, cell in zip(columns, row, strict=True):
            if cell:
                _write(f"{name:<{size}}  {printable(cell)}\n")


def _fitting(
    columns: Sequence[str], rows: list[list[str]], yielding: str, drop: Sequence[str]
) -> tuple[Sequence[str], list[list[str]]]:
    """The columns and rows without the columns that must be dropped to fit."""
    widths = {name: max(map(cells, (name, *column))) for name, *column in zip(columns, *rows, strict=True)}
    widths[yielding] = min(widths.get(yielding, 0), SHORTEST_CUT)
    room, kept = width(), list(columns)
    for name in drop:
        if sum(widths[column] + 2 for column in kept) - 2 <= room:
            break
        kept.remove(name)
    indexes = [columns.index(name) for name in kept]
    return kept, [[row[index] for index in indexes] for row in rows]


def width() -> int:
    """The width of the terminal on standard output, also after `streams.set_aside`."""
    return _columns_of(standard_output().fileno())


def _columns_of(descriptor: int) -> int:
    given = environment.get(environment.COLUMNS) or ""
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(descriptor).columns or FALLBACK_WIDTH
    except OSError:
        return FALLBACK_WIDTH


def _write(text: str) -> None:
    data = text.encode("utf-8", "replace")
    out = standard_output()
    out.write(data)
    out.flush()


def _red(text: str) -> str:
    return f"\033[1;31m{text}\033[0m" if has_colors(sys.stderr) else text


def _dim(text: str) -> str:
    return f"\033[2m{text}\033[0m" if has_colors(sys.stderr) else text

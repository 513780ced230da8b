"""The progress bar of long commands, on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from aorch.cli.render.console import printable, warn
from aorch.cli.streams import is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress


class ProgressBar:
    """A bar on a terminal. It disappears when the work is done."""

    def __init__(self, bar: "Progress", total: int | None) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total, text="")

    def show(self, done: int, text: str, total: int | None = None) -> None:
        """Show the progress `done` (out of the total), with `text` next to the bar."""
        more: dict[str, Any] = {} if total is None else {"total": total}
        self._bar.update(self._task, completed=done, text=text, **more)

    def print_above(self, text: bytes) -> None:
        """Print lines above the bar."""
        self._bar.console.out(printable(text.decode(), lines=True), end="", highlight=False)


@contextmanager
def progress_bar(text: str, total: int | None = None) -> Iterator[ProgressBar | None]:
    """A bar on standard error while the block runs; None if that is not a terminal."""
    if not is_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.fields[text]}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = ProgressBar(bar, total)
        shown.show(0, text)
        yield shown


@contextmanager
def progress_callback(text: str, *, wanted: bool = True) -> Iterator[Callable[[int, int], None] | None]:
    """A function that shows progress (done, total) in a bar; None without a terminal."""
    if not (wanted and is_terminal(sys.stderr)):
        yield None
        return
    from contextlib import ExitStack

    stack = ExitStack()
    bars: list[ProgressBar] = []

    def show(done: int, total: int) -> None:
        if not bars and done < total:
            bar = stack.enter_context(progress_bar(text))
            assert bar is not None  # standard error is a terminal
            bars.append(bar)
        for bar in bars:
            bar.show(done, text, max(total, 1))

    with stack:
        yield show


@cache
def warn_unsearched(contracts: int) -> None:
    """Warn, once, that a search leaves out so many contracts, because a read-only ledger has no index of them."""
    warn(
        f"{contracts:,} contract{'' if contracts == 1 else 's'} not searched: the full-text index lacks the newest ones, and the"
        " ledger is read-only; a search of a copy that you can write to finds them"
    )

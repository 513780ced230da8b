"""Where a batch's results go, and how far it has come: lines on standard output, a bar and a summary on standard error."""

import asyncio
import os
import queue
import shlex
import stat
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aorch.batch.batch_runner import SESSIONS, Tally
from aorch.cli.render.console import is_terminal, printable
from aorch.cli.streams import StandardOutput, stdout
from aorch.errors import OutputFailed, UsageError

WAITING = 1024 * 1024
"""Bytes that may wait to be written before tasks are held back."""
TURN_S = 0.1
"""How often the bar is drawn."""
FLUSH_S = 5.0
"""How long a reader that takes nothing is waited for where the batch was broken off."""


class Results:
    """Standard output. A reader that is slow holds up the tasks, but never the loop: a thread writes, unless it is a file.

    `failed` is done once nothing can be written any more, with BrokenPipeError or OutputFailed.
    """

    def __init__(self, write: Callable[[bytes], None], *, is_file: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._write = write
        self._begun: list[bytes] = []
        self._waiting = 0
        self._writing = False
        self._turned = asyncio.Event()
        self._queue: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
        self._is_file = is_file
        if not self._is_file:
            threading.Thread(target=self._work, name="aorch-results", daemon=True).start()

    def put(self, text: bytes) -> bool:
        """Take a line, which is written with those that come while the ones before it are."""
        self._begun.append(text)
        self._waiting += len(text)
        if not self._writing:
            self._writing = True
            self._loop.call_soon(self._hand_over)
        return self._waiting > WAITING

    async def room(self) -> None:
        """Wait until what waits is less."""
        while self._waiting > WAITING and not self.failed.done():
            self._turned.clear()
            await self._turned.wait()

    async def flush(self) -> None:
        """Wait until everything is written. Raises what `failed` holds."""
        while self._writing and not self.failed.done():
            self._turned.clear()
            await self._turned.wait()
        if self.failed.done():
            self.failed.result()

    def _hand_over(self) -> None:
        texts, self._begun = self._begun, []
        if self._is_file:
            self._written(*self._try_to_write(texts))
        else:
            self._queue.put(texts)

    def _work(self) -> None:
        while True:
            outcome = self._try_to_write(self._queue.get())
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(self._written, *outcome)

    def _try_to_write(self, texts: list[bytes]) -> tuple[int, Exception | None]:
        """How much it was, and why it could not be written."""
        text = b"".join(texts)
        try:
            self._write(text)
        except BrokenPipeError as broken:
            return len(text), broken
        except OutputFailed as broken:
            return len(text), OutputFailed(str(broken), "What was done is on record; see --resume.")
        return len(text), None

    def _written(self, size: int, error: Exception | None) -> None:
        self._waiting -= size
        self._writing = False
        if error is not None:
            if not self.failed.done():
                self.failed.set_exception(error)
                self.failed.exception()  # seen, whether anybody waits for it or not
        elif self._begun:
            self._writing = True
            self._hand_over()
        self._turned.set()


class ResultsOutput:
    """Standard output as it is now, whatever stands in its place later."""

    def __init__(self) -> None:
        """Raises UsageError where it is closed."""
        if (own := stdout()) is None:
            raise UsageError("standard output is closed, and results go there", "Name a file: … > results.jsonl")
        self._raw = StandardOutput(own.fileno(), "w", closefd=False)
        self.is_terminal = is_terminal(own)
        self.is_file = stat.S_ISREG(os.fstat(self._raw.fileno()).st_mode)

    def write(self, text: bytes) -> None:
        """Write all of `text`."""
        if self.is_terminal:
            text = printable(text.decode(), lines=True).encode()
        while text:
            text = text[self._raw.write(text) :]


@asynccontextmanager
async def progress(tally: Tally, total: int | None, out: ResultsOutput) -> AsyncIterator[Callable[[bytes], None]]:
    """A bar on standard error while the block runs, where a person watches it; `total` is bytes, None where unknown.

    Gives the function that results are written with: above the bar, where both are on a terminal.
    """
    if not is_terminal(sys.stderr):
        yield out.write
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.fields[done]}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    console = Console(stderr=True)

    def above(text: bytes) -> None:
        console.out(printable(text.decode(), lines=True), end="", highlight=False)

    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task("", total=total, done="", rate="")

        async def draw() -> None:
            while True:
                rate = f"{tally.rate():,.0f}/s"
                bar.update(shown, completed=tally.size, done=f"{tally.lines:,} lines{_failed(tally)}", rate=rate)
                await asyncio.sleep(TURN_S)

        drawing = asyncio.create_task(draw())
        try:
            yield above if out.is_terminal else out.write
        finally:
            drawing.cancel()


def summary(tally: Tally, ended: str = "") -> str:
    """The line at the end."""
    parts = [f"{tally.succeeded:,} succeeded"]
    parts += [f"{tally.failed:,} failed"] if tally.failed else []
    parts += [f"{tally.cancelled:,} cancelled"] if tally.cancelled else []
    parts += [f"{tally.broken:,} broken"] if tally.broken else []
    parts += [f"{tally.earlier:,} of them on record before"] if tally.earlier else []
    took = f"{tally.elapsed_s():.1f} s, {tally.rate():,.0f}/s"
    noun = "line" if tally.lines == 1 else "lines"
    return f"{ended}{tally.lines:,} {noun}: {', '.join(parts)} · {took}{_in_sessions(tally)}"


def next_steps(tally: Tally, ended: str, ledger: str | None, *, resumable: bool) -> list[str]:
    """What a person can do about what came to nothing, a line for each."""
    if ended and resumable:
        return ["next: this command again with --resume goes on"]
    at = f" --ledger {shlex.quote(ledger)}" if ledger is not None else ""
    steps = [f"aorch run --retry-failed {shlex.quote(session)}{at}" for session in [*tally.undone][:SESSIONS]]
    if len(tally.undone) > SESSIONS:
        steps.append("and so for the other sessions in which something failed")
    if steps and resumable:
        steps.append("then this command with --resume prints what came, last, of every line")
    return [f"next: {printable(step)}" for step in steps]


def _in_sessions(tally: Tally) -> str:
    named = [printable(session) for session in tally.sessions]
    if not named:
        return ""
    if len(named) > SESSIONS:
        named[SESSIONS:] = ["…"]
    return f" · {'session' if len(named) == 1 else 'sessions'} {', '.join(named)}"


def _failed(tally: Tally) -> str:
    wrong = tally.failed + tally.broken
    return f", {wrong:,} failed" if wrong else ""

"""Writes the results of a batch to standard output, and shows progress and a summary on standard error."""

import asyncio
import os
import queue
import shlex
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aorch.batch.results import MAX_SESSIONS, BatchCounts
from aorch.cli.render.console import printable
from aorch.cli.streams import StandardOutput, is_terminal, stdout
from aorch.errors import OutputFailed, UsageError

MAX_UNWRITTEN = 1024 * 1024
"""Number of unwritten bytes above which tasks are delayed."""
REDRAW_S = 0.1
"""How often the progress bar is drawn."""
FLUSH_S = 5.0
"""How long a stopped batch waits for a reader that does not read."""


class ResultWriter:
    """Writes results in a thread (to a file: directly), so that a slow reader delays the tasks but not the event loop.
    `failed` is done, with BrokenPipeError or OutputFailed, as soon as writing is no longer possible.
    """

    def __init__(self, write: Callable[[bytes], None], *, is_file: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._write = write
        self._pending: list[bytes] = []
        self._unwritten = 0
        self._is_writing = False
        self._progressed = asyncio.Event()
        self._queue: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
        self._is_file = is_file
        if not self._is_file:
            threading.Thread(target=self._work, name="aorch-results", daemon=True).start()

    def put(self, text: bytes) -> bool:
        """Accept a line. Lines that arrive while others are being written are written together."""
        self._pending.append(text)
        self._unwritten += len(text)
        if not self._is_writing:
            self._is_writing = True
            self._loop.call_soon(self._write_pending)
        return self._unwritten > MAX_UNWRITTEN

    async def room(self) -> None:
        """Wait until the number of unwritten bytes is low enough."""
        while self._unwritten > MAX_UNWRITTEN and not self.failed.done():
            self._progressed.clear()
            await self._progressed.wait()

    async def flush(self) -> None:
        """Wait until everything is written. Raises the error of `failed`."""
        while self._is_writing and not self.failed.done():
            self._progressed.clear()
            await self._progressed.wait()
        if self.failed.done():
            self.failed.result()

    def _write_pending(self) -> None:
        texts, self._pending = self._pending, []
        if self._is_file:
            self._finish_write(*self._try_to_write(texts))
        else:
            self._queue.put(texts)

    def _work(self) -> None:
        while True:
            outcome = self._try_to_write(self._queue.get())
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(self._finish_write, *outcome)

    def _try_to_write(self, texts: list[bytes]) -> tuple[int, Exception | None]:
        """Return the number of bytes, and the error if they could not be written."""
        text = b"".join(texts)
        try:
            self._write(text)
        except BrokenPipeError as error:
            return len(text), error
        except OutputFailed as error:
            return len(text), OutputFailed(str(error), "The results are in the ledger; --resume prints them.")
        return len(text), None

    def _finish_write(self, size: int, error: Exception | None) -> None:
        self._unwritten -= size
        self._is_writing = False
        if error is not None:
            if not self.failed.done():
                self.failed.set_exception(error)
                self.failed.exception()  # retrieved here, otherwise asyncio logs that it never was
        elif self._pending:
            self._is_writing = True
            self._write_pending()
        self._progressed.set()


class StandardResults:
    """Standard output as it is now, even if another stream replaces it later. Raises UsageError if it is closed."""

    def __init__(self) -> None:
        if (own := stdout()) is None:
            raise UsageError(
                "standard output is closed, so the results cannot be written", "Redirect it: … > results.jsonl"
            )
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
async def show_progress(
    counts: BatchCounts, total: int | None, output: StandardResults
) -> AsyncIterator[Callable[[bytes], None]]:
    """Show a progress bar on standard error while the block runs, if that is a terminal. `total` is in bytes (None: unknown).

    Yields the function that writes results: above the bar if both are on a terminal.
    """
    from aorch.cli.render.progress import progress_bar

    with progress_bar("", total) as bar:
        if bar is None:
            yield output.write
            return

        async def draw() -> None:
            while True:
                failed = counts.failed + counts.invalid
                failures = f", {failed:,} failed" if failed else ""
                bar.show(counts.size, f"{counts.lines:,} lines{failures}, {counts.rate():,.0f}/s")
                await asyncio.sleep(REDRAW_S)

        drawing = asyncio.create_task(draw())
        try:
            yield bar.print_above if output.is_terminal else output.write
        finally:
            drawing.cancel()


def summary(counts: BatchCounts, prefix: str = "") -> str:
    """The last line of a batch, after `prefix`."""
    parts = [f"{counts.succeeded:,} succeeded"]
    parts += [f"{counts.failed:,} failed"] if counts.failed else []
    parts += [f"{counts.cancelled:,} cancelled"] if counts.cancelled else []
    parts += [f"{counts.invalid:,} invalid"] if counts.invalid else []
    parts += [f"{counts.reused:,} from an earlier run"] if counts.reused else []
    speed = f"{counts.elapsed_s():.1f} s, {counts.rate():,.0f}/s"
    noun = "line" if counts.lines == 1 else "lines"
    return f"{prefix}{counts.lines:,} {noun}: {', '.join(parts)} · {speed}{_sessions(counts)}"


def next_steps(counts: BatchCounts, ledger: str | None, *, resumable: bool, incomplete: bool) -> list[str]:
    """The next steps for unfinished lines, one line of text each."""
    if incomplete and resumable:
        return ["next: run the same command with --resume to continue; finished lines are not run again"]
    at = f" --ledger {shlex.quote(ledger)}" if ledger is not None else ""
    steps = [f"aorch run --retry-failed {shlex.quote(session)}{at}" for session in [*counts.unfinished][:MAX_SESSIONS]]
    if len(counts.unfinished) > MAX_SESSIONS:
        steps.append("the same for the other sessions with failed tasks")
    if steps and resumable:
        steps.append("then run the first command with --resume to print the latest result of every line")
    return [f"next: {printable(step)}" for step in steps]


def _sessions(counts: BatchCounts) -> str:
    names = [printable(session) for session in counts.sessions]
    if not names:
        return ""
    if len(names) > MAX_SESSIONS:
        names[MAX_SESSIONS:] = ["…"]
    return f" · {'session' if len(names) == 1 else 'sessions'} {', '.join(names)}"

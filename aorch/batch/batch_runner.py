"""Runs the lines of a batch: `parallel` tasks at a time, the most urgent line first, one result per line.

Memory use does not depend on the number of lines: `parallel` tasks run, and about LOOK_AHEAD lines are read and not started yet
(with `ordered`: read and not written yet).
"""

import asyncio
import heapq
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from aorch.backoff import Backoff
from aorch.batch.batch_executor import BatchExecutor
from aorch.batch.batch_history import BatchHistory
from aorch.batch.batch_line import Line
from aorch.batch.prefetch import ThreadedIterator
from aorch.batch.results import BatchCounts, OrderedOutput, ResultOutput, result_line
from aorch.clock import now
from aorch.engine.response_saver import Unsaved
from aorch.engine.task import Answer, Outcome, Task
from aorch.errors import AorchError, Conflict, LedgerError, LedgerFull

LOOK_AHEAD, LOOK_AHEAD_BYTES = 1000, 8 * 1024 * 1024
"""Number of lines, and of their bytes, that are read ahead before reading pauses."""
ROOM_BACKOFF = Backoff(0.1, 1.0)
"""Pauses between attempts to write a REQUEST while the disk of the ledger is full."""


class BatchRunner:
    """Runs lines with `executor` and puts the result of each into `output`; `counts` counts them.

    Results are in the order in which tasks end, or in the order of the lines (`ordered`). After the first failure,
    `fail_fast` starts no more tasks; running ones finish. `history` has the earlier runs of a batch that can be resumed.

    While the disk of the ledger is full, no task starts, and the results of running tasks wait to be saved: `on_full` gets
    the error once, and the batch continues when there is room. `full` is that error until then.
    """

    def __init__(
        self,
        executor: BatchExecutor,
        output: ResultOutput,
        counts: BatchCounts,
        on_full: Callable[[LedgerFull], None],
        *,
        parallel: int,
        ordered: bool = False,
        fail_fast: bool = False,
        history: BatchHistory | None = None,
    ) -> None:
        self.counts = counts
        self.full: LedgerFull | None = None
        self._on_full = on_full
        self._refused: set[int] = set()
        """The identities of the lines whose REQUEST waits for room."""
        self._executor = executor
        self._output = output
        self._parallel = parallel
        self._look_ahead = max(LOOK_AHEAD, 2 * parallel)
        self._fail_fast = fail_fast
        self._history = history
        self._ordered = OrderedOutput(output) if ordered else None
        self._queue: list[tuple[int, int, Line]] = []
        self._queue_size = 0
        self._read = 0
        self._is_read = False
        self._has_lines, self._has_room = asyncio.Event(), asyncio.Event()
        self._duplicates: dict[str, list[tuple[int, Line]]] = {}
        """Lines with the same key as a running line, whose answer is used for all of them."""
        self._reading: asyncio.Task[None] | None = None

    async def run(self, chunks: Iterator[list[Line]]) -> None:
        """Run the lines of `chunks`, which is read in a thread. All results are in `output` when this returns.

        Raises LedgerError, and the errors of reading and of `output`. Raises CancelledError after every running task
        has been cancelled and has a RESPONSE.
        """
        self._executor.saver.on_refusal = self._pause_if_full
        reading = self._reading = asyncio.create_task(self._read_lines(chunks))
        workers = [asyncio.create_task(self._work()) for _ in range(self._parallel)]
        finished = asyncio.gather(reading, *workers)
        try:
            await asyncio.wait((finished, self._output.failed), return_when=asyncio.FIRST_COMPLETED)
            if self._output.failed.done():
                self._output.failed.result()
            await finished
        finally:
            for each in (reading, *workers):
                each.cancel()
            await asyncio.gather(finished, reading, *workers, return_exceptions=True)
            if self._ordered is not None and not self._output.failed.done():
                self._ordered.put_held()

    async def _read_lines(self, chunks: Iterator[list[Line]]) -> None:
        """Read ahead until the last line, or until no more lines are wanted."""
        try:
            await self._read_ahead(chunks)
        except asyncio.CancelledError:
            if not self._is_read:
                raise
        self._is_read = True
        self._has_lines.set()

    async def _read_ahead(self, chunks: Iterator[list[Line]]) -> None:
        """Read while there is room. The next chunk is being read while this one waits for room."""
        with ThreadedIterator(chunks) as iterator:
            upcoming = iterator.request_next()
            try:
                while (lines := await upcoming) is not None:
                    upcoming = iterator.request_next()
                    self._enqueue(lines)
                    while not self._may_read():
                        self._has_room.clear()
                        await self._has_room.wait()
            finally:
                if not upcoming.cancel() and not upcoming.cancelled():
                    upcoming.exception()  # retrieved, or asyncio logs that nothing awaited it

    def _enqueue(self, lines: list[Line]) -> None:
        for line in lines:
            heapq.heappush(self._queue, (line.priority, self._read, line))
            self._read += 1
            self._queue_size += line.size
        self._has_lines.set()

    def _may_read(self) -> bool:
        ahead = self._read - self._ordered.written if self._ordered else len(self._queue)
        return ahead < self._look_ahead and self._queue_size < LOOK_AHEAD_BYTES

    def _wake_reader(self) -> None:
        if not self._has_room.is_set() and self._may_read():
            self._has_room.set()

    async def _work(self) -> None:
        """One of `parallel` workers: run one line after the other."""
        while (taken := await self._next_line()) is not None:
            index, line = taken
            answer = await self._answer(index, line)
            if answer is None:
                continue
            is_full = self._put(index, line, answer)
            for duplicate in self._duplicates.pop(line.key, ()):
                is_full = self._put(*duplicate, answer)
            if is_full:
                await self._output.room()
            if self.full is not None:
                await self._executor.saver.saved()
                if not self._refused:
                    self.full = None

    async def _next_line(self) -> tuple[int, Line] | None:
        """The most urgent line that has been read, with its index; None if there are no more."""
        while not self._queue:
            if self._is_read:
                return None
            self._has_lines.clear()
            await self._has_lines.wait()
        if self._fail_fast and self.counts.failures:
            return None
        _, index, line = heapq.heappop(self._queue)
        self._queue_size -= line.size
        self._wake_reader()
        return index, line

    async def _answer(self, index: int, line: Line) -> Answer | None:
        """The answer to `line`; None if a line with the same key is running: its answer is used for both."""
        if line.key in self._duplicates:
            self._duplicates[line.key].append((index, line))
            return None
        if line.past is not None:
            return self._recorded(line)
        if line.task is None:
            return _rejected(line.refusal or AorchError("a line without a task"))
        if line.key:
            self._duplicates[line.key] = []
        try:
            return await self._perform(line, line.task)
        except Conflict:  # the same line has already run, or another process is running it
            return self._recorded(line) or _rejected(Conflict("another process took this line first"))

    async def _perform(self, line: Line, task: Task) -> Answer:
        """The answer to `task`, the one of `line`. Waits for room if the disk of the ledger is full."""
        on_cut_off = partial(self._count_cut_off, line, task.session_id)
        refusals = 0
        try:
            while True:
                try:
                    return await self._executor.perform(task, on_cut_off, in_line=True)
                except Unsaved as unsaved:  # its RESPONSE is written as soon as the ledger accepts it
                    if unsaved.is_final:
                        raise
                    return unsaved.answer
                except LedgerFull as full:  # the REQUEST was not written, so no agent was called
                    self._pause_if_full(full)
                refusals += 1
                self._refused.add(id(line))
                await asyncio.sleep(ROOM_BACKOFF.pause_s(refusals))
        finally:
            self._refused.discard(id(line))

    def _pause_if_full(self, error: LedgerError) -> None:
        if self.full is None and isinstance(error, LedgerFull):
            self.full = error
            self._on_full(error)

    def _count_cut_off(self, line: Line, session_id: str, outcome: Outcome) -> None:
        """Count a line that was interrupted by the end of the batch: it has a contract, but no result."""
        self.counts.add(line, outcome.failure, session_id)

    def _recorded(self, line: Line) -> Answer | None:
        if self._history is None:
            return None
        if line.past is None or line.past.status is None:
            line.past = self._history.find(line)
        return line.past and self._history.answer(line.past)

    def _put(self, index: int, line: Line, answer: Answer) -> bool:
        """Count and write the result. Returns True if the next one should wait for room."""
        self.counts.add(line, answer.failure, answer.session_id, replayed=answer.replayed)
        if answer.failure is not None and self._fail_fast:
            self._is_read = True
            if self._reading is not None:
                self._reading.cancel()
        text = result_line(line, answer)
        if self._ordered is None:
            return self._output.put(text)
        is_full = self._ordered.put(index, text)
        self._wake_reader()
        return is_full


def _rejected(error: AorchError) -> Answer:
    """The answer to a line without a contract."""
    nothing: Any = None
    return Answer(False, None, str(error), nothing, None, nothing, now(), 0.0, type(error), error.hint)

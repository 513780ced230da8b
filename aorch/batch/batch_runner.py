"""Many tasks through a few places: lines are read ahead, the most urgent goes first, each has one result.

Memory does not grow with the number of lines: `parallel` are in flight, and about LOOK_AHEAD are read and not yet begun
(in input order: not yet told), however slow one of them is.
"""

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from aorch import jsonio
from aorch.batch.batch_history import Earlier
from aorch.batch.batch_line import Line
from aorch.batch.prefetch import Puller
from aorch.clock import now
from aorch.engine.executor import TaskExecutor
from aorch.engine.response_saver import Unsaved
from aorch.engine.task import Answer, Outcome
from aorch.errors import AgentCancelled, AgentFailed, AorchError, Conflict

LOOK_AHEAD, LOOK_AHEAD_BYTES = 1000, 8 * 1024 * 1024
"""How many lines are read ahead, and how much they may say together, before reading rests."""
SESSIONS = 3
"""How many sessions are named; a batch may be of as many as it has lines."""


class Output(Protocol):
    """Where results go. `failed` is done, with the error, once they can go there no more."""

    failed: "asyncio.Future[None]"

    def put(self, text: bytes) -> bool:
        """Take the line of a result; whether so much waits to be written that the next should be held back."""
        ...

    async def room(self) -> None:
        """Wait until there is room again."""
        ...


@dataclass(slots=True)
class Tally:
    """How a batch is going. `failures` counts the exit codes of what failed, broken lines among them.

    `sessions` are those of the contracts that the results tell of, and `undone` those in which `--retry-failed` finds
    something: the first SESSIONS of them, and one more where there are more.
    """

    lines: int = 0
    size: int = 0
    succeeded: int = 0
    broken: int = 0
    cancelled: int = 0
    earlier: int = 0
    sessions: dict[str, None] = field(default_factory=dict)
    undone: dict[str, None] = field(default_factory=dict)
    failures: "Counter[int]" = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    @property
    def failed(self) -> int:
        """Tasks that failed, refused ones among them; not broken lines, and not what was cancelled."""
        return self.lines - self.succeeded - self.broken - self.cancelled

    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started

    def rate(self) -> float:
        """Lines a second."""
        return self.lines / max(self.elapsed_s(), 1e-9)

    def exit_code(self) -> int:
        """0 where all succeeded, the exit code that all failures share, else that of AgentFailed."""
        if not self.failures:
            return 0
        return next(iter(self.failures)) if len(self.failures) == 1 else AgentFailed.exit_code

    def count(self, line: Line, failure: type[AorchError] | None, session_id: str | None) -> None:
        """Take into account what came of `line`; `session_id` is None where there is no contract of it."""
        self.lines += 1
        self.size += line.size
        self.earlier += line.past is not None
        if session_id is not None:
            _name(session_id, self.sessions)
        if failure is None:
            self.succeeded += 1
            return
        self.broken += line.refusal is not None
        self.cancelled += failure is AgentCancelled
        self.failures[AgentFailed.exit_code if failure is AgentCancelled else failure.exit_code] += 1
        if session_id is not None and failure is not Conflict:
            _name(session_id, self.undone)


def _name(session_id: str, named: dict[str, None]) -> None:
    if len(named) <= SESSIONS:
        named[session_id] = None


class Batch:
    """Runs lines with `executor`, `parallel` at a time, and puts each one's result into `output`; `tally` counts them.

    Results come as tasks end, or in the order of the lines (`ordered`), also if some lines have none because the batch ended
    early. With `fail_fast` nothing is begun after the first failure; what runs is finished. `earlier` knows what earlier runs
    of a named batch did.
    """

    def __init__(
        self,
        executor: TaskExecutor,
        output: Output,
        tally: "Tally",
        *,
        parallel: int,
        ordered: bool = False,
        fail_fast: bool = False,
        earlier: Earlier | None = None,
    ) -> None:
        self.tally = tally
        self._executor = executor
        self._output = output
        self._parallel = parallel
        self._look_ahead = max(LOOK_AHEAD, 2 * parallel)
        self._fail_fast = fail_fast
        self._earlier = earlier
        self._telling = _InOrder(output) if ordered else None
        self._ahead: list[tuple[int, int, Line]] = []
        self._ahead_size = 0
        self._read = 0
        self._over = False
        self._some, self._room = asyncio.Event(), asyncio.Event()
        self._twins: dict[str, list[tuple[int, Line]]] = {}
        self._feeding: asyncio.Task[None] | None = None

    async def run(self, chunks: Iterator[list[Line]]) -> None:
        """Perform the lines of `chunks`, which is read in a thread. Their results are in `output` when this returns.

        Raises what reading raises, LedgerError, and what `output` failed with; CancelledError after each task in flight
        has been cancelled, with a RESPONSE that says so.
        """
        feeding = self._feeding = asyncio.create_task(self._feed(chunks))
        working = [asyncio.create_task(self._work()) for _ in range(self._parallel)]
        ended = asyncio.gather(feeding, *working)
        try:
            await asyncio.wait((ended, self._output.failed), return_when=asyncio.FIRST_COMPLETED)
            if self._output.failed.done():
                self._output.failed.result()
            await ended
        finally:
            for each in (feeding, *working):
                each.cancel()
            await asyncio.gather(ended, feeding, *working, return_exceptions=True)
            if self._telling is not None and not self._output.failed.done():
                self._telling.tell_the_rest()

    async def _feed(self, chunks: Iterator[list[Line]]) -> None:
        """Read ahead until there is no more, or no more is wanted."""
        try:
            await self._read_ahead(chunks)
        except asyncio.CancelledError:
            if not self._over:
                raise
        self._over = True
        self._some.set()

    async def _read_ahead(self, chunks: Iterator[list[Line]]) -> None:
        """As far as there is room; the next chunk is being read while this one waits for it."""
        with Puller(chunks) as puller:
            upcoming = puller.pull()
            try:
                while (lines := await upcoming) is not None:
                    upcoming = puller.pull()
                    self._take_in(lines)
                    while not self._has_room():
                        self._room.clear()
                        await self._room.wait()
            finally:
                if not upcoming.cancel() and not upcoming.cancelled():
                    upcoming.exception()  # seen: nobody waits for it any more

    def _take_in(self, lines: list[Line]) -> None:
        for line in lines:
            heapq.heappush(self._ahead, (line.priority, self._read, line))
            self._read += 1
            self._ahead_size += line.size
        self._some.set()

    def _has_room(self) -> bool:
        untold = self._read - self._telling.told if self._telling else len(self._ahead)
        return untold < self._look_ahead and self._ahead_size < LOOK_AHEAD_BYTES

    def _wake_feeding(self) -> None:
        if not self._room.is_set() and self._has_room():
            self._room.set()

    async def _work(self) -> None:
        """One of the places: one task after the other."""
        while (taken := await self._take()) is not None:
            place, line = taken
            answer = await self._answer(place, line)
            if answer is None:
                continue
            held_back = self._tell(place, line, answer)
            for twin in self._twins.pop(line.key, ()):
                held_back = self._tell(*twin, answer)
            if held_back:
                await self._output.room()

    async def _take(self) -> tuple[int, Line] | None:
        """The most urgent of the lines that were read; None when there will be no more."""
        while not self._ahead:
            if self._over:
                return None
            self._some.clear()
            await self._some.wait()
        if self._fail_fast and self.tally.failures:
            return None
        _, place, line = heapq.heappop(self._ahead)
        self._ahead_size -= line.size
        self._wake_feeding()
        return place, line

    async def _answer(self, place: int, line: Line) -> Answer | None:
        """What comes, or came, of `line`; None where the same is being done already: that answers both."""
        if line.key in self._twins:
            self._twins[line.key].append((place, line))
            return None
        if line.past is not None:
            return self._on_record(line)
        if line.task is None:
            return _refused(line.refusal or AorchError("a line without a task"))
        if line.key:
            self._twins[line.key] = []
        try:
            cut_off = partial(self._cut_off, line, line.task.session_id)
            return await self._executor.perform(line.task, cut_off, in_line=True)
        except Unsaved as unsaved:  # its RESPONSE is written as soon as the ledger takes it
            return unsaved.answer
        except Conflict:  # a line of that id and text was done before, or another process is doing it now
            return self._on_record(line) or _refused(Conflict("another process has taken this line before"))

    def _cut_off(self, line: Line, session_id: str, outcome: Outcome) -> None:
        """What came of `line` in the ledger, of which there will be no result, since this is broken off."""
        self.tally.count(line, outcome.failure, session_id)

    def _on_record(self, line: Line) -> Answer | None:
        if self._earlier is None:
            return None
        if line.past is None or line.past.status is None:
            line.past = self._earlier.find(line)
        return line.past and self._earlier.answer(line.past)

    def _tell(self, place: int, line: Line, answer: Answer) -> bool:
        """Put the result where it goes; whether the next should be held back."""
        self.tally.count(line, answer.failure, answer.session_id)
        if answer.failure is not None and self._fail_fast:
            self._over = True
            if self._feeding is not None:
                self._feeding.cancel()
        code = {} if answer.failure is None else {"code": answer.failure.code}
        text = jsonio.encode_bytes({"id": line.line_id, **answer.as_dict(), **code}) + b"\n"
        if self._telling is None:
            return self._output.put(text)
        held_back = self._telling.put(place, text)
        self._wake_feeding()
        return held_back


class _InOrder:
    """Results held until all before them are told. `told` is how many are."""

    def __init__(self, output: Output) -> None:
        self.told = 0
        self._output = output
        self._held: dict[int, bytes] = {}

    def put(self, place: int, text: bytes) -> bool:
        self._held[place] = text
        full = False
        while self.told in self._held:
            full = self._output.put(self._held.pop(self.told))
            self.told += 1
        return full

    def tell_the_rest(self) -> None:
        """Tell what is held: there will be no result of the lines in between, since the batch has ended."""
        for place in sorted(self._held):
            self._output.put(self._held.pop(place))


def _refused(refusal: AorchError) -> Answer:
    """The answer to a line of which no exchange came."""
    said: Any = None
    return Answer(False, None, str(refusal), said, None, said, now(), 0.0, type(refusal), refusal.hint)

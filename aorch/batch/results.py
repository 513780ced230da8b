"""The results of a batch: their counts, their JSON lines, and their order."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from aorch import jsonio
from aorch.batch.batch_line import Line
from aorch.engine.task import Answer
from aorch.errors import AgentCancelled, AgentFailed, AorchError, Conflict

MAX_SESSIONS = 3
"""Maximum number of sessions to name; a batch can have as many sessions as lines."""


class ResultOutput(Protocol):
    """The output for results. `failed` is done, with the error, as soon as writing is no longer possible."""

    failed: "asyncio.Future[None]"

    def put(self, text: bytes) -> bool:
        """Accept the line of a result. Returns True if the caller should await `room` before the next one."""
        ...

    async def room(self) -> None:
        """Wait until there is room again."""
        ...


@dataclass(slots=True)
class BatchCounts:
    """The progress of a batch. `failures` counts exit codes of failed tasks and of invalid lines (`invalid`).

    `reused` counts results of an earlier run. `sessions` are the sessions of the results, and `unfinished` those with a task
    that `--retry-failed` would run; both keep the first MAX_SESSIONS, and one more if there are more.
    """

    lines: int = 0
    size: int = 0
    succeeded: int = 0
    invalid: int = 0
    cancelled: int = 0
    reused: int = 0
    sessions: dict[str, None] = field(default_factory=dict)
    unfinished: dict[str, None] = field(default_factory=dict)
    failures: "Counter[int]" = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    @property
    def failed(self) -> int:
        """Failed and rejected tasks, without invalid lines and cancelled tasks."""
        return self.lines - self.succeeded - self.invalid - self.cancelled

    def elapsed_s(self) -> float:
        """Seconds since the batch started."""
        return time.monotonic() - self.started

    def rate(self) -> float:
        """Lines per second."""
        return self.lines / max(self.elapsed_s(), 1e-9)

    def exit_code(self) -> int:
        """0 if all tasks succeeded, the exit code that all failures share, or that of AgentFailed if they differ."""
        if not self.failures:
            return 0
        return next(iter(self.failures)) if len(self.failures) == 1 else AgentFailed.exit_code

    def add(
        self, line: Line, failure: type[AorchError] | None, session_id: str | None, *, replayed: bool = False
    ) -> None:
        """Count the result of `line`; `session_id` is None if the line has no contract. `replayed`: a server had it already."""
        self.lines += 1
        self.size += line.size
        self.reused += replayed or line.past is not None
        if session_id is not None:
            _add_session(session_id, self.sessions)
        if failure is None:
            self.succeeded += 1
            return
        self.invalid += line.refusal is not None
        self.cancelled += failure is AgentCancelled
        self.failures[AgentFailed.exit_code if failure is AgentCancelled else failure.exit_code] += 1
        if session_id is not None and failure is not Conflict:
            _add_session(session_id, self.unfinished)


def _add_session(session_id: str, sessions: dict[str, None]) -> None:
    if len(sessions) <= MAX_SESSIONS:
        sessions[session_id] = None


class OrderedOutput:
    """Holds each result until all earlier ones are in `output`. `written` is the number of results there."""

    def __init__(self, output: ResultOutput) -> None:
        self.written = 0
        self._output = output
        self._held: dict[int, bytes] = {}

    def put(self, index: int, text: bytes) -> bool:
        """Accept the result of the line with that index (from 0)."""
        self._held[index] = text
        is_full = False
        while self.written in self._held:
            is_full = self._output.put(self._held.pop(self.written))
            self.written += 1
        return is_full

    def put_held(self) -> None:
        """Write the held results. Used if a batch ends early: the lines in between have no result."""
        for index in sorted(self._held):
            self._output.put(self._held.pop(index))


def result_line(line: Line, answer: Answer) -> bytes:
    """A result as a line of JSON."""
    code = {} if answer.failure is None else {"code": answer.failure.code}
    return jsonio.encode_bytes({"id": line.line_id, **answer.as_dict(), **code}) + b"\n"

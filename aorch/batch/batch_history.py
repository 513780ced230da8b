"""The earlier runs of a batch, and the unfinished tasks of a session.

A named batch starts a generation (a ULID), which is stored under the name before any task runs. Every line has a key in its
generation, which is committed with its REQUEST. So after a crash the next run knows which lines an agent may have received.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aorch import jsonio
from aorch.agents.registry import Registry
from aorch.batch.batch_line import Line
from aorch.clock import now
from aorch.engine.task import Answer, Task, answer_from_contracts
from aorch.errors import Conflict, NotFound, UsageError
from aorch.ids import new_id
from aorch.ledger import priorities
from aorch.ledger.batch_register import BatchReader, PriorResult
from aorch.ledger.contract_metadata import requested_agent
from aorch.ledger.ledger import Ledger
from aorch.ledger.record import CANCELLED, INTERRUPTED, Record, object_in
from aorch.ledger.task_keys import BatchLineKey, RetryKey

CHUNK = 500
ANY_LENGTH = 2**60


class BatchHistory:
    """The earlier runs of a batch, which `reader` finds in the ledger by the keys of `generation`."""

    def __init__(self, reader: BatchReader, registry: Registry, generation: str) -> None:
        self.generation = generation
        self._reader = reader
        self._registry = registry

    def close(self) -> None:
        """Close the ledger."""
        self._reader.close()

    def with_keys(self, chunks: Iterator[list[Line]]) -> Iterator[list[Line]]:
        """Yield `chunks`; the task of each line is recorded under its key."""
        for lines in chunks:
            for line in lines:
                if line.task is not None:
                    line.task.idempotency, line.task.refusal_uses_key = BatchLineKey(self.generation, line.key), True
            yield lines

    def resumed(self, chunks: Iterator[list[Line]]) -> Iterator[list[Line]]:
        """Like `with_keys`.

        A line that must not run again has its result in `past`; any other task names the REQUEST that it retries.
        """
        for lines in self.with_keys(chunks):
            found = self._reader.results(self.generation, [line.key for line in lines if line.task is not None])
            for line in lines:
                past = found.get(line.key)
                if past is None or line.task is None:
                    continue
                if self._may_run_again(line.task, past):
                    line.task.idempotency = RetryKey(past.contract_id)
                    line.task.session_id = past.session_id
                    line.task.annotations["retry_of"] = past.retry_of or past.contract_id
                else:
                    line.past = past
            yield lines

    def find(self, line: Line) -> PriorResult | None:
        """The latest record of `line`, written by any process."""
        return self._reader.results(self.generation, [line.key], ANY_LENGTH).get(line.key)

    def answer(self, past: PriorResult) -> Answer:
        """The recorded answer, or a failure if another process is still running the line."""
        if past.left_out:
            past = self._reader.results(self.generation, [past.line_key], ANY_LENGTH)[past.line_key]
        if past.metadata is not None:
            result = None if past.result is None else jsonio.decode(past.result)
            response = {**past._asdict(), "result": result, "metadata": jsonio.decode(past.metadata)}
            return answer_from_contracts(past._asdict(), response)
        return Answer(
            success=False,
            data=None,
            error=f"another process is running this line (contract {past.contract_id})",
            contract_id=past.contract_id,
            agent_id=past.to_agent,
            session_id=past.session_id,
            timestamp=now(),
            duration_ms=0.0,
            failure=Conflict,
        )

    def _may_run_again(self, task: Task, past: PriorResult) -> bool:
        """Whether the line can run again: no agent received the task, or it was cut off and all its agents are
        idempotent.
        """
        if past.delivered == 0:
            return True
        if past.status not in (INTERRUPTED, CANCELLED):
            return False
        able = [
            each
            for each in self._registry.with_capability(task.capability)
            if task.agent_id in (None, each.agent.agent_id)
        ]
        return bool(able) and all(each.capabilities[task.capability].idempotent for each in able)


async def start_batch(ledger: Ledger, name: str) -> str:
    """Start a new generation of the batch `name`, commit it, and return it."""
    generation = new_id()
    await ledger.write_generation(name, generation)
    return generation


def latest_generation(reader: BatchReader, name: str) -> str:
    """The generation of the batch `name` that `--resume` continues. Raises NotFound."""
    generation = reader.generation(name)
    if generation is None:
        raise NotFound(f"no batch {name!r} in this ledger", "Run the command without --resume to start it.")
    return generation


def unfinished_lines(ledger: Path, session_id: str, timeout_s: float | None) -> Iterator[list[Line]]:
    """Yield a line for each exchange of that session that failed, was cancelled or interrupted, and has not succeeded since.

    Raises NotFound if there is no such session.
    """
    number = 0
    with BatchReader(ledger) as reader:
        if not reader.has_session(session_id):
            raise NotFound(
                f"session {session_id!r} not found", "`aorch contracts list` shows contracts with their sessions."
            )
        unfinished = reader.unfinished(session_id)
        for start in range(0, len(unfinished), CHUNK):
            some = dict(unfinished[start : start + CHUNK])
            lines = []
            for request, last_id in zip(reader.requests_at(list(some)), some.values(), strict=True):
                number += 1
                lines.append(_line_again(number, request, last_id, session_id, timeout_s))
            yield lines


def _line_again(number: int, request: Record, last_id: str, session_id: str, timeout_s: float | None) -> Line:
    metadata = jsonio.decode(request.metadata)
    given_id, priority = metadata.get("line"), metadata.get("priority")
    line_id = given_id if isinstance(given_id, str | int) else request.contract_id
    line = Line(number, line_id, len(request.payload))
    line.priority = priority if isinstance(priority, int) else priorities.DEFAULT
    try:
        line.task = _task_again(request, metadata, session_id, timeout_s)
        line.task.idempotency, line.task.refusal_uses_key = RetryKey(last_id), True
    except UsageError as error:  # an imported REQUEST may not be valid as a new task
        line.refusal = error
    return line


def _task_again(request: Record, metadata: dict[str, Any], session_id: str, timeout_s: float | None) -> Task:
    kept = {name: value for name, value in metadata.items() if name in ("priority", "line")}
    return Task(
        capability=request.capability,
        parameters=jsonio.decode(request.payload),
        session_id=session_id,
        context=object_in(metadata, "context"),
        agent_id=requested_agent(metadata, request.to_agent),
        timeout_s=timeout_s,
        from_agent=request.from_agent,
        annotations={**kept, "retry_of": request.contract_id},
        require=object_in(object_in(metadata, "routing"), "require"),
    )

"""The earlier runs of a batch, and the unfinished tasks of a session.

A named batch starts a generation (a ULID), which is stored under the name before any task runs. Every line has a key in its
generation, which is committed with its REQUEST. So after a crash the next run knows which lines an agent may have received.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.agents.registry import Registry
from aorch.batch.batch_line import Line
from aorch.clock import now
from aorch.engine.recorded_task import recorded_task
from aorch.engine.task import Answer, Task, answer_from_contracts
from aorch.errors import Conflict, ContentErased, NotFound, UsageError
from aorch.ids import new_id
from aorch.ledger import priorities
from aorch.ledger.batch_register import BatchRecords, PriorResult
from aorch.ledger.contract_metadata import erasure_mark, read_metadata, requested_agent
from aorch.ledger.ledger import Ledger
from aorch.ledger.record import CANCELLED, FAILED, INTERRUPTED, Record
from aorch.ledger.task_keys import BatchLineKey, RetryKey

CHUNK = 500
ANY_LENGTH = 2**60


class Unfinished(NamedTuple):
    """A task that failed, was cancelled or interrupted: its first REQUEST with its position, the ID of its last try, and the line
    that runs it again.
    """

    position: int
    request: Record
    last_id: str
    line: Line


class BatchHistory:
    """The earlier runs of a batch, which `reader` finds in the ledger by the keys of `generation`."""

    def __init__(self, reader: BatchRecords, registry: Registry, generation: str) -> None:
        self.generation = generation
        self._reader = reader
        self._registry = registry

    def close(self) -> None:
        """Close the ledger, if it was opened for this batch."""
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
                if not past.is_erased and self._may_run_again(line.task, past):
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
            if past.is_erased:
                return _erased_answer(past)
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


def _erased_answer(past: PriorResult) -> Answer:
    mark = erasure_mark(jsonio.decode(past.metadata or "{}"))
    return Answer(
        success=False,
        data=None,
        error=f"the result of this line (contract {past.contract_id}) was {mark}",
        contract_id=past.contract_id,
        agent_id=past.from_agent,
        session_id=past.session_id,
        timestamp=past.created_at or now(),
        duration_ms=0.0,
        failure=ContentErased,
    )


async def start_batch(ledger: Ledger, name: str) -> str:
    """Start a new generation of the batch `name`, commit it, and return it."""
    generation = new_id()
    await ledger.write_generation(name, generation)
    return generation


def latest_generation(reader: BatchRecords, name: str) -> str:
    """The generation of the batch `name` that `--resume` continues. Raises NotFound."""
    generation = reader.generation(name)
    if generation is None:
        raise NotFound(f"no batch {name!r} in this ledger", "Run the command without --resume to start it.")
    return generation


def unfinished_lines(
    recorded: BatchRecords, session_id: str, timeout_s: float | None, *, after: int = 0
) -> Iterator[list[Unfinished]]:
    """Yield each exchange of that session that failed, was cancelled or interrupted, and has not succeeded since; only those
    after that position.

    Raises NotFound if there is no such session.
    """
    if not recorded.has_session(session_id):
        raise NotFound(
            f"session {session_id!r} not found", "`aorch contracts list` shows contracts with their sessions."
        )
    unfinished = [each for each in recorded.unfinished(session_id) if each[0] > after]
    for start in range(0, len(unfinished), CHUNK):
        some = dict(unfinished[start : start + CHUNK])
        requests = zip(recorded.requests_at(list(some)), some.items(), strict=True)
        yield [
            Unfinished(position, request, last_id, _line_again(number, request, last_id, session_id, timeout_s))
            for number, (request, (position, last_id)) in enumerate(requests, start + 1)
        ]


def unfinished_task(recorded: BatchRecords, request: Record, last_id: str | None, timeout_s: float | None) -> Line:
    """The line for a REQUEST that failed, was cancelled or interrupted. `last_id` is the try that the caller knows as its last
    one (None: any).

    Raises Conflict if the task has completed or is running, or if that try was retried; and the error that makes the task
    invalid.
    """
    found, status = recorded.last_try(request.session_id, request.contract_id)
    if status not in (FAILED, CANCELLED):
        raise Conflict(f"the last try of {request.contract_id} is {status}: there is nothing to retry")
    if last_id not in (None, found):
        raise Conflict(RetryKey(last_id or "").conflict)
    line = _line_again(1, request, found, request.session_id, timeout_s)
    if line.refusal is not None:
        raise line.refusal
    return line


def _line_again(number: int, request: Record, last_id: str, session_id: str, timeout_s: float | None) -> Line:
    metadata = jsonio.decode(request.metadata)
    about = read_metadata(metadata)
    origin: dict[str, Any] = {
        name: about.annotations[name] for name in ("priority", "line") if name in about.annotations
    }
    given_id, priority = origin.get("line"), origin.get("priority")
    line_id = given_id if isinstance(given_id, str | int) else request.contract_id
    line = Line(number, line_id, len(request.payload))
    line.priority = priority if isinstance(priority, int) else priorities.DEFAULT
    try:
        line.task = task = recorded_task(request, requested_agent(metadata, request.to_agent), about)
        task.session_id, task.timeout_s, task.from_agent = session_id, timeout_s, request.from_agent
        task.annotations = {**origin, "retry_of": request.contract_id}
        task.idempotency, task.refusal_uses_key = RetryKey(last_id), True
    except UsageError as error:  # an imported REQUEST may not be valid as a new task
        line.refusal = error
    return line

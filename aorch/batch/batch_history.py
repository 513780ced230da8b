"""What earlier runs of a batch did, and the unfinished tasks of a session.

A named batch begins a generation (a ULID), kept under its name before anything is done. Each line is known by a key in it,
committed with its REQUEST: so whatever kills a batch, the next run knows which lines an agent may have seen.
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
EVERYTHING = 2**60


class Earlier:
    """What earlier runs of the batch called `name` did, in its newest generation, which is `generation`."""

    def __init__(self, recorded: BatchReader, registry: Registry, generation: str) -> None:
        self.generation = generation
        self._recorded = recorded
        self._registry = registry

    def close(self) -> None:
        """Let go of the ledger."""
        self._recorded.close()

    def known(self, chunks: Iterator[list[Line]]) -> Iterator[list[Line]]:
        """`chunks`, in which each line is done under its key."""
        for lines in chunks:
            for line in lines:
                if line.task is not None:
                    line.task.idempotency, line.task.refusal_uses_key = BatchLineKey(self.generation, line.key), True
            yield lines

    def resumed(self, chunks: Iterator[list[Line]]) -> Iterator[list[Line]]:
        """The same; each line that was done has its `past`, and each that may be done again says of what."""
        for lines in self.known(chunks):
            found = self._recorded.results(self.generation, [line.key for line in lines if line.task is not None])
            for line in lines:
                past = found.get(line.key)
                if past is None or line.task is None:
                    continue
                if self._may_be_done_again(line.task, past):
                    line.task.idempotency = RetryKey(past.contract_id)
                    line.task.session_id = past.session_id
                    line.task.annotations["retry_of"] = past.retry_of or past.contract_id
                else:
                    line.past = past
            yield lines

    def find(self, line: Line) -> PriorResult | None:
        """What came of `line`, whoever did it."""
        return self._recorded.results(self.generation, [line.key], EVERYTHING).get(line.key)

    def answer(self, past: PriorResult) -> Answer:
        """The answer that is on record; where there is none yet, that another process is at it."""
        if past.left_out:
            past = self._recorded.results(self.generation, [past.line_key], EVERYTHING)[past.line_key]
        if past.metadata is not None:
            result = None if past.result is None else jsonio.decode(past.result)
            response = {**past._asdict(), "result": result, "metadata": jsonio.decode(past.metadata)}
            return answer_from_contracts(past._asdict(), response)
        return Answer(
            success=False,
            data=None,
            error=f"another process is doing this line (contract {past.contract_id})",
            contract_id=past.contract_id,
            agent_id=past.to_agent,
            session_id=past.session_id,
            timestamp=now(),
            duration_ms=0.0,
            failure=Conflict,
        )

    def _may_be_done_again(self, task: Task, past: PriorResult) -> bool:
        """Whether no agent saw it, or it was broken off and doing it twice comes to the same as once, whoever does it."""
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


async def begin(ledger: Ledger, name: str) -> str:
    """The generation of a batch of that name which begins anew; durable."""
    generation = new_id()
    await ledger.write_generation(name, generation)
    return generation


def begun(recorded: BatchReader, name: str) -> str:
    """The generation of the batch of that name that is to be gone on with. Raises NotFound."""
    generation = recorded.generation(name)
    if generation is None:
        raise NotFound(f"no batch {name!r} was begun in this ledger", "Start it without --resume.")
    return generation


def unfinished(ledger: Path, session_id: str, timeout_s: float | None) -> Iterator[list[Line]]:
    """A line for each exchange of that session that failed, was cancelled or interrupted, and has not succeeded since.

    Raises NotFound where there is no such session.
    """
    number = 0
    with BatchReader(ledger) as recorded:
        if not recorded.has_session(session_id):
            raise NotFound(f"no session is called {session_id!r}", "See `aorch contracts list`.")
        left = recorded.unfinished(session_id)
        for start in range(0, len(left), CHUNK):
            some = dict(left[start : start + CHUNK])
            lines = []
            for asked, last in zip(recorded.requests_at(list(some)), some.values(), strict=True):
                number += 1
                about = jsonio.decode(asked.metadata)
                own, kept = about.get("line"), about.get("priority")
                line = Line(number, own if isinstance(own, str | int) else asked.contract_id, len(asked.payload))
                line.priority = kept if isinstance(kept, int) else priorities.DEFAULT
                try:
                    line.task = _again(asked, about, session_id, timeout_s)
                    line.task.idempotency, line.task.refusal_uses_key = RetryKey(last), True
                except UsageError as error:  # it was imported, and cannot be asked for as it is
                    line.refusal = error
                lines.append(line)
            yield lines


def _again(asked: Record, about: dict[str, Any], session_id: str, timeout_s: float | None) -> Task:
    kept = {name: said for name, said in about.items() if name in ("priority", "line")}
    return Task(
        capability=asked.capability,
        parameters=jsonio.decode(asked.payload),
        session_id=session_id,
        context=object_in(about, "context"),
        agent_id=requested_agent(about, asked.to_agent),
        timeout_s=timeout_s,
        from_agent=asked.from_agent,
        annotations={**kept, "retry_of": asked.contract_id},
    )

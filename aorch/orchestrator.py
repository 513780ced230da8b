"""The Orchestrator: the public class, in front of registry, executor and ledger."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aorch import bootstrap
from aorch.agents import Agent
from aorch.agents.function import as_agent
from aorch.clock import utc
from aorch.config import settings
from aorch.engine.executor import TaskExecutor
from aorch.engine.executor_at_server import delegating_executor
from aorch.engine.lifecycle import Lifecycle
from aorch.engine.map import Items, mapped
from aorch.engine.response_saver import Unsaved
from aorch.engine.submit import TaskRejected, TaskSubmitter
from aorch.engine.task import (
    Answer,
    AnswerDict,
    MappedAnswerDict,
    QueueOptions,
    Task,
    TaskDict,
    named_session,
    new_session_id,
)
from aorch.engine.waiter import ResponseWaiter
from aorch.errors import UsageError
from aorch.ledger import priorities
from aorch.ledger.database import Database
from aorch.ledger.record import ORCHESTRATOR
from aorch.process.threads import in_thread

_FIELDS = TaskDict.__annotations__.keys()


class Orchestrator:
    """Calls agents by capability and keeps every exchange in the ledger.

    Its agents are those of `aorch.toml`, those of installed packages, and those that `register_agent` adds. The ledger is
    `ledger` (default: the configured one); the first task opens it, and `aclose` or the end of an `async with` closes it.
    """

    def __init__(
        self,
        ledger: str | Path | None = None,
        *,
        config: settings.Config | None = None,
        trace_url: str | None = None,
        memagent_url: str | None = None,
    ) -> None:
        """`trace_url` (or `off`) and `memagent_url` override the configured addresses. With a `trace_url` this orchestrator
        delivers to Trace itself, from its first task until `aclose`. Raises ConfigInvalid.
        """
        loaded = config or settings.load(ledger)
        self.config = config = settings.with_services(loaded, trace_url, memagent_url)
        self.registry = registry = bootstrap.registry(config)
        self._lifecycle = Lifecycle(partial(bootstrap.executor, config, registry))
        self._queue: TaskSubmitter | None = None
        self._delivery = bootstrap.embedded_delivery(config) if trace_url and config.trace_url else None

    def register_agent(self, agent: Agent | Callable[..., Any], *, replace: bool = False) -> bool:
        """Add `agent`, or a function with `@capability`, and return True. With `replace` it replaces an agent with the same
        id, which is useful in notebooks.

        Raises UsageError with the reason if `agent` is not an agent, and Conflict if its id is taken.
        """
        self.registry.add(as_agent(agent), replace=replace)
        return True

    def deregister_agent(self, agent_id: str) -> bool:
        """Remove that agent, and return whether it existed. It finishes the tasks that it runs."""
        return self.registry.remove(agent_id)

    def get_agent(self, agent_id: str) -> Agent | None:
        """The agent with that id, or None."""
        found = self.registry.find(agent_id)
        return None if found is None else found.agent

    def find_agent_by_capability(self, capability: str) -> Agent | None:
        """The first registered agent that has `capability` and can work now, or None."""
        able = (each.agent for each in self.registry.with_capability(capability) if each.problem() is None)
        return next(able, None)

    def list_agents(self) -> list[dict[str, Any]]:
        """Each agent's JSON form, in the order of registration."""
        return [registered.as_dict() for registered in self.registry]

    async def orchestrate(self, session_id: str, task: TaskDict, from_agent: str | None = None) -> AnswerDict:
        """Execute `task` (`capability`, `parameters`, optional `context`, `agent_id`, `timeout_s`, …) in that session.

        `from_agent` is the caller (default: the agent whose code calls this, or `orchestrator`). The answer has `success`,
        `data`, `error`, `contract_id` (the REQUEST's), `agent_id`, `session_id`, `timestamp`; a failure of any kind is an
        answer with `success` False. Raises UsageError for an invalid task, and LedgerError; also if the ledger does not
        accept the RESPONSE within 5 s, which is then written as soon as it does.
        """
        asked = _task(session_id, task)
        asked.from_agent = asked.from_agent if from_agent is None else from_agent
        return (await self.perform(asked)).as_dict()

    async def map(
        self, capability: str, items: Items, limit: int = 32, session_id: str | None = None
    ) -> AsyncGenerator[MappedAnswerDict, None]:
        """Execute `capability` for each of `items` (parameters; an iterable or async iterable), and yield answers as they come.

        Each answer is like that of `orchestrate`, with its `item` and `index` (from 0). Reads at most `limit` items ahead
        of the answers that were yielded, so a slow consumer slows everything down and memory does not grow. Without
        `session_id` they share a new session. Closing the generator (`contextlib.aclosing`) cancels running tasks. Raises
        UsageError if an item is not an object or `limit` is below 1, any exception that `items` raises, and LedgerError if
        the ledger does not accept a REQUEST. An answer that it does not accept within 5 s is yielded, and written as soon
        as it does.
        """
        if limit < 1:
            raise UsageError(f"limit must be 1 or more, not {limit}")
        session = named_session(session_id) if session_id is not None else new_session_id()

        async def ask(parameters: dict[str, Any]) -> AnswerDict:
            try:
                return (await self.perform(Task(capability, parameters, session), in_line=True)).as_dict()
            except Unsaved as unsaved:  # one late answer does not end the others
                return unsaved.answer.as_dict()

        async with aclosing(mapped(ask, items, limit)) as answers:
            async for answer in answers:
                yield answer

    async def perform(
        self,
        task: Task,
        *,
        in_line: bool = False,
        max_line: float = math.inf,
        on_progress: Callable[[Any], None] | None = None,
    ) -> Answer:
        """Execute `task` like `orchestrate`, but with typed objects. `on_progress` gets what the agent reports while it works;
        `in_line` and `max_line` as in `TaskExecutor.perform`.
        """
        if (at_server := delegating_executor()) is not None:
            return await at_server.perform(task, on_progress=on_progress)
        lifecycle, entry = self._lifecycle, object()
        lifecycle.running[entry] = asyncio.get_running_loop()
        try:
            executor = lifecycle.executor or await self._opened()
            return await executor.perform(task, in_line=in_line, max_line=max_line, on_progress=on_progress)
        finally:
            del lifecycle.running[entry]
            if (on_end := lifecycle.on_end) is not None:
                on_end()

    async def resume(self, contract_id: str) -> Answer:
        """Run the task of that REQUEST again, as a new one in the same session; the completed steps of a pipeline are reused.

        Raises NotFound, Conflict (it completed, is still running, or was resumed already), and the errors of `perform`.
        """

        def read() -> Task:
            from aorch.engine.resume import task_again  # noqa: PLC0415  most programs only run tasks

            return task_again(self.config.ledger, contract_id, self.registry)

        if Database(self.config.ledger).exists():
            await self._opened()  # first answers the REQUESTs of dead processes
        return await self.perform(await asyncio.to_thread(read))

    async def submit(
        self,
        session_id: str,
        task: TaskDict,
        *,
        priority: int = priorities.DEFAULT,
        not_before: str | None = None,
        expires_at: str | None = None,
    ) -> str:
        """Put `task` (as for `orchestrate`) into the queue, for `aorch serve` or `aorch worker`, and return its contract id.

        It is durable when this returns. `priority` is from 1 (highest) to 5; the times are RFC 3339. Raises UsageError,
        NoAgent if no agent has the capability, QueueFull, and LedgerError.
        """
        options = QueueOptions(priority, not_before and utc(not_before), expires_at and utc(expires_at))
        asked = _task(session_id, task)
        await self._opened()
        try:
            return (await self.queue.submit(asked, options)).contract_id
        except TaskRejected as rejected:
            raise rejected.answer.as_error() from None

    async def submit_all(
        self, asked: Iterable[tuple[str, TaskDict]], *, priority: int = priorities.DEFAULT
    ) -> list[str]:
        """Put all these (session id and task, as for `submit`) into the queue in one transaction, and return their contract ids.

        A task that no agent can execute is answered at once; `wait` returns that answer. Raises UsageError, QueueFull and
        LedgerError; then none of them was accepted.
        """
        options = QueueOptions(priority)
        tasks = [(_task(session_id, task), options) for session_id, task in asked]
        await self._opened()
        return [request.contract_id for request in await self.queue.submit_all(tasks)]

    async def wait(self, contract_id: str, timeout_s: float | None = None) -> AnswerDict | None:
        """Wait for the answer to that REQUEST, in the form of `orchestrate`; None after `timeout_s` (seconds).

        Raises NotFound, also for a RESPONSE's id; Conflict for a REQUEST that was imported without its RESPONSE.
        """
        waiter = ResponseWaiter(self.config.ledger)
        try:
            await in_thread(waiter.open)
            answer = await waiter.wait(contract_id, timeout_s)
        finally:
            waiter.close()
        return None if answer is None else answer.as_dict()

    async def cancel(self, contract_id: str, by: str = ORCHESTRATOR) -> str:
        """Cancel that REQUEST in any process, and return its status: `in_progress` until its process has noticed.
        Cancelling again has no effect. Raises NotFound, also for a RESPONSE's id; Conflict for a REQUEST that was imported
        while it was open.
        """
        executor = await self._opened()
        return await executor.ledger.cancel(contract_id, by)

    async def compress_session(
        self, session_id: str, intent: str | None = None, via: str = "auto", max_tokens: int = 512
    ) -> dict[str, Any]:
        """Create a memory block of the new contracts of a session: `status`, `session_id`, `compressed` (the number of
        contracts; 0 if nothing was new), `memory_block` (its JSON form, or None) and `error`. The block is durable when
        this returns.

        Raises NotFound if the session has no contracts, Conflict if another compression on the ledger takes longer than 30 s,
        LlmOff, ConfigInvalid and LedgerError. If a model or MemAgent fails, the block contains the reason.
        """
        await in_thread(partial(import_module, "aorch.memory.compressor"))  # the import takes longer than `run`
        from aorch.memory.compressor import CompressionOptions, compress_session  # noqa: PLC0415

        return (await compress_session(self.config, session_id, CompressionOptions(via, intent, max_tokens))).as_dict()

    async def pin_claim(self, claim_id: str) -> dict[str, Any]:
        """Keep that claim in every later prompt and memory block of its session. Returns the correction, durable by then:
        `contract_id`, `session_id`, `action`, `created_at`, `by`, `claim_id`, `section`, `text`, `contract_ids`.

        Raises NotFound, UsageError for a note, Conflict if the session has 50 pins and notes, ContentErased and LedgerError.
        """
        return await self._correct("pin_claim", claim_id)

    async def forget_claim(self, claim_id: str) -> dict[str, Any]:
        """Leave that claim, and later ones with the same words, out of the memory of its session. Returns and raises as
        `pin_claim`.
        """
        return await self._correct("forget_claim", claim_id)

    async def add_note(self, session_id: str, text: str) -> dict[str, Any]:
        """Add a note (up to 500 characters) to the memory of a session. Returns and raises as `pin_claim`."""
        return await self._correct("add_note", session_id, text)

    async def undo_correction(self, contract_id: str) -> dict[str, Any]:
        """Undo the correction with that contract ID, or the one that applies to the claim with that ID. Returns the
        correction as `pin_claim`. Raises NotFound and LedgerError.
        """
        return await self._correct("undo_correction", contract_id)

    async def _correct(self, name: str, *what: str) -> dict[str, Any]:
        correcting = await in_thread(partial(import_module, "aorch.memory.correcting"))
        correction = await in_thread(partial(getattr(correcting, name), self.config, *what))
        form: dict[str, Any] = correction.as_dict()
        return form

    async def get_contracts(self, session_id: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """The contracts of a session (or all), oldest first, in their JSON form."""

        def read() -> list[dict[str, Any]]:
            from aorch.ledger.reader import Filter, Reader  # noqa: PLC0415  most programs only run tasks

            with Reader(self.config.ledger) as reader:
                page = reader.page(Filter(session_id=session_id), limit=limit, newest_first=False)
                return [contract.as_dict() for contract in page]

        return await asyncio.to_thread(read)

    async def get_conversation(self, session_id: str) -> list[dict[str, Any]]:
        """All contracts of a session, oldest first, in their JSON form."""
        return await self.get_contracts(session_id)

    async def get_status(self) -> dict[str, Any]:
        """The answer of `GET /v1/status`: the orchestrator, its agents, exchanges and contracts, and the two services."""

        def count() -> dict[str, Any]:
            from aorch.govern.status_summary import counts_of  # noqa: PLC0415  imported here, outside the loop
            from aorch.ledger.reader import Reader  # noqa: PLC0415  most programs only run tasks

            with Reader(self.config.ledger) as reader:
                return counts_of(reader)

        counts = await in_thread(count)
        from aorch.govern.status_summary import summary  # noqa: PLC0415

        return await summary(self.config, self.list_agents(), counts)

    @property
    def executor(self) -> TaskExecutor:
        """The executor of tasks. The first access opens the ledger in this thread."""
        return self._lifecycle.open()

    @property
    def queue(self) -> TaskSubmitter:
        """Submits tasks to the queue."""
        if self._queue is None:
            self._queue = TaskSubmitter(self.executor, self.config.queue.max_waiting)
        return self._queue

    def open(self) -> None:
        """Open the ledger now, in this thread, rather than with the first task. Raises LedgerError."""
        self._lifecycle.open()

    async def _opened(self) -> TaskExecutor:
        executor = await self._lifecycle.opened()
        if self._delivery is not None:
            await self._delivery.start(executor.ledger.changes)
        return executor

    async def aclose(self) -> None:
        """Cancel running tasks, wait until each RESPONSE is written, and close the ledger. The orchestrator can be used
        again.

        A task whose agent has answered keeps its answer; any other ends as `cancelled`, and its caller gets that answer.
        Raises UsageError in the code of an agent that this orchestrator runs.
        """
        delivery = self._delivery if self._lifecycle.executor is not None else None
        await self._lifecycle.close()
        await self.registry.close()
        self._queue = None
        if delivery is not None:
            await delivery.finish()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _task(session_id: str, given: TaskDict) -> Task:
    unknown = set(given) - _FIELDS
    if unknown:
        raise UsageError(
            f"unknown key in a task: {', '.join(sorted(unknown))}", f"Known: {', '.join(sorted(_FIELDS))}."
        )
    if "capability" not in given:
        raise UsageError("a task needs a capability", "Add the key `capability`.")
    return Task(session_id=named_session(session_id), **given)

"""The Orchestrator: the public class, in front of registry, exchanges and ledger."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aorch import bootstrap
from aorch.agents import Agent
from aorch.clock import utc
from aorch.config import config_file, settings
from aorch.engine.exchange import Exchanges
from aorch.engine.lifecycle import Lifecycle
from aorch.engine.map import Items, mapped
from aorch.engine.response_saver import Unsaved
from aorch.engine.task import Answer, AnswerDict, MappedAnswerDict, Task, TaskDict, Wish, named_session
from aorch.engine.threads import in_thread
from aorch.engine.waiter import Waiting
from aorch.errors import UsageError
from aorch.ids import new_id
from aorch.ledger import priorities
from aorch.ledger.record import ORCHESTRATOR
from aorch.trace.embedded_delivery import EmbeddedDelivery
from aorch.worker.queue_worker import Queue

_FIELDS = {"capability", "parameters", "context", "agent_id", "timeout_s", "from_agent", "parent_id", "metadata"}


class Orchestrator:
    """Calls agents by what they can do and keeps every exchange in the ledger.

    With the agents of `aorch.toml`, of installed packages, and those that `register_agent` adds. The ledger is `ledger`,
    else the configured one; it is opened by the first exchange and closed by `aclose` (or the end of an `async with`).
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
        delivers to Trace itself, from its first exchange until `aclose`. Raises ConfigInvalid.
        """
        loaded = config or settings.load(ledger)
        self.config = config = settings.with_services(loaded, trace_url, memagent_url)
        self.registry = registry = bootstrap.registry(config)
        self._lifecycle = Lifecycle(lambda: bootstrap.exchanges(config, registry))
        self._queue: Queue | None = None
        self._delivery = EmbeddedDelivery(config) if trace_url and config.trace_url else None

    def register_agent(self, agent: Agent, *, replace: bool = False) -> bool:
        """Take `agent` in, and return True. With `replace` it takes the place of one that has its id, as notebooks want it.

        Raises UsageError, which says what is wrong, if `agent` is not an agent, and Conflict if its id is taken.
        """
        self.registry.add(agent, replace=replace)
        return True

    def deregister_agent(self, agent_id: str) -> bool:
        """Take that agent out, and return whether there was one; what it runs, it still ends."""
        return self.registry.remove(agent_id)

    def get_agent(self, agent_id: str) -> Agent | None:
        """The agent of that id, or None."""
        found = self.registry.find(agent_id)
        return None if found is None else found.agent

    def find_agent_by_capability(self, capability: str) -> Agent | None:
        """The first registered agent that has `capability` and can take a task now, or None."""
        able = (each.agent for each in self.registry.with_capability(capability) if each.agent.problem() is None)
        return next(able, None)

    def list_agents(self) -> list[dict[str, Any]]:
        """Each agent's JSON form, in the order in which they came."""
        return [registered.as_dict() for registered in self.registry]

    async def orchestrate(self, session_id: str, task: TaskDict, from_agent: str | None = None) -> AnswerDict:
        """Do `task` (`capability`, `parameters`, optional `context`, `agent_id`, `timeout_s`, …) in that session.

        `from_agent` is who asks (default: the agent that calls this, else `orchestrator`). The answer has `success`, `data`,
        `error`, `contract_id` (the REQUEST's), `agent_id`, `session_id`, `timestamp`; a failure of any kind is an answer with
        `success` False. Raises UsageError where `task` is none, and LedgerError: also after 5 s in which the ledger did not take
        the RESPONSE, which is written as soon as it does.
        """
        asked = _task(session_id, task)
        asked.from_agent = asked.from_agent if from_agent is None else from_agent
        entry = self._lifecycle.begin()  # what `perform` does, in place: a coroutine more is woken with each step
        try:
            exchanges = self._lifecycle.exchanges or await self._opened()
            return (await exchanges.perform(asked)).as_dict()
        finally:
            self._lifecycle.end(entry)

    async def map(
        self, capability: str, items: Items, limit: int = 32, session_id: str | None = None
    ) -> AsyncGenerator[MappedAnswerDict, None]:
        """Have `capability` done for each of `items` (parameters; any iterable, or an async one), and yield answers as they come.

        An answer is `orchestrate`'s, with its `item` and its `index` (from 0). At most `limit` items are taken whose answers
        have not been yielded, so a slow consumer holds all up and nothing piles up. Without `session_id` they share a new
        session. Closing the generator (`contextlib.aclosing`) cancels what runs. Raises UsageError where an item is no
        object or `limit` is below 1, what `items` raises, and LedgerError where the ledger does not take a REQUEST. An answer
        that it does not take within 5 s is yielded, and written as soon as it does.
        """
        if limit < 1:
            raise UsageError(f"limit must be 1 or more, not {limit}")
        session = named_session(session_id) if session_id is not None else new_session_id()

        async def ask(parameters: dict[str, Any]) -> AnswerDict:
            try:
                return (await self.perform(Task(capability, parameters, session), in_line=True)).as_dict()
            except Unsaved as unsaved:  # one answer that is late does not end the others
                return unsaved.answer.as_dict()

        async with aclosing(mapped(ask, items, limit)) as answers:
            async for answer in answers:
                yield answer

    async def perform(self, task: Task, *, in_line: bool = False) -> Answer:
        """Do `task`, as `orchestrate` does, in types; `in_line` as with `Exchanges.perform`."""
        entry = self._lifecycle.begin()
        try:
            exchanges = self._lifecycle.exchanges or await self._opened()
            return await exchanges.perform(task, in_line=in_line)
        finally:
            self._lifecycle.end(entry)

    async def resume(self, contract_id: str) -> Answer:
        """Perform the task of that REQUEST again, as a new one in the same session; what a pipeline completed is taken over.

        Raises NotFound, Conflict (it completed, it still runs, it was resumed already), and what `perform` raises.
        """

        def read() -> Task:
            from aorch.engine.resume import task_again  # noqa: PLC0415  SQLAlchemy is for reading only

            return task_again(self.config.ledger, contract_id, self.registry)

        if config_file.exists(self.config.ledger):
            await self._opened()  # what a dead process left open is answered first
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
        """Put `task` (as for `orchestrate`) into the queue, where `aorch serve` or `aorch worker` does it; its contract id.

        It is durable when this returns. `priority` is from 1 (highest) to 5; the moments are RFC 3339. Raises UsageError,
        NoAgent where no agent has the capability, QueueFull, and LedgerError.
        """
        wish = Wish(priority, not_before and utc(not_before), expires_at and utc(expires_at))
        asked = _task(session_id, task)
        await self._opened()
        accepted = await self.queue.submit(asked, wish)
        if isinstance(accepted, Answer):
            raise accepted.as_error()
        return accepted.contract_id

    async def submit_all(
        self, asked: Iterable[tuple[str, TaskDict]], *, priority: int = priorities.DEFAULT
    ) -> list[str]:
        """Put all these (session id and task, as for `submit`) into the queue, in one transaction; their contract ids.

        One that no agent can do is answered at once, as `wait` tells. Raises UsageError and QueueFull, then with none of them
        accepted, and LedgerError.
        """
        wish = Wish(priority)
        tasks = [(_task(session_id, task), wish) for session_id, task in asked]
        await self._opened()
        return [request.contract_id for request in await self.queue.submit_all(tasks)]

    async def wait(self, contract_id: str, timeout_s: float | None = None) -> AnswerDict | None:
        """The answer to that REQUEST, as `orchestrate` gives it, once it is there; None after `timeout_s` (seconds).

        Raises NotFound, for a RESPONSE's id too; Conflict for a REQUEST that was imported without its RESPONSE.
        """
        waiting = Waiting(self.config.ledger)
        try:
            await in_thread(waiting.open)
            answer = await waiting.wait(contract_id, timeout_s)
        finally:
            waiting.close()
        return None if answer is None else answer.as_dict()

    async def cancel(self, contract_id: str, by: str = ORCHESTRATOR) -> str:
        """Cancel that REQUEST, whoever does it, and return its status: `in_progress` as long as that is under way.

        Cancelling again changes nothing. Raises NotFound, for a RESPONSE's id too; Conflict for a REQUEST that was imported
        while it was open.
        """
        exchanges = await self._opened()
        return await exchanges.ledger.cancel(contract_id, by)

    async def compress_session(
        self, session_id: str, intent: str | None = None, via: str = "auto", max_tokens: int = 512
    ) -> dict[str, Any]:
        """Make a memory block of what is new in a session: `status`, `session_id`, `compressed` (how many contracts; 0
        where nothing was new), `memory_block` (its JSON form, or None) and `error`. The block is durable when this returns.

        Raises NotFound where the session has no contracts, Conflict where another compression on the ledger takes longer
        than 30 s, LlmOff, ConfigInvalid and LedgerError. Where a model or MemAgent fails, the block says so.
        """
        await in_thread(partial(import_module, "aorch.memory.compressor"))  # it takes longer to import than `run` takes
        from aorch.memory.compressor import CompressionOptions, compress_session  # noqa: PLC0415

        return (await compress_session(self.config, session_id, CompressionOptions(via, intent, max_tokens))).as_dict()

    async def get_contracts(self, session_id: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """The contracts of a session (or all), oldest first, in their JSON form."""

        def read() -> list[dict[str, Any]]:
            from aorch.ledger.reader import Filter, Reader  # noqa: PLC0415  SQLAlchemy is for reading only

            with Reader(self.config.ledger) as reader:
                page = reader.page(Filter(session_id=session_id), limit=limit, newest_first=False)
                return [contract.as_dict() for contract in page]

        return await asyncio.to_thread(read)

    async def get_conversation(self, session_id: str) -> list[dict[str, Any]]:
        """All contracts of a session, oldest first, in their JSON form."""
        return await self.get_contracts(session_id)

    async def get_status(self) -> dict[str, Any]:
        """What `GET /v1/status` answers: the orchestrator, its agents, the ledger's contracts, and the two services."""

        def count() -> dict[str, Any]:
            from aorch.govern.status_summary import summary  # noqa: F401, PLC0415  imported here, outside the loop
            from aorch.ledger.reader import Reader  # noqa: PLC0415  SQLAlchemy is for reading only

            with Reader(self.config.ledger) as reader:
                return reader.counts()

        contracts = await in_thread(count)
        from aorch.govern.status_summary import summary  # noqa: PLC0415

        return await summary(self.config, self.list_agents(), contracts)

    @property
    def exchanges(self) -> Exchanges:
        """What performs tasks. The first look opens the ledger in this thread."""
        return self._lifecycle.open()

    @property
    def queue(self) -> Queue:
        """What takes tasks in for later."""
        if self._queue is None:
            self._queue = Queue(self.exchanges, self.config.queue.max_waiting)
        return self._queue

    def open(self) -> None:
        """Open the ledger now, in this thread, rather than with the first exchange. Raises LedgerError."""
        self._lifecycle.open()

    async def _opened(self) -> Exchanges:
        exchanges = await self._lifecycle.opened()
        if self._delivery is not None:
            await self._delivery.start(exchanges.ledger.changes)
        return exchanges

    async def aclose(self) -> None:
        """Cancel what runs, wait until each RESPONSE is written, and let go of the ledger. It can be used again afterwards.

        A task whose agent has answered keeps its answer; each other one ends as `cancelled`, which its caller gets as its
        answer. Raises UsageError when an agent calls it that this orchestrator runs.
        """
        delivery = self._delivery if self._lifecycle.exchanges is not None else None
        await self._lifecycle.close()
        self._queue = None
        if delivery is not None:
            await delivery.finish()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _task(session_id: str, said: TaskDict) -> Task:
    unknown = set(said) - _FIELDS
    if unknown or "capability" not in said:
        wrong = f"does not know {', '.join(sorted(unknown))}" if unknown else "needs a capability"
        raise UsageError(f"a task {wrong}", f"Known: {', '.join(sorted(_FIELDS))}.")
    return Task(session_id=named_session(session_id), **said)


def new_session_id() -> str:
    """A name for a line of work that the caller did not name."""
    return f"session_{new_id()}"

"""The queue: tasks that are accepted now and done later, by whoever works on the ledger."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aorch import jsonio
from aorch.agents.registered import Registered
from aorch.clock import seconds_until
from aorch.engine.exchange import Exchanges
from aorch.engine.exchange_records import outcome_of_fault, response_to
from aorch.engine.supervision import Turned, unheard
from aorch.engine.task import Answer, Task, Wish
from aorch.errors import AgentNotStarted, AorchError, LedgerError, NoAgentAvailable, QueueFull
from aorch.ledger.record import Row, number_in, object_in
from aorch.ledger.task_queue import Capacity

COUNT_AFTER_S = 1.0
"""How old the known length of the queue may be."""
POLL_S = 0.03
"""How soon a worker sees what another process commits: at 20 ms the looks took more than a hundredth of a core (measured)."""
REST_S = 1.0
"""How long a place stays taken whose task could not be started for lack of descriptors, processes or memory."""
LOOK_AFTER_S = 0.5
"""How soon a worker sees that an agent can work again, or no longer."""


class Queue:
    """Takes tasks in for `exchanges`, as long as fewer than `max_waiting` wait (0: any number)."""

    def __init__(self, exchanges: Exchanges, max_waiting: int) -> None:
        self._exchanges = exchanges
        self._max_waiting = max_waiting
        self._length = 0
        self._counted_at = float("-inf")

    async def submit(self, task: Task, wish: Wish) -> Row | Answer:
        """The REQUEST of `task`, which is durable when this returns; an Answer is a refusal.

        Raises QueueFull, and what `Exchanges.enqueue` raises. What other processes take in is counted once a second: with
        several of them the limit may be passed by what they accept in that time.
        """
        if self._max_waiting:
            self._check_length()
        return await self._exchanges.enqueue(task, wish)

    async def submit_all(self, asked: Sequence[tuple[Task, Wish]]) -> list[Row]:
        """The REQUESTs of all these, in that order, durable together when this returns: in half of the time that one by one
        takes. One that is refused has been answered. Raises QueueFull, then with none of them, and LedgerError.
        """
        if self._max_waiting:
            self._check_length(len(asked))
        return await self._exchanges.enqueue_all(asked)

    def _check_length(self, more: int = 1) -> None:
        moment = time.monotonic()
        if moment - self._counted_at > COUNT_AFTER_S:
            self._length = self._exchanges.ledger.queue_length()
            self._counted_at = time.monotonic()
        if self._length + more > self._max_waiting:
            raise QueueFull(
                f"{self._max_waiting} tasks wait in the queue, which is the limit (queue.max_waiting)",
                "Try again later, or start another `aorch worker`.",
            )
        self._length += more


def task_of(request: Row) -> Task:
    """The task that `request` asks for, as it was when it was enqueued."""
    about = jsonio.decode(request.metadata)
    said, context = object_in(about, "queue"), object_in(about, "context")
    return Task(
        capability=request.capability,
        parameters=jsonio.decode(request.payload),
        session_id=request.session_id,
        context=context,
        agent_id=request.to_agent,
        timeout_s=number_in(said, "timeout_s"),
        from_agent=request.from_agent,
        parent_id=request.parent_id,
        metadata={name: value for name, value in about.items() if name not in ("queue", "context")},
        queue=said,
    )


def undoable(exchanges: Exchanges, file: Path | None) -> list[str]:
    """What waits and cannot be done here, a sentence for each capability; `file` is the aorch.toml of these agents."""
    return [
        f"{'1 task waits' if count == 1 else f'{count} tasks wait'} for {name}{f' by {agent_id}' if agent_id else ''}, {reason}"
        for name, agent_id, count in exchanges.ledger.waiting()
        if (reason := _why_undoable(exchanges, name, agent_id, file))
    ]


def _why_undoable(exchanges: Exchanges, capability: str, agent_id: str | None, file: Path | None) -> str | None:
    having = [
        each for each in exchanges.registry.with_capability(capability) if agent_id in (None, each.agent.agent_id)
    ]
    problems = {each.agent.agent_id: each.problem() for each in having}
    if not having:
        return f"which no agent of {file} has" if file else "which no agent here has, and there is no aorch.toml"
    if all(problems.values()):
        return "and " + ", ".join(f"{name} cannot work now ({problem})" for name, problem in problems.items())
    return None


class Worker:
    """Does what waits in the queue of `exchanges`, up to `parallel` tasks at a time. `trouble` is told what aorch itself did
    wrong in a task, `ended` of each RESPONSE once it is kept.

    If no task is queued, the change feed wakes it after the next commit.
    """

    def __init__(
        self,
        exchanges: Exchanges,
        parallel: int,
        trouble: Callable[[AorchError], None],
        ended: Callable[[Row], None] | None = None,
    ) -> None:
        self._exchanges = exchanges
        self._ended_with = ended
        self._ledger = exchanges.ledger
        self._parallel = parallel
        self._trouble = trouble
        self._running: set[asyncio.Task[None]] = set()
        self._at_work = 0
        self._stopping = False
        self._woken = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._looked_at = float("-inf")
        self._able: dict[str, list[Registered]] = {}
        self.done = 0

    async def run(self, turned: Turned = unheard, *, drain: bool = False) -> None:
        """Work until `stop`; with `drain` until nothing runs and nothing waits that could be begun now. See supervision.py."""
        with self._ledger.changes.watcher(self._changed, POLL_S):
            while not self._stopping:
                self._look_at_agents()
                self._woken.clear()
                idle = not self._running
                begun = await self._begin()
                turned()
                if begun:
                    continue
                if drain and idle:
                    return
                await self._change()

    async def stop(self, grace_s: float, cancel_s: float, hurry: asyncio.Event) -> None:
        """Begin nothing more; wait up to `grace_s` for what runs, or until `hurry` is set, and give the rest back to the
        queue within `cancel_s`.
        """
        self._stopping = True
        self._woken.set()
        async with self._claiming:  # what is being claimed runs too
            running = set(self._running)
        if not running:
            return
        hurried, ended = asyncio.create_task(hurry.wait()), asyncio.create_task(asyncio.wait(running))
        await asyncio.wait((ended, hurried), timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        hurried.cancel()
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=cancel_s)

    def running(self) -> int:
        """How many tasks it does now."""
        return len(self._running)

    def _look_at_agents(self) -> None:
        """Now and then: see which agents can work."""
        if time.monotonic() - self._looked_at < LOOK_AFTER_S:
            return
        registry = self._exchanges.registry
        self._able = {
            name: able
            for name in registry.capabilities()
            if (able := [each for each in registry.with_capability(name) if each.problem() is None])
        }
        self._looked_at = time.monotonic()

    async def _begin(self) -> int:
        """Claim and begin as much as there are places for; how much that was."""
        async with self._claiming:
            if self._stopping:
                return 0
            free = min(self._parallel - self._at_work, 2 * self._parallel - len(self._running))
            claimed = await self._ledger.claim(list(self._capacities(free)), free, lambda: not self._stopping)
            for request in claimed:
                task = asyncio.create_task(self._do(request))
                self._running.add(task)
                self._at_work += 1
                task.add_done_callback(self._ended)
            if claimed:
                await asyncio.sleep(0)  # they take their agents' places
        return len(claimed)

    def _capacities(self, free: int) -> Iterator[Capacity]:
        for name, able in self._able.items():
            of_agents = {each.agent.agent_id: count for each in able if (count := min(free, each.available(free)))}
            if of_agents:
                running = {each.agent.agent_id: each.running for each in able}
                yield Capacity(name, min(free, sum(of_agents.values())), of_agents, running)

    async def _do(self, request: Row) -> None:
        """Do what was claimed. Its place is free before its RESPONSE is committed, so that the next claim goes with that."""
        started, webhook = time.perf_counter(), True
        try:
            task = task_of(request)
            webhook = "webhook" in task.queue
            response = await self._exchanges.take_up(task, request)
        except NoAgentAvailable as lack:  # since its agent was looked at; it waits again
            self._looked_at = float("-inf")
            if isinstance(lack, AgentNotStarted):
                self._exchanges.waits.because(lack)
                await asyncio.sleep(REST_S)  # with its place taken, so that less is claimed
            return
        except LedgerError:  # it could not be given back: it is, or is answered, when this process has ended
            raise
        except Exception as error:  # noqa: BLE001  whatever it was, the REQUEST gets a RESPONSE
            outcome = outcome_of_fault(error, called=not isinstance(error, AorchError))
            self._trouble(AorchError(f"{request.contract_id}: {outcome.error}"))
            response = response_to(request, None, outcome, started, {})
        finally:
            self._at_work -= 1
            self._woken.set()
        await self._exchanges.keep(response, self._trouble, webhook=webhook)
        self.done += 1
        if self._ended_with is not None:
            self._ended_with(response)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._trouble(error if isinstance(error, AorchError) else AorchError(f"a fault of aorch: {error!r}"))

    async def _change(self) -> None:
        """Wait until a place is free, or there may be something new to start."""
        wait_s = self._looked_at + LOOK_AFTER_S - time.monotonic()
        if (moment := self._ledger.next_moment()) is not None:
            wait_s = min(wait_s, seconds_until(moment))
        timer = asyncio.get_running_loop().call_later(max(wait_s, 0.001), self._woken.set)
        try:
            await self._woken.wait()
        finally:
            timer.cancel()

    def _changed(self) -> None:
        """Something was committed, or the ledger cannot be read, which `run` meets under supervision."""
        if self._at_work < self._parallel:
            self._woken.set()

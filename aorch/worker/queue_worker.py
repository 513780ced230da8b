"""The queue worker: claims queued tasks and executes them."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from aorch import jsonio
from aorch.agents.registered import Registered
from aorch.clock import seconds_until
from aorch.engine.exchange import outcome_of_fault, response_of
from aorch.engine.executor import TaskExecutor
from aorch.engine.recorded_task import recorded_task
from aorch.engine.supervision import Turned, ignore_turns
from aorch.engine.task import Task
from aorch.errors import AgentNotStarted, AorchError, LedgerError, LedgerOutcomeUnknown, NoAgent
from aorch.ledger.contract_metadata import read_metadata
from aorch.ledger.record import Record, number_in
from aorch.ledger.required_labels import Waiting, in_words
from aorch.ledger.task_queue import Capacity

POLL_S = 0.03
"""How soon a worker notices commits of other processes. With 20 ms, polling took more than 1 % of a core (measured)."""
REST_S = 1.0
"""How long a slot stays occupied if its task could not be started because descriptors, processes or memory ran out."""
CHECK_AGENTS_S = 0.5
"""How soon a worker notices that an agent has started or stopped working."""


def task_of(request: Record) -> Task:
    """The task of `request`, as it was queued."""
    metadata = read_metadata(jsonio.decode(request.metadata))
    task = recorded_task(request, request.to_agent, metadata)
    task.timeout_s, task.queue = number_in(metadata.queue, "timeout_s"), metadata.queue
    task.from_agent, task.parent_id, task.annotations = request.from_agent, request.parent_id, metadata.annotations
    return task


def unservable(executor: TaskExecutor, file: Path | None) -> list[str]:
    """The queued tasks that no agent here can execute, as one sentence per capability.

    `file` is the aorch.toml of these agents.
    """
    return [
        f"{'1 task waits' if each.number == 1 else f'{each.number} tasks wait'} for {_wanted(each)}, {reason}"
        for each in executor.ledger.waiting()
        if (reason := _why_unservable(executor, each, file))
    ]


def _wanted(waiting: Waiting) -> str:
    """For example `render by studio with gpu=yes`."""
    by = f" by {waiting.agent_id}" if waiting.agent_id else ""
    return f"{waiting.capability}{by}{f' with {in_words(waiting.labels)}' if waiting.labels else ''}"


def _why_unservable(executor: TaskExecutor, waiting: Waiting, file: Path | None) -> str | None:
    candidates = [
        each
        for each in executor.registry.with_capability(waiting.capability)
        if waiting.agent_id in (None, each.agent.agent_id) and each.has_labels(waiting.labels)
    ]
    problems = {each.agent.agent_id: each.problem() for each in candidates}
    if not candidates:
        return f"which no agent of {file} has" if file else "which no agent here has, and there is no aorch.toml"
    if all(problems.values()):
        return "and " + ", ".join(f"{name} cannot work now ({problem})" for name, problem in problems.items())
    return None


class QueueWorker:
    """Executes the queued tasks of `executor`'s ledger, up to `parallel` at once. `report` receives aorch's own errors, and
    `on_response` each RESPONSE once it is durable.

    If no task is queued, the change feed wakes it after the next commit.
    """

    def __init__(
        self,
        executor: TaskExecutor,
        parallel: int,
        report: Callable[[AorchError], None],
        on_response: Callable[[Record], None] | None = None,
    ) -> None:
        self._executor = executor
        self._on_response = on_response
        self._ledger = executor.ledger
        self._parallel = parallel
        self._report = report
        self._running: set[asyncio.Task[None]] = set()
        self._slots_taken = 0
        self._stopping = False
        self._woken = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._checked_at = float("-inf")
        self._able: dict[str, list[Registered]] = {}
        self._losses = 0
        self._is_unsure = False
        """Whether this process may have claimed tasks without noticing."""
        self.done = 0

    async def run(self, turned: Turned = ignore_turns, *, drain: bool = False) -> None:
        """Work until `stop`; with `drain`, until no task is running and no queued task can start. See supervision.py."""
        await self._executor.registry.refresh(max_age_s=0)
        with self._ledger.changes.watcher(self._changed, POLL_S):
            while not self._stopping:
                self._check_agents()
                self._woken.clear()
                idle = not self._running
                started = await self._start_some()
                turned()
                if started:
                    continue
                if drain and idle:
                    return
                await self._change()

    async def stop(self, grace_s: float, cancel_s: float, hurry: asyncio.Event) -> None:
        """Start no more tasks, and wait for running tasks up to `grace_s` or until `hurry` is set. Then return the
        remaining ones to the queue within `cancel_s`.
        """
        self._stopping = True
        self._woken.set()
        async with self._claiming:  # tasks that are being claimed count as running
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
        """The number of running tasks."""
        return len(self._running)

    def _check_agents(self) -> None:
        """Every CHECK_AGENTS_S: update which agents can work."""
        if time.monotonic() - self._checked_at < CHECK_AGENTS_S:
            return
        registry = self._executor.registry
        registry.refresh_soon()
        self._able = {
            name: able
            for name in registry.capabilities()
            if (able := [each for each in registry.with_capability(name) if each.problem() is None])
        }
        self._checked_at = time.monotonic()

    async def _start_some(self) -> int:
        """Claim and start as many tasks as there are free slots; returns their number."""
        async with self._claiming:
            if self._stopping:
                return 0
            await self._end_lost()
            free = min(self._parallel - self._slots_taken, 2 * self._parallel - len(self._running))
            claimed = await self._claim(free)
            earlier = self._earlier(claimed)
            for request in claimed:
                task = asyncio.create_task(
                    self._execute(request, earlier[request.contract_id]), name=request.contract_id
                )
                self._running.add(task)
                self._slots_taken += 1
                task.add_done_callback(self._ended)
            if claimed:
                await asyncio.sleep(0)  # these tasks occupy slots of their agents
        return len(claimed)

    async def _claim(self, free: int) -> list[Record]:
        if self._is_unsure:
            await self._ledger.release_unstarted({task.get_name() for task in self._running})
            self._is_unsure = False
        try:
            return await self._ledger.claim(list(self._capacities(free)), free, lambda: not self._stopping)
        except LedgerOutcomeUnknown:
            self._is_unsure = True
            raise

    async def _end_lost(self) -> None:
        """End the runs that another process has taken over, before this one claims the same tasks again."""
        if (losses := self._ledger.losses) != self._losses:
            running = {task.get_name(): task for task in self._running}
            lost = await self._ledger.taken_over(running)
            self._executor.watcher.drop(lost)
            if lost:
                await asyncio.wait([running[request_id] for request_id in lost])
            self._losses = losses

    def _earlier(self, claimed: list[Record]) -> "Counter[str]":
        """The number of attempts before each of these was queued again."""
        found: Counter[str] = Counter()
        if claimed:
            with contextlib.suppress(LedgerError):  # they start all the same
                found.update(each.request_id for each in self._ledger.attempts(*(each.contract_id for each in claimed)))
        return found

    def _capacities(self, free: int) -> Iterator[Capacity]:
        for name, able in self._able.items():
            of_agents = {each.agent.agent_id: count for each in able if (count := min(free, each.available(free)))}
            if of_agents:
                running = {each.agent.agent_id: each.running for each in able}
                labels = {each.agent.agent_id: each.labels() for each in able}
                yield Capacity(name, min(free, sum(of_agents.values())), of_agents, running, labels)

    async def _execute(self, request: Record, earlier: int) -> None:
        """Execute a claimed task.

        Its slot is freed before its RESPONSE is committed, so that the next claim joins the same commit.
        """
        started, webhook = time.perf_counter(), True
        try:
            task = task_of(request)
            webhook = "webhook" in task.queue
            response = await self._executor.execute_claimed(task, request, earlier)
        except NoAgent as lack:  # the agent stopped working after its last check; the task is queued again
            self._checked_at = float("-inf")
            if isinstance(lack, AgentNotStarted):
                self._executor.start_warnings.warn(lack)
                await asyncio.sleep(REST_S)  # its slot stays occupied, so that fewer tasks are claimed
            return
        except (
            LedgerError
        ):  # the ledger did not accept this; after the end of this process, another one queues or answers it
            raise
        except Exception as error:  # noqa: BLE001  after any error, the REQUEST gets a RESPONSE
            outcome = outcome_of_fault(error, delivered=not isinstance(error, AorchError))
            self._report(AorchError(f"{request.contract_id}: {outcome.error}"))
            response = response_of(request, None, outcome, started)
        finally:
            self._slots_taken -= 1
            self._woken.set()
        if not await self._executor.save_response(response, self._report, webhook=webhook):
            return
        self.done += 1
        if self._on_response is not None:
            self._on_response(response)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(error if isinstance(error, AorchError) else AorchError(f"a bug in aorch: {error!r}"))

    async def _change(self) -> None:
        """Wait until a slot is free, or a new task may be able to start."""
        wait_s = self._checked_at + CHECK_AGENTS_S - time.monotonic()
        for each in {each for able in self._able.values() for each in able if each.shared is not None}:
            if each.shared is not None and (busy_s := each.shared.busy_s()):
                wait_s = min(wait_s, busy_s)
        if (moment := self._ledger.next_moment()) is not None:
            wait_s = min(wait_s, seconds_until(moment))
        timer = asyncio.get_running_loop().call_later(max(wait_s, 0.001), self._woken.set)
        try:
            await self._woken.wait()
        finally:
            timer.cancel()

    def _changed(self) -> None:
        """A commit happened, or the ledger cannot be read; then `run` gets the error, under supervision.

        Most commits of `aorch serve` queue nothing, and this look takes an eighth of the time of a wake-up.
        """
        try:
            may_start = self._slots_taken < self._parallel and self._ledger.has_queued()
        except LedgerError:
            may_start = True
        if may_start:
            self._woken.set()

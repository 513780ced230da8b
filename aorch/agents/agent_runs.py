"""The tasks that an agent server executes: each once for its idempotency key, at most `concurrency` at a time."""

import asyncio
import contextlib
import hashlib
import inspect
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from aorch import jsonio, logs
from aorch.agents.agent_checks import capabilities_of
from aorch.agents.base import Agent
from aorch.agents.failure import described, text_of
from aorch.agents.parameters import ParameterCheck
from aorch.agents.secret_mask import masked, secrets_in
from aorch.agents.task_progress import current_call
from aorch.errors import AgentBusy, AorchError, Conflict, InvalidJSON, NotFound
from aorch.process.threads import in_thread

KEPT_ANSWERS, KEPT_BYTES = 1000, 64 * 2**20
"""How many answers, and how many bytes of them, are kept for requests that are sent again; the oldest are forgotten first."""
MOST_PENDING_BYTES = 1024 * 1024
"""How much progress waits for a client that reads slowly. Beyond that, the oldest is dropped."""
_LOGGER = logs.ROOT.getChild("agents")


class Follower:
    """What a client of a run has not read yet: lines of progress. `is_complete`: there will be no more."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.is_complete = False
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()

    def add(self, line: bytes) -> None:
        """Add a line. Any thread may call this; `woken` must be set afterwards."""
        with self._lock:
            self._lines.append(line)
            self._size += len(line)
            while self._size > MOST_PENDING_BYTES:
                self._size -= len(self._lines.popleft())

    async def next(self) -> bytes | None:
        """The next line; None once the run has ended and all its lines were read."""
        while True:
            self.woken.clear()
            with self._lock:
                if self._lines:
                    line = self._lines.popleft()
                    self._size -= len(line)
                    return line
            if self.is_complete:
                return None
            await self.woken.wait()


class Run:
    """One task that the agent executes. `answer` is its JSON, once it has ended; None if it was cancelled."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.answer: bytes | None = None
        self.has_ended = False
        self._in_thread = self._is_waking = False
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._followers: frozenset[Follower] = frozenset()
        self._secrets: list[str] = []

    def root(self) -> None:
        """The ledger of the caller, which this program cannot read, has it."""

    def report(self, progress: Any) -> None:
        """Send `progress` to all followers. Any thread may call this."""
        if self.has_ended:
            return
        try:
            line = jsonio.encode_bytes({"progress": masked(progress, self._secrets)})
        except InvalidJSON:  # it has no JSON form
            return
        for follower in self._followers:
            follower.add(line)
        if not self._is_waking:
            self._is_waking = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._wake)

    def start(
        self, agent: Agent, task: dict[str, Any], on_end: Callable[["Run"], None], free: Callable[[], None]
    ) -> None:
        """Execute `task`. `on_end` is called in the loop, and `free` (in any thread) once no code of the agent runs."""
        called, self._secrets = False, secrets_in(agent.secret_env)

        async def execute() -> None:
            nonlocal called
            called = True
            current_call.set(self)
            self.answer = await self._answer(agent, task, free)

        def end(_: asyncio.Task[None]) -> None:
            if not called:  # it was cancelled before its first step
                free()
            self.has_ended = True
            on_end(self)
            self._wake()

        self._task = self._loop.create_task(execute())
        self._task.add_done_callback(end)

    def follow(self) -> Follower:
        """A follower, which gets each line of progress from now on."""
        follower = Follower()
        self._followers |= {follower}
        follower.is_complete = self.has_ended
        return follower

    def leave(self, follower: Follower) -> None:
        """Stop following. A task without followers is cancelled, unless a thread executes it: that goes on, and its answer is
        kept for a request that is sent again with its key.
        """
        self._followers -= {follower}
        if not (self._followers or self._in_thread):
            self.cancel()

    def cancel(self) -> None:
        """Cancel the task, if it still runs."""
        if self._task is not None:
            self._task.cancel()

    def _wake(self) -> None:
        self._is_waking = False
        for follower in self._followers:
            follower.is_complete = self.has_ended
            follower.woken.set()

    async def _answer(self, agent: Agent, task: dict[str, Any], free: Callable[[], None]) -> bytes:
        """The agent's answer as JSON. Every failure of its code becomes an answer too."""
        try:
            answer = await self._call(agent, task, free)
            if not (isinstance(answer, dict) and isinstance(answer.get("success"), bool)):
                answer = _failure(f"it answered with {type(answer).__name__}, not with {{'success': True or False, …}}")
            return jsonio.encode_bytes(masked(answer, self._secrets))
        except asyncio.CancelledError:
            raise
        except AorchError as failure:
            return jsonio.encode_bytes(_failure(masked(text_of(failure), self._secrets)))
        except BaseException as error:
            _LOGGER.error("agent %s: task %s failed", agent.agent_id, task["task_id"], exc_info=error)
            return jsonio.encode_bytes(_failure(masked(described(error), self._secrets)))

    async def _call(self, agent: Agent, task: dict[str, Any], free: Callable[[], None]) -> Any:
        if inspect.iscoroutinefunction(agent.execute):
            try:
                return await agent.execute(task)
            finally:
                free()
        context = copy_context()

        def work() -> tuple[Any, BaseException | None]:
            try:
                return context.run(agent.execute, task), None
            except BaseException as error:  # noqa: BLE001  raised below; a future rejects StopIteration
                return None, error
            finally:
                free()

        self._in_thread = True
        try:
            answer, error = await in_thread(work)
        finally:
            self._in_thread = False
        if error is not None:
            raise error
        if not inspect.isawaitable(answer):
            return answer
        if not self._followers:  # all have left while the thread ran
            self.cancel()
        return await answer


class AgentRuns:
    """Starts the tasks of `agent`. `closing`: no new ones."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.capabilities = {each.name: each for each in capabilities_of(agent)}
        self.closing = False
        self.running: set[Run] = set()
        self._checks = {name: ParameterCheck(each) for name, each in self.capabilities.items()}
        self._occupied = 0
        self._by_key: dict[str, Run] = {}
        self._kept: OrderedDict[str, Run] = OrderedDict()
        self._kept_bytes = 0

    def is_full(self) -> bool:
        """Whether the agent runs as many tasks as it can."""
        return self.agent.concurrency is not None and self._occupied >= self.agent.concurrency

    def start(self, body: bytes, task: dict[str, Any], key: str | None) -> Run:
        """The run of `task`; the earlier one if a request with the same `key` and `body` has started it.

        Raises NotFound for an unknown capability, ParametersInvalid, Conflict if the key was used with another body, and
        AgentBusy.
        """
        digest = hashlib.sha256(body).digest()
        if key is not None and (earlier := self._by_key.get(key) or self._kept.get(key)) is not None:
            if earlier.digest != digest:
                raise Conflict(
                    f"the Idempotency-Key {key!r} was used with another body", "Use a new key for a new task."
                )
            return earlier
        if self.closing:
            raise AgentBusy(f"{self.agent.agent_id} is stopping", "Try again later.", retry_after_s=5)
        if (check := self._checks.get(task["capability"])) is None:
            known = ", ".join(self.capabilities)
            raise NotFound(f"{self.agent.agent_id} has no capability {task['capability']!r}", f"It has: {known}.")
        check(task["parameters"])
        if self.is_full():
            most = self.agent.concurrency
            raise AgentBusy(f"{most} tasks are running, the limit (concurrency)", "Try again later.", retry_after_s=1)
        run = Run(digest)
        self._occupied += 1
        self.running.add(run)
        if key is not None:
            self._by_key[key] = run
        loop = asyncio.get_running_loop()

        def free() -> None:
            loop.call_soon_threadsafe(self._free)

        run.start(self.agent, task, lambda run: self._end(run, key), free)
        return run

    async def finish(self, grace_s: float, hurry: asyncio.Event) -> None:
        """Start no more tasks. Wait up to `grace_s` seconds for running ones, or until `hurry`, then cancel the rest."""
        self.closing = True
        waiting = asyncio.ensure_future(hurry.wait())
        deadline = asyncio.get_running_loop().time() + grace_s
        while self.running and not hurry.is_set() and (left_s := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait((waiting,), timeout=min(left_s, 0.05))
        waiting.cancel()
        for run in list(self.running):
            run.cancel()

    def _free(self) -> None:
        self._occupied -= 1

    def _end(self, run: Run, key: str | None) -> None:
        self.running.discard(run)
        if key is None:
            return
        del self._by_key[key]
        if run.answer is not None and len(run.answer) <= KEPT_BYTES:
            self._kept[key] = run
            self._kept_bytes += len(run.answer)
            while len(self._kept) > KEPT_ANSWERS or self._kept_bytes > KEPT_BYTES:
                _, forgotten = self._kept.popitem(last=False)
                self._kept_bytes -= len(forgotten.answer or b"")


def _failure(error: str) -> dict[str, Any]:
    return {"success": False, "error": error}

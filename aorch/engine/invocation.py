"""One call of an agent's own code: its timeout, its cancellation, and every way in which it can fail."""

import asyncio
import concurrent.futures
import contextlib
import inspect
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar, copy_context
from functools import partial
from inspect import CO_COROUTINE
from typing import Any, Protocol, cast

from msgspec import Struct

from aorch import jsonio
from aorch.agents import Agent
from aorch.agents.base import CutOff
from aorch.agents.failure import described, text_of
from aorch.agents.slots import Slots
from aorch.agents.task_progress import current_call
from aorch.engine import agent_log
from aorch.engine.cancellation import CancellationWatcher
from aorch.engine.task import Answer, Outcome, Task, outcome_of
from aorch.errors import AgentCancelled, AgentFailed, AgentNotStarted, AgentTimedOut, AorchError
from aorch.ledger.ledger import Ledger

MAX_THREADS = 64
"""Maximum number of threads for agents with a plain `def execute`, regardless of their `concurrency`."""
CLOSE_S = 5.0
"""How long an agent that exceeded its `grace_s` may take to end once its coroutine is closed."""


class Executor(Protocol):
    """The services that an agent's code may use during a call (implemented in executor.py)."""

    @property
    def ledger(self) -> Ledger:
        """The open ledger."""

    @property
    def threads(self) -> Slots:
        """The threads in which agents with a plain `def execute` run."""

    async def perform(self, task: Task, *, in_line: bool = False) -> Answer:
        """Execute another task on behalf of this one."""

    def note_progress(self, request_id: str, progress: object) -> None:
        """Let other processes know what the agent of that REQUEST reported."""


class Invocation(Struct):
    """A call of `agent` for that REQUEST. `outer` is the invocation whose code delegated the task.

    `details` goes into the metadata of the RESPONSE, however the call ends. `delivered` becomes True once the agent has the
    task; `retry_safe`: it has failed, and the task can be run again. `partial` is the data of an interrupted call, with its JSON
    text. `on_progress` gets what the agent reports;
    `on_activity` renews its `idle_timeout_s`. `ends_at` is the end of the task's time, on the loop's clock.
    """

    executor: Executor
    agent: Agent
    request_id: str
    outer: "Invocation | None" = None
    details: dict[str, Any] = {}
    delivered: bool = False
    retry_safe: bool = False
    partial: tuple[Any, str | None] = (None, None)
    task: asyncio.Task[Outcome] | None = None
    thread: concurrent.futures.Future[None] | None = None
    on_progress: Callable[[Any], None] | None = None
    on_activity: Callable[[], None] | None = None
    ends_at: float = 0.0

    def start_over(self, agent: Agent) -> None:
        """Become the call of `agent`, after the previous one has ended."""
        self.agent, self.details, self.delivered, self.partial = agent, {}, False, (None, None)
        self.task, self.thread, self.on_activity, self.retry_safe = None, None, None, False

    def report(self, progress: Any) -> None:
        """Pass the agent's `progress` to `on_progress`, in the event loop of the call. Any thread may call this."""
        task = self.task  # `start_over` may remove it while a thread of the previous call still reports
        if task is not None and not task.done():
            note = partial(self.executor.note_progress, self.request_id, progress)
            for act in (self.on_activity, self.on_progress and partial(self.on_progress, progress), note):
                if act is not None:
                    with contextlib.suppress(RuntimeError):  # the loop is closed
                        task.get_loop().call_soon_threadsafe(act)

    def announce_pause(self, pause_s: float, error: str | None) -> None:
        """Report as progress that the next attempt begins after `pause_s` seconds, because of `error`."""
        progress, loop = {"waiting_s": round(pause_s, 1), "error": error}, asyncio.get_running_loop()
        self.executor.note_progress(self.request_id, progress)
        if self.on_progress is not None:
            loop.call_soon(self.on_progress, progress)

    def when_done(self, act: Callable[[str], None]) -> None:
        """Call `act` with the REQUEST's id once no code of the agent runs any more; possibly in another thread. Threads,
        and coroutines that ignore cancellation, can outlive the timeout.
        """
        if self.task is not None and not self.task.done():
            self.task.add_done_callback(lambda _: self.when_done(act))
        elif self.thread is not None:
            self.thread.add_done_callback(lambda _: act(self.request_id))
        else:
            act(self.request_id)

    def runs_in_thread(self) -> bool:
        """Whether this invocation, or an outer one, occupies one of the threads."""
        if self.thread is not None and not self.thread.done():
            return True
        return self.outer is not None and self.outer.runs_in_thread()

    def cut_off(self, error: str, failure: type[AorchError]) -> Outcome:
        """The outcome of a call that ended before the agent answered."""
        delivered, retry_safe = self.delivered, self.retry_safe or None
        return Outcome(*self.partial, error, failure, delivered=delivered, retry_safe=retry_safe, details=self.details)


current_invocation = cast(ContextVar[Invocation | None], current_call)
"""The invocation whose code runs now: it is the parent of tasks that this code starts."""


async def invoke(
    invocation: Invocation,
    document: dict[str, Any],
    timeout_s: float,
    watcher: CancellationWatcher,
    ends_at: float | None = None,
) -> Outcome:
    """Call the agent with the task in `document`. Every failure of its code becomes an Outcome.

    It has `timeout_s` seconds, or until `ends_at` (on the loop's clock). If the caller is cancelled, the agent is cancelled
    too and has `grace_s` to end before CancelledError is raised. Raises AgentNotStarted if its program could not be started
    for lack of descriptors, processes or memory.
    """
    loop, agent = asyncio.get_running_loop(), invocation.agent
    done: asyncio.Future[None] = asyncio.Future(loop=loop)  # like asyncio.wait, in half the time
    call = invocation.task = loop.create_task(_run_agent(invocation, document, done))
    ends_at = invocation.ends_at = ends_at or loop.time() + timeout_s
    if agent.idle_timeout_s is None:
        watcher.watch(invocation.request_id, done, ends_at)
    else:
        _watch_idle(invocation, done, agent.idle_timeout_s, ends_at, watcher)
    try:
        await done
    except asyncio.CancelledError:
        await _stop(call, agent.grace_s)
        raise
    finally:
        cancelled_by = watcher.unwatch(invocation.request_id)
    if not call.done():
        is_idle = loop.time() < ends_at - 0.001
        await _stop(call, agent.grace_s)
        if cancelled_by is not None:
            return invocation.cut_off(f"cancelled by {cancelled_by}", AgentCancelled)
        return invocation.cut_off(_late(invocation, timeout_s, is_idle=is_idle), AgentTimedOut)
    if call.cancelled():
        return Outcome(error=f"{agent.agent_id} cancelled itself", failure=AgentFailed, details=invocation.details)
    return call.result()


def _watch_idle(
    invocation: Invocation, done: "asyncio.Future[None]", idle_s: float, ends_at: float, watcher: CancellationWatcher
) -> None:
    """Watch a call that ends once the agent has reported nothing for `idle_s` seconds, and at `ends_at`."""
    loop = asyncio.get_running_loop()

    def next_end() -> float:
        return min(ends_at, loop.time() + idle_s)

    invocation.on_activity = lambda: watcher.postpone(invocation.request_id, next_end())
    watcher.watch(invocation.request_id, done, next_end())


def _late(invocation: Invocation, timeout_s: float, *, is_idle: bool) -> str:
    agent = invocation.agent
    if not invocation.delivered:
        return f"{agent.agent_id} was not called (all {MAX_THREADS} agent threads are busy) within {timeout_s:g} s"
    if is_idle:
        return f"{agent.agent_id} reported no progress for {agent.idle_timeout_s:g} s (idle_timeout_s)"
    return f"{agent.agent_id} gave no answer within {timeout_s:g} s"


async def _run_agent(invocation: Invocation, document: dict[str, Any], done: "asyncio.Future[None]") -> Outcome:
    """Run the agent's code in a separate asyncio task. `done` is resolved in the loop iteration in which it ends."""
    current_invocation.set(invocation)
    agent, details = invocation.agent, invocation.details
    try:
        code = getattr(agent.execute, "__code__", None)  # inspect.iscoroutinefunction takes ten times as long
        if (code is not None and code.co_flags & CO_COROUTINE) or inspect.iscoroutinefunction(agent.execute):
            invocation.delivered = True
            answer: Any = await agent.execute(document)  # type: ignore[misc]  # an `async def`
        else:
            answer = await _in_thread(lambda: agent.execute(document), invocation)
        return _checked(answer, agent, details)
    except AgentNotStarted:
        invocation.delivered = False
        raise
    except AorchError as failure:
        return _failed(failure, details)
    except CutOff as cut_off:
        details.update(_details_in(cut_off.answer))
        if (data := cut_off.answer.get("data")) is not None:
            invocation.partial = data, jsonio.encode(data)
        raise
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as raised:  # noqa: BLE001  an agent's own code may raise anything
        error = _transferable(raised)
        if not done.done():  # not after a timeout or a cancellation
            agent_log.log_exception(agent.agent_id, document["capability"], document["task_id"], error)
        return Outcome(error=described(error), failure=AgentFailed, details=details)
    finally:
        if not done.done():
            done.set_result(None)


async def _in_thread(work: Callable[[], Any], invocation: Invocation) -> Any:
    """Run `work` in a daemon thread, which never delays the end of the process (a thread of an executor would). Waits while
    MAX_THREADS threads run, unless an outer invocation occupies one of them.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Any] = loop.create_future()
    ended: concurrent.futures.Future[None] = concurrent.futures.Future()
    context = copy_context()
    threads = invocation.executor.threads
    if invocation.outer is None or not invocation.outer.runs_in_thread():
        await threads.acquire()
        ended.add_done_callback(lambda _: threads.release())
    invocation.thread, invocation.delivered = ended, True

    def resolve(setter: Callable[[Any], None], value: Any) -> None:
        if not result.done():
            setter(value)

    def run() -> None:
        try:
            resolved = (result.set_result, context.run(work))
        except BaseException as error:  # noqa: BLE001  passed on to the waiting invocation
            resolved = (result.set_exception, _transferable(error))
        ended.set_result(None)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(resolve, *resolved)

    try:
        threading.Thread(target=run, name="aorch-agent", daemon=True).start()
    except RuntimeError as error:
        ended.set_result(None)
        raise AgentNotStarted(f"cannot start a thread: {error}", "Raise the limit of threads (ulimit -u).") from error
    value = await result
    return await value if inspect.isawaitable(value) else value


def _transferable(error: BaseException) -> BaseException:
    """`error`, wrapped if it is StopIteration (which futures reject) or SystemExit (which would end the loop)."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(repr(error)).with_traceback(error.__traceback__)


async def _stop(call: asyncio.Task[Outcome], grace_s: float | None) -> None:
    call.cancel()
    await asyncio.wait((call,), timeout=grace_s)
    if not call.done():
        await _close_coroutine(call)
    if call.done() and not call.cancelled():
        call.exception()  # retrieve its exception, which no longer matters


async def _close_coroutine(call: asyncio.Task[Outcome]) -> None:
    """Close a coroutine that ignored its cancellation: otherwise `asyncio.run` would wait for it forever at exit."""
    try:
        call.get_coro().close()
    except RuntimeError:  # it ignores GeneratorExit too
        return
    call.cancel()  # wake the task, which finds its coroutine closed
    await asyncio.wait((call,), timeout=CLOSE_S)


_DETAILS = {"exit_code": int, "stderr": str, "stdout": str, "model": str, "stop_reason": str, "usage": dict}
_USAGE = ("input", "output", "cached")


def _failed(failure: AorchError, details: dict[str, Any]) -> Outcome:
    """The outcome of a failure that the agent raised, with what it reported before."""
    answer = failure.answer if isinstance(failure, AgentFailed) else {}
    details.update(_details_in(answer))
    outcome = outcome_of(failure, details=details)
    if (data := answer.get("data")) is not None:
        outcome.result, outcome.result_text = data, jsonio.encode(data)
    return outcome


def _details_in(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The valid values of the keys that an agent may add to its answer for the metadata of the RESPONSE."""
    details = {name: answer[name] for name, kind in _DETAILS.items() if type(answer.get(name)) is kind}
    if (usage := details.get("usage")) is not None:
        details["usage"] = {name: usage[name] if type(usage.get(name)) is int else None for name in _USAGE}
    return details


def _checked(answer: Any, agent: Agent, details: dict[str, Any]) -> Outcome:
    """The outcome of the agent's answer; a malformed answer is a failure."""
    if not (isinstance(answer, dict) and isinstance(answer.get("success"), bool)):
        wrong = f"{agent.agent_id} answered with {type(answer).__name__}, not with {{'success': True or False, …}}"
        return Outcome(error=wrong, failure=AgentFailed, details=details)
    if not _DETAILS.keys().isdisjoint(answer):
        details.update(_details_in(answer))
    failure = None if answer["success"] else AgentFailed
    reason = None if failure is None else text_of(answer.get("error") or "no reason given")
    result = answer.get("data")
    if failure and result is None:
        return Outcome(error=reason, failure=failure, details=details)
    try:
        return Outcome(result, jsonio.encode(result), reason, failure, details=details)
    except AorchError as error:
        lost = f"{agent.agent_id}'s data cannot be stored: {error}"
        return Outcome(error=f"{reason}; {lost}" if reason else lost, failure=AgentFailed, details=details)

"""One call of an agent's own code, with its limit in time and whatever it may do wrong."""

import asyncio
import concurrent.futures
import contextlib
import inspect
import math
import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from inspect import CO_COROUTINE
from types import CodeType
from typing import TYPE_CHECKING, Any

from aorch import jsonio
from aorch.agents import Agent
from aorch.agents.base import CutOff
from aorch.agents.failure import described, text_of
from aorch.agents.registered import Registered
from aorch.engine import agent_log
from aorch.errors import AgentCancelled, AgentFailed, AgentNotStarted, AgentTimedOut, AorchError, LedgerError
from aorch.ledger.ledger import Ledger

if TYPE_CHECKING:
    from aorch.engine.exchange import Exchanges

LOOK_S = 0.05
"""How soon this process hears of a cancellation."""
MOST_THREADS = 64
"""How many threads agents with a plain `def execute` run in at a time, whatever their `concurrency`."""
CLOSE_S = 5.0
"""How long an agent that took longer than its `grace_s` may take to end once its coroutine is closed."""


@dataclass(slots=True)
class Call:
    """The call of that agent for that REQUEST, asked for by what `outer` calls; `begun` once the agent has seen the task.

    For an agent of this package's own (a pipeline): what performs the tasks that it asks for, and what the metadata of its
    RESPONSE says besides, however the call ends. `kept` is the data, with its JSON text, of a call that was cut off.
    """

    exchanges: "Exchanges"
    request_id: str
    agent_id: str | None = None
    outer: "Call | None" = None
    about: dict[str, Any] = field(default_factory=dict)
    begun: bool = False
    kept: tuple[Any, str | None] = (None, None)
    code: asyncio.Task[Any] | None = None
    thread: concurrent.futures.Future[None] | None = None

    def when_over(self, act: Callable[[str], None]) -> None:
        """Call `act` with the REQUEST's id once none of the agent's code runs any more: a thread, and a coroutine that will
        not be cancelled, go on after their time was up. It may be called in that thread.
        """
        if self.code is not None and not self.code.done():
            self.code.add_done_callback(lambda _: self.when_over(act))
        elif self.thread is not None:
            self.thread.add_done_callback(lambda _: act(self.request_id))
        else:
            act(self.request_id)

    def in_thread(self) -> bool:
        """Whether this runs in a thread, or something does on whose behalf it is."""
        if self.thread is not None and not self.thread.done():
            return True
        return self.outer is not None and self.outer.in_thread()


current_call: ContextVar[Call | None] = ContextVar("aorch_current_call", default=None)
"""The call whose code runs now: what that asks the orchestrator is on behalf of its REQUEST."""


@dataclass(slots=True)
class Outcome:
    """What an agent made of a task: `result` (with its JSON text); after a failure also `error`, the kind of `failure` and
    the next step, and `result` only if the agent gave data all the same.

    `called` is False where it was refused or cancelled before an agent saw it.
    """

    result: Any = None
    result_text: str | None = None
    error: str | None = None
    failure: type[AorchError] | None = None
    hint: str = ""
    called: bool = True


class Running:
    """What this process runs in one event loop, so that each hears of its end: its time is up, or somebody cancelled it.

    A cancellation is committed to the ledger, by any process: while anything runs, it is looked for after each commit. One
    timer, for whoever's time is up first, stands for all (one for each takes 1.4 µs). Once `ended_by` holds a name, all that
    runs and all that begins was cancelled by that.
    """

    def __init__(self, ledger: Ledger, loop: asyncio.AbstractEventLoop, ended_by: list[str]) -> None:
        self._ledger = ledger
        self._loop = loop
        self._ended_by = ended_by
        self._over: dict[str, tuple[asyncio.Future[None], float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._cancelled: dict[str, str] = {}
        self._watcher = ledger.changes.watcher(self._look, LOOK_S, lambda: bool(self._over))

    async def take_place(self, request_id: str, registered: Registered, timeout_s: float) -> str | None:
        """Take a place of that agent for that REQUEST, waiting for a free one; who cancelled it first, if somebody did.

        Raises AgentTimedOut after `timeout_s` (seconds; math.inf: never).
        """
        if not registered.locked():
            await registered.acquire(request_id)
            return None
        over: asyncio.Future[None] = self._loop.create_future()
        taking = self._loop.create_task(registered.acquire(request_id))
        taking.add_done_callback(lambda _: _release(over))
        self.begin(request_id, over, self._loop.time() + timeout_s)
        try:
            await over
        except asyncio.CancelledError:
            if not taking.cancel():
                registered.release(request_id)
            raise
        finally:
            cancelled_by = self.end(request_id)
        if not taking.cancel():
            return None
        if cancelled_by is None:
            agent_id, most = registered.agent.agent_id, registered.agent.concurrency
            raise AgentTimedOut(
                f"{agent_id} was not called within {timeout_s:g} s: it runs as many tasks as it takes at a time ({most})",
                "Allow more time, or raise the agent's concurrency.",
            )
        return cancelled_by

    async def pause(self, request_id: str, seconds: float) -> str | None:
        """Wait so long; who cancelled that REQUEST before or meanwhile, which ends the wait."""
        over: asyncio.Future[None] = self._loop.create_future()
        self.begin(request_id, over, self._loop.time() + seconds)
        try:
            await over
        finally:
            cancelled_by = self.end(request_id)
        return cancelled_by

    def begin(self, request_id: str, over: "asyncio.Future[None]", ends_at: float) -> None:
        """That one runs from here on; `over` is released when it is cancelled, and at `ends_at` (of the loop's clock)."""
        self._over[request_id] = over, ends_at
        if self._timer is None or ends_at < self._timer.when():
            self._look_at(ends_at)
        if request_id in self._cancelled or self._ended_by:  # while it waited for its agent
            _release(over)
        if not self._watcher.active:
            self._watcher.start()

    def end(self, request_id: str) -> str | None:
        """That one runs no more; who cancelled it."""
        self._over.pop(request_id, None)
        if self._ended_by:
            return self._ended_by[0]
        return self._cancelled.get(request_id) if self._cancelled else None

    def release_all(self) -> None:
        """Let all that run here hear that they were cancelled: `ended_by` holds by whom."""
        for over, _ in self._over.values():
            _release(over)

    def _look_at(self, ends_at: float) -> None:
        """Look at that moment for those whose time has passed."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if ends_at == math.inf else self._loop.call_at(ends_at, self._end_late)

    def _end_late(self) -> None:
        moment, self._timer = self._loop.time(), None
        for over, ends_at in self._over.values():
            if ends_at <= moment:
                _release(over)
        self._look_at(min((ends_at for _, ends_at in self._over.values() if ends_at > moment), default=math.inf))

    def _look(self) -> None:
        with contextlib.suppress(LedgerError):  # it cannot be read now: the next look tries again
            self._cancelled = self._ledger.cancelled()
            for request_id in self._cancelled.keys() & self._over.keys():
                _release(self._over[request_id][0])


async def execute(
    agent: Agent, document: dict[str, Any], timeout_s: float, called: Call, ends_at: float | None = None
) -> Outcome:
    """Let `agent` do the task of `document`; every failure of its code comes back as an Outcome.

    It has `timeout_s` seconds, or what is left of them until `ends_at` (of the loop's clock).

    A cancelled caller cancels the agent, waits up to its `grace_s` for it, and goes on with CancelledError. Raises
    AgentNotStarted where its program could not be started for lack of descriptors, processes or memory.
    """
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = asyncio.Future(loop=loop)  # what asyncio.wait does, in half of its time
    call = called.code = loop.create_task(_call(agent, document, over, called))
    running = called.exchanges.running
    running.begin(called.request_id, over, ends_at or loop.time() + timeout_s)
    try:
        await over
    except asyncio.CancelledError:
        await _stop(call, agent.grace_s)
        raise
    finally:
        cancelled_by = running.end(called.request_id)
    if not call.done():
        await _stop(call, agent.grace_s)
        if cancelled_by is not None:
            return Outcome(*called.kept, f"cancelled by {cancelled_by}", AgentCancelled, called=called.begun)
        late = "gave no answer" if called.begun else f"was not called ({MOST_THREADS} threads of agents are busy)"
        error = f"{agent.agent_id} {late} within {timeout_s:g} s"
        return Outcome(*called.kept, error, AgentTimedOut, called=called.begun)
    try:
        return _outcome(agent, call, document)
    except AgentNotStarted:
        called.begun = False
        raise


def _release(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


async def _call(agent: Agent, document: dict[str, Any], over: asyncio.Future[None], called: Call) -> Any:
    """What the agent's own code returns, in a task of its own; `over` is released in the step in which that ends."""
    current_call.set(called)
    try:
        if not _is_async(agent.execute):
            answer = await _in_thread(lambda: agent.execute(document), called)
        else:
            called.begun = True
            answer = await agent.execute(document)  # type: ignore[misc]  # an `async def`
        if isinstance(answer, dict) and not _OF_PROGRAM.keys().isdisjoint(answer):
            called.about.update(_of_program(answer))
        return answer
    except CutOff as cut_off:
        called.about.update(_of_program(cut_off.answer))
        if (data := cut_off.answer.get("data")) is not None:
            called.kept = data, jsonio.encode(data)
        raise
    except (SystemExit, KeyboardInterrupt) as error:
        raise _carried(error) from None
    finally:
        _release(over)


async def _in_thread(work: Callable[[], Any], called: Call) -> Any:
    """Run `work` in a daemon thread: unlike an executor's, one that hangs never holds up the end of the process.

    Waits while MOST_THREADS run, unless a thread waits for this one.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    over: concurrent.futures.Future[None] = concurrent.futures.Future()
    context = copy_context()
    threads = called.exchanges.threads
    if called.outer is None or not called.outer.in_thread():
        await threads.acquire()
        over.add_done_callback(lambda _: threads.release())
    called.thread, called.begun = over, True

    def tell(setter: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            setter(value)

    def run() -> None:
        try:
            answer = (done.set_result, context.run(work))
        except BaseException as error:  # noqa: BLE001  handed over to the waiting exchange
            answer = (done.set_exception, _carried(error))
        over.set_result(None)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, *answer)

    try:
        threading.Thread(target=run, name="aorch-agent", daemon=True).start()
    except RuntimeError as error:
        over.set_result(None)
        raise AgentNotStarted(
            f"no thread could be started: {error}", "Raise the limit of threads (ulimit -u)."
        ) from error
    value = await done
    return await value if inspect.isawaitable(value) else value


def _carried(error: BaseException) -> BaseException:
    """A future refuses StopIteration, and SystemExit would end the loop: they are told as plain failures."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(repr(error)).with_traceback(error.__traceback__)


async def _stop(call: asyncio.Task[Any], grace_s: float | None) -> None:
    call.cancel()
    await asyncio.wait((call,), timeout=grace_s)
    if not call.done():
        await _end_where_it_stands(call)
    if call.done() and not call.cancelled():
        call.exception()  # seen: what it raised on the way out changes nothing


async def _end_where_it_stands(call: asyncio.Task[Any]) -> None:
    """Close a coroutine that swallowed its cancellation: `asyncio.run` would wait for it for ever when it ends."""
    try:
        call.get_coro().close()
    except RuntimeError:  # it swallows GeneratorExit as well
        return
    call.cancel()  # wakes the task, which finds its coroutine closed
    await asyncio.wait((call,), timeout=CLOSE_S)


_OF_PROGRAM = {"exit_code": int, "stderr": str, "stdout": str}


def _of_program(answer: dict[str, Any]) -> dict[str, Any]:
    """Of `exit_code`, `stderr` and `stdout` what an answer has: a program's agent says the first two after success as well."""
    return {name: answer[name] for name, kind in _OF_PROGRAM.items() if type(answer.get(name)) is kind}


def _is_async(execute: Callable[..., Any]) -> bool:
    """As inspect.iscoroutinefunction, in a tenth of its time for an `async def`."""
    code = getattr(execute, "__code__", None)
    return (isinstance(code, CodeType) and bool(code.co_flags & CO_COROUTINE)) or inspect.iscoroutinefunction(execute)


def _outcome(agent: Agent, call: asyncio.Future[Any], document: dict[str, Any]) -> Outcome:
    if call.cancelled():
        return Outcome(error=f"{agent.agent_id} cancelled itself", failure=AgentFailed)
    error = call.exception()
    if isinstance(error, AgentNotStarted):
        raise error
    if isinstance(error, AorchError):
        return Outcome(error=text_of(error), failure=type(error), hint=error.hint)
    if error is not None:
        agent_log.raised(agent.agent_id, document["capability"], document["task_id"], error)
        return Outcome(error=described(error), failure=AgentFailed)
    return _checked(agent, call.result())


def _checked(agent: Agent, answer: Any) -> Outcome:
    if not (isinstance(answer, dict) and isinstance(answer.get("success"), bool)):
        wrong = f"{agent.agent_id} answered with {type(answer).__name__}, not with {{'success': True or False, …}}"
        return Outcome(error=wrong, failure=AgentFailed)
    failure = None if answer["success"] else AgentFailed
    reason = None if failure is None else text_of(answer.get("error") or "no reason given")
    result = answer.get("data")
    if failure and result is None:
        return Outcome(error=reason, failure=failure)
    try:
        return Outcome(result, jsonio.encode(result), reason, failure)
    except AorchError as error:
        lost = f"{agent.agent_id}'s data cannot be kept: {error}"
        return Outcome(error=f"{reason}; {lost}" if reason else lost, failure=AgentFailed)

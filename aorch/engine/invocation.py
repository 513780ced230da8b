"""One call of an agent's own code: its timeout, its cancellation, and every way in which it can fail."""

import asyncio
import concurrent.futures
import contextlib
import inspect
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar, copy_context
from functools import partial
from inspect import CO_COROUTINE
from typing import Any, Protocol, cast

from msgspec import Struct

from aorch import jsonio
from aorch.agents import Agent
from aorch.agents.base import CutOff
from aorch.agents.failure import described
from aorch.agents.secret_mask import PiecesMask, is_piece, masked, may_contain, secrets_in
from aorch.agents.slots import Slots
from aorch.agents.task_progress import current_call
from aorch.engine import agent_log
from aorch.engine.agent_answers import details_in, failed_outcome, outcome_of_answer
from aorch.engine.cancellation import CancellationWatcher
from aorch.engine.task import Answer, Outcome, Redaction, Task
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

    def stored_payload(self, task: Task) -> str:
        """The payload of a REQUEST for `task` from the running code, as JSON text."""

    def note_progress(self, request_id: str, progress: object, redaction: Redaction | None = None) -> None:
        """Let other processes know what the agent of that REQUEST reported."""


class Invocation(Struct):
    """One attempt: a call of `agent` for that REQUEST. `outer` is the invocation whose code delegated the task.

    `details` goes into the metadata of the RESPONSE, however the call ends. `delivered` becomes True once the agent has the
    task; `earlier` is the same for the attempts before this one together (None: unknown). `retry_safe`: it has failed, and the
    task can be run again. `partial` is the data of an interrupted call, with its JSON text. `on_progress` gets what the agent
    reports; `on_activity` starts and renews its `idle_timeout_s`. `ends_at` is the end of the task's time, on the loop's clock.
    `following` is the next attempt, if there is one. `redaction` is that of the task, if it has secrets, and `parent_id` the
    REQUEST whose agent delegated the task. `pieces_mask` masks the agent's secrets in a text that it reports in pieces.
    """

    executor: Executor
    agent: Agent
    request_id: str
    outer: "Invocation | None" = None
    redaction: Redaction | None = None
    on_progress: Callable[[Any], None] | None = None
    parent_id: str | None = None
    details: dict[str, Any] = {}
    delivered: bool | None = False
    earlier: bool | None = False
    retry_safe: bool = False
    partial: tuple[Any, str | None] = (None, None)
    task: asyncio.Task[Outcome] | None = None
    thread: concurrent.futures.Future[None] | None = None
    on_activity: Callable[[], None] | None = None
    ends_at: float = 0.0
    following: "Invocation | None" = None
    pieces_mask: PiecesMask | None = None

    def again(self, agent: Agent) -> "Invocation":
        """The call of `agent` for the next attempt. Code of this one that still runs reports nothing into it."""
        given = (self.executor, agent, self.request_id, self.outer, self.redaction, self.on_progress, self.parent_id)
        self.following = Invocation(*given)
        self.following.earlier, self.following.ends_at = self.is_delivered(), self.ends_at
        return self.following

    def latest(self) -> "Invocation":
        """The latest attempt."""
        return self if self.following is None else self.following.latest()

    def is_delivered(self) -> bool | None:
        """Whether this attempt or an earlier one was delivered; None if that is unknown."""
        return combined(self.earlier, self.delivered)

    def report(self, progress: Any) -> None:
        """Pass the agent's `progress` to `on_progress`, in the event loop of the call. Any thread may call this."""
        task = self.task
        if task is not None and not task.done():
            if self.agent.secret_env:
                progress = self._without_secrets_of_agent(progress)
            if self.redaction is not None:
                progress = self.redaction.progress(progress)
            self._pass_on(task, progress)

    def root(self) -> tuple[str, str] | None:
        """The REQUEST at the top of the delegations that led to this task: its id, and its metadata as JSON text. None: the
        task's own.
        """
        if self.parent_id is None:
            return None
        root_id = self.executor.ledger.ancestors(self.parent_id)[-1][0]
        return root_id, self.executor.ledger.metadata(root_id)

    def report_rest(self) -> None:
        """Report the end of a text in pieces that was held back, because a secret could have begun there."""
        text = "" if self.pieces_mask is None else self.pieces_mask.end()
        if self.redaction is not None:
            text = self.redaction.progress({"text": text})["text"] + self.redaction.rest_of_text()
        if text and self.task is not None:
            self._pass_on(self.task, {"text": text})

    def _without_secrets_of_agent(self, progress: Any) -> Any:
        secrets = secrets_in(self.agent.secret_env)
        if not is_piece(progress):
            return masked(progress, secrets)
        self.pieces_mask = self.pieces_mask or PiecesMask(secrets)
        return {"text": self.pieces_mask.feed(progress["text"])}

    def _pass_on(self, task: asyncio.Task[Outcome], progress: Any) -> None:
        note = partial(self.executor.note_progress, self.request_id, progress, self.redaction)
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

    def begin(self) -> None:
        """The agent gets the task now."""
        self.delivered = True
        if self.on_activity is not None:
            self.on_activity()

    def may_rerun(self) -> bool:
        """Whether the task can be run again although it is cut off now. (The attempts before this one were safe to repeat.)"""
        return self.retry_safe or self.delivered is False

    def cut_off(self, error: str, failure: type[AorchError]) -> Outcome:
        """The outcome of a call that ended before the agent answered."""
        delivered, retry_safe = self.is_delivered(), self.may_rerun() or None
        return self.redacted(
            Outcome(*self.partial, error, failure, delivered=delivered, retry_safe=retry_safe, details=self.details)
        )

    def redacted(self, outcome: Outcome) -> Outcome:
        """`outcome` without the secrets of the task."""
        return outcome if self.redaction is None else self.redaction.outcome(outcome)


def combined(before: bool | None, after: bool | None) -> bool | None:
    """Whether any of the attempts was delivered; None if that is unknown."""
    if before is True or after is True:
        return True
    return None if before is None or after is None else False


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
        outcome = Outcome(error=f"{agent.agent_id} cancelled itself", failure=AgentFailed, details=invocation.details)
        return invocation.redacted(outcome)
    outcome = call.result()
    invocation.task = (
        None  # its context contains the invocation: without this, the garbage collector has to find the cycle
    )
    if invocation.redaction is not None:
        outcome = invocation.redaction.outcome(outcome)
    return _masked(outcome, secrets_in(agent.secret_env)) if agent.secret_env else outcome


def _watch_idle(
    invocation: Invocation, done: "asyncio.Future[None]", idle_s: float, ends_at: float, watcher: CancellationWatcher
) -> None:
    """Watch a call that ends at `ends_at`, and once the agent, which has the task, has reported nothing for `idle_s` seconds."""
    loop = asyncio.get_running_loop()
    invocation.on_activity = lambda: watcher.move(invocation.request_id, done, min(ends_at, loop.time() + idle_s))
    watcher.watch(invocation.request_id, done, ends_at)


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
            invocation.delivered = True  # as `begin` does, without a call in the usual case
            _ = invocation.on_activity and invocation.on_activity()
            answer: Any = await agent.execute(document)  # type: ignore[misc]  # an `async def`
        else:
            answer = await _in_thread(lambda: agent.execute(document), invocation)
        return outcome_of_answer(answer, agent, details)
    except AgentNotStarted:
        invocation.delivered = False
        raise
    except AorchError as failure:
        return failed_outcome(failure, details)
    except CutOff as cut_off:
        _keep_partial(invocation, cut_off.answer)
        raise
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as raised:  # noqa: BLE001  an agent's own code may raise anything
        error = _transferable(raised)
        if not done.done():  # not after a timeout or a cancellation
            agent_log.log_exception(
                agent.agent_id, document["capability"], document["task_id"], error, invocation.redaction
            )
        failed = Outcome(error=described(error), failure=AgentFailed, details=details)
        del error  # its traceback contains this frame
        return failed
    finally:
        if invocation.pieces_mask is not None or invocation.redaction is not None:
            invocation.report_rest()
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
    invocation.thread = ended
    invocation.begin()

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


def _keep_partial(invocation: Invocation, answer: dict[str, Any]) -> None:
    """Keep the `answer` so far of an interrupted call, without the agent's secrets."""
    invocation.details.update(details_in(answer))
    if (data := answer.get("data")) is not None:
        invocation.partial = data, jsonio.encode(data)
    if invocation.agent.secret_env:
        outcome = Outcome(*invocation.partial, details=invocation.details)
        outcome = _masked(outcome, secrets_in(invocation.agent.secret_env))
        invocation.partial, invocation.details = (outcome.result, outcome.result_text), outcome.details


def _masked(outcome: Outcome, secrets: Sequence[str]) -> Outcome:
    """The outcome without the agent's secrets."""
    outcome.error, outcome.hint = masked(outcome.error, secrets), masked(outcome.hint, secrets)
    outcome.details = masked(outcome.details, secrets)
    if outcome.result_text is not None and may_contain(outcome.result_text, secrets):
        outcome.result = masked(outcome.result, secrets)
        outcome.result_text = jsonio.encode(outcome.result)
    return outcome

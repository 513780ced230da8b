"""Runs one task in this process, or queues it, and shows its answer; waits for queued tasks, and cancels them."""

import asyncio
import shlex
import signal
import sys
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from aorch.cli.interrupts import end_now_if_threads_remain
from aorch.cli.options import CREATES_NEW, warn_of_missing
from aorch.cli.parameters_cli import parse_items, parse_object
from aorch.cli.render.answer_view import show_answer
from aorch.cli.render.console import complain, note, print_json, print_json_line, print_text, warn
from aorch.cli.streams import set_aside
from aorch.errors import UsageError
from aorch.logs import warn_of_agents
from aorch.process.signals import SignalReceiver, set_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aorch.agents.registry import Registry
    from aorch.cli.run_options import DetachOptions, TaskOptions
    from aorch.config.settings import Config
    from aorch.engine.executor import TaskExecutor
    from aorch.engine.response_saver import Unsaved
    from aorch.engine.task import Answer, QueueOptions, Task
    from aorch.errors import AorchError

    Starting = Callable[[TaskExecutor, Callable[[Any], None] | None], Coroutine[Any, Any, Answer]]

DELIVERY_S = 1.8
"""How long a delivery to Trace may delay the end of the command after its answer. In total, the end takes less than 2 s."""


def read_task(capability: str, items: list[str], options: "TaskOptions") -> "Task":
    """The task that the arguments describe. Raises UsageError, NotFound and InvalidJSON."""
    from aorch.cli.run_options import TaskOptions
    from aorch.config import environment
    from aorch.engine.task import Task, named_session, new_session_id

    if options != TaskOptions():
        options.check()
    parameters = parse_object("--params", options.params) if options.params else {}
    parameters |= parse_items(items)
    session_id = options.session or environment.get(environment.SESSION_ID) or None
    return Task(
        capability=capability,
        parameters=parameters,
        session_id=new_session_id() if session_id is None else named_session(session_id),
        context=parse_object("--context", options.context) if options.context else {},
        agent_id=options.agent,
        timeout_s=options.timeout,
        require=read_labels(options.require) if options.require else {},
    )


def print_queued(contract_id: str, task: "Task", *, as_json: bool) -> None:
    """Print the id of the REQUEST of `task`, which waits in the queue, and note how to wait for its result."""
    if as_json:
        print_json_line({"contract_id": contract_id, "session_id": task.session_id, "status": "pending"})
    else:
        print_text(contract_id)
    note(f"Wait for the result with `aorch contracts wait {contract_id}`.")


def read_labels(given: list[str] | None) -> dict[str, str]:
    """The labels that `--require LABEL=VALUE` requires. Raises UsageError."""
    labels = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise UsageError(f"--require {each!r} is not LABEL=VALUE", "Write, for example, --require gpu=yes.")
        labels[name] = value
    return labels


class LocalTasks(NamedTuple):
    """Runs tasks in this process, on a ledger that it opens itself. `ledger` is the option that named it, if one did."""

    config: "Config"
    ledger: str | None

    def run_task(self, task: "Task", *, as_json: bool) -> int:
        """Run `task` and show its answer. Returns the exit code."""
        from aorch.cli.hints import note_choice, warn_of_undeclared

        warn_of_missing(self.config.ledger, self.ledger, CREATES_NEW)

        def start(
            executor: "TaskExecutor", on_progress: "Callable[[Any], None] | None"
        ) -> "Coroutine[Any, Any, Answer]":
            warn_of_undeclared(executor.registry, task)
            return executor.perform(task, on_progress=on_progress)

        showing = run_and_show(
            self.config,
            start,
            cancelled_hint=lambda: f"Show its contracts with `aorch contracts list -s {task.session_id}`.",
            as_json=as_json,
            after=partial(note_choice, task),
        )
        return asyncio.run(showing)

    def submit(self, task: "Task", queue_options: "QueueOptions", *, as_json: bool) -> None:
        """Queue `task` and print the id of its REQUEST. Raises the error if no agent can run it."""
        from aorch.cli.hints import warn_of_undeclared
        from aorch.engine.submit import TaskRejected
        from aorch.orchestrator import Orchestrator
        from aorch.worker.webhooks import check_webhook

        warn_of_missing(self.config.ledger, self.ledger, CREATES_NEW)
        if queue_options.webhook is not None:
            check_webhook(self.config, queue_options.webhook)

        async def queue() -> str:
            async with Orchestrator(config=self.config) as orchestrator:
                warn_of_undeclared(orchestrator.registry, task)
                return (await orchestrator.queue.submit(task, queue_options)).contract_id

        set_aside()
        try:
            contract_id = asyncio.run(queue())
        except TaskRejected as rejected:
            note(f"contract {rejected.answer.contract_id} · session {task.session_id}")
            raise rejected.answer.as_error() from None
        print_queued(contract_id, task, as_json=as_json)

    def show_plan(self, task: "Task", *, as_json: bool) -> None:
        """Show the agent that would run `task`, why, and what it would run or send. Raises the error if there is none."""
        from aorch import bootstrap
        from aorch.cli.hints import warn_of_undeclared
        from aorch.engine.routing import plan

        warn_of_missing(self.config.ledger, self.ledger, CREATES_NEW)
        set_aside()
        registry = bootstrap.all_agents(self.config)
        warn_of_undeclared(registry, task)

        async def planned() -> dict[str, Any]:
            try:
                return await plan(registry, task)
            finally:
                await registry.close()

        print_plan(asyncio.run(planned()), as_json=as_json)

    def rerun(self, contract_id: str, *, as_json: bool) -> int:
        """Run the task of a recorded exchange again and show its answer. Returns the exit code."""
        from aorch.engine.resume import same_task

        return self._run_recorded(
            contract_id,
            same_task,
            cancelled_hint=lambda: f"Run it again with `aorch rerun {contract_id}`.",
            as_json=as_json,
            after=lambda _, __: None,
        )

    def resume(self, contract_id: str, *, as_json: bool) -> int:
        """Run a task again that did not complete, and show its answer. Returns the exit code."""
        from aorch.cli.hints import note_reused
        from aorch.engine.resume import resumable, task_again

        def cancelled_hint() -> str:
            at = f" --ledger {shlex.quote(self.ledger)}" if self.ledger is not None else ""
            return f"Continue it with `aorch contracts resume {resumable(self.config.ledger, contract_id)}{at}`."

        return self._run_recorded(
            contract_id,
            task_again,
            cancelled_hint=cancelled_hint,
            as_json=as_json,
            after=lambda _, answer: note_reused(answer),
        )

    def _run_recorded(self, contract_id: str, read: "Callable[..., Task]", **shown: Any) -> int:
        """Run the task that `read`, called in a thread, makes of a recorded exchange, and show its answer."""
        from aorch.batch.batch_source import check_ledger_exists

        async def again(executor: "TaskExecutor", on_progress: "Callable[[Any], None] | None") -> "Answer":
            task = await asyncio.to_thread(read, self.config.ledger, contract_id, executor.registry)
            return await executor.perform(task, on_progress=on_progress)

        check_ledger_exists(self.config.ledger)
        return asyncio.run(run_and_show(self.config, again, **shown))

    def wait_for_answers(self, parts: list[str], timeout_s: float | None) -> "list[Answer]":
        """The answers to these REQUESTs, in that order.

        Raises NotFound, Conflict, and WaitedTooLong after `timeout_s` seconds.
        """
        from aorch.engine.wait_for_all import wait_for_all
        from aorch.ledger.reader import Reader

        with Reader(self.config.ledger) as reader:
            whole_ids = [reader.find(part).contract_id for part in parts]
        return asyncio.run(wait_for_all(self.config.ledger, whole_ids, timeout_s))

    def cancel_all(self, parts: list[str]) -> "tuple[list[tuple[str, str]], list[AorchError]]":
        """Cancel each of these REQUESTs if possible.

        Returns (id, status) of the cancelled ones and the errors of the others. Raises LedgerError.
        """
        set_aside()
        return asyncio.run(_cancel_all(self.config, parts))


def print_plan(planned: dict[str, Any], *, as_json: bool) -> None:
    """Print what `plan` returns."""
    if as_json:
        return print_json(planned)
    lines = {"agent": f"{planned['agent_id']} ({planned['kind']})", "why": planned["why"], **planned["preview"]}
    print_text("\n".join(f"{name + ':':9}{text}" for name, text in lines.items()))


async def run_and_show(
    config: "Config",
    start: "Starting",
    *,
    cancelled_hint: "Callable[[], str]",
    as_json: bool,
    after: "Callable[[Registry, Answer], None]",
) -> int:
    """Await the coroutine of `start`, which gets a function to show progress (None: not at a terminal); call `after` with
    the answer, and show the answer. Returns the exit code.
    """
    set_handler(signal.SIGINT, signal.SIG_DFL)  # a KeyboardInterrupt can get lost during imports
    from aorch.bootstrap import executor, registry
    from aorch.engine.response_saver import Unsaved

    answer, unsaved, progress = None, None, None
    if sys.stderr.isatty():
        from aorch.cli.render.progress_line import ProgressLine

        progress = ProgressLine()
    warn_of_agents(warn)
    async with AsyncExitStack() as opened:
        set_aside()  # keep the output of agents out of the answer
        agents = registry(config)
        opened.push_async_callback(agents.close)
        signals = SignalReceiver()
        try:
            executing = executor(config, agents)  # in this thread, because nothing else runs in this loop
        except KeyboardInterrupt:
            return _report_interrupted(signals.received)
        opened.push_async_callback(executing.close, in_this_thread=True)
        running = asyncio.ensure_future(start(executing, None if progress is None else progress.show))
        if progress is not None:
            running.add_done_callback(progress.clear)
        signals.performing = running
        try:
            answer = await running
        except Unsaved as error:
            answer, unsaved = error.answer, error
            signals.performing = unsaved.saving
        except asyncio.CancelledError:
            pass
        if unsaved is None:
            await opened.aclose()
        if answer:
            after(agents, answer)
        code = show_answer(answer, as_json) if answer else _report_cancelled(cancelled_hint(), signals.received)
        if unsaved is not None and not await _wait_until_saved(unsaved):
            code = unsaved.exit_code
    if (
        config.trace_configured and answer is not None and executing.parent_id is None
    ):  # do not delay a program agent that runs this command: its caller waits for this process
        await _deliver(config)
    end_now_if_threads_remain(code)
    return code


async def _wait_until_saved(unsaved: "Unsaved") -> bool:
    """Wait until the ledger accepts the answer, which has been shown. False if a signal came first, or it never will."""
    from aorch.errors import LedgerError, LedgerTooNew

    if not unsaved.is_final:
        warn(f"{unsaved}; aorch retries until it is; press Ctrl-C to give up")
    try:
        await unsaved.saving
    except asyncio.CancelledError:
        complain(LedgerError("gave up: the answer above is not in the ledger", unsaved.reason.hint))
        return False
    except LedgerTooNew as error:
        complain(LedgerTooNew(f"the answer above is not in the ledger: {error}", error.hint))
        return False
    return True


async def _deliver(config: "Config") -> None:
    """Deliver to Trace for at most DELIVERY_S; the rest stays due. A failure does not change the exit code."""
    until = time.monotonic() + DELIVERY_S
    from aorch.errors import LedgerError
    from aorch.trace.push import push_until

    delivering = asyncio.ensure_future(push_until(config, until))
    SignalReceiver(delivering)
    try:
        await delivering
    except LedgerError as error:
        warn(str(error))
    except (TimeoutError, asyncio.CancelledError):
        pass


def _report_cancelled(hint: str, signals: list[int]) -> int:
    from aorch.errors import AgentCancelled

    complain(AgentCancelled("interrupted; the task is recorded as cancelled", hint))
    return 128 + signals[0] if signals else AgentCancelled.exit_code


def _report_interrupted(signals: list[int]) -> int:
    from aorch.errors import AgentCancelled

    complain(AgentCancelled("interrupted before the task started; it is not recorded"))
    return 128 + signals[0]


def read_queue_options(options: "DetachOptions") -> "QueueOptions":
    """How the task waits in the queue. Raises UsageError."""
    from aorch.cli.time_options import expiry_time, future_time
    from aorch.clock import rfc3339
    from aorch.engine.task import QueueOptions
    from aorch.ledger import priorities

    start = future_time("--not-before", options.not_before) if options.not_before else None
    end = expiry_time("--expires", options.expires) if options.expires else None
    if end and start and end <= start:
        raise UsageError(f"--expires {options.expires!r} must be after --not-before", "Give a later time.")
    priority = priorities.DEFAULT if options.priority is None else options.priority
    return QueueOptions(priority, rfc3339(start) if start else None, rfc3339(end) if end else None, options.webhook)


async def _cancel_all(config: "Config", parts: list[str]) -> "tuple[list[tuple[str, str]], list[AorchError]]":
    from aorch.errors import AorchError, LedgerError
    from aorch.ledger.reader import Reader
    from aorch.orchestrator import Orchestrator

    cancelled: list[tuple[str, str]] = []
    errors: list[AorchError] = []
    with Reader(config.ledger) as reader:
        async with Orchestrator(config=config) as orchestrator:
            for part in parts:
                try:
                    contract_id = reader.find(part).contract_id
                    status = await orchestrator.cancel(contract_id, by="aorch contracts cancel")
                    cancelled.append((contract_id, status))
                except LedgerError:
                    raise
                except AorchError as error:
                    errors.append(error)
    return cancelled, errors

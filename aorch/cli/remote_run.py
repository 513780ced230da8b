"""Runs one task on a server, or queues it there, and shows its answer, as task_run.py does on a ledger file."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from aorch.cli.hints import note_choice, note_reused, warn_of_undeclared
from aorch.cli.ledger_source import warn_of_version
from aorch.cli.render.answer_view import show_answer
from aorch.cli.render.console import complain, warn
from aorch.cli.task_run import print_plan, print_queued
from aorch.client.connection import ServerConnection
from aorch.client.remote_tasks import RemoteTasks, new_key
from aorch.engine.resume import may_repeat, repetition
from aorch.errors import AgentCancelled, AorchError, NoAgent, NotFound
from aorch.ledger.record import COMPLETED
from aorch.ledger.task_queue import OPEN
from aorch.process.signals import SignalReceiver, set_handler

if TYPE_CHECKING:
    from aorch.cli.render.progress_line import ProgressLine
    from aorch.client.remote_agents import RemoteAgents
    from aorch.client.server_address import ServerAddress
    from aorch.engine.task import Answer, QueueOptions, Task

Result = TypeVar("Result")
OnProgress = Callable[[Any], None] | None
Perform = Callable[[RemoteTasks, str, OnProgress], Coroutine[Any, Any, "Answer"]]
"""Performs a task with an idempotency key, by which it can be cancelled."""


Hint = Callable[[str], str]
"""The next step after a task was cancelled, from the ID of its REQUEST (empty: unknown)."""


class ServerTasks(NamedTuple):
    """Runs tasks on a server."""

    server: "ServerAddress"

    def run_task(self, task: "Task", *, as_json: bool) -> int:
        """Run `task` and show its answer. Returns the exit code."""

        def hint(_: str) -> str:
            return f"Show its contracts with `aorch contracts list -s {task.session_id}`."

        async def perform(tasks: RemoteTasks, key: str, on_progress: OnProgress) -> "Answer":
            looking = asyncio.ensure_future(_candidates(tasks, task))
            try:
                answer, _ = await tasks.perform(task, key, on_progress)
                agents = await looking
            finally:
                looking.cancel()
            if agents is not None:
                note_choice(task, agents, answer)
                if answer.failure is NoAgent and agents.only_workers_have(task.capability):
                    answer.hint = "Only workers of the server have it: queue the task with --detach."
            return answer

        return run_and_show(self.server, perform, hint, as_json=as_json)

    def submit(self, task: "Task", options: "QueueOptions", *, as_json: bool) -> None:
        """Queue `task` and print the id of its REQUEST. Raises the error if no agent can run it."""
        contract_id = asyncio.run(_submit(self.server, task, options))
        print_queued(contract_id, task, as_json=as_json)

    def show_plan(self, task: "Task", *, as_json: bool) -> None:
        """Show the agent of the server that would run `task`, why, and what it would run or send."""

        async def plan(tasks: RemoteTasks) -> dict[str, Any]:
            await _candidates(tasks, task)
            return await tasks.plan(task)

        print_plan(asyncio.run(_with_tasks(self.server, plan)), as_json=as_json)

    def rerun(self, part: str, *, as_json: bool) -> int:
        """Run the task of a recorded exchange again and show its answer. Returns the exit code."""

        async def perform(tasks: RemoteTasks, key: str, on_progress: OnProgress) -> "Answer":
            return await tasks.rerun(await tasks.find(part), key, on_progress)

        return run_and_show(self.server, perform, lambda _: f"Run it again with `aorch rerun {part}`.", as_json=as_json)

    def resume(self, part: str, *, as_json: bool) -> int:
        """Run a task again that did not complete, and show its answer. Returns the exit code."""

        async def perform(tasks: RemoteTasks, key: str, on_progress: OnProgress) -> "Answer":
            found = await tasks.exchange(await tasks.find(part))
            if found.request is None:
                raise NotFound(f"the REQUEST of {part} is not in the ledger")
            is_pipeline = (await tasks.agents()).is_pipeline(found.request.to_agent or found.request.capability)
            if found.request.status not in (COMPLETED, *OPEN) and may_repeat(found.response, is_pipeline=is_pipeline):
                warn(repetition(found.request))
            answer = await tasks.resume(found.request, key, on_progress)
            note_reused(answer)
            return answer

        def hint(request_id: str) -> str:
            return f"Continue it with `aorch contracts resume {request_id or part}`."

        return run_and_show(self.server, perform, hint, as_json=as_json)

    def wait_for_answers(self, parts: list[str], timeout_s: float | None) -> "list[Answer]":
        """The answers to these REQUESTs, in that order. Raises NotFound, and WaitedTooLong after `timeout_s` seconds."""
        return asyncio.run(_with_tasks(self.server, lambda tasks: tasks.wait_for_all(parts, timeout_s)))

    def cancel_all(self, parts: list[str]) -> "tuple[list[tuple[str, str]], list[AorchError]]":
        """Cancel each of these REQUESTs if possible. Returns (id, status) of the cancelled ones and the errors of the others."""
        return asyncio.run(_with_tasks(self.server, lambda tasks: tasks.cancel_all(parts)))


def run_and_show(server: "ServerAddress", perform: Perform, cancelled_hint: Hint, *, as_json: bool) -> int:
    """Await `perform`, and show its answer. After a signal, the server cancels the task. Returns the exit code."""
    progress = None
    if sys.stderr.isatty():
        from aorch.cli.render.progress_line import ProgressLine

        progress = ProgressLine()
    set_handler(signal.SIGINT, signal.SIG_DFL)  # a KeyboardInterrupt can get lost during imports
    return asyncio.run(_run_and_show(server, perform, progress, cancelled_hint, as_json=as_json))


async def _run_and_show(
    server: "ServerAddress", perform: Perform, progress: "ProgressLine | None", hint: Hint, *, as_json: bool
) -> int:
    key = new_key()
    async with ServerConnection(server) as connection:
        tasks = RemoteTasks(connection, warn)
        running = asyncio.ensure_future(perform(tasks, key, None if progress is None else progress.show))
        if progress is not None:
            running.add_done_callback(progress.clear)
        signals = SignalReceiver(running)
        try:
            answer = await running
        except asyncio.CancelledError:
            return await _cancel(tasks, key, hint, signals.received)
        finally:
            warn_of_version(connection.server_version)
    return show_answer(answer, as_json)


async def _cancel(tasks: RemoteTasks, key: str, hint: Hint, signals: list[int]) -> int:
    """Let the server cancel the task that was sent with `key`. Returns the exit code."""
    code = 128 + signals[0] if signals else AgentCancelled.exit_code
    cancelling = asyncio.ensure_future(tasks.cancel_sent(key))
    SignalReceiver(cancelling)
    try:
        cancelled = await cancelling
    except (AorchError, asyncio.CancelledError) as error:
        reason = f": {error}" if isinstance(error, AorchError) else ""
        complain(AgentCancelled(f"interrupted; the server was not asked to cancel the task{reason}", hint("")))
        return code
    if cancelled is None:
        complain(AgentCancelled("interrupted before the task started; it is not recorded"))
        return code
    request_id, status = cancelled
    outcome = "the task is being cancelled" if status in OPEN else f"the task is recorded as {status}"
    complain(AgentCancelled(f"interrupted; {outcome}", hint(request_id)))
    return code


async def _candidates(tasks: RemoteTasks, task: "Task") -> "RemoteAgents | None":
    """The agents of the server, after a warning about parameters that they do not declare; None if they cannot be read now."""
    try:
        agents = await tasks.agents()
    except AorchError:  # the request for the task has the same error, or needs no agents
        return None
    warn_of_undeclared(agents, task)
    return agents


async def _submit(server: "ServerAddress", task: "Task", options: "QueueOptions") -> str:
    async with ServerConnection(server) as connection:
        tasks = RemoteTasks(connection, warn)
        await _candidates(tasks, task)
        queued = await tasks.submit(task, options, new_key())
        warn_of_version(connection.server_version)
        return str(queued["contract_id"])


async def _with_tasks(server: "ServerAddress", act: Callable[[RemoteTasks], Coroutine[Any, Any, Result]]) -> Result:
    async with ServerConnection(server) as connection:
        result = await act(RemoteTasks(connection, warn))
        warn_of_version(connection.server_version)
        return result

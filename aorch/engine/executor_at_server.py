"""The executor of a worker at a server: the steps of its pipelines run here, and what other agents delegate at the server."""

import math
from collections.abc import Awaitable, Callable
from typing import Any

from aorch.engine.executor import TaskExecutor
from aorch.engine.invocation import Invocation, current_invocation
from aorch.engine.task import Answer, Outcome, Task

Delegate = Callable[[Task, Invocation, Callable[[Any], None] | None], Awaitable[Answer]]
"""Lets the server execute a task that the agent of this invocation delegates. The last argument gets its progress."""


class ExecutorAtServer(TaskExecutor):
    """Executes claimed tasks here, and the steps of pipelines. Sends what other agents delegate with `delegate`."""

    delegate: Delegate

    async def perform(
        self,
        task: Task,
        on_cut_off: Callable[[Outcome], None] | None = None,
        *,
        in_line: bool = False,
        max_line: float = math.inf,
        on_progress: Callable[[Any], None] | None = None,
    ) -> Answer:
        """Execute a step of a pipeline, or let the server execute `task`, as a child of the task of the running code.

        Raises the errors of the server.
        """
        outer = current_invocation.get()
        assert outer is not None, "a worker only executes claimed tasks"
        if outer.agent.kind == "pipeline":
            return await super().perform(task, on_cut_off, in_line=in_line, max_line=max_line, on_progress=on_progress)
        return await self.delegate(task, outer, on_progress)


def delegating_executor() -> ExecutorAtServer | None:
    """The executor that must execute what the running code delegates; None if it is not an agent of a worker at a server."""
    outer = current_invocation.get()
    return outer.executor if outer is not None and isinstance(outer.executor, ExecutorAtServer) else None

"""Tasks that the agents of a worker at a server delegate: the server executes them, as children of the worker's tasks."""

import asyncio
from collections.abc import Callable
from typing import Any

from aorch.client.connection import ServerConnection
from aorch.client.remote_tasks import RemoteTasks, new_key
from aorch.engine.invocation import Invocation
from aorch.engine.task import Answer, Task
from aorch.errors import AorchError

OnProgress = Callable[[Any], None] | None


class DelegatedTasks:
    """Delegates over `connection`, which belongs to the running event loop. `report` gets a text if requests are repeated."""

    def __init__(self, connection: ServerConnection, report: Callable[[str], None]) -> None:
        self._tasks = RemoteTasks(connection, report)
        self._loop = asyncio.get_running_loop()

    async def __call__(self, task: Task, outer: Invocation, on_progress: OnProgress) -> Answer:
        """The answer of the server to `task`, which the agent of `outer` delegates in any event loop."""
        task.parent_id, task.from_agent = task.parent_id or outer.request_id, outer.agent.agent_id
        if asyncio.get_running_loop() is self._loop:
            return await self._perform(task, on_progress)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._perform(task, on_progress), self._loop))

    async def _perform(self, task: Task, on_progress: OnProgress) -> Answer:
        key = new_key()
        try:
            return (await self._tasks.perform(task, key, on_progress))[0]
        except asyncio.CancelledError:
            try:
                await self._tasks.cancel_sent(key)
            except AorchError as error:  # the agent is being stopped; its task stays open on the server
                self._tasks.report(f"a delegated task was not cancelled: {error}")
            raise

"""The server as a place where the tasks of `aorch run --batch` and `--retry-failed` run."""

import platform
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from aorch.batch.batch_line import Line
from aorch.batch.batch_source import BatchFile, LineSource, UnfinishedTasks
from aorch.cli.batch_place import OpenBatch
from aorch.cli.ledger_source import warn_of_version
from aorch.cli.render.console import warn
from aorch.client.connection import ServerConnection
from aorch.client.problem_errors import error_in
from aorch.client.remote_batches import RemoteExecutor
from aorch.client.remote_tasks import RemoteTasks
from aorch.client.server_address import ServerAddress
from aorch.client.server_session import ServerSession, segment
from aorch.engine.task import Task
from aorch.ids import new_id
from aorch.ledger.task_keys import RetryKey

LINES_AT_ONCE = 200


class ServerPlace:
    """A BatchPlace: a server."""

    def __init__(self, server: ServerAddress, parallel: int) -> None:
        self._server = server
        self._connection = ServerConnection(
            server, connections=2 * parallel + 2
        )  # each task may need one to be cancelled

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()

    async def start(self, source: LineSource) -> OpenBatch:
        """Open the batch on the server."""
        tasks = RemoteTasks(self._connection, warn)
        agents = await tasks.agents()
        warn_of_version(self._connection.server_version)
        if isinstance(source, UnfinishedTasks):
            lines = _unfinished(self._server, source.session_id, source.timeout_s)
            return OpenBatch(RemoteExecutor(tasks, "", resume=False), agents, lines)
        assert isinstance(source, BatchFile)
        if source.name is None:
            generation = new_id()
            return OpenBatch(RemoteExecutor(tasks, generation, resume=False), agents, source.lines(generation))
        name = source.name if source.was_named else f"{platform.node()}:{source.name}"
        generation = await tasks.open_batch(name, resume=source.resume)
        executor = RemoteExecutor(tasks, generation, resume=source.resume)
        return OpenBatch(executor, agents, source.keyed_lines(generation))


def _unfinished(address: ServerAddress, session_id: str, timeout_s: float | None) -> Iterator[list[Line]]:
    """Yield a line for each unfinished task of a session on that server. Raises the errors of ServerConnection."""
    number, lines = 0, list[Line]()
    path = f"/v1/sessions/{segment(session_id)}/unfinished"
    with ServerSession(address) as server:
        for form in server.pages(path, "tasks", {}, most=None, page=LINES_AT_ONCE):
            number += 1
            lines.append(_line(address.url, number, form, session_id, timeout_s))
            if len(lines) == LINES_AT_ONCE:
                yield lines
                lines = []
    yield lines


def _line(url: str, number: int, form: dict[str, Any], session_id: str, timeout_s: float | None) -> Line:
    line = Line(number, form["line"], form["size"], priority=form["priority"])
    if form["problem"] is not None:
        line.refusal = error_in(url, form["problem"])
        return line
    line.task = Task(form["capability"], form["parameters"], session_id, timeout_s=timeout_s)
    line.task.annotations = {"retry_of": form["contract_id"]}
    line.task.idempotency = RetryKey(form["last_try"])
    return line

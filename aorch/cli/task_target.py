"""Where a command runs tasks: in this process, on a ledger file, or on a server."""

from functools import cache
from typing import TYPE_CHECKING, Protocol

from aorch.cli.ledger_source import chosen_server

if TYPE_CHECKING:
    from aorch.engine.task import Answer, QueueOptions, Task
    from aorch.errors import AorchError


class TaskTarget(Protocol):
    """Runs tasks and shows their answers."""

    def run_task(self, task: "Task", *, as_json: bool) -> int:
        """Run `task` and show its answer. Returns the exit code."""
        ...

    def submit(self, task: "Task", options: "QueueOptions", *, as_json: bool) -> None:
        """Queue `task` and print the id of its REQUEST. Raises the error if no agent can run it."""
        ...

    def show_plan(self, task: "Task", *, as_json: bool) -> None:
        """Show the agent that would run `task`. Raises the error if there is none."""
        ...

    def rerun(self, contract_id: str, *, as_json: bool) -> int:
        """Run the task of a recorded exchange again and show its answer. Returns the exit code."""
        ...

    def resume(self, contract_id: str, *, as_json: bool) -> int:
        """Run a task again that did not complete, and show its answer. Returns the exit code."""
        ...

    def wait_for_answers(self, parts: list[str], timeout_s: float | None) -> "list[Answer]":
        """The answers to the REQUESTs with these IDs, or parts of them, in that order."""
        ...

    def cancel_all(self, parts: list[str]) -> "tuple[list[tuple[str, str]], list[AorchError]]":
        """Cancel each of these REQUESTs. Returns (id, status) of the cancelled ones and the errors of the others."""
        ...


def open_target(ledger: str | None) -> TaskTarget:
    """The target that the options and the environment choose."""
    from aorch.config import config_file

    text_in_use = cache(config_file.text_in_use)
    server = chosen_server(ledger, text_in_use)
    if server is not None:
        from aorch.cli.remote_run import ServerTasks

        return ServerTasks(server)
    from aorch.cli.task_run import LocalTasks
    from aorch.config import settings

    return LocalTasks(settings.load(ledger, text_in_use), ledger)

"""Where a command runs tasks: in this process, on a ledger file, or on a server."""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from aorch.cli.ledger_source import chosen_server
from aorch.cli.options import CREATES_NEW, warn_of_missing

if TYPE_CHECKING:
    from aorch.client.server_address import ServerAddress
    from aorch.config.settings import Config
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
        return _OnServer(server)
    from aorch.config import settings

    return _OnFile(settings.load(ledger, text_in_use), ledger)


class _OnFile(NamedTuple):
    config: "Config"
    ledger: str | None

    def run_task(self, task: "Task", *, as_json: bool) -> int:
        from aorch.cli.task_run import run_task

        warn_of_missing(self.config.ledger, self.ledger, CREATES_NEW)
        return run_task(self.config, task, as_json=as_json)

    def submit(self, task: "Task", options: "QueueOptions", *, as_json: bool) -> None:
        from aorch.cli.task_run import submit

        warn_of_missing(self.config.ledger, self.ledger, CREATES_NEW)
        submit(self.config, task, options, as_json=as_json)

    def show_plan(self, task: "Task", *, as_json: bool) -> None:
        from aorch.cli.task_run import show_plan

        warn_of_missing(self.config.ledger, self.ledger, CREATES_NEW)
        show_plan(self.config, task, as_json=as_json)

    def rerun(self, contract_id: str, *, as_json: bool) -> int:
        from aorch.cli.task_run import rerun

        return rerun(self.config, contract_id, as_json=as_json)

    def resume(self, contract_id: str, *, as_json: bool) -> int:
        from aorch.cli.task_run import resume

        return resume(self.config, contract_id, self.ledger, as_json=as_json)

    def wait_for_answers(self, parts: list[str], timeout_s: float | None) -> "list[Answer]":
        from aorch.cli.queued_tasks import wait_for_answers

        return wait_for_answers(self.config, parts, timeout_s)

    def cancel_all(self, parts: list[str]) -> "tuple[list[tuple[str, str]], list[AorchError]]":
        from aorch.cli.queued_tasks import cancel_all

        return cancel_all(self.config, parts)


class _OnServer(NamedTuple):
    server: "ServerAddress"

    def run_task(self, task: "Task", *, as_json: bool) -> int:
        from aorch.cli.remote_run import run_task

        return run_task(self.server, task, as_json=as_json)

    def submit(self, task: "Task", options: "QueueOptions", *, as_json: bool) -> None:
        from aorch.cli.remote_run import submit

        submit(self.server, task, options, as_json=as_json)

    def show_plan(self, task: "Task", *, as_json: bool) -> None:
        from aorch.cli.remote_run import show_plan

        show_plan(self.server, task, as_json=as_json)

    def rerun(self, contract_id: str, *, as_json: bool) -> int:
        from aorch.cli.remote_run import rerun

        return rerun(self.server, contract_id, as_json=as_json)

    def resume(self, contract_id: str, *, as_json: bool) -> int:
        from aorch.cli.remote_run import resume

        return resume(self.server, contract_id, as_json=as_json)

    def wait_for_answers(self, parts: list[str], timeout_s: float | None) -> "list[Answer]":
        from aorch.cli.remote_run import wait_for_answers

        return wait_for_answers(self.server, parts, timeout_s)

    def cancel_all(self, parts: list[str]) -> "tuple[list[tuple[str, str]], list[AorchError]]":
        from aorch.cli.remote_run import cancel_all

        return cancel_all(self.server, parts)

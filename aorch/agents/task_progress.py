"""Progress: what an agent reports while it executes a task."""

from contextvars import ContextVar
from typing import Any, Protocol


class Call(Protocol):
    """The call of an agent that runs in this context (the engine's Invocation)."""

    def report(self, progress: Any) -> None:
        """Pass `progress` on to the caller of the task. Any thread may call this."""

    def root(self) -> tuple[str, str] | None:
        """The REQUEST at the top of the delegations that led to the task: its id, and its metadata as JSON text. None: the task's
        own.
        """


current_call: ContextVar[Call | None] = ContextVar("aorch_current_call", default=None)
"""The call whose code runs now."""


def report_progress(progress: Any) -> None:
    """Report the progress of the task that this code executes: any JSON, such as `{"done": 3, "total": 10}` or a text.

    The caller of the task sees it at once, if it asked for progress; it is not part of the result, and the ledger does not
    keep it. Does nothing outside of a task.
    """
    call = current_call.get()
    if call is not None:
        call.report(progress)

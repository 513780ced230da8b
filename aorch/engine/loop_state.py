"""What the executor keeps for each event loop in which tasks run."""

import asyncio
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

from aorch.engine.cancellation import CancellationWatcher
from aorch.engine.progress_log import ProgressLog
from aorch.engine.response_saver import ResponseSaver
from aorch.ledger.ledger import Ledger

if TYPE_CHECKING:
    from aorch.engine.registrations import Registrations

FOLLOW_AFTER_S = 0.4
"""How long after its first task an event loop begins to notice changes to registered agents. Most commands end before."""


class LoopState:
    """The watcher of tasks, the saver of RESPONSEs and the log of progress of one event loop. `closed_by` is empty until the
    executor closes, and `reported` are the REQUESTs whose progress is in the ledger.
    """

    def __init__(
        self,
        ledger: Ledger,
        closed_by: list[str],
        reported: set[str],
        registrations: "Callable[[], Registrations]",
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        loop.call_later(FOLLOW_AFTER_S, _follow_agents, ledger, registrations, closed_by)
        self.watcher, self.saver = CancellationWatcher(ledger, loop, closed_by), ResponseSaver(ledger, loop)
        self._log = partial(ProgressLog, ledger, loop, self.watcher.watched, reported)

    @cached_property
    def progress(self) -> ProgressLog:
        """The log of progress. Most agents report none."""
        return self._log()


def _follow_agents(ledger: Ledger, registrations: "Callable[[], Registrations]", closed_by: list[str]) -> None:
    if not closed_by:
        from aorch.engine.agent_follower import AgentFollower  # noqa: PLC0415  see FOLLOW_AFTER_S

        AgentFollower(ledger, registrations, lambda: not closed_by)

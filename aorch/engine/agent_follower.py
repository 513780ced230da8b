"""Keeps the registry of a program that embeds aorch up to date with the registered agents of its ledger.

`aorch serve` and `aorch worker` do it with a supervised loop (`Registrations.follow`), which also writes states.
"""

import asyncio
from collections.abc import Callable

from aorch import logs
from aorch.engine.registrations import RELOAD_S, Registrations
from aorch.errors import LedgerError
from aorch.ledger.ledger import Ledger

_LOGGER = logs.ROOT.getChild("agents")


class AgentFollower:
    """Reads the registered agents after commits of any process, in the running event loop, while `wanted` returns True.

    While the ledger has no registered agents, it only looks whether there are any.
    """

    def __init__(self, ledger: Ledger, registrations: Callable[[], Registrations], wanted: Callable[[], bool]) -> None:
        self._ledger, self._make, self._wanted = ledger, registrations, wanted
        self._loop = asyncio.get_running_loop()
        self._registrations: Registrations | None = None
        self._closing: asyncio.Task[None] | None = None
        self._lease_end: asyncio.TimerHandle | None = None
        self._said = ""
        self._watcher = ledger.changes.watcher(self._look, RELOAD_S, wanted).start()

    def _look(self) -> None:
        if not self._wanted():
            return
        try:
            if self._registrations is not None or self._ledger.has_registered_agents():
                self._registrations = self._registrations or self._make()
                self._update(self._registrations)
        except LedgerError as error:  # the next commit, or the next look at a ledger that cannot be read, tries again
            if str(error) != self._said:
                self._said = str(error)
                _LOGGER.warning("the registered agents are not up to date: %s", error)
        else:
            self._said = ""

    def _update(self, registrations: Registrations) -> None:
        if registrations.follows:  # a service does it itself
            self._watcher.stop()
            return
        registrations.reload()
        if self._lease_end is not None:
            self._lease_end.cancel()
        self._lease_end = self._loop.call_later(registrations.sleep_s(), self._look)
        if registrations.has_removed() and (self._closing is None or self._closing.done()):
            self._closing = self._loop.create_task(registrations.close_removed())

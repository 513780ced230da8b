"""Checks the remote agents of a ledger from time to time, and writes their states. One process per ledger does it."""

import asyncio
import random

from aorch.agents.registered import Registered
from aorch.backoff import Backoff
from aorch.engine.registrations import Registrations
from aorch.engine.supervision import Turned
from aorch.ledger.database import check_exclusive, exclusive
from aorch.ledger.ledger import Ledger

INTERVAL_S = 10.0
"""Pause between two checks of an agent that can take tasks."""
JITTER = (0.8, 1.2)
RETRY = Backoff(1.0, INTERVAL_S, JITTER)
"""Pauses between the checks of an agent that cannot."""
LOOK_S = 0.5
"""How soon an agent that was just registered is checked."""
NEXT_WATCHER_S = 1.0
"""How soon another process takes over if the process that watches has ended."""
AT_ONCE = 32
CLEAN_UP_S = 3600.0


class AgentWatcher:
    """Checks the remote agents of `registrations`, those that were registered and those with `url` in aorch.toml.

    A check is a request like that of a task: with the same client and token. Agents with `health = false` are not checked;
    only their tasks show their state.
    """

    def __init__(self, registrations: Registrations, ledger: Ledger) -> None:
        self._registrations, self._ledger = registrations, ledger
        self._due_at: dict[Registered, float] = {}
        self._failures: dict[Registered, int] = {}
        self._in_flight: dict[Registered, asyncio.Task[None]] = {}

    async def run(self, turned: Turned) -> None:
        """Watch until cancelled, whenever no other process does. A loop for supervision.py."""
        while True:
            with exclusive(self._ledger.path, "agents") as mine:
                if mine:
                    await self._watch(turned)
            turned()
            await asyncio.sleep(NEXT_WATCHER_S)

    async def _watch(self, turned: Turned) -> None:
        loop = asyncio.get_running_loop()
        clean_up_at = loop.time()
        try:
            while True:
                check_exclusive(self._ledger.path, "agents")
                if loop.time() >= clean_up_at:
                    await self._registrations.remove_ended()
                    clean_up_at = loop.time() + CLEAN_UP_S
                await self._registrations.write_ended()
                remote = self._registrations.remote()
                self._due_at = {each: self._due_at.get(each, 0.0) for each in remote}
                self._failures = {each: self._failures.get(each, 0) for each in remote}
                self._hurry(loop.time())
                self._start_due(loop)
                turned()
                await self._pause()
        finally:
            for task in self._in_flight.values():
                task.cancel()
            await asyncio.gather(*self._in_flight.values(), return_exceptions=True)
            self._in_flight.clear()

    def _hurry(self, moment: float) -> None:
        """Check an agent that a task could not reach as soon again as one that a check could not reach."""
        for each, failures in self._failures.items():
            if not failures and not each.takes_tasks() and self._due_at[each] > (soon := moment + RETRY.pause_s(1)):
                self._due_at[each], self._failures[each] = soon, 1

    def _start_due(self, loop: asyncio.AbstractEventLoop) -> None:
        moment = loop.time()
        due = [each for each, due_at in self._due_at.items() if due_at <= moment and each not in self._in_flight]
        for each in due[: AT_ONCE - len(self._in_flight)]:
            self._in_flight[each] = loop.create_task(self._check(each))

    async def _check(self, registered: Registered) -> None:
        loop = asyncio.get_running_loop()
        await registered.checking(loop)
        await self._registrations.write_state(registered)
        if registered in self._due_at:
            failures = self._failures[registered] = 0 if registered.takes_tasks() else self._failures[registered] + 1
            pause_s = RETRY.pause_s(failures) if failures else INTERVAL_S * random.uniform(*JITTER)  # noqa: S311
            self._due_at[registered] = loop.time() + pause_s

    async def _pause(self) -> None:
        if self._in_flight:
            await asyncio.wait(self._in_flight.values(), timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            for each in [each for each, task in self._in_flight.items() if task.done()]:
                self._in_flight.pop(each).result()
        else:
            await asyncio.sleep(LOOK_S)

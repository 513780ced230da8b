"""Delivery to Trace by an embedded orchestrator that was given Trace's address (`Orchestrator(trace_url=…)`)."""

import asyncio
import contextlib
import logging
import time
from functools import partial
from importlib import import_module

from aorch.config.settings import Config
from aorch.engine.supervision import Supervisor
from aorch.errors import LedgerError
from aorch.ledger.changes import Changes
from aorch.process.threads import in_thread

LAST_S = 1.8
"""How long `finish` delivers (seconds)."""
OTHER_LOOP_S = 1.0
"""How long `finish` waits until another event loop stops delivering (seconds)."""

_log = logging.getLogger("aorch.trace")


class EmbeddedDelivery:
    """Delivers the contracts of `config.ledger` in the event loop that called `start`, until that loop ends or `finish`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._running: tuple[asyncio.AbstractEventLoop, Supervisor] | None = None

    async def start(self, changes: Changes) -> None:
        """Start delivering, unless it runs already. The ledger must exist; `changes` is its change feed."""
        if self._running is not None and self._running[0].is_running():
            return
        supervisor = Supervisor(_log.warning)
        self._running = asyncio.get_running_loop(), supervisor
        scheduler = await in_thread(partial(import_module, "aorch.trace.scheduler"))  # aiohttp takes 190 ms
        if self._running is not None and self._running[1] is supervisor:  # `_stop` was not called meanwhile
            supervisor.start("trace", scheduler.BackgroundDelivery(self._config, changes, _log.warning).run)

    async def finish(self) -> None:
        """Deliver what is still due for at most LAST_S, then stop; the rest stays due.

        A running round continues until then, because a cancelled request delays every other request by 2 s.
        """
        from aorch.trace.push import push_until  # noqa: PLC0415  aiohttp is for delivering only

        try:
            with contextlib.suppress(TimeoutError):
                await push_until(self._config, time.monotonic() + LAST_S)
        except LedgerError as error:
            _log.warning("%s", error)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        """Stop delivering; what is not delivered stays due."""
        running, self._running = self._running, None
        if running is None:
            return
        loop, supervisor = running
        if loop is asyncio.get_running_loop():
            await supervisor.stop()
        elif loop.is_running():
            stopped = asyncio.run_coroutine_threadsafe(supervisor.stop(), loop)
            with contextlib.suppress(TimeoutError):  # the loop may end or block before it stops delivering
                async with asyncio.timeout(OTHER_LOOP_S):
                    await asyncio.wrap_future(stopped)

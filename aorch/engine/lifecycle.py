"""The lifecycle of an orchestrator's ledger: opened by the first task, closed after all running tasks have ended."""

import asyncio
import contextlib
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from functools import partial

from aorch.engine.executor import CLOSING, TaskExecutor
from aorch.engine.invocation import current_invocation
from aorch.errors import UsageError
from aorch.ledger.ledger import Ledger
from aorch.process.threads import in_thread

LOOK_S = 0.5
"""How often `close` checks whether the loop of another thread has stopped while tasks were running."""


class Lifecycle:
    """Manages the executor of one orchestrator, for any number of threads with a loop each. `make` opens its ledger."""

    def __init__(self, make: Callable[[], TaskExecutor]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self.executor: TaskExecutor | None = None
        """None before the first task and after `close`."""
        self._given_up = threading.Event()
        self._opening: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}
        self._waiting: dict[object, asyncio.AbstractEventLoop] = {}
        self.running: dict[object, asyncio.AbstractEventLoop] = {}
        """An entry for each running task, with its loop. Code that removes an entry calls `on_end` if it is set."""
        self.on_end: Callable[[], None] | None = None
        self._forgotten: weakref.finalize[..., Lifecycle] | None = None

    def open(self) -> TaskExecutor:
        """Open the ledger if it is not open, in this thread. Raises LedgerError."""
        while (executor := self.executor) is None:
            self._open(self._given_up)
        return executor

    async def opened(self) -> TaskExecutor:
        """Like `open`, but in a separate thread, so that this loop keeps running and the caller can be cancelled."""
        loop, waiter = asyncio.get_running_loop(), object()
        while (executor := self.executor) is None:
            opening = self._opening.get(loop)
            if opening is None:
                opening = self._opening[loop] = loop.create_task(in_thread(partial(self._open, self._given_up)))
                opening.add_done_callback(self._is_open)
            self._waiting[waiter] = loop
            try:
                await asyncio.shield(opening)
            finally:
                del self._waiting[waiter]
                if (on_end := self.on_end) is not None:
                    on_end()
        return executor

    async def close(self) -> None:
        """Cancel running tasks, wait until each RESPONSE is written, and close the ledger. Raises UsageError in an agent's
        code.

        If a task waits for the ledger to open, this waits for it too; then the task is recorded as cancelled.
        """
        invocation = current_invocation.get()
        if invocation is not None and invocation.executor is self.executor:
            raise UsageError("an agent cannot close the orchestrator that runs it", "Close it where it was opened.")
        try:
            if self._waiting:
                await self._while(lambda: self.executor is None and _any_runs(self._waiting))
            if self.executor is not None:
                self.executor.cancel_all(CLOSING)
                if self.running:
                    await self._while(lambda: _any_runs(self.running))
        finally:
            self.on_end = None
            self._given_up.set()  # if the ledger is still being opened and no task waits for it
            self._given_up = threading.Event()
            await self._close()

    async def _close(self) -> None:
        with self._lock:
            executor, self.executor = self.executor, None
        if executor is None:  # it was never opened, or another call has closed it
            return
        if self._forgotten is not None:
            self._forgotten.detach()
        await executor.close()

    async def _while(self, holds: Callable[[], bool]) -> None:
        """Wait while `holds` returns True. It is called whenever an entry ends, and every LOOK_S seconds."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def notify() -> None:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(changed.set)

        self.on_end = notify
        while holds():
            changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await changed.wait()

    def _open(self, given_up: threading.Event) -> None:
        executor = self._make()
        with self._lock:
            if self.executor is None and not given_up.is_set():
                self._forgotten = weakref.finalize(self, _close_forgotten, executor.ledger, os.getpid())
                self.executor = executor
                return
        executor.ledger.close()  # another thread was first, or `close` was called

    def _is_open(self, opening: "asyncio.Task[None]") -> None:
        self._opening.pop(opening.get_loop(), None)
        if not opening.cancelled():
            opening.exception()  # retrieve the exception, even if no task awaits it any more


def _any_runs(entries: dict[object, asyncio.AbstractEventLoop]) -> bool:
    """Whether one of the entries is in a running loop: in a stopped loop, tasks never end."""
    return any(loop.is_running() for loop in list(entries.values()))


def _close_forgotten(ledger: Ledger, pid: int) -> None:
    """Close the ledger of an orchestrator that was never closed, so that its thread ends.

    Does nothing in a forked child.
    """
    if os.getpid() != pid:
        return
    if threading.current_thread() is threading.main_thread():
        ledger.close()
    else:  # garbage collection may run in the ledger's own thread, which cannot wait for itself
        threading.Thread(target=ledger.close, name="aorch-ledger", daemon=True).start()
    message = f"an Orchestrator over {ledger.path} was not closed: use `async with`, or await its aclose()"
    warnings.warn(message, ResourceWarning, stacklevel=2)

"""When an orchestrator's ledger is opened and closed: by whoever comes first, and after everything that runs has ended."""

import asyncio
import contextlib
import logging
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from functools import partial

from aorch.engine.exchange import Exchanges
from aorch.engine.invocation import current_call
from aorch.engine.threads import in_thread
from aorch.errors import UsageError
from aorch.ledger.ledger import Ledger

_log = logging.getLogger("aorch")

LOOK_S = 0.5
"""How often closing looks whether another thread's loop has stopped with exchanges under way, which nobody tells."""
CLOSING = "the closing of its orchestrator"
"""Who cancelled what ran when it was closed."""


class Lifecycle:
    """The exchanges of one orchestrator, for any number of threads with a loop each; `make` opens their ledger."""

    def __init__(self, make: Callable[[], Exchanges]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self.exchanges: Exchanges | None = None
        """What is open; None before the first exchange and after `close`."""
        self._given_up = threading.Event()
        self._opening: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}
        self._waiting: dict[object, asyncio.AbstractEventLoop] = {}
        self._under_way: dict[object, asyncio.AbstractEventLoop] = {}
        self._told: Callable[[], None] | None = None
        self._forgotten: weakref.finalize[..., Lifecycle] | None = None

    def open(self) -> Exchanges:
        """Open the ledger if it is not open, in this thread. Raises LedgerError."""
        while (exchanges := self.exchanges) is None:
            self._open(self._given_up)
        return exchanges

    async def opened(self) -> Exchanges:
        """As `open`, in a thread of its own: this loop goes on, and so does whoever is cancelled meanwhile."""
        loop, waiter = asyncio.get_running_loop(), object()
        while (exchanges := self.exchanges) is None:
            opening = self._opening.get(loop)
            if opening is None:
                opening = self._opening[loop] = loop.create_task(in_thread(partial(self._open, self._given_up)))
                opening.add_done_callback(self._is_open)
            self._waiting[waiter] = loop
            try:
                await asyncio.shield(opening)
            finally:
                del self._waiting[waiter]
                if (tell := self._told) is not None:
                    tell()
        return exchanges

    def begin(self) -> object:
        """Note that an exchange is under way in this loop, until `end`."""
        entry = object()
        self._under_way[entry] = asyncio.get_running_loop()
        return entry

    def end(self, entry: object) -> None:
        """Note that it has ended: its RESPONSE is in the ledger."""
        del self._under_way[entry]
        if (tell := self._told) is not None:
            tell()

    async def close(self) -> None:
        """Cancel what runs, wait until each RESPONSE is written, and close the ledger. Raises UsageError inside an exchange.

        A ledger that is being opened is waited for if a task waits for it, which is then recorded as cancelled.
        """
        call = current_call.get()
        if call is not None and call.exchanges is self.exchanges:
            raise UsageError("an agent cannot close the orchestrator that runs it", "Close it where it was opened.")
        try:
            await self._while(lambda: self.exchanges is None and _any_runs(self._waiting))
            if self.exchanges is not None:
                self.exchanges.cancel_all(CLOSING)
                await self._while(lambda: _any_runs(self._under_way))
        finally:
            self._told = None
            self._given_up.set()  # where the ledger is still being opened, and nobody waits for it
            self._given_up = threading.Event()
            await self._close()

    async def _close(self) -> None:
        with self._lock:
            exchanges, self.exchanges = self.exchanges, None
        if exchanges is None:  # never opened, or closed meanwhile by another call
            return
        if self._forgotten is not None:
            self._forgotten.detach()
        if lost := await exchanges.saver.close(partial(in_thread, exchanges.ledger.close)):
            _log.error("the ledger did not take %d RESPONSEs; their REQUESTs will be answered as interrupted", lost)

    async def _while(self, holds: Callable[[], bool]) -> None:
        """Wait for as long as that holds. It is looked at when an entry ends, and every LOOK_S seconds."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(changed.set)

        self._told = tell
        while holds():
            changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), LOOK_S)

    def _open(self, given_up: threading.Event) -> None:
        exchanges = self._make()
        with self._lock:
            if self.exchanges is None and not given_up.is_set():
                self._forgotten = weakref.finalize(self, _close_forgotten, exchanges.ledger, os.getpid())
                self.exchanges = exchanges
                return
        exchanges.ledger.close()  # another thread was first, or `close` came meanwhile

    def _is_open(self, opening: "asyncio.Task[None]") -> None:
        self._opening.pop(opening.get_loop(), None)
        if not opening.cancelled():
            opening.exception()  # seen, also if nobody awaits it any more


def _any_runs(entries: dict[object, asyncio.AbstractEventLoop]) -> bool:
    """Whether one of them is in a loop that runs: in any other, nothing ends any more."""
    return any(loop.is_running() for loop in list(entries.values()))


def _close_forgotten(ledger: Ledger, pid: int) -> None:
    """Close the ledger of an orchestrator that nobody closed, so that its thread ends; a forked child leaves it alone."""
    if os.getpid() != pid:
        return
    if threading.current_thread() is threading.main_thread():
        ledger.close()
    else:  # the collector may have run in the ledger's own thread, which cannot wait for its own end
        threading.Thread(target=ledger.close, name="aorch-ledger", daemon=True).start()
    message = f"an Orchestrator over {ledger.path} was not closed: use `async with`, or await its aclose()"
    warnings.warn(message, ResourceWarning, stacklevel=2)

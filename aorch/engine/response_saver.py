"""Saves RESPONSEs: commits each, and retries while the ledger does not accept it (busy, full, failing).

Only a ledger that a newer aorch has upgraded meanwhile ends the attempts: this process cannot write to it any more.
"""

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from aorch.backoff import Backoff
from aorch.config.ledger_location import PostgresUrl
from aorch.errors import Conflict, LedgerBusy, LedgerError, LedgerTooNew
from aorch.ledger.ledger import Ledger
from aorch.ledger.record import Record

if TYPE_CHECKING:
    from aorch.engine.task import Answer

PATIENCE_S = 5.0
"""How long a caller waits for the ledger to accept a RESPONSE."""
BACKOFF = Backoff(0.1, 1.0)
LOOK_S = 0.1
"""How often aorch checks which callers have waited long enough."""

Write = Callable[[], Awaitable[None]]
_INTERRUPTED = "The task is recorded as interrupted once this process has ended."


class Unsaved(LedgerError):
    """The ledger has not accepted a RESPONSE in the caller's time. `saving` is the task that continues to retry, unless the
    ledger is too new (`is_final`), and `answer` is the answer to the caller.

    `code` and `http_status` are those of the cause, but with 503 instead of 500.
    """

    answer: "Answer"

    def __init__(self, request_id: str, reason: LedgerError, saving: "asyncio.Task[None]") -> None:
        self.is_final = isinstance(reason, LedgerTooNew)
        if self.is_final:
            super().__init__(
                f"the result of {request_id} is not in the ledger: {reason}", f"{reason.hint} {_INTERRUPTED}"
            )
        else:
            super().__init__(
                f"the result of {request_id} is not in the ledger yet: {reason}",
                f"{reason.hint} aorch keeps trying to write it; wait for it with `aorch contracts wait {request_id}`.".strip(),
                http_hint=f"The server keeps trying to write it; get it later from GET /v1/tasks/{request_id}.",
            )
        self.reason = reason
        self.saving = saving
        self.code = reason.code  # type: ignore[misc]  # an instance's own
        self.http_status = 503 if reason.http_status == 500 else reason.http_status  # type: ignore[misc]


class ResponseSaver:
    """Commits RESPONSEs to `ledger` from one event loop. One timer serves all callers: a timer for each takes 1.4 µs."""

    def __init__(self, ledger: Ledger, loop: asyncio.AbstractEventLoop) -> None:
        self._ledger = ledger
        self._loop = loop
        self._writing: dict[asyncio.Future[None], float] = {}
        self._looking = False
        other = "no server accepts writes" if isinstance(ledger.path, PostgresUrl) else "the disk is slow"
        self._slow = f"another process holds the write lock, or {other}"
        self.on_refusal: Callable[[LedgerError], None] = _ignore
        """Called with the reason as soon as the ledger has refused a RESPONSE, which is retried."""
        self.unsaved: dict[asyncio.Task[None], tuple[Record, Write]] = {}
        """The RESPONSEs that are being retried, by the task that retries each."""
        self._too_new: list[LedgerTooNew] = []

    async def save(
        self, response: Record, *, webhook: bool = False, last: bool = False, patience_s: float = PATIENCE_S
    ) -> None:
        """Return once `response` is committed (`Ledger.write_response`).

        Raises Unsaved after `patience_s` seconds, and Conflict if the REQUEST has another RESPONSE. After Unsaved, and
        after the caller was cancelled, the attempts continue until `close`.
        """
        ends_at = time.monotonic() + patience_s
        try:
            written = self._ledger.write_response(response, response.status, webhook=webhook, last=last)
            self._writing[written] = ends_at
            if not self._looking:
                self._looking = True
                self._loop.call_later(LOOK_S, self._look)
            try:
                return await written
            finally:
                del self._writing[written]
        except LedgerError as error:
            reason = error
            self.on_refusal(reason)
        except asyncio.CancelledError:
            self._continue(response, webhook=webhook, last=last)
            raise
        saving = self._continue(response, webhook=webhook, last=last)
        if (left_s := ends_at - time.monotonic()) > 0:
            await asyncio.wait((saving,), timeout=None if left_s == math.inf else left_s)
        if saving.done():
            if not isinstance(too_new := saving.exception(), LedgerTooNew):
                return saving.result()
            reason = too_new
        raise Unsaved(response.request_id or "", reason, saving)

    async def saved(self) -> None:
        """Wait until the ledger has accepted every RESPONSE that is being retried. Raises LedgerTooNew if it will not."""
        while self.unsaved:
            await asyncio.wait(self.unsaved)
        if self._too_new:
            raise self._too_new[0]

    async def close(self, close_ledger: Callable[[], Awaitable[None]]) -> int:
        """Write the unsaved RESPONSEs one last time, `close_ledger`, and return how many RESPONSEs are lost."""
        unsaved = self.unsaved.copy()
        for saving in unsaved:
            saving.cancel()
        writes = [
            asyncio.ensure_future(write()) for _, write in unsaved.values()
        ]  # Conflict: the RESPONSE was written already
        await asyncio.sleep(0)  # the writer has all of them now, and closing waits for it
        await close_ledger()
        ended = await asyncio.gather(*writes, return_exceptions=True)
        return sum(isinstance(error, LedgerError) for error in ended) + len(self._too_new)

    def _look(self) -> None:
        """Wake the callers that have waited long enough. Their RESPONSEs are still written if the ledger accepts them."""
        self._looking = bool(self._writing)
        if not self._looking:
            return
        self._loop.call_later(LOOK_S, self._look)
        moment = time.monotonic()
        for written, ends_at in self._writing.items():
            if ends_at <= moment and not written.done():
                written.set_exception(LedgerBusy(self._slow, "Try again."))

    def _continue(self, response: Record, *, webhook: bool, last: bool) -> "asyncio.Task[None]":
        write = partial(self._ledger.write_response, response, response.status, webhook=webhook, last=last)
        saving = self._loop.create_task(self._until_saved(response, write))
        self.unsaved[saving] = response, write
        saving.add_done_callback(self._ended)
        return saving

    def _ended(self, saving: "asyncio.Task[None]") -> None:
        del self.unsaved[saving]
        if not saving.cancelled() and isinstance(error := saving.exception(), LedgerTooNew):
            self._too_new.append(error)  # a Conflict does not matter if no caller waits

    async def _until_saved(self, response: Record, write: Write) -> None:
        for failures in itertools.count(1):
            await asyncio.sleep(BACKOFF.pause_s(failures))
            try:
                return await self._once(response, write)
            except LedgerTooNew:
                raise
            except LedgerError:
                continue

    async def _once(self, response: Record, write: Write) -> None:
        """Write the RESPONSE, unless an earlier attempt that seemed to fail or was cancelled has written it."""
        try:
            await write()
        except Conflict:
            if self._ledger.response_id(response.request_id or "") != response.contract_id:
                raise


def _ignore(_: LedgerError) -> None:
    pass

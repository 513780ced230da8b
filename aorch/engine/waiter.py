"""Waiting for the RESPONSE to what somebody else does."""

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

from aorch import jsonio
from aorch.engine.task import Answer, recorded
from aorch.errors import LedgerError, NotFound
from aorch.ledger import statements, task_queue
from aorch.ledger.database import Database
from aorch.ledger.record import REQUEST, Row

POLL_S = 0.02
"""How soon a RESPONSE that another process commits is seen."""


class Waiting:
    """Looks at the ledger at `path` for answers; one look for all that are waited for, and only where somebody waits."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._asking: Counter[str] = Counter()
        self._waiters: dict[str, asyncio.Future[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._ended = False

    def request(self, request_id: str) -> Row:
        """That REQUEST. Raises NotFound."""
        found = self._rows(statements.CONTRACT_BY_ID, request_id)
        if not found:
            raise NotFound(f"no contract has the id {request_id!r}", "See `aorch contracts list`.")
        if found[0].contract_type != REQUEST:
            raise NotFound(
                f"{request_id} is a RESPONSE", f"Give the id of the REQUEST that it answers: {found[0].request_id}."
            )
        return found[0]

    def answer(self, request: Row) -> Answer | None:
        """What came of `request`; None where it has no RESPONSE yet."""
        found = self._rows(statements.RESPONSE_TO, request.contract_id)
        return recorded(request.as_dict(), found[0].as_dict()) if found else None

    async def wait(self, request_id: str, timeout_s: float | None = None) -> Answer | None:
        """What came of that REQUEST, once it is answered; None after `timeout_s`, or after `end`.

        Raises NotFound; Conflict where it was imported without its RESPONSE, for which one would wait in vain.
        """
        request = self.request(request_id)
        nobodys = self._is_nobodys(request_id)  # before the answer: it may end meanwhile
        if nobodys and self.answer(request) is None:
            raise task_queue.imported_conflict(request_id)
        self._asking[request_id] += 1
        try:
            async with asyncio.timeout(timeout_s):
                while (answer := self.answer(request)) is None and not self._ended:
                    await asyncio.shield(self._next(request_id))
                return answer
        except TimeoutError:
            return None
        finally:
            self._asking[request_id] -= 1
            if not self._asking[request_id]:
                del self._asking[request_id]
                self._waiters.pop(request_id, None)

    def end(self) -> None:
        """End every wait now, and each later one at once: without an answer, unless there is one."""
        self._ended = True
        for waiter in self._waiters.values():
            waiter.set_result(None)
        self._waiters.clear()

    def open(self) -> None:
        """Open the file now, in this thread, rather than with the first question. Raises LedgerError."""
        self._database.open_for_reading()

    def close(self) -> None:
        """Let go of the file."""
        if self._looking is not None:
            self._looking.cancel()
        self._database.close()

    def _next(self, request_id: str) -> "asyncio.Future[None]":
        waiter = self._waiters.get(request_id)
        if waiter is None:
            waiter = self._waiters[request_id] = asyncio.get_running_loop().create_future()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(self._looked)
        return waiter

    def _looked(self, looking: asyncio.Task[None]) -> None:
        """Hand a failure of the looks to all who wait; the next one who comes begins anew."""
        if not looking.cancelled() and (error := looking.exception()) is not None:
            waiters, self._waiters = self._waiters, {}
            for waiter in waiters.values():
                waiter.set_exception(error)

    async def _look(self) -> None:
        """Release whoever waits for what is answered, as long as anybody waits."""
        version = -1
        while self._waiters:
            with contextlib.suppress(LedgerError):  # it cannot be read now: the next look tries again
                if (now := self._database.version()) != version:
                    version = now
                    for (request_id,) in self._fetch(statements.ANSWERED_REQUESTS, jsonio.encode(list(self._waiters))):
                        self._waiters.pop(request_id).set_result(None)
            await asyncio.sleep(POLL_S)

    def _rows(self, statement: str, *parameters: Any) -> list[Row]:
        return [Row(*found) for found in self._fetch(statement, *parameters)]

    def _is_nobodys(self, request_id: str) -> bool:
        with self._database.read() as connection:
            return task_queue.is_unowned(connection, request_id)

    def _fetch(self, statement: str, *parameters: Any) -> list[Any]:
        with self._database.read() as connection:
            return connection.execute(statement, parameters).fetchall()

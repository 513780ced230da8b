"""Waiting for the RESPONSE to a REQUEST that any process executes."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.engine.task import Answer, answer_from_contracts
from aorch.errors import LedgerError, NotFound, contract_not_found
from aorch.ledger import task_queue
from aorch.ledger.changes import Changes, Watcher
from aorch.ledger.database import Database, statements
from aorch.ledger.record import IN_PROGRESS, REQUEST, Record

POLL_S = 0.02
"""How soon a RESPONSE of another process is noticed."""


class ResponseWaiter:
    """Waits for RESPONSEs in the ledger at `path`: one query after each commit serves all waits, and without waits there is
    none.

    `changes` is the change feed of that ledger if this process has one open.
    """

    def __init__(self, path: LedgerLocation, changes: Changes | None = None) -> None:
        self._database = Database(path)
        self._changes = changes or Changes(self._database)
        self._watcher: Watcher | None = None
        self._asking: Counter[str] = Counter()
        self._waiters: dict[str, asyncio.Future[None]] = {}
        self._ended = False

    def request(self, request_id: str) -> Record:
        """The REQUEST with that id. Raises NotFound."""
        found = self._rows(statements.CONTRACT_BY_ID, request_id)
        if not found:
            raise contract_not_found(request_id)
        if found[0].contract_type != REQUEST:
            raise NotFound(
                f"{request_id} is a RESPONSE", f"Give the ID of the REQUEST that it answers: {found[0].request_id}."
            )
        return found[0]

    def answer(self, request: Record) -> Answer | None:
        """The answer to `request`; None if it has no RESPONSE yet."""
        found = self._rows(statements.RESPONSE_TO, request.contract_id)
        return answer_from_contracts(request.as_dict(), found[0].as_dict()) if found else None

    def progress(self, request: Record) -> Any:
        """What the agent of `request` reported last, if it is running (JSON); otherwise None."""
        if request.status != IN_PROGRESS:
            return None
        found = self._fetch(statements.PROGRESS_OF, request.contract_id)
        return jsonio.decode(found[0][1]) if found else None

    async def wait(self, request_id: str, timeout_s: float | None = None) -> Answer | None:
        """The answer to that REQUEST, once it has a RESPONSE; None after `timeout_s`, or after `end`.

        Raises NotFound; Conflict for a REQUEST that was imported without its RESPONSE, which no process here executes.
        """
        request = self.request(request_id)
        unowned = self._is_unowned(request_id)  # read before the answer: the REQUEST may end in between
        if unowned and self.answer(request) is None:
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
        """End all waits, and make later ones return at once: with the answer if it exists, otherwise with None."""
        self._ended = True
        self._release(list(self._waiters))

    def open(self) -> None:
        """Open the file now, in this thread, rather than for the first wait. Raises LedgerError."""
        self._database.open_for_reading()

    def close(self) -> None:
        """Close the file."""
        if self._watcher is not None:
            self._watcher.stop()
        self._database.close()

    def _next(self, request_id: str) -> "asyncio.Future[None]":
        """A future that is done once that REQUEST may have a RESPONSE."""
        waiter = self._waiters.get(request_id)
        if waiter is None:
            waiter = self._waiters[request_id] = asyncio.get_running_loop().create_future()
        if self._watcher is None:
            self._watcher = self._changes.watcher(self._look, POLL_S, lambda: bool(self._waiters))
        self._watcher.start()
        return waiter

    def _look(self) -> None:
        """Wake the waiters whose RESPONSE exists. If the ledger cannot be read now, the next check tries again."""
        with suppress(LedgerError):
            answered = self._fetch(statements.ANSWERED_REQUESTS, jsonio.encode(list(self._waiters)))
            self._release([request_id for (request_id,) in answered])

    def _release(self, request_ids: list[str]) -> None:
        for request_id in request_ids:
            waiter = self._waiters.pop(request_id)
            if not waiter.done():  # its loop may have ended
                waiter.set_result(None)

    def _rows(self, statement: str, *parameters: Any) -> list[Record]:
        return [Record(*found) for found in self._fetch(statement, *parameters)]

    def _is_unowned(self, request_id: str) -> bool:
        with self._database.read() as connection:
            return task_queue.is_unowned(connection, request_id)

    def _fetch(self, statement: str, *parameters: Any) -> list[Any]:
        with self._database.read() as connection:
            return connection.execute(statement, parameters).fetchall()

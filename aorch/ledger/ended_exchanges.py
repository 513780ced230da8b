"""Reads the exchanges that have ended, in the order of the positions of their RESPONSEs, for the export of spans."""

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.attempt import Attempt
from aorch.ledger.database import Database, statements

CHARACTERS = 2_000_000
"""Approximate number of characters of content to read at a time."""
SCAN = 20_000
"""Number of positions to search for RESPONSEs at a time."""
FEW = 10_000
"""Number of contracts that are counted one by one."""


class EndedExchange(NamedTuple):
    """A RESPONSE and its REQUEST, whose fields are None if it is not in the ledger. Metadata, payload and result are JSON text.

    `position` is that of the RESPONSE. `payload` and `result` are None if they were not asked for.
    """

    position: int
    response_id: str
    session_id: str
    answered_by: str
    capability: str
    status: str
    ended_at: str
    error: str | None
    answer_metadata: str
    request_id: str | None
    parent_id: str | None
    asked_by: str | None
    to_agent: str | None
    asked_at: str | None
    asked_metadata: str | None
    priority: int | None
    result: str | None = None
    payload: str | None = None


class EndedExchanges:
    """The exchanges of the ledger at `path`, which must exist, until `close`. Every method raises LedgerError."""

    def __init__(self, path: LedgerLocation) -> None:
        self._database = Database(path)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def after(self, position: int, limit: int, *, content: bool) -> tuple[list[EndedExchange], int]:
        """Up to `limit` exchanges after that position, and the position up to which the list is complete.

        With `content` the list ends after the exchange with which it exceeds CHARACTERS.
        """
        select = statements.ENDED_EXCHANGES_WITH_CONTENT if content else statements.ENDED_EXCHANGES
        found: list[EndedExchange] = []
        with self._database.read() as connection:
            newest: int = connection.execute(statements.LAST_POSITION).fetchone()[0]
            last, said = min(newest, position + SCAN), 0
            with closing(connection.execute(select, (position, last, limit))) as rows:
                for row in rows:
                    found.append(EndedExchange(*row))
                    said += len(found[-1].result or "") + len(found[-1].payload or "")
                    if said > CHARACTERS:
                        break
        is_complete = len(found) < limit and said <= CHARACTERS
        return found, max(last, position) if is_complete else found[-1].position

    def newest(self) -> int:
        """The position of the newest contract."""
        with self._database.read() as connection:
            found: int = connection.execute(statements.LAST_POSITION).fetchone()[0]
            return found

    def beyond(self, position: int) -> int:
        """The number of contracts after that position. Reads as many rows, or one index if they are many."""
        with self._database.read() as connection:
            (few,) = connection.execute(statements.FEW_BEYOND, (position, FEW)).fetchone()
            if few == FEW:
                (few,) = connection.execute(statements.CONTRACTS_BEYOND, (position,)).fetchone()
        return int(few)

    def attempts(self, request_ids: Sequence[str]) -> dict[str, list[Attempt]]:
        """The attempts of these REQUESTs in order; none for one that needed only one."""
        found: dict[str, list[Attempt]] = {}
        with self._database.read() as connection:
            for row in connection.execute(statements.ATTEMPTS_OF, (jsonio.encode(list(request_ids)),)):
                found.setdefault(row[0], []).append(Attempt(*row))
        return found

    def parent(self, request_id: str) -> tuple[str | None, str] | None:
        """The parent of that REQUEST, and its metadata (JSON text); None if it is not in the ledger."""
        with self._database.read() as connection:
            found: tuple[str | None, str] | None = connection.execute(statements.PARENT_OF, (request_id,)).fetchone()
        return found

"""The outbox: how far deliveries to Trace have come, and the deliveries that are parked.

Every contract after the outbox's position is due, so due deliveries need no rows. This works because positions are assigned
under the write lock and therefore committed in order: once a contract is visible, no contract with a smaller position can
appear. The tables are `Outbox` and `ParkedDelivery` in schema.py.
"""

from collections.abc import Generator
from typing import NamedTuple, Self

from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.database import ALL_ROWS, Database, statements
from aorch.ledger.record import Record

DESTINATION = "trace"
"""Other services have a position of their own in the table `outbox`, without parked deliveries: `OTEL`."""
OTEL = "otel"
REFUSED, UNKNOWN, DUE = "refused", "unknown", "due"
CHARACTERS = 4_000_000
"""Approximate number of characters of contracts to read at a time."""

FEW = 10_000
"""Number of due contracts that are counted one by one."""


class Parked(NamedTuple):
    """A parked delivery: `state` is REFUSED, UNKNOWN (whether it arrived) or DUE (to be retried); times are RFC 3339."""

    position: int
    kind: str
    contract_id: str
    session_id: str
    state: str
    reason: str
    attempts: int
    parked_at: str


class ParkedKind(NamedTuple):
    """The number of parked `deliveries` of one state, kind and reason; `contract_id` is the first one's."""

    state: str
    kind: str
    reason: str
    deliveries: int
    contract_id: str


class Outbox:
    """The outbox of the ledger at `path`, which must exist; open inside a `with` block or until `close`, for any thread.

    Every method raises LedgerError.
    """

    def __init__(self, path: LedgerLocation, *, reading: bool = False, destination: str = DESTINATION) -> None:
        self._destination = destination
        self._database = Database(path)
        if reading:
            self._database.open_for_reading()
        else:
            self._database.open_for_writing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. A thread that waits for another process's lock stops waiting (LedgerBusy)."""
        self._database.close()

    # Reading

    def reached(self) -> tuple[int, int]:
        """The position up to which contracts are delivered or parked, and the one up to which they may have been sent."""
        with self._database.read() as connection:
            row = connection.execute(statements.OUTBOX_POSITION, (self._destination,)).fetchone()
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def any_due(self) -> bool:
        """Whether a delivery is due, a retried one included. Reads two rows."""
        reached, _ = self.reached()
        with self._database.read() as connection:
            (found,) = connection.execute(statements.ANY_DELIVERY_IS_DUE, (reached,)).fetchone()
        return bool(found)

    def any_deleted(self) -> bool:
        """Whether contracts were ever deleted: then the amount sent to a session is unknown. Reads one row."""
        with self._database.read() as connection:
            row = connection.execute(statements.DELETED_CONTRACTS).fetchone()
        return row is not None and row[0] > 0

    def contract_id(self, position: int) -> str | None:
        """The id of the contract at `position`."""
        with self._database.read() as connection:
            row = connection.execute(statements.CONTRACT_ID_AT, (position,)).fetchone()
        return None if row is None else str(row[0])

    def contracts(self, after: int, most: int) -> list[tuple[int, Record]]:
        """The next `most` contracts after that position, fewer if they exceed CHARACTERS. Between two positions any number of
        others may be missing: of contracts that were deleted, or of transactions that a failover ended.
        """
        found, said = [], 0
        with self._database.read() as connection:
            for position, *columns in connection.execute(statements.CONTRACTS_AFTER, (after, most)):
                row = Record(*columns)
                found.append((position, row))
                said += len(row.payload) + len(row.result or "")
                if said > CHARACTERS:
                    break
        return found

    def session(self, session_id: str) -> Generator[tuple[int, Record], None, None]:
        """The contracts of a session, each with its position, in order."""
        with self._database.read() as connection:
            for position, *columns in connection.execute(statements.CONTRACTS_OF_SESSION, (session_id,)):
                yield position, Record(*columns)

    def sent_to(self, session_id: str, last: int) -> Generator[Record, None, None]:
        """The contracts of a session up to the position `last`, in order."""
        with self._database.read() as connection:
            for *columns, _ in connection.execute(statements.CONTRACTS_OF_SESSION_UP_TO, (session_id, last)):
                yield Record(*columns)

    def sessions(self, last: int, most: int) -> list[str]:
        """The sessions of the newest `most` contracts up to the position `last`, then those of the oldest `most`."""
        with self._database.read() as connection:
            return [
                session
                for (session,) in connection.execute(statements.NEWEST_AND_OLDEST_SESSIONS, (last, most, last, most))
            ]

    def earlier(self, session_id: str, position: int, *, nodes: bool) -> bool:
        """Whether an event (or a provenance node) of a contract of that session before that position was delivered."""
        was_delivered = statements.NODE_WAS_DELIVERED_BEFORE if nodes else statements.EVENT_WAS_DELIVERED_BEFORE
        with self._database.read() as connection:
            (found,) = connection.execute(was_delivered, (session_id, position)).fetchone()
        return bool(found)

    def parked(self, state: str | None = None, most: int | None = None) -> list[Parked]:
        """The first `most` parked deliveries (None: all) in that state (None: in any), in the order of the contracts."""
        limit = ALL_ROWS if most is None else most
        with self._database.read() as connection:
            if state:
                rows = connection.execute(statements.PARKED_DELIVERIES_IN_STATE, (state, limit)).fetchall()
            else:
                rows = connection.execute(statements.PARKED_DELIVERIES, (limit,)).fetchall()
        return [Parked(*row) for row in rows]

    def parked_kinds(self, most: int) -> list[ParkedKind]:
        """Parked deliveries grouped by state, kind and reason: the `most` largest groups, the largest first."""
        with self._database.read() as connection:
            return [ParkedKind(*row) for row in connection.execute(statements.PARKED_KINDS, (most,))]

    def counts(self) -> dict[str, int]:
        """The numbers of `due`, `delivered` and `parked` events, which add up to all contracts, and of `parked_nodes`."""
        reached, _ = self.reached()
        with self._database.read() as connection:
            row = connection.execute(statements.DELIVERY_COUNTS, (reached, FEW)).fetchone()
        total, beyond, again, parked, parked_beyond, nodes = row
        due = beyond - parked_beyond + again
        return {"due": due, "delivered": total - due - parked, "parked": parked, "parked_nodes": nodes}

    def due(self) -> int:
        """The number of due events. Reads as many rows, or one index if they are many."""
        reached, _ = self.reached()
        with self._database.read() as connection:
            beyond, parked_due = connection.execute(statements.FEW_DUE, (reached, FEW)).fetchone()
        return int(beyond + parked_due) if beyond < FEW else self.counts()["due"]

    # Writing

    def advance(self, position: int, reach: int) -> None:
        """Commit that contracts up to `position` are delivered or parked, and that contracts up to `reach` may be sent now."""
        with self._database.write() as connection:
            connection.execute(statements.ADVANCE_OUTBOX, (self._destination, position, reach))

    def park(self, *parked: Parked) -> None:
        """Commit these parked deliveries; they replace rows of the same deliveries."""
        with self._database.write() as connection:
            connection.executemany(statements.PARK_DELIVERY, parked)

    def unpark(self, parked: Parked) -> None:
        """Commit that this parked delivery is delivered."""
        with self._database.write() as connection:
            connection.execute(statements.UNPARK_DELIVERY, (parked.position, parked.kind))


def deliveries_of(ledger: LedgerLocation) -> dict[str, int]:
    """Like `Outbox.counts` for the ledger at that path; all 0 if it does not exist. Raises LedgerError."""
    if not Database(ledger).exists():
        return {"due": 0, "delivered": 0, "parked": 0, "parked_nodes": 0}
    with Outbox(ledger, reading=True) as outbox:
        return outbox.counts()

"""The outbox: how far deliveries to Trace have come, and those that were passed over.

A delivery is due from the commit of its contract on, and has no row: due is each contract after the outbox's position. That
is enough since positions are given inside the write transaction (BEGIN IMMEDIATE), so that they are committed in their
order, whichever process writes: once a contract is seen, none with a smaller position comes any more. Without SQLAlchemy,
since `aorch run` may end with a delivery. Writing is core's. The tables are `Outbox` and `ParkedDelivery` in contract.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from aorch.ledger.database import connect, connect_reading
from aorch.ledger.row import Row
from aorch.ledger.shared import Shared

DESTINATION = "trace"
REFUSED, UNKNOWN, DUE = "refused", "unknown", "due"
CHARACTERS = 4_000_000
"""About how much the contracts that are read at a time may say together."""


class Parked(NamedTuple):
    """A delivery that was passed over: `state` is REFUSED, UNKNOWN (whether it arrived) or DUE (again); times RFC 3339."""

    position: int
    kind: str
    contract_id: str
    session_id: str
    state: str
    reason: str
    attempts: int
    parked_at: str


_PARKED = ", ".join(Parked._fields)
_ROW = ", ".join(Row._fields)
_PARKED_ROWS = f"SELECT {_PARKED} FROM parked_deliveries"  # noqa: S608  names of our own, here and below
_PARK = f"INSERT OR REPLACE INTO parked_deliveries ({_PARKED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_CONTRACTS = f"SELECT position, {_ROW} FROM contracts WHERE position > ? AND position <= ? ORDER BY position"  # noqa: S608
_SESSION = f"SELECT position, {_ROW} FROM contracts WHERE session_id = ? ORDER BY position"  # noqa: S608
_ADVANCE = (
    "INSERT INTO outbox (destination, position, reach) VALUES (?, ?, ?)"
    " ON CONFLICT (destination) DO UPDATE SET position = excluded.position, reach = excluded.reach"
)
_EARLIER = (
    "SELECT EXISTS (SELECT 1 FROM contracts c WHERE c.session_id = ?1 AND c.position < ?2"
    " AND (NOT ?3 OR c.contract_type = 'REQUEST') AND NOT EXISTS (SELECT 1 FROM parked_deliveries p"
    " WHERE p.position = c.position AND (p.kind = 'provenance.node') = ?3))"
)


class Outbox(Shared):
    """The outbox of the ledger at `path`, which must be there; open until `close`, one thread at a time. Raises LedgerError."""

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        super().__init__(path, (connect_reading if reading else connect)(path))

    # Reading

    def reached(self) -> tuple[int, int]:
        """Up to which position contracts are delivered or parked, and up to which they may have been sent."""
        with self._using() as connection:
            select = "SELECT position, reach FROM outbox WHERE destination = ?"
            row = connection.execute(select, (DESTINATION,)).fetchone()
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def last(self) -> int:
        """The position of the newest contract."""
        with self._using() as connection:
            return int(connection.execute("SELECT coalesce(max(position), 0) FROM contracts").fetchone()[0])

    def due(self) -> int:
        """How many contracts are due, those that are due again among them."""
        with self._using() as connection:
            again = "SELECT count(DISTINCT position) FROM parked_deliveries WHERE state = ?"
            (count,) = connection.execute(again, (DUE,)).fetchone()
        return self.last() - self.reached()[0] + int(count)

    def contract_id(self, position: int) -> str | None:
        """That of the contract at `position`."""
        with self._using() as connection:
            row = connection.execute("SELECT contract_id FROM contracts WHERE position = ?", (position,)).fetchone()
        return None if row is None else str(row[0])

    def contracts(self, after: int, last: int) -> list[tuple[int, Row]]:
        """The contracts after that position up to `last`, fewer where they say more than CHARACTERS together."""
        found, said = [], 0
        with self._using() as connection:
            for position, *columns in connection.execute(_CONTRACTS, (after, last)):
                row = Row(*columns)
                found.append((position, row))
                said += len(row.payload) + len(row.result or "")
                if said > CHARACTERS:
                    break
        return found

    def session(self, session_id: str) -> Iterator[tuple[int, Row]]:
        """The contracts of a session, each with its position, in order."""
        with self._using() as connection:
            for position, *columns in connection.execute(_SESSION, (session_id,)):
                yield position, Row(*columns)

    def earlier(self, session_id: str, position: int, *, nodes: bool) -> bool:
        """Whether an event (or a provenance node) of a contract of that session before that position was delivered."""
        with self._using() as connection:
            (found,) = connection.execute(_EARLIER, (session_id, position, nodes)).fetchone()
        return bool(found)

    def parked(self, state: str | None = None) -> list[Parked]:
        """What was passed over, in the order of the contracts; in that state, or in any."""
        where, values = (" WHERE state = ?", (state,)) if state else ("", ())
        with self._using() as connection:
            rows = connection.execute(f"{_PARKED_ROWS}{where} ORDER BY position, kind", values).fetchall()
        return [Parked(*row) for row in rows]

    def counts(self) -> dict[str, int]:
        """`due`, `delivered` and `parked` contracts."""
        with self._using() as connection:
            rows = "SELECT count(DISTINCT position), count(DISTINCT CASE WHEN state <> 'due' THEN position END) FROM "
            passed_over, parked = connection.execute(f"{rows}parked_deliveries").fetchone()
        return {"due": self.due(), "delivered": self.reached()[0] - passed_over, "parked": parked}

    # Writing

    def advance(self, position: int, reach: int) -> None:
        """Commit that contracts up to `position` are delivered or parked, and that up to `reach` may be sent from here on."""
        with self._writing() as connection:
            connection.execute(_ADVANCE, (DESTINATION, position, reach))

    def park(self, *parked: Parked) -> None:
        """Commit these, in place of what stands for the same deliveries."""
        with self._writing() as connection:
            connection.executemany(_PARK, parked)

    def unpark(self, parked: Parked) -> None:
        """Commit that this one is delivered."""
        with self._writing() as connection:
            connection.execute(
                "DELETE FROM parked_deliveries WHERE position = ? AND kind = ?", (parked.position, parked.kind)
            )

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise

"""The outbox: how far deliveries to Trace have come, and those that were passed over.

A delivery is due from the commit of its contract on, and has no row: due is each contract after the outbox's position. That
is enough since positions are given inside the write transaction (BEGIN IMMEDIATE), so that they are committed in their
order, whichever process writes: once a contract is seen, none with a smaller position comes any more. Without SQLAlchemy,
since `aorch run` may end with a delivery. Writing is core's. The tables are `Outbox` and `ParkedDelivery` in contract.py.
"""

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple, Self

from aorch.ledger.database import Database
from aorch.ledger.record import Row

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


class ParkedKind(NamedTuple):
    """So many parked `deliveries` of one state, kind and reason; `contract_id` is the first one's."""

    state: str
    kind: str
    reason: str
    deliveries: int
    contract_id: str


_PARKED = ", ".join(Parked._fields)
_ROW = ", ".join(Row._fields)
_PARKED_ROWS = f"SELECT {_PARKED} FROM parked_deliveries"  # noqa: S608  names of our own, here and below
_PARKED_KINDS = (
    "SELECT state, kind, reason, count(*), min(contract_id) FROM parked_deliveries"
    " GROUP BY state, kind, reason ORDER BY count(*) DESC, min(position), kind LIMIT ?"
)
_PARK = f"INSERT OR REPLACE INTO parked_deliveries ({_PARKED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_CONTRACTS = f"SELECT position, {_ROW} FROM contracts WHERE position > ? AND position <= ? ORDER BY position"  # noqa: S608
_SESSION = f"SELECT position, {_ROW} FROM session_contracts WHERE session_id = ? ORDER BY position"  # noqa: S608
_ADVANCE = (
    "INSERT INTO outbox (destination, position, reach) VALUES (?, ?, ?)"
    " ON CONFLICT (destination) DO UPDATE SET position = excluded.position, reach = excluded.reach"
)
_SENT_TO = f"SELECT {_ROW}, position FROM session_contracts WHERE session_id = ? AND position <= ? ORDER BY position"  # noqa: S608
_SESSIONS = (
    "SELECT DISTINCT session_id FROM (SELECT session_id FROM contracts WHERE position <= :last"
    " ORDER BY position DESC LIMIT :most)"
    " UNION ALL SELECT DISTINCT session_id FROM (SELECT session_id FROM contracts WHERE position <= :last"
    " ORDER BY position LIMIT :most)"
)
_ANY_DUE = (
    "SELECT EXISTS (SELECT 1 FROM contracts WHERE position > ?)"
    " OR EXISTS (SELECT 1 FROM parked_deliveries WHERE state = 'due')"
)
_COUNTS = """
    SELECT total, beyond, again, parked, parked_beyond, nodes FROM (
        SELECT count(*) AS total, coalesce(sum(position > :reached), 0) AS beyond FROM contracts
    ), (
        SELECT coalesce(sum(event AND state = 'due' AND position <= :reached), 0) AS again,
               coalesce(sum(event AND state <> 'due'), 0) AS parked,
               coalesce(sum(event AND state <> 'due' AND position > :reached), 0) AS parked_beyond,
               coalesce(sum(NOT event), 0) AS nodes
        FROM (SELECT p.position, p.state, p.kind <> 'provenance.node' AS event
              FROM parked_deliveries p JOIN contracts c ON c.position = p.position)
    )"""
"""Rows are counted, never positions: rows may have been removed. The first part reads the smallest index from end to end."""
_EARLIER = (
    "SELECT EXISTS (SELECT 1 FROM session_contracts c WHERE c.session_id = :session AND c.position < :position"
    " AND (NOT :nodes OR c.contract_type = 'REQUEST') AND NOT EXISTS (SELECT 1 FROM parked_deliveries p"
    " WHERE p.position = c.position AND (p.kind = 'provenance.node') = :nodes))"
)


class Outbox:
    """The outbox of the ledger at `path`, which must exist; open inside a `with` block or until `close`, for any thread.

    Every method raises LedgerError.
    """

    def __init__(self, path: Path, *, reading: bool = False) -> None:
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
        """Up to which position contracts are delivered or parked, and up to which they may have been sent."""
        with self._database.read() as connection:
            select = "SELECT position, reach FROM outbox WHERE destination = ?"
            row = connection.execute(select, (DESTINATION,)).fetchone()
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def any_due(self) -> bool:
        """Whether a delivery is due, one that is due again among them. Reads two rows."""
        reached, _ = self.reached()
        with self._database.read() as connection:
            (found,) = connection.execute(_ANY_DUE, (reached,)).fetchone()
        return bool(found)

    def any_deleted(self) -> bool:
        """Whether contracts were ever deleted: nobody knows then how much was sent to a session. Reads a row."""
        with self._database.read() as connection:
            row = connection.execute("SELECT value FROM counters WHERE name = 'deleted_contracts'").fetchone()
        return row is not None and row[0] > 0

    def contract_id(self, position: int) -> str | None:
        """That of the contract at `position`."""
        with self._database.read() as connection:
            row = connection.execute("SELECT contract_id FROM contracts WHERE position = ?", (position,)).fetchone()
        return None if row is None else str(row[0])

    def contracts(self, after: int, last: int) -> list[tuple[int, Row]]:
        """The contracts after that position up to `last`, fewer where they say more than CHARACTERS together."""
        found, said = [], 0
        with self._database.read() as connection:
            for position, *columns in connection.execute(_CONTRACTS, (after, last)):
                row = Row(*columns)
                found.append((position, row))
                said += len(row.payload) + len(row.result or "")
                if said > CHARACTERS:
                    break
        return found

    def session(self, session_id: str) -> Generator[tuple[int, Row], None, None]:
        """The contracts of a session, each with its position, in order."""
        with self._database.read() as connection:
            for position, *columns in connection.execute(_SESSION, (session_id,)):
                yield position, Row(*columns)

    def sent_to(self, session_id: str, last: int) -> Generator[Row, None, None]:
        """The contracts of a session up to the position `last`, in order."""
        with self._database.read() as connection:
            for *columns, _ in connection.execute(_SENT_TO, (session_id, last)):
                yield Row(*columns)

    def sessions(self, last: int, most: int) -> list[str]:
        """The sessions of the newest `most` contracts up to the position `last`, then those of the oldest `most`."""
        with self._database.read() as connection:
            return [session for (session,) in connection.execute(_SESSIONS, {"last": last, "most": most})]

    def earlier(self, session_id: str, position: int, *, nodes: bool) -> bool:
        """Whether an event (or a provenance node) of a contract of that session before that position was delivered."""
        with self._database.read() as connection:
            (found,) = connection.execute(
                _EARLIER, {"session": session_id, "position": position, "nodes": nodes}
            ).fetchone()
        return bool(found)

    def parked(self, state: str | None = None, most: int = -1) -> list[Parked]:
        """What was passed over, in the order of the contracts; in that state, or in any; the first `most` (-1: all)."""
        where, values = (" WHERE state = ?", (state, most)) if state else ("", (most,))
        with self._database.read() as connection:
            rows = connection.execute(f"{_PARKED_ROWS}{where} ORDER BY position, kind LIMIT ?", values).fetchall()
        return [Parked(*row) for row in rows]

    def parked_kinds(self, most: int) -> list[ParkedKind]:
        """Parked deliveries grouped by state, kind and reason: the `most` largest groups, the largest first."""
        with self._database.read() as connection:
            return [ParkedKind(*row) for row in connection.execute(_PARKED_KINDS, (most,))]

    def counts(self) -> dict[str, int]:
        """`due`, `delivered` and `parked` contracts, by their events, which add up to all; and `parked_nodes`."""
        reached, _ = self.reached()
        with self._database.read() as connection:
            row = connection.execute(_COUNTS, {"reached": reached}).fetchone()
        total, beyond, again, parked, parked_beyond, nodes = row
        due = beyond - parked_beyond + again
        return {"due": due, "delivered": total - due - parked, "parked": parked, "parked_nodes": nodes}

    # Writing

    def advance(self, position: int, reach: int) -> None:
        """Commit that contracts up to `position` are delivered or parked, and that up to `reach` may be sent from here on."""
        with self._database.write() as connection:
            connection.execute(_ADVANCE, (DESTINATION, position, reach))

    def park(self, *parked: Parked) -> None:
        """Commit these, in place of what stands for the same deliveries."""
        with self._database.write() as connection:
            connection.executemany(_PARK, parked)

    def unpark(self, parked: Parked) -> None:
        """Commit that this one is delivered."""
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM parked_deliveries WHERE position = ? AND kind = ?", (parked.position, parked.kind)
            )


def deliveries_of(ledger: Path) -> dict[str, int]:
    """`due`, `delivered` and `parked` as numbers of contracts, and `parked_nodes`. Raises LedgerError."""
    if not Database(ledger).exists():
        return {"due": 0, "delivered": 0, "parked": 0, "parked_nodes": 0}
    with Outbox(ledger, reading=True) as outbox:
        return outbox.counts()

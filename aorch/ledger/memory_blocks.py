"""Reads and writes memory blocks, and reads the contracts that no block covers.

The table is `StoredBlock` in schema.py.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from aorch import jsonio
from aorch.ledger.database import ALL_ROWS, Database, statements
from aorch.ledger.record import Record

PAGE = 500
"""Number of sessions that one select reads."""


class BlockRow(NamedTuple):
    """A memory block as it is stored: `block` and `beside` are JSON text, `created_at` is RFC 3339.

    `last_position` is the position of the last contract that it covers.
    """

    block_id: str
    session_id: str
    created_at: str
    last_position: int
    block: str
    beside: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The block's JSON form, with `beside`, its companion data (or null)."""
        form: dict[str, Any] = jsonio.decode(self.block)
        return {**form, "beside": None if self.beside is None else jsonio.decode(self.beside)}


class Segment(NamedTuple):
    """The part of a session that no block covers: `contracts` is the number of contracts after the position `after`, up to
    `last`.

    Open REQUESTs at its end are left for the next block. `newest_at` (RFC 3339) is when the session's newest contract was
    written, open or not. `asked_before` are the agents that received a REQUEST before this part.
    """

    session_id: str
    after: int
    last: int
    contracts: int
    newest_at: str
    asked_before: tuple[str, ...] = ()


class Memory:
    """The memory blocks of the ledger at `path`, for reading inside a `with` block.

    A file that does not exist reads as an empty ledger and is not created. Every method raises LedgerError.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._exists = self._database.exists()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def of(self, session_id: str, *, after: int = 0, limit: int | None = None) -> list[BlockRow]:
        """Up to `limit` blocks (None: all) of a session after a position, oldest first."""
        return [
            BlockRow(*row)
            for row in self._all(
                statements.BLOCKS_OF_SESSION,
                jsonio.storable_text(session_id),
                after,
                ALL_ROWS if limit is None else limit,
            )
        ]

    def newest(self, session_id: str | None = None, *, before: str | None = None, limit: int = 50) -> list[BlockRow]:
        """Blocks of a session (None: of all) before that block's id, newest first."""
        place = (before or "n", limit)  # ids begin with mem_
        if session_id is None:
            return [BlockRow(*row) for row in self._all(statements.NEWEST_BLOCKS, *place)]
        return [
            BlockRow(*row)
            for row in self._all(statements.NEWEST_BLOCKS_OF_SESSION, jsonio.storable_text(session_id), *place)
        ]

    def block(self, block_id: str) -> BlockRow | None:
        """The block with exactly that id."""
        found = self._all(statements.BLOCK_BY_ID, block_id)
        return BlockRow(*found[0]) if found else None

    def beside(self, session_id: str) -> list[dict[str, Any]]:
        """The companion data of the blocks of a session, without blocks that have none."""
        return [jsonio.decode(text) for (text,) in self._all(statements.COMPANIONS_OF_SESSION, session_id)]

    def sessions(self) -> list[str]:
        """The sessions that have blocks, in the order of their ids."""
        return [session_id for (session_id,) in self._all(statements.SESSIONS_WITH_BLOCKS)]

    def knows(self, session_id: str) -> bool:
        """Whether the session has contracts."""
        return bool(self._all(statements.NEWEST_CONTRACT_OF_SESSION, jsonio.storable_text(session_id)))

    def segment(self, session_id: str) -> Segment | None:
        """The part of that session that no block covers; None if the session has no contracts.

        The cost depends only on the new contracts.
        """
        session_id = jsonio.storable_text(session_id)
        newest = self._all(statements.NEWEST_CONTRACT_OF_SESSION, session_id)
        if not newest:
            return None
        after = self._all(statements.COVERED_POSITION, session_id)[0][0] or 0
        closed = self._all(statements.LAST_CLOSED_POSITION, session_id, after)
        last = closed[0][0] if closed else after
        count = self._all(statements.COUNT_BETWEEN_POSITIONS, session_id, after, last)[0][0] if closed else 0
        asked_before = self._all(statements.AGENTS_UP_TO, session_id, after) if after and count else []
        return Segment(session_id, after, last, count, newest[0][0], tuple(agent for (agent,) in asked_before))

    def newer(self, session_id: str, position: int) -> int:
        """The number of contracts of that session after a position."""
        return int(self._all(statements.COUNT_AFTER, jsonio.storable_text(session_id), position)[0][0])

    def every_session(self) -> Iterator[tuple[str, bool]]:
        """Each session in the order of their ids, and whether it has contracts that no block covers."""
        first = ""
        while page := [session_id for (session_id,) in self._all(statements.SESSIONS_FROM, first, PAGE)]:
            found = self._all(statements.SESSIONS_WITH_NEWS, jsonio.encode(page))
            yield from ((session_id, bool(has_news)) for session_id, has_news in found)
            first = page[-1] + "\0"  # the smallest string greater than this one

    def contract(self, contract_id: str) -> dict[str, Any] | None:
        """The JSON form of the contract with exactly that id."""
        found = self._all(statements.CONTRACT_BY_ID, contract_id)
        return Record(*found[0]).as_dict() if found else None

    def count(self, session_id: str, first_contract_id: str, last_contract_id: str) -> int:
        """The number of contracts of the session from one contract to another (inclusive)."""
        return int(self._all(statements.COUNT_BETWEEN_CONTRACTS, session_id, first_contract_id, last_contract_id)[0][0])

    def between(self, session_id: str, first_contract_id: str, last_contract_id: str) -> Iterator[dict[str, Any]]:
        """Those contracts in their JSON form, oldest first, one at a time."""
        if not self._exists:
            return
        with self._database.read() as connection:
            for row in connection.execute(
                statements.CONTRACTS_BETWEEN, (session_id, first_contract_id, last_contract_id)
            ):
                yield Record(*row[:-1]).as_dict()

    def asked_before(self, session_id: str, contract_id: str) -> list[str]:
        """The agents that received a REQUEST in the session before that contract."""
        return [agent for (agent,) in self._all(statements.AGENTS_BEFORE_CONTRACT, session_id, contract_id)]

    def _all(self, sql: str, *parameters: Any) -> list[Any]:
        if not self._exists:
            return [(0,)] if sql in (statements.COUNT_BETWEEN_CONTRACTS, statements.COUNT_AFTER) else []
        with self._database.read() as connection:
            return connection.execute(sql, parameters).fetchall()


def add_block(path: Path, row: BlockRow, after: int) -> bool:
    """Commit `row`, which covers its session's contracts after the position `after`; durable when this returns.

    Returns False, and writes nothing, if blocks of that session no longer end at `after`: another process has added one.
    Raises LedgerError.
    """
    with Database(path) as database, database.write() as connection:
        ((covered,),) = connection.execute(statements.COVERED_POSITION, (row.session_id,)).fetchall()
        is_next = (covered or 0) == after
        if is_next:
            connection.execute(statements.INSERT_BLOCK, row)
    return bool(is_next)

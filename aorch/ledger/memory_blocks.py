"""Reads and writes memory blocks, and reads the contracts that no block covers.

The table is `StoredBlock` in schema.py.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Self

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import Conflict, InvalidJSON
from aorch.ledger.database import ALL_ROWS, Connection, Database, statements
from aorch.ledger.record import Record
from aorch.ledger.stored_corrections import StoredCorrection, read_corrections

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

    def words(self) -> dict[str, str]:
        """What it says without citing contracts: its `intent` and `summary`; nothing if the block cannot be read."""
        try:
            form = jsonio.decode(self.block)
        except InvalidJSON:  # another program wrote it
            return {}
        named = {name: form.get(name) for name in ("intent", "summary")} if isinstance(form, dict) else {}
        return {name: text for name, text in named.items() if isinstance(text, str)}

    def claims(self) -> Iterator[tuple[dict[str, Any], list[str]]]:
        """Its claims in their JSON form, each with the ids of the contracts that it cites; none if the block cannot be read."""
        try:
            form = jsonio.decode(self.block)
        except InvalidJSON:  # another program wrote it
            return
        for section in form.values() if isinstance(form, dict) else ():
            for claim in section if isinstance(section, list) else ():
                if isinstance(claim, dict) and isinstance(ids := claim.get("contract_ids"), list):
                    yield claim, [each for each in ids if isinstance(each, str)]


class Segment(NamedTuple):
    """The part of a session that no block covers: `contracts` is the number of contracts after the position `after`, up to
    `last`.

    Open REQUESTs at its end are left for the next block. `newest_at` (RFC 3339) is when the session's newest contract was
    written, open or not. `asked_before`: who sends REQUESTs in this part and received one before it. `erased`: the number of
    its contracts that were erased before they are read. `corrections`: the contracts (ids) in it that are corrections of
    memory, which do not count as contracts of the session. `newest`: the position of the session's newest contract.
    """

    session_id: str
    after: int
    last: int
    contracts: int
    newest_at: str
    asked_before: tuple[str, ...] = ()
    erased: int = 0
    corrections: frozenset[str] = frozenset()
    newest: int = 0


class Memory:
    """The memory blocks of the ledger at `path`, inside a `with` block.

    A file that does not exist reads as an empty ledger, and only `add` creates it. Every method raises LedgerError.
    """

    def __init__(self, path: LedgerLocation) -> None:
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
        corrections = frozenset(self.correction_ids(session_id, after, last)) if count else frozenset[str]()
        count -= len(corrections)
        agents = self._asked_before(session_id, after, last) if after and count else ()
        with self._database.read() as connection:
            erased = _erased_between(connection, session_id, after, last)
        return Segment(session_id, after, last, count, newest[0][0], agents, erased, corrections, newest[0][1])

    def newer(self, session_id: str, position: int) -> int:
        """The number of contracts of that session after a position."""
        session_id = jsonio.storable_text(session_id)
        count = int(self._all(statements.COUNT_AFTER, session_id, position)[0][0])
        return count - len(self.correction_ids(session_id, position)) if count else 0

    def corrections(self, session_id: str) -> list[StoredCorrection]:
        """The corrections of that session, oldest first, those that were undone or erased included."""
        if not self._exists:
            return []
        with self._database.read() as connection:
            return read_corrections(connection, jsonio.storable_text(session_id))

    def corrected_sessions(self) -> list[str]:
        """The sessions that have corrections, in the order of their ids."""
        return [session_id for (session_id,) in self._all(statements.CORRECTED_SESSIONS)]

    def correction_ids(self, session_id: str, after: int = 0, last: int | None = None) -> list[str]:
        """The corrections of that session, and the RESPONSEs to them, after one position and up to another (None: the newest)."""
        rows = self._all(statements.CORRECTION_POSITIONS, session_id, session_id)
        return [each for position, each in rows if position > after and (last is None or position <= last)]

    def every_session(self) -> Iterator[tuple[str, bool]]:
        """Each session in the order of their ids, and whether it has contracts that no block covers."""
        first = ""
        while page := [session_id for (session_id,) in self._all(statements.SESSIONS_FROM, first, PAGE)]:
            found = self._all(statements.SESSIONS_WITH_NEWS, jsonio.encode(page))
            yield from ((session_id, bool(has_news)) for session_id, has_news in found)
            first = page[-1] + "\1"  # the smallest string greater than this one: no text contains U+0000

    def contract(self, contract_id: str) -> dict[str, Any] | None:
        """The JSON form of the contract with exactly that id."""
        found = self._all(statements.CONTRACT_BY_ID, contract_id)
        return Record(*found[0]).as_dict() if found else None

    def count(self, session_id: str, first_contract_id: str, last_contract_id: str) -> int:
        """The number of contracts of the session from one contract to another (inclusive), without corrections."""
        ends = (self.position(first_contract_id), self.position(last_contract_id))
        return 0 if ends[0] is None or ends[1] is None else self.count_between(session_id, ends[0] - 1, ends[1])

    def count_between(self, session_id: str, after: int, last: int) -> int:
        """The number of contracts of the session after one position and up to another, without corrections."""
        count = int(self._all(statements.COUNT_BETWEEN_POSITIONS, session_id, after, last)[0][0])
        return count - len(self.correction_ids(session_id, after, last))

    def between(self, session_id: str, first_contract_id: str, last_contract_id: str) -> Iterator[dict[str, Any]]:
        """Those contracts in their JSON form, oldest first, one at a time, without corrections."""
        if not self._exists:
            return
        corrections = frozenset(self.correction_ids(session_id))
        with self._database.read() as connection:
            for row in connection.execute(
                statements.CONTRACTS_BETWEEN, (session_id, first_contract_id, last_contract_id)
            ):
                if row[0] not in corrections:
                    yield Record(*row[:-1]).as_dict()

    def pruned(self, session_id: str) -> dict[str, int]:
        """The contracts of that session that were pruned although a block covers them: by id, their positions, in order."""
        return dict(self._all(statements.PRUNED_OF_SESSION, session_id))

    def position(self, contract_id: str) -> int | None:
        """The position of the contract with exactly that id; None if it is not in the ledger."""
        found = self._all(statements.POSITION_OF_CONTRACT, contract_id)
        return int(found[0][0]) if found else None

    def asked_before(self, session_id: str, first_contract_id: str, last_contract_id: str) -> tuple[str, ...]:
        """The agents that received a REQUEST in the session before the first of two contracts, of those that sent one between
        them. None if one of these contracts is not in the ledger.
        """
        first, last = self.position(first_contract_id), self.position(last_contract_id)
        return () if first is None or last is None else self._asked_before(session_id, first - 1, last)

    def _asked_before(self, session_id: str, after: int, last: int) -> tuple[str, ...]:
        """The same by positions, without the party that began the session, which an agent may ask something."""
        senders = [sender for (sender,) in self._all(statements.SENDERS_BETWEEN, session_id, after, last)]
        began = self._all(statements.FIRST_SENDER, session_id)[0][0]
        before = session_id, after
        return tuple(
            each for each in senders if each != began and self._all(statements.CALLED_BEFORE, *before, *before, each)
        )

    def add(self, row: BlockRow, after: int, erased: int = 0, kept: Iterable[str] = ()) -> bool:
        """Commit `row`, which covers its session's contracts after the position `after`; durable when this returns.

        `erased` of them had been erased before they were read. `kept`: the contracts (ids) that its pins and notes cite. Returns
        False, and writes nothing, if blocks of that session no longer end at `after`: another process has added one. Raises
        Conflict if more of them are erased by now, because the block may repeat their content, and LedgerError.
        """
        with self.adding() as add:
            return add(row, after, erased, kept)

    @contextmanager
    def adding(self) -> Iterator[Callable[..., bool]]:
        """`add`, for several rows that are committed together at the end of the block."""
        with self._database.write() as connection:
            yield partial(_add, connection)

    def _all(self, sql: str, *parameters: Any) -> list[Any]:
        if not self._exists:
            return [(0,)] if sql in (statements.COUNT_BETWEEN_POSITIONS, statements.COUNT_AFTER) else []
        with self._database.read() as connection:
            return connection.execute(sql, parameters).fetchall()


def _erased_between(connection: Connection, session_id: str, after: int, last: int) -> int:
    """How many contracts of that part of a session are erased."""
    part = (session_id, after, last)
    return int(connection.execute(statements.ERASED_BETWEEN, (*part, *part)).fetchone()[0])


def _add(connection: Connection, row: BlockRow, after: int, erased: int = 0, kept: Iterable[str] = ()) -> bool:
    ((covered,),) = connection.execute(statements.COVERED_POSITION, (row.session_id,)).fetchall()
    if (covered or 0) != after:
        return False
    is_erased = _erased_between(connection, row.session_id, after, row.last_position) > erased
    if is_erased or any(connection.execute(statements.IS_ERASED, (each,)).fetchone() for each in kept):
        raise Conflict(
            f"contracts of the session {row.session_id!r} were erased while it was compressed", "Compress it again."
        )
    connection.execute(statements.INSERT_BLOCK, row)
    return True

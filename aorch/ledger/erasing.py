"""Erases the content of contracts, with all copies of it in the ledger, and reads the record of erasures.

A transaction erases whole exchanges with all their copies, so a process that is killed leaves nothing half erased. The old bytes
are gone from the files once `finish` has rewritten them. What remains of a contract: its ids, times, agents, capability and
status, and an ErasureMark (contract_metadata.py) in its metadata.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.clock import now
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import InvalidJSON, NotFound
from aorch.ledger import task_queue
from aorch.ledger.contract_metadata import ErasureMark, erased_metadata, mark_of
from aorch.ledger.database import ALL_ROWS, Connection, Database, rewrite, statements, transaction
from aorch.ledger.memory_blocks import BlockRow
from aorch.ledger.metric_totals import count_before_removal
from aorch.ledger.record import REQUEST, Record
from aorch.ledger.search import erase_fulltext
from aorch.ledger.stored_corrections import CAPABILITIES, citing
from aorch.ledger.task_keys import erased_line_key

PREFIX = "era_"
"""The ids of erasures are this and a ULID."""

BlockRewriter = Callable[[BlockRow, frozenset[str], "re.Pattern[str] | None"], BlockRow | None]
"""Makes a memory block without the claims about erased contracts (ids), and without its intent and summary if they match the
pattern; None if it does not have to change.
"""


class Erasure(NamedTuple):
    """An erasure: `selection` has its options, `contracts` the number of contracts whose content it erased.

    `cleaned_at` is None until the erased bytes are gone from the ledger's files. Times are RFC 3339.
    """

    erasure_id: str
    erased_at: str
    erased_by: str
    reason: str
    selection: dict[str, Any]
    cleaned_at: str | None
    contracts: int = 0

    @property
    def mark(self) -> ErasureMark:
        """What its contracts say about it."""
        return ErasureMark(self.erased_at, self.erased_by, self.reason, self.erasure_id)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return self._asdict()


@dataclass(slots=True)
class ErasureCounts:
    """What was erased: contracts, whole exchanges, claims of memory blocks; and exchanges that had been erased already, or that
    are still open.
    """

    exchanges: int = 0
    contracts: int = 0
    blocks: int = 0
    erased_before: int = 0
    still_open: int = 0


def read_erasures(ledger: LedgerLocation, limit: int | None = None) -> list[Erasure]:
    """The newest `limit` erasures (None: all), newest first; none if the file does not exist. Raises LedgerError."""
    with Database(ledger) as database:
        if not database.exists():
            return []
        with database.read() as connection:
            rows = connection.execute(statements.ERASURES, (ALL_ROWS if limit is None else limit,)).fetchall()
    return [Erasure(*row)._replace(selection=jsonio.decode(row[4])) for row in rows]


def has_unfinished(ledger: LedgerLocation) -> bool:
    """Whether erased bytes may still be in the ledger's files, because an erasure was interrupted. Raises LedgerError."""
    with Database(ledger) as database, database.read() as connection:
        return connection.execute(statements.UNFINISHED_ERASURES).fetchone() is not None


def erased_ids(ledger: LedgerLocation) -> list[str]:
    """The contracts that were erased in the ledger at that path, which is upgraded if necessary.

    Raises NotFound and LedgerError.
    """
    with Database(ledger) as database:
        if not database.exists():
            raise NotFound(f"ledger not found: {ledger}", "Check the path.")
        with database.read() as connection:
            return [contract_id for (contract_id,) in connection.execute(statements.ALL_ERASED)]


class Eraser:
    """Erases exchanges under `erasure`, in transactions of `connection`, and counts them in `counts`."""

    def __init__(self, connection: Connection, erasure: Erasure, rewrite_block: BlockRewriter) -> None:
        connection.overwrite_deleted()
        self.counts = ErasureCounts()
        self._changed_blocks: set[str] = set()
        self._connection, self._erasure, self._rewrite_block = connection, erasure, rewrite_block

    def erase(self, request_ids: Sequence[str]) -> None:
        """Erase the exchanges of these REQUESTs (or single RESPONSEs without a REQUEST) and all copies, in one transaction.

        Open exchanges stay as they are. Of those that were erased before, only the claims of memory blocks are removed, in case
        a block has come back.
        """
        with transaction(self._connection):
            rows, erased_before = self._closed(corrected_too(self._connection, request_ids))
            changed = self.counts.blocks
            self._erase_claims(erased_before)
            if rows or self.counts.blocks > changed:
                self._connection.execute(statements.INSERT_ERASURE, self._row())
            if not rows:
                return
            count_before_removal(self._connection, max(position for position, _ in rows))
            self._erase_contracts(rows)
            ids = frozenset(record.contract_id for _, record in rows)
            self._erase_copies(jsonio.encode(list(ids)))
            self._erase_claims(rows)
            erase_fulltext(self._connection, min(position for position, _ in rows))
            self.counts.contracts += len(rows)

    def erase_words(self, block_ids: Iterable[str], pattern: "re.Pattern[str]") -> None:
        """Erase the intent and the summary of these memory blocks if they match, each block in a transaction of its own."""
        for block_id in block_ids:
            with transaction(self._connection):
                if (row := self._connection.execute(statements.BLOCK_BY_ID, (block_id,)).fetchone()) is not None and (
                    self._rewrite(BlockRow(*row), frozenset(), pattern)
                ):
                    self._connection.execute(statements.INSERT_ERASURE, self._row())

    def _row(self) -> tuple[Any, ...]:
        return (*self._erasure[:4], jsonio.encode(self._erasure.selection), None)

    def _closed(self, request_ids: Sequence[str]) -> tuple[list[tuple[int, Record]], list[tuple[int, Record]]]:
        """The contracts to erase: those of each exchange that has ended and has not been erased. And those erased before."""
        closed: list[tuple[int, Record]] = []
        erased_before: list[tuple[int, Record]] = []
        for rows in exchanges_of(self._connection, request_ids).values():
            if any(record.contract_type == REQUEST and record.status in task_queue.OPEN for _, record in rows):
                self.counts.still_open += 1
            elif all(mark_of(record) for _, record in rows):
                self.counts.erased_before += 1
                erased_before += rows
            else:
                self.counts.exchanges += 1
                closed += [(position, record) for position, record in rows if mark_of(record) is None]
        return closed, erased_before

    def _erase_contracts(self, rows: list[tuple[int, Record]]) -> None:
        mark = self._erasure.mark
        for _, record in rows:
            kept = erased_metadata(_decoded(record.metadata), mark)
            self._connection.execute(statements.ERASE_CONTRACT, (jsonio.encode(kept), record.contract_id))
            self._connection.execute(statements.INSERT_ERASED_CONTRACT, (record.contract_id, mark.erasure_id))

    def _erase_copies(self, ids: str) -> None:
        for statement in (
            statements.ERASE_ATTEMPTS,
            statements.ERASE_PROGRESS,
            statements.ERASE_WEBHOOKS,
            statements.ERASE_KEYS,
            statements.ERASE_PARKED,
        ):
            self._connection.execute(statement, (ids,))
        for generation, line_key in self._connection.execute(statements.LINES_OF, (ids,)).fetchall():
            self._connection.execute(
                statements.RENAME_LINE, (erased_line_key(generation, line_key), generation, line_key)
            )

    def _erase_claims(self, rows: list[tuple[int, Record]]) -> None:
        ids = frozenset(record.contract_id for _, record in rows)
        for block in _blocks_about(self._connection, rows):
            self._rewrite(block, ids)

    def _rewrite(self, block: BlockRow, ids: frozenset[str], pattern: "re.Pattern[str] | None" = None) -> bool:
        """Whether the block had to change. A block is counted once."""
        new = self._rewrite_block(block, ids, pattern)
        if new is not None:
            self._connection.execute(statements.REPLACE_BLOCK, (new.block, new.beside, new.block_id))
            self._changed_blocks.add(new.block_id)
            self.counts.blocks = len(self._changed_blocks)
        return new is not None


def _blocks_about(connection: Connection, rows: list[tuple[int, Record]]) -> list[BlockRow]:
    """The memory blocks that may cite these contracts, or repeat them."""
    first: dict[str, int] = {}
    for position, record in rows:
        earliest = 0 if record.capability in CAPABILITIES else position  # a block may repeat a later correction
        first[record.session_id] = min(earliest, first.get(record.session_id, earliest))
    found = [connection.execute(statements.BLOCKS_AFTER, place).fetchall() for place in first.items()]
    return [BlockRow(*block) for blocks in found for block in blocks]


def cited_again(connection: Connection, rows: list[tuple[int, Record]]) -> list[str]:
    """The exchanges of these erased contracts that claims of memory blocks cite: a block has come back, or was made meanwhile."""
    exchanges = {record.contract_id: exchange_id(record) for _, record in rows}
    cited = (each for block in _blocks_about(connection, rows) for _, ids in block.claims() for each in ids)
    return list(dict.fromkeys(exchanges[each] for each in cited if each in exchanges))


def exchanges_of(connection: Connection, request_ids: Sequence[str]) -> dict[str, list[tuple[int, Record]]]:
    """The contracts of these exchanges, each with its position, by the id of the REQUEST (of a RESPONSE without one, its own)."""
    found: dict[str, list[tuple[int, Record]]] = {}
    ids = jsonio.encode(list(request_ids))
    rows = {row[0]: Record(*row[1:]) for row in connection.execute(statements.EXCHANGES_OF, (ids, ids))}
    for position, record in sorted(rows.items()):
        found.setdefault(exchange_id(record), []).append((position, record))
    return found


def corrected_too(connection: Connection, request_ids: Sequence[str]) -> list[str]:
    """These exchanges, and the corrections of memory whose claims cite a contract of them: they repeat its content."""
    cited: dict[str, set[str]] = {}
    for rows in exchanges_of(connection, request_ids).values():
        for _, record in rows:
            cited.setdefault(record.session_id, set()).add(record.contract_id)
    found = (each for session_id, ids in cited.items() for each in citing(connection, session_id, frozenset(ids)))
    return list(dict.fromkeys((*request_ids, *found)))


def exchange_id(record: Record) -> str:
    """The id of the REQUEST of that contract's exchange; of a RESPONSE without a known one, its own."""
    return record.contract_id if record.contract_type == REQUEST else record.request_id or record.contract_id


def finish(ledger: LedgerLocation) -> bool:
    """Remove the erased bytes from the ledger's files, and commit that they are gone. Returns False if another process still
    reads from the write-ahead log, which may contain them.

    No erasure may run meanwhile. Raises LedgerFull if the disk has not enough space, and LedgerError.
    """
    if not rewrite(ledger):
        return False
    with Database(ledger) as database, database.write() as connection:
        connection.execute(statements.FINISH_ERASURES, (now(),))
    return True


def batches_of(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    """`ids` in lists of up to `size`."""
    some: list[str] = []
    for each in ids:
        some.append(each)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def _decoded(metadata: str) -> dict[str, Any]:
    try:
        found = jsonio.decode(metadata)
    except InvalidJSON:  # another program wrote it
        return {}
    return found if isinstance(found, dict) else {}

"""Writing memory blocks: one commit a block, and never two blocks of the same contracts."""

from contextlib import closing
from pathlib import Path

from aorch.ledger import statements
from aorch.ledger.memory_blocks import BlockRow
from aorch.ledger.sqlite.driver import transaction, translated
from aorch.ledger.sqlite.opening import connect


def remember(path: Path, row: BlockRow, after: int) -> bool:
    """Commit `row`, which covers its session's contracts from the position `after` on; durable when this returns.

    False, and nothing written, where blocks of that session do not end there any more: somebody else was faster.
    Raises LedgerError.
    """
    with closing(connect(path)) as connection, translated(path), transaction(connection):
        ((covered,),) = connection.execute(statements.COVERED_POSITION, (row.session_id,)).fetchall()
        is_next = (covered or 0) == after
        if is_next:
            connection.execute(statements.INSERT_BLOCK, row)
    return is_next

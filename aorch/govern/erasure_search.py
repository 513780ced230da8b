"""Finds a text in the contracts of a ledger, and in what else the ledger keeps about them."""

import re
from collections.abc import Iterator
from datetime import datetime

from aorch import jsonio
from aorch.clock import rfc3339
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import InvalidJSON
from aorch.ledger.database import Connection, Database, statements
from aorch.ledger.memory_blocks import BlockRow
from aorch.ledger.record import Record


def contracts_with_copies(ledger: LedgerLocation, pattern: "re.Pattern[str]") -> set[str]:
    """The contracts (ids) about which the ledger keeps something with that pattern outside of them: errors of attempts, webhooks,
    progress, keys of batch lines, reasons of parked deliveries, and claims of memory blocks, which name the contracts.

    Raises LedgerError.
    """
    with Database(ledger) as database:
        if not database.exists():
            return set()
        with database.read() as connection:
            return set(_copies(connection, pattern))


def _copies(connection: Connection, pattern: "re.Pattern[str]") -> Iterator[str]:
    for contract_id, text in connection.execute(statements.TEXTS_ABOUT_CONTRACTS):
        if _is_in(text, pattern):
            yield contract_id
    for row in connection.execute(statements.ALL_BLOCKS):
        for claim, ids in BlockRow(*row).claims():
            if _is_in(jsonio.encode(claim), pattern):
                yield from ids


def blocks_with_words(
    connection: Connection, pattern: "re.Pattern[str]", session_id: str | None, before: datetime | None
) -> list[str]:
    """The memory blocks (ids) with it in their intent or summary: of that session, and made before that time, if given."""
    rows = (BlockRow(*row) for row in connection.execute(statements.ALL_BLOCKS))
    return [
        row.block_id
        for row in rows
        if session_id in (None, row.session_id)
        and (before is None or row.created_at < rfc3339(before))
        and any(pattern.search(words) for words in row.words().values())
    ]


def contains(record: Record, pattern: "re.Pattern[str]") -> bool:
    """Whether the content of a contract contains it, as it is stored or as a person reads it, without escapes."""
    if record.error is not None and pattern.search(record.error):
        return True
    return any(_is_in(text, pattern) for text in (record.payload, record.result, record.metadata) if text is not None)


def _is_in(text: str, pattern: "re.Pattern[str]") -> bool:
    return bool(pattern.search(text)) or any(pattern.search(each) for each in _strings(text))


def _strings(text: str) -> Iterator[str]:
    if "\\" not in text:  # `text` contains its strings as they are
        return
    try:
        yield from (each for each in jsonio.leaves(jsonio.decode(text)) if isinstance(each, str))
    except InvalidJSON:  # another program wrote it, or it is no JSON
        return

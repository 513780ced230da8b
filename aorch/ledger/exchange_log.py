"""Reads the log of exchanges to its end, or follows it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from aorch.ledger.exchanges import ExchangeFilter, ExchangeRow
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import RESPONSE, Record

PAGE = 500
"""Number of exchanges to read at a time."""


class LogReader(Protocol):
    """The methods of Reader that the log needs."""

    def exchanges(
        self, which: ExchangeFilter, *, limit: int, before: int | None = None
    ) -> tuple[Sequence[tuple[int, ExchangeRow]], bool]:
        """A page of the log, newest first, and whether there may be more."""
        ...

    def follow_chunks(self, which: Filter, *, after: int) -> Iterator[list[Record]]:
        """The contracts after that position, and each new one, without end."""
        ...


def newest_exchanges(
    reader: LogReader, which: ExchangeFilter, *, before: int | None = None, limit: int | None = None
) -> Iterator[ExchangeRow]:
    """Up to `limit` exchanges (None: all) before a cursor, newest first, read when they are needed."""
    more = limit != 0
    while more:
        page, more = reader.exchanges(which, limit=PAGE if limit is None else min(limit, PAGE), before=before)
        yield from (row for _, row in page)
        before = page[-1][0] if page else None
        if limit is not None:
            limit -= len(page)
            more = more and limit > 0


def ended_exchanges(reader: LogReader, which: ExchangeFilter, *, after: int) -> Iterator[ExchangeRow]:
    """The exchanges that match and whose RESPONSE is after a position, each once it ends, without end. Waits in this thread."""
    for responses in reader.follow_chunks(Filter(session_id=which.session_id, contract_type=RESPONSE), after=after):
        ids = [record.request_id for record in responses if record.request_id is not None]
        page, _ = reader.exchanges(replace(which, ids=ids), limit=len(ids))
        found = {row.request_id: row for _, row in page}
        yield from (found[request_id] for request_id in ids if request_id in found)


def cursor_of(reader: Reader, which: ExchangeFilter, contract: Record) -> int:
    """The cursor of the exchange of `contract` in the log of `which`; the position of its REQUEST if it does not match.

    Raises NotFound for a RESPONSE whose REQUEST is not in the ledger.
    """
    request_id = contract.contract_id if contract.request_id is None else contract.request_id
    page, _ = reader.exchanges(replace(which, ids=[request_id]), limit=1)
    return page[0][0] if page else reader.position(request_id)

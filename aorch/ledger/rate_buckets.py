"""The rates of callers, which all servers of a ledger share."""

from collections.abc import Mapping

from aorch import jsonio
from aorch.clock import from_rfc3339
from aorch.ledger.database import Connection, statements
from aorch.ledger.work_leases import ledger_time
from aorch.ledger.writer import Writer


class RateBuckets:
    """The buckets on the ledger that `writer` writes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def spend(self, spent_s: Mapping[str, float]) -> dict[str, float]:
        """Commit what these callers have spent here (seconds until their buckets are full again), and return for each in how many
        seconds its bucket is full, with what it has spent at other servers. Raises LedgerError.
        """
        return await self._writer.work(lambda connection: _spend(connection, spent_s))


def _spend(connection: Connection, spent_s: Mapping[str, float]) -> dict[str, float]:
    moment = from_rfc3339(ledger_time(connection)).timestamp()
    stored = dict(connection.execute(statements.RATE_BUCKETS, (jsonio.encode(list(spent_s)),)).fetchall())
    full_at = {caller: max(stored.get(caller, 0.0), moment) + spent for caller, spent in spent_s.items()}
    connection.executemany(statements.PUT_RATE_BUCKET, list(full_at.items()))
    connection.execute(statements.DELETE_FULL_BUCKETS, (moment,))
    return {caller: at - moment for caller, at in full_at.items()}

"""Reading batches: the results of their lines, and the unfinished tasks of a session."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.contract_metadata import erasure_mark
from aorch.ledger.database import Database, statements
from aorch.ledger.record import COMPLETED, Record
from aorch.ledger.task_keys import erased_line_key

LONGEST_RESULT = 64 * 1024
"""Maximum characters of a result and its metadata that are read together with others. Longer ones are read separately."""


class PriorResult(NamedTuple):
    """The last try of a line. `from_agent` and the fields after it are from the RESPONSE; None if there is none yet.

    `delivered` is 0 if the agent never got the task. `result` and `metadata` are JSON text, and both None if they are too
    long to be read together with others.
    """

    line_key: str
    contract_id: str
    session_id: str
    to_agent: str | None
    retry_of: str | None
    from_agent: str | None
    status: str | None
    created_at: str | None
    error: str | None
    delivered: int | None
    result: str | None
    metadata: str | None

    @property
    def is_erased(self) -> bool:
        """Whether the content of the exchange was erased."""
        return self.metadata is not None and erasure_mark(jsonio.decode(self.metadata)) is not None

    @property
    def left_out(self) -> bool:
        """Whether the result was too long to be read together with others."""
        return self.status is not None and self.metadata is None


class BatchRecords:
    """The batches of a ledger. `rows` returns those of a generated statement with its values.

    Every method raises LedgerError if the ledger cannot be read.
    """

    def __init__(self, rows: Callable[..., list[Any]]) -> None:
        self._rows = rows

    def close(self) -> None:
        """Do nothing: the caller that opened the ledger closes it."""

    def generation(self, name: str) -> str | None:
        """The latest generation of the batch with that name; None if no such batch has started in this ledger."""
        found = self._rows(statements.BATCH_GENERATION, name)
        return str(found[0][0]) if found else None

    def results(
        self, generation: str, line_keys: Sequence[str], longest: int = LONGEST_RESULT
    ) -> dict[str, PriorResult]:
        """The last try of each of these lines that has run, by key.

        Results of more than `longest` characters are left out.
        """
        found: dict[str, PriorResult] = {}
        stored = {each: each for each in line_keys} | {erased_line_key(generation, each): each for each in line_keys}
        for row in self._rows(statements.BATCH_RESULTS, longest, generation, jsonio.encode(list(stored))):
            past = PriorResult(*row)
            past = past._replace(line_key=stored[past.line_key])
            if (
                past.line_key not in found or found[past.line_key].status != COMPLETED
            ):  # in older versions, two commands could retry it
                found[past.line_key] = past
        return found

    def unfinished(self, session_id: str) -> list[tuple[int, str]]:
        """The callers' tasks in that session that failed or were cancelled and have not completed since: the position of
        the REQUEST, and the id of its last try.
        """
        return self._rows(statements.UNFINISHED, session_id)

    def last_try(self, session_id: str, request_id: str) -> tuple[str, str]:
        """The id and the status of the last try of that REQUEST's task (or of its completed try, if any). It may be that
        REQUEST itself.
        """
        ((contract_id, status),) = self._rows(statements.LAST_TRY, session_id, request_id)
        return str(contract_id), str(status)

    def has_session(self, session_id: str) -> bool:
        """Whether the session has contracts."""
        return bool(self._rows(statements.SESSIONS_FROM, session_id, 1) == [(session_id,)])

    def requests_at(self, positions: Sequence[int]) -> list[Record]:
        """The REQUESTs at those positions, in order."""
        return [Record(*row) for row in self._rows(statements.REQUESTS_AT, jsonio.encode(positions))]


class BatchReader(BatchRecords):
    """The batches of the ledger at `path`, which must exist; open inside a `with` block or until `close`, for any thread."""

    def __init__(self, path: LedgerLocation) -> None:
        super().__init__(self._read)
        self._database = Database(path)
        self._database.open_for_reading()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _read(self, sql: str, *parameters: Any) -> list[Any]:
        with self._database.read() as connection:
            return connection.execute(sql, parameters).fetchall()

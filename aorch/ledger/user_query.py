"""Queries of the user in SQL, which each database restricts to reading in its own way."""

from contextlib import AbstractContextManager
from typing import cast

from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.database import module_for
from aorch.ledger.query_answer import Answer

__all__ = ["Answer", "answer"]


def answer(path: LedgerLocation, sql: str) -> AbstractContextManager[Answer]:
    """The answer to one statement that only reads, in the SQL of the database. The ledger at `path` must exist.

    Raises UsageError for anything else and for invalid SQL, LedgerError, and KeyboardInterrupt during the query.
    """
    return cast("AbstractContextManager[Answer]", module_for(path, "free_query").answer(path, sql))

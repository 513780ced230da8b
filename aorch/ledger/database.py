"""The interface of the ledger to its database. Only this module and search.py import a database's package; so far there is
one, `ledger/sqlite/`. The package of a second database must define the same names.

`statements` is the module with the generated SQL (queries/) in the dialect of the database.
"""

from aorch.ledger.sqlite import statements
from aorch.ledger.sqlite.agent_limits import AgentLimits
from aorch.ledger.sqlite.connection import (
    Connection,
    ConstraintError,
    DatabaseError,
    as_ledger_error,
    is_of_the_file,
    is_taken_key,
    savepoint,
    transaction,
    translated,
)
from aorch.ledger.sqlite.driver import CLOSED, FORKED, Database
from aorch.ledger.sqlite.locks import LockedState, ProcessLock, dead_owner, exclusive, is_alive, owner_ids
from aorch.ledger.sqlite.opening import connect

ALL_ROWS = 2**63 - 1
"""The value of a LIMIT that selects all rows, in every database."""

__all__ = [
    "ALL_ROWS",
    "CLOSED",
    "FORKED",
    "AgentLimits",
    "Connection",
    "ConstraintError",
    "Database",
    "DatabaseError",
    "LockedState",
    "ProcessLock",
    "as_ledger_error",
    "connect",
    "dead_owner",
    "exclusive",
    "is_alive",
    "is_of_the_file",
    "is_taken_key",
    "owner_ids",
    "savepoint",
    "statements",
    "transaction",
    "translated",
]

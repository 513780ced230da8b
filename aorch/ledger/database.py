"""The interface of the ledger to its database. Only this module and search.py import the driver; so far there is only one,
for SQLite. A driver for a second database must define the same names, in a package like `ledger/sqlite/`.
"""

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

__all__ = [
    "CLOSED",
    "FORKED",
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
    "transaction",
    "translated",
]

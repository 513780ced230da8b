"""What SQLite's package offers to `ledger/database.py`; that of PostgreSQL offers the same names."""

from aorch.ledger.sqlite.agent_limits import AgentLimits
from aorch.ledger.sqlite.connection import (
    ConstraintError,
    DatabaseError,
    as_ledger_error,
    is_of_the_file,
    is_taken_key,
    translated,
)
from aorch.ledger.sqlite.driver import Database
from aorch.ledger.sqlite.locks import (
    LockedState,
    ProcessLock,
    check_exclusive,
    dead_owner,
    dead_owners,
    exclusive,
    is_alive,
    is_running,
    owner_ids,
)
from aorch.ledger.sqlite.opening import connect
from aorch.ledger.sqlite.rewriting import check_rewrite_space, estimate_rewrite, rewrite

__all__ = [
    "AgentLimits",
    "ConstraintError",
    "Database",
    "DatabaseError",
    "LockedState",
    "ProcessLock",
    "as_ledger_error",
    "check_exclusive",
    "check_rewrite_space",
    "connect",
    "dead_owner",
    "dead_owners",
    "estimate_rewrite",
    "exclusive",
    "is_alive",
    "is_of_the_file",
    "is_running",
    "is_taken_key",
    "owner_ids",
    "rewrite",
    "translated",
]

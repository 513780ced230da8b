"""What PostgreSQL's package offers to `ledger/database.py`; that of SQLite offers the same names."""

from aorch.ledger.postgres.agent_limits import AgentLimits
from aorch.ledger.postgres.driver import Database
from aorch.ledger.postgres.failures import as_ledger_error, translated
from aorch.ledger.postgres.locks import (
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
from aorch.ledger.postgres.opening import connect
from aorch.ledger.postgres.rewriting import check_rewrite_space, estimate_rewrite, rewrite

__all__ = [
    "AgentLimits",
    "Database",
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
    "is_running",
    "owner_ids",
    "rewrite",
    "translated",
]

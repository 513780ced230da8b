"""The tables of the ledger, from which migrations are checked and statements are generated (queries/).

This module must not import `annotations` from `__future__`: SQLModel reads the annotations.

To add a column to contracts: add it to `Contract`, to `Record` (record.py) and to `ContractForm` (server/schemas/contracts.py),
write a migration (which also recreates the view `session_contracts`), and run `python docs/generate.py`.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import DDL, BigInteger, Column, Index, Integer, String, column, event, table, text
from sqlmodel import Field, SQLModel

from aorch.ledger import session_turns, upkeep_tables, work_tables
from aorch.ledger.column_types import Json, UtcDateTime, metadata, set_postgresql_types
from aorch.ledger.stored_corrections import IS_CORRECTION
from aorch.ledger.view_definitions import VIEWS

__all__ = ["metadata", "session_turns", "upkeep_tables", "work_tables"]  # their tables belong to the same metadata


def _partial(*columns: str, where: str, name: str | None = None, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


class Contract(SQLModel, table=True):
    """One record of the ledger: a REQUEST, or the RESPONSE that answers it.

    `position` is its place in the order of commits; positions of deleted contracts are never reused. After writing, only
    `status`, `completed_at` and `claimed_by` of a REQUEST change, and the queue's columns after them (see task_queue.py).
    """

    __tablename__ = "contracts"
    metadata = metadata
    __table_args__ = (
        _partial("request_id", where="request_id IS NOT NULL", unique=True),
        _partial("parent_id", where="parent_id IS NOT NULL"),
        _partial("claimed_by", where="claimed_by IS NOT NULL AND status = 'pending'"),
        _partial("status", "position", "contract_type", where="status <> 'completed'"),
        # PostgreSQL, which finds no NULL in it, has ix_contracts_queue instead (postgres/definitions.py)
        _partial("capability", "to_agent", "required_labels", "priority", "turn", where="turn IS NOT NULL").ddl_if(
            dialect="sqlite"
        ),
        _partial("required_labels", where="turn IS NOT NULL AND required_labels IS NOT NULL"),
        _partial("due_at", where="due_at IS NOT NULL"),
        _partial("expires_at", where="expires_at IS NOT NULL"),
        _partial(
            "claimed_by", where="cancelled_by IS NOT NULL AND claimed_by IS NOT NULL", name="ix_contracts_cancelled"
        ),
        _partial("session_id", where=IS_CORRECTION, name="ix_contracts_corrections"),
        {"sqlite_autoincrement": True},
    )

    position: int | None = Field(default=None, primary_key=True)
    contract_id: str = Field(unique=True)
    session_id: str
    contract_type: str
    from_agent: str
    to_agent: str | None
    capability: str
    payload: dict[str, Any] = Field(sa_column=Column("payload", Json, nullable=False))
    status: str
    created_at: datetime = Field(sa_column=Column("created_at", UtcDateTime(), nullable=False))
    completed_at: datetime | None = Field(default=None, sa_column=Column("completed_at", UtcDateTime()))
    result: Any = Field(default=None, sa_column=Column("result", Json))
    error: str | None = None
    details: dict[str, Any] = Field(default_factory=dict, sa_column=Column("metadata", Json, nullable=False))
    request_id: str | None = None
    parent_id: str | None = None
    claimed_by: str | None = None
    priority: int | None = None
    turn: int | None = None
    due_at: datetime | None = Field(default=None, sa_column=Column("due_at", UtcDateTime()))
    expires_at: datetime | None = Field(default=None, sa_column=Column("expires_at", UtcDateTime()))
    attempts: int | None = None
    cancelled_by: str | None = None
    required_labels: str | None = None


class Counter(SQLModel, table=True):
    """Numbers that triggers update on SQLite.

    `deleted_contracts`: the number of contracts is the last position minus this. `session_index`: SessionIndex has all
    contracts up to this position.
    """

    __tablename__ = "counters"
    metadata = metadata

    name: str = Field(primary_key=True)
    value: int


class SessionIndex(SQLModel, table=True):
    """SQLite's index of contracts by session, which a trigger extends by a sorted run of RUN contracts at a time. `is_request` is
    1 or 0, so that the exchanges of a session are counted without reading its contracts.

    An ordinary index would change a random page for each contract, which took half of the time of a write. Read it through
    `session_positions` and `session_contracts`, which add the contracts after the last run. On PostgreSQL it is a view.
    """

    __tablename__ = "session_index"
    metadata = metadata
    __table_args__ = ({"sqlite_with_rowid": False},)

    session_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    is_request: int


RUN = 2048
"""Number of contracts per run. A read of a session reads at most as many rows of other sessions (0.1 ms)."""
_INDEXED = "(SELECT value FROM counters WHERE name = 'session_index')"
_columns = [column.name for column in Contract.__table__.columns if column.name != "position"]  # type: ignore[attr-defined]
_names, _its_names = ", ".join(_columns), ", ".join(f"c.{name}" for name in _columns)

session_positions = table("session_positions", column("session_id", String()), column("position", Integer()))
"""A view of the session and position of each contract, which finds those of a session through the index."""
session_contracts = table(
    "session_contracts",
    *(column(each.name, each.type) for each in Contract.__table__.columns),  # type: ignore[attr-defined]
)
"""A view of all columns of contracts, for reads by session. Other reads use `contracts`.

Queries must select `position`, and limit it with `<` or `>=`, not BETWEEN. Otherwise SQLite sorts, or ignores the limit.
"""

for _sql in (
    f"CREATE TRIGGER contracts_indexed AFTER INSERT ON contracts WHEN new.position % {RUN} = 0 BEGIN"  # noqa: S608  constants
    " INSERT INTO session_index SELECT session_id, position, contract_type = 'REQUEST' FROM contracts"
    f" WHERE position > {_INDEXED} AND position <= new.position ORDER BY session_id, position;"
    " UPDATE counters SET value = new.position WHERE name = 'session_index'; END",
    "CREATE TRIGGER contracts_deleted AFTER DELETE ON contracts BEGIN"
    " UPDATE counters SET value = value + 1 WHERE name = 'deleted_contracts';"
    " DELETE FROM session_index WHERE session_id = old.session_id AND position = old.position; END",
    "CREATE TRIGGER contracts_renamed AFTER UPDATE OF session_id ON contracts BEGIN"
    " UPDATE session_index SET session_id = new.session_id WHERE session_id = old.session_id AND position = old.position; END",
    "CREATE VIEW session_positions AS SELECT session_id, position FROM session_index"  # noqa: S608  constants
    f" UNION ALL SELECT session_id, position FROM contracts WHERE position > {_INDEXED}",
    f"CREATE VIEW session_contracts AS SELECT s.position, {_its_names} FROM session_index s"  # noqa: S608  constants
    " CROSS JOIN contracts c ON c.position = s.position AND c.session_id = s.session_id"
    f" UNION ALL SELECT position, {_names} FROM contracts WHERE position > {_INDEXED}",
    *VIEWS,
):
    _ddl = DDL(_sql.replace("%", "%%"))  # type: ignore[no-untyped-call]  # SQLAlchemy has no types for it
    event.listen(metadata, "after_create", _ddl.execute_if(dialect="sqlite"))


class Token(SQLModel, table=True):
    """A caller's token, of which only the SHA-256 is stored (hex). If it has an `agent_id`, only this token can act as it.

    `capabilities` are those whose tasks a worker may claim with it (None: any).
    """

    __tablename__ = "tokens"
    metadata = metadata

    token_id: str = Field(primary_key=True)
    name: str
    sha256: str = Field(unique=True)
    scopes: list[str] = Field(sa_column=Column("scopes", Json, nullable=False))
    agent_id: str | None = None
    created_at: datetime = Field(sa_column=Column("created_at", UtcDateTime(), nullable=False))
    expires_at: datetime | None = Field(default=None, sa_column=Column("expires_at", UtcDateTime()))
    revoked_at: datetime | None = Field(default=None, sa_column=Column("revoked_at", UtcDateTime()))
    capabilities: list[str] | None = Field(default=None, sa_column=Column("capabilities", Json))


class IdempotencyKey(SQLModel, table=True):
    """The Idempotency-Key of a request of `caller` (a token's id, or empty), and the REQUEST that it wrote.

    `fingerprint` is the SHA-256 (hex) of the body.
    """

    __tablename__ = "idempotency_keys"
    metadata = metadata
    __table_args__ = (Index(None, "request_id"),)

    caller: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    fingerprint: str
    request_id: str


class Batch(SQLModel, table=True):
    """The latest generation (a ULID) of the batch with that name. A batch that starts from the beginning gets a new one."""

    __tablename__ = "batches"
    metadata = metadata

    name: str = Field(primary_key=True)
    generation: str


class BatchLine(SQLModel, table=True):
    """The first REQUEST for a line of a batch. `line_key` identifies the line in its generation."""

    __tablename__ = "batch_lines"
    metadata = metadata
    __table_args__ = (Index(None, "request_id"),)

    generation: str = Field(primary_key=True)
    line_key: str = Field(primary_key=True)
    request_id: str


class Retry(SQLModel, table=True):
    """Records that the REQUEST `request_id` retried or resumed the REQUEST `contract_id`, which is possible only once.

    `command` is `retry`. In rows of older versions it can be `resume`, because each of the two commands could run a REQUEST
    again once.
    """

    __tablename__ = "retries"
    metadata = metadata

    contract_id: str = Field(primary_key=True)
    command: str = Field(primary_key=True)
    request_id: str


class Attempt(SQLModel, table=True):
    """One call of an agent for the REQUEST `request_id`, which needed several; `number` counts from 1.

    A REQUEST whose first call succeeded has no rows. `ended_at` is None while the agent works, and stays None if its process
    died. `code` is that of the error, None after success.
    """

    __tablename__ = "attempts"
    metadata = metadata

    request_id: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    agent_id: str
    started_at: datetime = Field(sa_column=Column("started_at", UtcDateTime(), nullable=False))
    ended_at: datetime | None = Field(default=None, sa_column=Column("ended_at", UtcDateTime()))
    code: str | None = None
    error: str | None = None


class AgentEntry(SQLModel, table=True):
    """A registered agent with its state, or only the state of a configured agent, whose `document` is None.

    `document` is the registration as JSON text, `fingerprint` its SHA-256 (hex), and `owner` the id of its token, or empty.
    `state` is None until the first check. `changes` (a JSON list) are those of a registered MCP server since its registration.
    """

    __tablename__ = "agents"
    metadata = metadata

    agent_id: str = Field(primary_key=True)
    document: str | None = None
    fingerprint: str | None = None
    owner: str
    registered_at: datetime = Field(sa_column=Column("registered_at", UtcDateTime(), nullable=False))
    ttl_s: float | None = None
    lease_ends_at: datetime | None = Field(default=None, sa_column=Column("lease_ends_at", UtcDateTime()))
    drained_at: datetime | None = Field(default=None, sa_column=Column("drained_at", UtcDateTime()))
    state: str | None = None
    reason: str | None = None
    since: datetime | None = Field(default=None, sa_column=Column("since", UtcDateTime()))
    changes: str | None = None
    circuit_until: datetime | None = Field(default=None, sa_column=Column("circuit_until", UtcDateTime()))
    circuit_since: datetime | None = Field(default=None, sa_column=Column("circuit_since", UtcDateTime()))


class TaskProgress(SQLModel, table=True):
    """What the agent of the running REQUEST `request_id` reported last. The row is deleted when the task ends."""

    __tablename__ = "task_progress"
    metadata = metadata

    request_id: str = Field(primary_key=True)
    reported_at: datetime = Field(sa_column=Column("reported_at", UtcDateTime(), nullable=False))
    progress: Any = Field(sa_column=Column("progress", Json, nullable=False))


class QueueClock(SQLModel, table=True):
    """The last claimed turn of each priority (see task_queue.py)."""

    __tablename__ = "queue_clock"
    metadata = metadata

    priority: int = Field(sa_column=Column("priority", Integer, primary_key=True, autoincrement=False))
    turn: int


class Webhook(SQLModel, table=True):
    """The webhook of a REQUEST.

    `due_at` is the time of the next attempt; it is None until the REQUEST ends, and after the last attempt.
    """

    __tablename__ = "webhooks"
    metadata = metadata
    __table_args__ = (_partial("due_at", where="due_at IS NOT NULL"),)

    request_id: str = Field(primary_key=True)
    url: str
    attempts: int
    due_at: datetime | None = Field(default=None, sa_column=Column("due_at", UtcDateTime()))
    error: str | None = None


class Outbox(SQLModel, table=True):
    """The progress of deliveries to `destination` (`trace`): contracts up to `position` are delivered or parked.

    All contracts after `position` are due, without rows of their own. Contracts up to `reach` may have been sent.
    """

    __tablename__ = "outbox"
    metadata = metadata

    destination: str = Field(primary_key=True)
    position: int
    reach: int


class ParkedDelivery(SQLModel, table=True):
    """A delivery that was set aside. `state`: `refused`, `unknown` (it may have arrived) or `due` (again)."""

    __tablename__ = "parked_deliveries"
    metadata = metadata

    position: int = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    contract_id: str
    session_id: str
    state: str
    reason: str
    attempts: int
    parked_at: datetime = Field(sa_column=Column("parked_at", UtcDateTime(), nullable=False))


class MetricTotal(SQLModel, table=True):
    """A total of the metrics over all contracts up to a position, those that were deleted since included (metric_totals.py).

    `labels` is a JSON list of text. The row with the metric `position` is that position.
    """

    __tablename__ = "metric_totals"
    metadata = metadata

    metric: str = Field(primary_key=True)
    labels: str = Field(primary_key=True)
    value: int = Field(sa_column=Column("value", BigInteger, nullable=False))


class StoredBlock(SQLModel, table=True):
    """A memory block of a session: its JSON form, and the position of the last contract that it covers.

    `beside` has MemAgent's answer, its name for the session and the notes that it received.
    """

    __tablename__ = "memory_blocks"
    metadata = metadata
    __table_args__ = (Index(None, "session_id", "last_position"),)

    block_id: str = Field(primary_key=True)
    session_id: str
    created_at: datetime = Field(sa_column=Column("created_at", UtcDateTime(), nullable=False))
    last_position: int
    block: dict[str, Any] = Field(sa_column=Column("block", Json, nullable=False))
    beside: dict[str, Any] | None = Field(default=None, sa_column=Column("beside", Json))


set_postgresql_types(metadata)

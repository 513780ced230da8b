"""The turns of queued REQUESTs by session, in which a new REQUEST finds that of its session's last one (see task_queue.py).

The rules of schema.py apply. On SQLite triggers maintain the table.
"""

from sqlalchemy import DDL, event
from sqlmodel import Field, SQLModel

from aorch.ledger.column_types import metadata


class SessionTurns(SQLModel, table=True):
    """A run: REQUESTs of the session and priority have the turns `first_turn` to `turn`, one each.

    Turns up to that of the queue's clock do not count: their REQUESTs may have started. So a claim changes a run only if it takes
    its last REQUEST. An ordinary index would change a page for each session with each claim, because sessions alternate. On
    PostgreSQL, whose claims change no index entries, this is a view in which each queued REQUEST is a run.
    """

    __tablename__ = "session_turns"
    metadata = metadata
    __table_args__ = ({"sqlite_with_rowid": False},)

    session_id: str = Field(primary_key=True)
    priority: int = Field(primary_key=True)
    turn: int = Field(primary_key=True)
    first_turn: int


def _its(row: str) -> str:
    return f"session_id = {row}.session_id AND priority = {row}.priority"


def _clock(row: str) -> str:
    return f"(SELECT turn FROM queue_clock WHERE priority = {row}.priority)"  # noqa: S608  constants


_JOIN = (
    f"UPDATE OR IGNORE session_turns SET turn = new.turn WHERE {_its('new')} AND turn = new.turn - 1;"  # noqa: S608
    " INSERT OR IGNORE INTO session_turns VALUES (new.session_id, new.priority, new.turn, new.turn);"
)
"""A turn continues the run before it, or begins one."""
_NEXT = f"(SELECT min(turn) FROM session_turns WHERE {_its('old')} AND turn %s old.turn)"  # noqa: S608  constants
_LEAVE = (
    "INSERT OR IGNORE INTO session_turns SELECT session_id, priority, old.turn - 1, first_turn FROM session_turns"  # noqa: S608
    f" WHERE {_its('old')} AND turn = {_NEXT % '>='} AND first_turn < old.turn AND old.turn - 1 > {_clock('old')};"
    f" UPDATE session_turns SET first_turn = old.turn + 1 WHERE {_its('old')} AND turn = {_NEXT % '>'}"
    " AND first_turn <= old.turn;"
    f" DELETE FROM session_turns WHERE {_its('old')} AND turn = old.turn;"
)
"""A REQUEST that ends without having started divides its run into the turns before it and those after it."""
_UPDATE = "AFTER UPDATE OF turn ON contracts"
TRIGGERS = (
    f"CREATE TRIGGER contracts_queued AFTER INSERT ON contracts WHEN new.turn IS NOT NULL BEGIN {_JOIN} END",
    f"CREATE TRIGGER contracts_due {_UPDATE} WHEN new.turn IS NOT NULL AND new.turn > {_clock('new')} BEGIN {_JOIN} END",
    f"CREATE TRIGGER contracts_claimed {_UPDATE} WHEN new.claimed_by IS NOT NULL AND old.turn IS NOT NULL BEGIN"  # noqa: S608
    f" DELETE FROM session_turns WHERE {_its('old')} AND turn = old.turn; END",
    f"CREATE TRIGGER contracts_withdrawn {_UPDATE} WHEN new.claimed_by IS NULL AND old.turn IS NOT NULL BEGIN {_LEAVE} END",
    f"CREATE TRIGGER contracts_unqueued AFTER DELETE ON contracts WHEN old.turn IS NOT NULL BEGIN {_LEAVE} END",
)
for _sql in TRIGGERS:
    event.listen(metadata, "after_create", DDL(_sql).execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]  # SQLAlchemy has no types for it

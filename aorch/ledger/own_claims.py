"""The claims of a process that others may have taken for dead: its lock was lost with its connection to the server.

Others have then queued its tasks again, or answered them as `interrupted`. So its claims are read under the write lock, before
it writes a result or gives a task back.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from aorch.errors import Conflict
from aorch.ledger.database import Connection, statements

LOST_BY = "another process, because the locks of this one were lost"
"""The `by` of tasks that this process must not continue."""


class ClaimLost(Conflict):
    """Another process took this one for dead, so that it must not end this task any more."""


def still_claims(connection: Connection, owner_id: str, request_id: str | None) -> bool:
    """Whether that owner has claimed that REQUEST now."""
    found = connection.execute(statements.REQUEST_STATE, (request_id,)).fetchone()
    return found is not None and found[3] == owner_id


def unclaimed(connection: Connection, owner_id: str, running: Iterable[str]) -> set[str]:
    """Those of the REQUESTs `running` that this owner does not claim now."""
    claimed = connection.execute(statements.CLAIMED_BY_OWNER, (owner_id,))
    return set(running) - {request_id for (request_id,) in claimed}


def answer_open(
    request_id: str | None, owner_id: str | None, rows: Sequence[tuple[str, Sequence[Any]]], connection: Connection
) -> None:
    """Write `rows`, the RESPONSE to that REQUEST, if the REQUEST was written. Raises ClaimLost if `owner_id`, unless it is None,
    does not claim it any more.
    """
    found = connection.execute(statements.REQUEST_STATE, (request_id,)).fetchone()
    if found is None:
        return
    if owner_id is not None and found[3] != owner_id:
        raise ClaimLost(
            f"the result of {request_id} is dropped: the locks of this process were lost, and another process has queued or"
            " answered the task since",
            "See its answer with `aorch contracts show`.",
        )
    for sql, values in rows:
        connection.execute(sql, values)

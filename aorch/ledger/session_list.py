"""Lists of sessions, in the order of their ids or of their last activity.

The form of a session: `session_id`, the numbers of its `contracts` and `exchanges`, how many of these `failed` and are `open`,
and `first_at` and `last_at`, when its first and last contract were written.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

from aorch import jsonio
from aorch.errors import NotFound
from aorch.ledger.database import statements

Rows: TypeAlias = Callable[..., Sequence[Any]]
"""Executes a statement with the values of its parameters."""

FEW_SESSIONS = 2000
"""Number of sessions up to which all of them are looked up, rather than the newest ones searched for."""
WINDOW, WIDE_WINDOW = 4096, 65_536
"""Number of contracts in which the sessions of the newest ones are searched for first, and before all sessions are looked up."""


def sessions_by_id(rows: Rows, *, after: str | None, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` sessions after that one."""
    if after is None:
        found = rows(statements.FIRST_SESSIONS, limit)
    else:
        found = rows(statements.SESSIONS_AFTER, jsonio.storable_text(after), limit)
    return [_form(rows, *row) for row in found]


def sessions_by_activity(rows: Rows, *, before: int | None, limit: int) -> list[tuple[int, dict[str, Any]]]:
    """Up to `limit` sessions whose newest contract is before that position (None: all), the last active one first, each with
    that position.
    """
    if before is None:
        before = sum(position for (position,) in rows(statements.LAST_POSITION)) + 1
    found = islice(_newest_first(rows, before, limit), limit)
    return [(position, _described(rows, session_id)) for position, session_id in found]


def session_form(rows: Rows, session_id: str) -> dict[str, Any]:
    """The form of a session. Raises NotFound."""
    session_id = jsonio.storable_text(session_id)
    if not knows_session(rows, session_id):
        raise session_not_found(session_id)
    return _described(rows, session_id)


def _described(rows: Rows, session_id: str) -> dict[str, Any]:
    ((contracts,),) = rows(statements.COUNT_OF_SESSION, session_id)
    ((first_at, _),) = rows(statements.OLDEST_CONTRACT_OF_SESSION, session_id)
    ((last_at, _),) = rows(statements.NEWEST_CONTRACT_OF_SESSION, session_id)
    return _form(rows, session_id, contracts, first_at, last_at)


def session_not_found(session_id: str) -> NotFound:
    """The error for a session that has no contracts."""
    return NotFound(
        f"session {session_id!r} not found",
        "List the sessions with `aorch sessions list`.",
        http_hint="GET /v1/sessions lists the sessions.",
    )


def knows_session(rows: Rows, session_id: str) -> bool:
    """Whether the session has contracts."""
    return bool(rows(statements.NEWEST_CONTRACT_OF_SESSION, jsonio.storable_text(session_id)))


def _form(rows: Rows, session_id: str, contracts: int, first_at: str, last_at: str) -> dict[str, Any]:
    ((exchanges, failed, open_),) = rows(statements.EXCHANGE_COUNTS, session_id)
    return {
        "session_id": session_id,
        "contracts": contracts,
        "exchanges": exchanges,
        "failed": failed,
        "open": open_,
        "first_at": first_at,
        "last_at": last_at,
    }


def _newest_first(rows: Rows, before: int, limit: int) -> Iterator[tuple[int, str]]:
    """The position of the newest contract of each session, and the session, if that is before a position.

    Reads the contracts backwards in growing windows. If it does not find enough soon and there are few sessions, which can all
    be in the oldest contracts, it looks up each of them instead.
    """
    after, window, found = before - 1, WINDOW, 0
    while after > 0 and found < limit:
        if window > WIDE_WINDOW:
            sessions = [session_id for (session_id,) in rows(statements.SESSIONS_FROM, "", FEW_SESSIONS + 1)]
            if len(sessions) <= FEW_SESSIONS:
                newest = [(last_position(rows, session_id), session_id) for session_id in sessions]
                yield from sorted((each for each in newest if each[0] <= after), reverse=True)
                return
        before, after, window = after + 1, max(0, after - window), window * 2
        between = rows(statements.NEWEST_OF_SESSIONS_BETWEEN, after, before)
        for position, session_id in sorted(((position, each) for each, position in between), reverse=True):
            if last_position(rows, session_id) == position:
                found += 1
                yield position, session_id


def last_position(rows: Rows, session_id: str) -> int:
    """The position of the newest contract of a session; 0 if it has none."""
    found = rows(statements.NEWEST_CONTRACT_OF_SESSION, jsonio.storable_text(session_id))
    return int(found[0][1]) if found else 0

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

Session: TypeAlias = tuple[str, int, str, str]
"""A session: its id, the number of its contracts, and when the first and the last one were written."""

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
    return _forms(rows, found)


def sessions_by_activity(rows: Rows, *, before: int | None, limit: int) -> list[tuple[int, dict[str, Any]]]:
    """Up to `limit` sessions whose newest contract is before that position (None: all), the last active one first, each with
    that position.
    """
    if before is None:
        before = sum(position for (position,) in rows(statements.LAST_POSITION)) + 1
    found = list(islice(_newest_first(rows, before, limit), limit))
    forms = {form["session_id"]: form for form in _named(rows, [session_id for _, session_id in found])}
    return [(position, forms[session_id]) for position, session_id in found if session_id in forms]


def session_form(rows: Rows, session_id: str) -> dict[str, Any]:
    """The form of a session. Raises NotFound."""
    session_id = jsonio.storable_text(session_id)
    if not (found := _named(rows, [session_id])):
        raise session_not_found(session_id)
    return found[0]


def _named(rows: Rows, session_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The forms of those of these sessions that have contracts."""
    found = rows(statements.NAMED_SESSIONS, jsonio.encode(session_ids))
    return _forms(rows, [session for session in found if session[1]])


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


def _forms(rows: Rows, sessions: Sequence[Session]) -> list[dict[str, Any]]:
    numbers = _numbers(rows, sessions)
    return [
        {
            "session_id": session_id,
            "contracts": contracts,
            **numbers(session_id),
            "first_at": first_at,
            "last_at": last_at,
        }
        for session_id, contracts, first_at, last_at in sessions
    ]


def _numbers(rows: Rows, sessions: Sequence[Session]) -> Callable[[str], dict[str, int]]:
    """A function that returns the numbers of exchanges of one of `sessions`.

    It reads the contracts of the session, unless these sessions have more than there are REQUESTs in the ledger that are not
    completed. Then those are read instead, for all sessions together.
    """
    most = sum(contracts for _, contracts, *_ in sessions)
    if sum(count for (count,) in rows(statements.NOT_COMPLETED_UP_TO, most)) >= most:
        names = ("exchanges", "failed", "open")
        return lambda session_id: dict(zip(names, rows(statements.EXCHANGE_COUNTS, session_id)[0], strict=True))
    states = {session_id: numbers for session_id, *numbers in rows(statements.NOT_COMPLETED_BY_SESSION)}

    def from_index(session_id: str) -> dict[str, int]:
        failed, open_ = states.get(session_id, (0, 0))
        ((exchanges,),) = rows(statements.EXCHANGES_OF_SESSION, session_id)
        return {"exchanges": exchanges, "failed": failed, "open": open_}

    return from_index


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

"""Which owners of locks have ended. A row in `process_states` for each one says where its process runs, and since when others
see it without its lock; the owner removes it when it closes.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from aorch.errors import LedgerReadOnly
from aorch.ledger.postgres import session_queries as queries
from aorch.ledger.postgres.session import Session
from aorch.ledger.postgres.session_queries import OWNER
from aorch.process.whereabouts import has_ended

RETAKE_S = 10.0
"""For how long others must have seen a process of another machine without its lock before it counts as dead: it may only have
lost its connection. Long enough to find the server again (CONNECT_TIMEOUT_S), because work done twice is worse than late work.
"""


def ended(session: Session, owner_ids: Collection[str]) -> list[str]:
    """Those of `owner_ids` whose processes have ended, and hold no lock. Notes which ones have none. Raises LedgerError."""
    known = {name: found for name, *found in session.execute(queries.REGISTERED, [OWNER + each for each in owner_ids])}
    missing = _missing(session, owner_ids)
    if returned := [name for each in owner_ids if each not in missing and (name := OWNER + each) in known]:
        _mark(session, queries.MARK_PRESENT, [name for name in returned if known[name][1] is not None])
    if new := [each for each in missing if known.get(OWNER + each, ("", 0.0))[1] is None]:
        _mark(session, queries.MARK_MISSING, [OWNER + each for each in new])
        still = _missing(session, new)
        _mark(session, queries.MARK_PRESENT, [OWNER + each for each in new if each not in still])
        missing = [each for each in missing if each not in new or each in still]
    if not missing or not session.may_judge():  # last: the connection may have been lost meanwhile
        return []
    return [each for each in missing if is_over(known.get(OWNER + each))]


def is_over(registered: Sequence[Any] | None) -> bool:
    """Whether a process without its lock has ended: it closed, it ran on this machine and is gone, or it is missing for long."""
    if registered is None:
        return True
    place, missing_s = registered
    return (missing_s is not None and missing_s >= RETAKE_S) or has_ended(place)


def is_over_now(session: Session, owner_id: str) -> bool:
    """Like `ended`, while this process holds the lock of that owner."""
    found = session.execute(queries.REGISTERED, [OWNER + owner_id])
    return is_over(found[0][1:] if found else None) and session.may_judge()


def _missing(session: Session, owner_ids: Collection[str]) -> list[str]:
    held = session.held([OWNER + each for each in owner_ids])
    return [each for each in owner_ids if OWNER + each not in held]


def _mark(session: Session, sql: str, names: list[str]) -> None:
    if names:
        with suppress(LedgerReadOnly):  # then such a process counts as alive for this user
            session.execute(sql, names)

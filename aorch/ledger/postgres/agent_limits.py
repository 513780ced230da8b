"""Limits of an agent that hold across the processes and machines of a ledger: how many tasks it runs at once, and how often it
is called.

A slot is an advisory lock of the process's session, so it is free when the process dies. The time of the next call is the
"theoretical arrival time" of the generic cell rate algorithm, on the server's clock, in a row of `process_states`.
"""

import math
import random
import sys

from aorch.config.ledger_location import PostgresUrl
from aorch.errors import LedgerError, LedgerGone
from aorch.ledger.postgres import session_queries as queries
from aorch.ledger.postgres.session import Session, session_of, used_session
from aorch.process.forking import forget_in_child

LONGEST_PAUSE_S = 0.05
"""Maximum time until a waiting task notices that another process has freed a slot."""
_LATE = 0.1
"""A call that is late by up to this part of the interval does not delay the calls after it."""


class AgentLimits:
    """The slots and the rate of the agent `agent_id` on `ledger`. Any thread may use it; a forked child holds nothing.

    `slots` is None if the agent runs any number of tasks, and `rate_per_min` if it is called any number of times.
    """

    def __init__(self, ledger: PostgresUrl, agent_id: str, slots: int | None, rate_per_min: float | None) -> None:
        name = agent_id.encode("unicode_escape").decode("ascii")  # text of PostgreSQL has no NUL and no surrogates
        self._ledger, self._agent = ledger, f"agent/{name}"
        self._names = [f"{queries.SLOT}{name}/{number}" for number in range(slots or 0)]
        self._slots, self._interval_s = slots, 60 / rate_per_min if rate_per_min else 0.0
        self._held: dict[str, Session] = {}
        forget_in_child(self)

    def take(self) -> float:
        """Take a slot and the permission to call the agent now. Returns 0.0; if none is free, the seconds until the next attempt
        (math.inf: after `release`). While the server cannot be reached, none is free.

        Raises LedgerError.
        """
        if self._slots is not None and len(self._held) >= self._slots:
            return math.inf
        session = session_of(self._ledger)
        slot, wait_s = None, LONGEST_PAUSE_S * random.SystemRandom().uniform(0.5, 1.0)
        try:
            if self._slots is None or (slot := self._take_slot(session)) is not None:
                wait_s = self._take_turn(session)
        except LedgerGone:
            pass
        finally:
            if slot is not None and not wait_s:
                self._held[slot] = session
            else:
                if slot is not None:
                    session.unlock(slot)
                session.release()
        return wait_s

    def release(self) -> None:
        """Free a slot that this object holds."""
        if self._held:
            slot, session = self._held.popitem()
            session.unlock(slot)
            session.release()

    def look(self) -> tuple[int, float]:
        """The number of tasks that could start now; if it is 0, also the seconds until the next look. Takes and writes nothing.

        Limits that cannot be read count as free, because `take` then raises the reason.
        """
        free = sys.maxsize if self._slots is None else self._slots - len(self._held)
        wait_s = 0.0
        try:
            with used_session(self._ledger) as session:
                if self._slots is not None:
                    free = self._slots - len(session.held(self._names))
                if self._interval_s:
                    wait_s = self._until_turn(session)
        except LedgerError:
            pass
        if not free or wait_s:
            return 0, wait_s or LONGEST_PAUSE_S
        return (1 if self._interval_s else free), 0.0

    def forget(self) -> None:
        """Called in a forked child: leave the parent's locks alone."""
        self._held.clear()

    def _take_slot(self, session: Session) -> str | None:
        """Lock a free slot and return its name."""
        if not session.is_settled():
            return None
        first = random.randrange(len(self._names))  # noqa: S311  no secret; other processes most likely hold other slots
        return session.try_lock([*self._names[first:], *self._names[:first]])

    def _take_turn(self, session: Session) -> float:
        interval_s = self._interval_s
        if not interval_s:
            return 0.0
        values = (self._agent, interval_s, _LATE * interval_s, interval_s, interval_s)
        return 0.0 if session.execute(queries.TAKE_TURN, *values) else self._until_turn(session) or 0.001

    def _until_turn(self, session: Session) -> float:
        found = session.execute(queries.UNTIL_TURN, self._agent, self._interval_s)
        return float(found[0][0]) if found else 0.0

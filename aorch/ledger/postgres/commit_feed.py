"""Whether a ledger has changed: by the notifications that the session of this process receives, and by polling."""

import time
from collections.abc import Callable

from aorch.config.ledger_location import PostgresUrl
from aorch.ledger.postgres.session import Session, session_of

POLL_S = 1.0
"""How often the server is asked while notifications arrive: a process may die between its commit and its notification."""
SNAPSHOT = "SELECT pg_current_snapshot()::text"
"""A text that changes with each commit of any transaction that has written, to this database or another one of the server."""


class CommitFeed:
    """The changes of the ledger at `url`. `ask` returns the answer to SNAPSHOT; it raises LedgerError."""

    def __init__(self, url: PostgresUrl, ask: Callable[[], str]) -> None:
        self._url, self._ask = url, ask
        self._session: Session | None = None
        self._calls: list[Callable[[], object]] = []
        self._snapshot, self._asked_at = "", float("-inf")
        self._seen: tuple[int, str] | None = None
        self._version = 0

    @property
    def notifies(self) -> bool:
        """Whether `wake` calls back after commits now. Not while the connection for notifications is broken."""
        return self._session is not None and self._session.is_listening

    def wake(self, call: Callable[[], object]) -> None:
        """Call `call` in any thread after commits of any process, and when notifications start or stop; until `close`."""
        if self._session is None:
            self._session = session_of(self._url)
        self._calls.append(call)
        self._session.wake(call)

    def version(self) -> int:
        """A number that increases with each commit to the ledger. While notifications arrive, it takes no query, but one
        every POLL_S. Raises LedgerError.
        """
        moment = time.monotonic()
        if not self.notifies or moment >= self._asked_at + POLL_S:
            self._snapshot, self._asked_at = self._ask(), moment
        seen = (0 if self._session is None else self._session.heard, self._snapshot)
        if seen != self._seen:
            self._seen = seen
            self._version += 1
        return self._version

    def close(self) -> None:
        """Call no function any more."""
        session, self._session = self._session, None
        if session is not None:
            for call in self._calls:
                session.stop_waking(call)
            session.release()

    def forget(self) -> None:
        """In a forked child: call no function any more."""
        self._session, self._calls = None, []

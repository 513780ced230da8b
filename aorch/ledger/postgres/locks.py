"""Locks that only one process can hold: advisory locks of the session of each process (session.py).

Each process that runs exchanges holds a ProcessLock, which shows the others that it is alive. `exclusive` is for work that
only one process does at a time, and LockedState for such work with a state that the next process continues.
"""

import contextlib
import re
from collections.abc import Collection, Iterator

from aorch.config.ledger_location import PostgresUrl
from aorch.errors import LedgerBusy, LedgerError
from aorch.ids import new_id
from aorch.ledger.postgres import session_queries as queries
from aorch.ledger.postgres.owners import ended, is_over_now
from aorch.ledger.postgres.session import Session, session_of, used_session
from aorch.ledger.postgres.session_queries import OWNER, STATE, WORK
from aorch.process.whereabouts import whereabouts

STATE_BYTES = 4000
"""The size of a LockedState, as on SQLite."""
_OWNER_ID = re.compile("[0-9A-Z]{26}")


class ProcessLock:
    """Shows that this process, under its `owner_id`, is alive, until `close`. Raises LedgerError."""

    def __init__(self, ledger: PostgresUrl) -> None:
        self._session = session_of(ledger)
        try:
            self.others = _owners(self._session)
            while self._session.try_lock([name := OWNER + (owner_id := new_id())]) is None:
                pass
            self._session.execute(queries.REGISTER_OWNERS, whereabouts(), [name])
            self.is_copied = bool(self._session.held([WORK + "copy"]))
        except BaseException:
            self._session.release()
            raise
        self.owner_id, self._name = owner_id, name

    @property
    def is_undisputed(self) -> bool:
        """Whether no other process can have taken this one for dead: it never lost its lock, or took it again in time."""
        return self._session.holds(self._name) and not self.losses

    @property
    def losses(self) -> int:
        """How often it was perhaps judged dead before it took its lock again."""
        return self._session.forgotten[self._name]

    def check(self) -> None:
        """Raise LedgerError if other processes cannot see now that this one is alive."""
        self._session.check()

    def close(self) -> None:
        """Release the lock: no exchange of this owner is open any more. In a forked child, do nothing."""
        with contextlib.suppress(LedgerError):  # then the row shows that this process has ended, as if it was killed
            if self._session.holds(self._name):
                self._session.execute(queries.FORGET_OWNER, self._name)
        self._session.unlock(self._name)
        self._session.release()


class LockedState:
    """A state of up to STATE_BYTES, which any process can read and only the holder of its lock writes; the lock is held until
    `close`. A state survives the end of the process, but the last ones may be lost in a crash of the server. Raises
    BlockingIOError if another process holds the lock, and LedgerError.
    """

    def __init__(self, ledger: PostgresUrl, name: str) -> None:
        self._name = name
        self._session = session_of(ledger)
        try:
            if self._session.try_lock([STATE + name]) is None:
                raise BlockingIOError(f"another process holds {name}")
        except BaseException:
            self._session.release()
            raise

    @classmethod
    def peek(cls, ledger: PostgresUrl, name: str) -> tuple[bytes, bool]:
        """The bytes that were written last (b"": none can be read), and whether a process holds the lock."""
        with used_session(ledger) as session:
            return _read(session, name), bool(session.held([STATE + name]))

    @property
    def run_id(self) -> str:
        """An ID that changes when the server restarts or fails over, and the last states may be lost."""
        return self._session.run_id

    def read(self) -> bytes:
        """The bytes that the last holder wrote."""
        return _read(self._session, self._name)

    def write(self, state: bytes) -> None:
        """Replace the stored bytes with `state`. Raises LedgerError, also if the lock was lost with the connection."""
        with self._session.steady():
            _check(self._session, STATE + self._name)
            self._session.execute(queries.WRITE_STATE, self._name, state)

    def close(self) -> None:
        """Release the lock."""
        self._session.unlock(STATE + self._name)
        self._session.release()


def _read(session: Session, name: str) -> bytes:
    found = session.execute(queries.READ_STATE, name)
    return bytes(found[0][0]) if found else b""


def _check(session: Session, name: str) -> None:
    if not session.holds(name):
        session.check()
        raise LedgerBusy(
            f"another process holds {name} of the ledger {session.url} since the connection to the server broke",
            "It continues the work.",
        )


@contextlib.contextmanager
def exclusive(ledger: PostgresUrl, work: str) -> Iterator[bool]:
    """Run the block with True if no other process does `work` on that ledger; none can start it meanwhile, unless the connection
    breaks: see `check_exclusive`.

    Raises LedgerError.
    """
    with used_session(ledger) as session:
        if session.try_lock([WORK + work]) is None:
            yield False
            return
        try:
            yield True
        finally:
            session.unlock(WORK + work)


def check_exclusive(ledger: PostgresUrl, work: str) -> None:
    """Raise LedgerError if the lock of `exclusive`, in whose block the caller is, was lost with the connection."""
    with used_session(ledger) as session:
        _check(session, WORK + work)


def is_running(ledger: PostgresUrl, work: str) -> bool:
    """Whether a process does `work` on that ledger under `exclusive`, checked without taking its lock."""
    with used_session(ledger) as session:
        return bool(session.held([WORK + work]))


@contextlib.contextmanager
def dead_owner(ledger: PostgresUrl, owner_id: str) -> Iterator[bool]:
    """Whether that owner's process has ended. While the block runs, no other process gets True."""
    if not _OWNER_ID.fullmatch(owner_id):
        yield True
        return
    with used_session(ledger) as session:
        if session.try_lock([OWNER + owner_id]) is None:
            yield False
            return
        try:
            dead = is_over_now(session, owner_id)
            yield dead
            if dead:
                session.execute(queries.FORGET_OWNER, OWNER + owner_id)
        finally:
            session.unlock(OWNER + owner_id)


def is_alive(ledger: PostgresUrl, owner_id: str) -> bool:
    """Whether that owner's process runs, or may run: see `dead_owners`."""
    return not dead_owners(ledger, [owner_id])


def dead_owners(ledger: PostgresUrl, owner_ids: Collection[str]) -> list[str]:
    """Those of `owner_ids` whose processes have ended, checked without taking a lock.

    A process whose connection broke takes its lock again. So one without its lock counts as dead if it ran on this machine and
    is gone, or once others have seen it without the lock for RETAKE_S (owners.py). After a restart or a failover of the server,
    nobody counts as dead for a while (session.py). Raises LedgerError.
    """
    asked = [each for each in owner_ids if _OWNER_ID.fullmatch(each)]
    dead = [each for each in owner_ids if each not in asked]
    if asked:
        with used_session(ledger) as session:
            dead += ended(session, asked)
    return dead


def owner_ids(ledger: PostgresUrl) -> list[str]:
    """The ids of all owners, alive or dead, that have not closed their lock. Raises LedgerError."""
    with used_session(ledger) as session:
        return _owners(session)


def _owners(session: Session) -> list[str]:
    return [name.removeprefix(OWNER) for (name,) in session.execute(queries.OWNERS)]

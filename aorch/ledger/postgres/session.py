"""The session of a process: one connection that holds its advisory locks, hears the commits of other processes, and announces
its own. All users of the same ledger in the process share it.

The server frees the locks within milliseconds after the process ended, and within 30 s after its machine was unplugged
(KEEPALIVE_S). If the connection breaks, a thread connects again and takes the locks again, unless a newer aorch has upgraded the
ledger. A restart or a failover of the server frees all locks. Until RETURN_S after that, a process without its lock counts as
alive: it may be about to take it again.
"""

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from aorch import logs
from aorch.backoff import Backoff
from aorch.config.ledger_location import PostgresUrl
from aorch.errors import LedgerError, LedgerTooNew
from aorch.ledger.postgres import session_queries as queries
from aorch.ledger.postgres.connection import Connection, connection_to
from aorch.ledger.postgres.failures import as_ledger_error, translated
from aorch.ledger.postgres.notifications import abandon, descriptor, receive, when_notified
from aorch.ledger.postgres.server_checks import refuse_newer
from aorch.ledger.server_errors import ConnectionLost, ServerError
from aorch.process.forking import forget_in_child, no_fork
from aorch.process.whereabouts import whereabouts

RETURN_S = 35.0
"""How long after a failover no process is judged dead: the default `ttl` of Patroni, 30 s, and 5 s."""
SETTLE_S = 2.0
"""How long after a failover slots of agents are only given to the processes that held them before."""
NOTIFY_EVERY_S = 0.02
"""Minimum time between two notifications by a process. One announces all its commits since the last."""
RETRY_LOCKS_S = 0.5
"""How often a process tries to take those locks that it could not take again after a failover."""
CLOSE_S = 0.5
"""How long `release` waits for a thread that is trying to connect."""
_BACKOFF = Backoff(0.05, 1.0, (0.5, 1.0))
_LOGGER = logs.ROOT.getChild("ledger")


class Session:
    """The session of this process on the ledger at `url`. Get it with `used_session`, or with `session_of` and `release`."""

    def __init__(self, url: PostgresUrl) -> None:
        self.url, self.users = url, 0
        self.heard = 0
        """The number of notifications so far. A new connection counts as one: it may have missed some."""
        self.run_id = ""
        """Identifies the run of the server to which this is connected, or was last: see `session_queries.PREPARE`."""
        self.is_listening = False
        """Whether notifications arrive now."""
        self._using = threading.RLock()
        self._connection: Connection | None = None
        self._lost: ServerError | LedgerError | None = None
        self._was_lost = self._closed = self._announce = False
        self._held: dict[str, bool] = {}
        """The names that this process has locked. False: the connection broke, and then another process took the lock."""
        self.forgotten: Counter[str] = Counter()
        """How often the registration of an owner was gone when it took its lock again: perhaps it was judged dead."""
        self._judges_at, self._settled_at, self._announced_at = 0.0, 0.0, float("-inf")
        self._wakers: list[Callable[[], object]] = []
        self._thread: threading.Thread | None = None
        self._bell: tuple[socket.socket, socket.socket] | None = None
        forget_in_child(self)

    # Locks

    def try_lock(self, names: Sequence[str]) -> str | None:
        """Lock the first of `names` that nothing holds, here or in another process, until `unlock`. None if all are held.

        Raises LedgerError.
        """
        with self._using:
            free = [name for name in names if name not in self._held]
            found = self.execute(queries.LOCK, free, 1) if free else []
            for (name,) in found:
                self._held[name] = True
                self._start()
            return found[0][0] if found else None

    def unlock(self, name: str) -> None:
        """Release the lock `name`. If the connection is broken, the server has released it already."""
        with self._using:
            if self._held.pop(name, False) and self._connection is not None:
                with contextlib.suppress(ServerError):
                    self._execute(queries.UNLOCK, name)

    def holds(self, name: str) -> bool:
        """Whether this process locked `name` and no other process has taken it since; False while the connection is broken."""
        return self._held.get(name, False) and self._lost is None

    def steady(self) -> contextlib.AbstractContextManager[object]:
        """In this block no new connection takes the place of the present one: what `holds` found stays true, or the use fails."""
        return self._using

    def held(self, names: Collection[str]) -> set[str]:
        """Those of `names` that this process or another one has locked. Raises LedgerError."""
        own = self._held.keys() & names
        others = [name for name in names if name not in own]
        return own | {name for (name,) in self.execute(queries.HELD, others)} if others else own

    def may_judge(self) -> bool:
        """Whether a process without its lock is dead: not if the server or the connection was lost in the last RETURN_S.

        Raises LedgerError while the connection is broken.
        """
        with self._using, translated(self.url):
            self._opened()
            return time.monotonic() >= self._judges_at

    def is_settled(self) -> bool:
        """Whether each process has had the time to take its locks again (SETTLE_S). Raises LedgerError without a connection."""
        with self._using, translated(self.url):
            self._opened()
            return time.monotonic() >= self._settled_at

    def check(self) -> None:
        """Raise LedgerError if the connection is broken: then other processes do not see that this one is alive."""
        if (lost := self._lost) is not None:
            raise lost if isinstance(lost, LedgerError) else as_ledger_error(self.url, lost)

    def execute(self, sql: str, *values: Any) -> list[Any]:
        """Execute one statement in a transaction of its own, whose commit does not wait for the disk. Raises LedgerError."""
        with self._using, translated(self.url):
            return self._execute(sql, *values)

    # Notifications

    def wake(self, call: Callable[[], object]) -> None:
        """Call `call` in any thread after commits of any process, and when notifications start or stop; until `stop_waking`."""
        with self._using:
            self._wakers.append(call)
            self._start()

    def stop_waking(self, call: Callable[[], object]) -> None:
        """Do not call `call` any more."""
        with self._using, contextlib.suppress(ValueError):
            self._wakers.remove(call)

    def announce(self) -> bool:
        """Notify all processes soon that this one has committed. False if this session cannot do it now."""
        if self.is_listening and not self._announce:
            self._announce = True
            self._ring()
        return self.is_listening

    # Use

    def release(self) -> None:
        """End one use. After the last one, the connection is closed, which frees all locks."""
        with no_fork:
            self.users -= 1
            if self.users > 0 or self._closed:
                return
            self._closed = True
            if _sessions.get(self.url) is self:
                del _sessions[self.url]
        self._ring()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)
        with self._using:
            if self._connection is not None:
                with contextlib.suppress(ServerError):
                    self._notify()
                self._connection.close()
            self._connection, self._lost = None, ConnectionLost("the ledger is closed")

    def forget(self) -> None:
        """In a forked child: hold nothing, and leave the parent's connection alone."""
        if self._connection is not None:
            abandon(self._connection)
        self._close_bell()
        self._using = threading.RLock()
        self._closed, self._thread = True, None
        self._connection, self._lost = None, ConnectionLost("the ledger was opened before this process was forked")
        self._held, self._wakers, self.is_listening = {}, [], False
        _sessions.pop(self.url, None)

    # The connection

    def _execute(self, sql: str, *values: Any) -> list[Any]:
        connection = self._opened()
        try:
            return connection.execute(sql, values).fetchall()
        except ConnectionLost as error:
            self._lose(error)
            raise

    def _opened(self) -> Connection:
        """The connection, opened if this is the first use. Raises ServerError while it is broken."""
        if self._connection is None:
            if self._lost is not None:
                raise self._lost
            self._adopt(connection_to(self.url))
        assert self._connection is not None
        return self._connection

    def _adopt(self, connection: Connection) -> None:
        """Make a new connection that of this session: listen, and take the locks again. Raises LedgerTooNew."""
        try:
            if self._was_lost:
                refuse_newer(connection)
            when_notified(connection, self._hear)
            connection.commit_without_sync()
            channel, run_id, age_s = prepare(connection)
            connection.execute(f"LISTEN {channel}")
            taken = {name for (name,) in connection.execute(queries.LOCK, (list(self._held), None)).fetchall()}
            if owners := [name for name in taken if name.startswith(queries.OWNER)]:
                self._note_forgotten(connection.execute(queries.REGISTER_OWNERS, (whereabouts(), owners)).fetchall())
        except BaseException:
            connection.close()
            raise
        moment = time.monotonic()
        self._judges_at = moment + (RETURN_S if self._was_lost else max(0.0, RETURN_S - age_s))
        self._settled_at = moment + max(0.0, SETTLE_S - age_s)
        for name in self._held:
            self._held[name] = name in taken
        self.run_id = run_id
        self._connection, self._lost, self.is_listening = connection, None, self._thread is not None
        self.heard += 1

    def _lose(self, error: ServerError) -> None:
        if self._connection is None:
            return
        self._connection.close()
        self._connection, self.is_listening, self._was_lost = None, False, True
        if self._thread is not None:  # without it nothing is locked: the next use connects again
            self._lost = error
            _LOGGER.warning("the connection for the locks of this process is lost: %s", " ".join(str(error).split()))
            self._ring()
        self._call_wakers()

    # The thread

    def _start(self) -> None:
        """Start the thread, if it does not run yet."""
        if self._thread is None:
            with no_fork:
                self._bell = socket.socketpair()
                for end in self._bell:
                    end.setblocking(False)
                self._thread = threading.Thread(target=self._work, name="aorch-ledger-session", daemon=True)
                self.is_listening = self._connection is not None
                self._thread.start()

    def _work(self) -> None:
        failures = 0
        while not self._closed:
            if self._connection is None:
                failures = 0 if self._connect() else failures + 1
                if failures:  # to a ledger that is too new, no later attempt succeeds either
                    self._wait(None, None if isinstance(self._lost, LedgerTooNew) else _BACKOFF.pause_s(failures))
                continue
            self._wait(self._connection, self._pause_s())
            with self._using:
                if self._connection is not None and not self._closed:
                    self._turn(self._connection)
        self._close_bell()

    def _turn(self, connection: Connection) -> None:
        try:
            receive(connection)
            if time.monotonic() >= self._announced_at + NOTIFY_EVERY_S:
                self._notify()
            self._retry_locks()
        except ConnectionLost as error:
            self._lose(error)
        except ServerError as error:  # such as a full queue of notifications: the connection and its locks remain
            _LOGGER.warning("the server rejects a statement about locks or notifications: %s", error)

    def _connect(self) -> bool:
        """Connect, again if the connection was lost. Returns whether that succeeded."""
        returns = self._was_lost
        try:
            connection = connection_to(self.url)
            with self._using:
                if self._connection is not None or self._closed:  # another thread was faster
                    connection.close()
                    return True
                self._adopt(connection)
        except (ServerError, LedgerError) as error:
            self._lost, self._was_lost = error, True
            return False
        if returns:
            gone = [name for name, is_held in self._held.items() if not is_held]
            others = f", but other processes hold {', '.join(gone)}" if gone else ""
            _LOGGER.warning("the connection for the locks of this process is back%s", others)
        self._call_wakers()
        return True

    def _ring(self) -> None:
        if (bell := self._bell) is not None:
            with contextlib.suppress(OSError):  # it is full, so it rings already; or the thread has just ended
                bell[1].send(b"!")

    def _close_bell(self) -> None:
        bell, self._bell = self._bell, None
        for end in bell or ():
            end.close()

    def _wait(self, connection: Connection | None, wait_s: float | None) -> None:
        """Wait until the server sends something or `_ring` is called, for up to `wait_s` seconds."""
        assert self._bell is not None
        poll = select.poll()
        poll.register(self._bell[0], select.POLLIN)
        if connection is not None and not connection.is_lost:
            with contextlib.suppress(ServerError):
                poll.register(descriptor(connection), select.POLLIN)
        poll.poll(None if wait_s is None else wait_s * 1000)
        with contextlib.suppress(OSError):
            self._bell[0].recv(4096)

    def _pause_s(self) -> float | None:
        """How long the thread may wait for the server (seconds); None: until it sends something."""
        if self._announce:
            return max(0.0, self._announced_at + NOTIFY_EVERY_S - time.monotonic())
        return RETRY_LOCKS_S if self._lost_names() else None

    def _hear(self) -> None:
        self.heard += 1
        self._call_wakers()

    def _notify(self) -> None:
        if self._announce:
            self._announce, self._announced_at = False, time.monotonic()
            self._execute(queries.NOTIFY)

    def _retry_locks(self) -> None:
        if names := self._lost_names():
            for (name,) in self._execute(queries.LOCK, names, None):
                if name.startswith(queries.OWNER):
                    self._note_forgotten(self._execute(queries.REGISTER_OWNERS, whereabouts(), [name]))
                self._held[name] = True

    def _note_forgotten(self, registered: list[tuple[str, int]]) -> None:
        self.forgotten.update(dict(registered))

    def _lost_names(self) -> list[str]:
        """The locks to be taken again: not those of a work or a state, because the other process continues it."""
        return [name for name, held in list(self._held.items()) if not held and name.startswith(queries.RETAKEN)]

    def _call_wakers(self) -> None:
        for call in list(self._wakers):
            try:
                call()
            except RuntimeError:  # its event loop is closed
                self.stop_waking(call)


def prepare(connection: Connection) -> tuple[str, str, float]:
    """Prepare a new connection for a session. Returns the channel of notifications, as an SQL identifier, the ID of the run of
    the server, and for how many seconds this run lasts (infinite: since the ledger was created).
    """
    channel, run, moment, known_run, known_moment = connection.execute(queries.PREPARE).fetchall()[0]
    if known_run is None:
        connection.execute(queries.REMEMBER_RUN, (run, 0))
        return channel, run, float("inf")
    if run != known_run:
        connection.execute(queries.REMEMBER_RUN, (run, moment))
        return channel, run, 0.0
    return channel, run, moment - known_moment


_sessions: dict[PostgresUrl, Session] = {}


def session_of(url: PostgresUrl) -> Session:
    """The session of this process on that ledger, until `release`. It connects when it is first needed."""
    with no_fork:
        session = _sessions.get(url)
        if session is None:
            session = _sessions[url] = Session(url)
        session.users += 1
        return session


@contextmanager
def used_session(url: PostgresUrl) -> Iterator[Session]:
    """The session of this process on that ledger, for the block."""
    session = session_of(url)
    try:
        yield session
    finally:
        session.release()


def announce(connection: Connection) -> None:
    """Notify all processes that `connection` has committed: through the session of this process, or by `connection` itself. If
    that fails, the others find out by polling.
    """
    session = _sessions.get(connection.location)
    if session is None or not session.announce():
        with contextlib.suppress(ServerError):
            connection.execute(queries.NOTIFY)

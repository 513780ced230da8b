"""Locks between processes on PostgreSQL: who holds one, what the next holder finds, and what a lost connection changes."""

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from cut_connections import CUT, cut_off
from forks import in_child
from postgres_servers import Cluster
from rows import request
from waiting import wait_for

from aorch.config.ledger_location import PostgresUrl
from aorch.errors import LedgerBusy, LedgerError, LedgerTooNew
from aorch.ledger.commit_durations import PublishedCommits, published
from aorch.ledger.ledger import Ledger
from aorch.ledger.postgres import session_queries
from aorch.ledger.postgres.agent_limits import AgentLimits
from aorch.ledger.postgres.commit_feed import SNAPSHOT, CommitFeed
from aorch.ledger.postgres.connection import Connection, connection_to
from aorch.ledger.postgres.locks import (
    LockedState,
    ProcessLock,
    check_exclusive,
    dead_owner,
    dead_owners,
    exclusive,
    is_alive,
    is_running,
    owner_ids,
)
from aorch.ledger.postgres.session import announce, used_session

HOLDER = """
import sys
from aorch.config.ledger_location import PostgresUrl
from aorch.ledger.postgres.agent_limits import AgentLimits
from aorch.ledger.postgres.locks import LockedState, ProcessLock
ledger = PostgresUrl(sys.argv[1])
state, lock, limits = LockedState(ledger, "work"), ProcessLock(ledger), AgentLimits(ledger, "../a/b", 2, None)
state.write(b"half done")
print(lock.owner_id, limits.take(), limits.take(), flush=True)
sys.stdin.read()
"""

SHADOW = (
    "CREATE FUNCTION shadow.pg_notify(text, text) RETURNS void LANGUAGE plpgsql"
    " AS $$ BEGIN RAISE 'too many notifications in the NOTIFY queue'; END $$"
)


@pytest.fixture
def connection(postgres: PostgresUrl) -> Iterator[Connection]:
    """A connection of another program."""
    with closing(connection_to(postgres)) as connection:
        yield connection


@pytest.fixture
def ledger(postgres: PostgresUrl, connection: Connection) -> PostgresUrl:
    """The URL of a database with the table of states."""
    connection.execute(session_queries.CREATE_STATES)
    return postgres


def test_what_a_killed_process_held_is_free_at_once_and_its_state_is_there(ledger: PostgresUrl) -> None:
    limits = AgentLimits(ledger, "../a/b", 2, None)
    assert limits.look() == (2, 0.0)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(ledger)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        owner_id, *taken = process.stdout.readline().split()
        assert taken == ["0.0", "0.0"]
        assert LockedState.peek(ledger, "work") == (b"half done", True)
        assert is_alive(ledger, owner_id)
        assert limits.look()[0] == 0
        assert 0 < limits.take() <= 0.05
        with pytest.raises(BlockingIOError):
            LockedState(ledger, "work")
        with dead_owner(ledger, owner_id) as dead:
            assert not dead
        process.kill()
    wait_for(lambda: LockedState.peek(ledger, "work") == (b"half done", False))
    assert dead_owners(ledger, [owner_id]) == [owner_id]
    with dead_owner(ledger, owner_id) as dead, dead_owner(ledger, owner_id) as other:
        assert (dead, other) == (True, False)
    assert (limits.take(), limits.take(), limits.take()) == (0.0, 0.0, math.inf)
    with closing(LockedState(ledger, "work")) as state:
        assert state.read() == b"half done"
        state.write(b"done \xff")
        assert state.read() == b"done \xff"
    limits.release()
    limits.release()


def test_a_process_that_only_lost_its_connection_is_not_judged_dead(
    ledger: PostgresUrl, connection: Connection, cluster: Cluster
) -> None:
    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(ledger)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
        exclusive(ledger, "sweep"),  # keeps the session of this process
        used_session(ledger) as session,
    ):
        assert process.stdout is not None
        owner_id = process.stdout.readline().split()[0]
        ((own,),) = session.execute("SELECT pg_backend_pid()")
        with cut_off(connection, cluster, f" AND pid <> {own}"):
            wait_for(lambda: not session.held([f"owner/{owner_id}"]))
            assert dead_owners(ledger, [owner_id]) == []
            with dead_owner(ledger, owner_id) as dead:
                assert not dead
            assert missing_since(connection, owner_id) < math.inf
        wait_for(lambda: session.held([f"owner/{owner_id}"]) and missing_since(connection, owner_id) == math.inf)
        connection.execute(
            "UPDATE process_states SET state = 'a process of another machine' WHERE name LIKE 'owner/%%'"
        )
        process.kill()
        wait_for(lambda: not session.held([f"owner/{owner_id}"]))
        assert dead_owners(ledger, [owner_id]) == [], "it may be about to connect again"
        connection.execute("UPDATE process_states SET moment = moment - 10 WHERE name LIKE 'owner/%%'")
        assert dead_owners(ledger, [owner_id]) == [owner_id]
        assert owner_ids(ledger) == [owner_id]
        with dead_owner(ledger, owner_id) as dead:
            assert dead
        assert owner_ids(ledger) == []


def missing_since(connection: Connection, owner_id: str) -> float:
    ((moment,),) = connection.execute(f"SELECT moment FROM process_states WHERE name = 'owner/{owner_id}'").fetchall()
    return float(moment)


def test_a_statement_that_the_server_rejects_costs_no_lock(
    ledger: PostgresUrl, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(ProcessLock(ledger)) as lock, used_session(ledger) as session:
        wait_for(lambda: session.is_listening)
        heard = session.heard
        connection.execute("CREATE SCHEMA shadow")
        connection.execute(SHADOW)
        session.execute("SELECT set_config('search_path', 'public, shadow, pg_catalog', false)")
        session.announce()
        wait_for(lambda: "rejects" in caplog.text)
        assert session.holds(f"owner/{lock.owner_id}")
        connection.execute("DROP FUNCTION shadow.pg_notify(text, text)")
        session.announce()
        wait_for(lambda: session.heard > heard)
        assert [each.levelname for each in caplog.records] == ["WARNING"]


def test_locks_hold_within_a_process_too(ledger: PostgresUrl) -> None:
    with exclusive(ledger, "sweep") as first, exclusive(ledger, "sweep") as second, exclusive(ledger, "mop") as other:
        assert (first, second, other, is_running(ledger, "sweep")) == (True, False, True, True)
        check_exclusive(ledger, "sweep")
    with exclusive(ledger, "sweep") as again:
        assert again
    assert not is_running(ledger, "sweep")
    one, two = AgentLimits(ledger, "a\x00\ud800", 2, None), AgentLimits(ledger, "a\x00\ud800", 2, None)
    assert (one.take(), two.take(), one.take() > 0) == (0.0, 0.0, True)
    two.release()
    assert (one.look(), one.take(), two.look()[0]) == ((1, 0.0), 0.0, 0)
    one.release()
    one.release()


def test_calls_of_several_processes_are_spaced_by_the_rate(ledger: PostgresUrl, connection: Connection) -> None:
    one, other = AgentLimits(ledger, "agent", 3, 30), AgentLimits(ledger, "agent", 3, 30)
    assert (one.look(), one.take()) == ((1, 0.0), 0.0)
    assert 1 < other.take() <= 2
    free, wait_s = other.look()
    assert (free, 1 < wait_s <= 2) == (0, True)
    assert AgentLimits(ledger, "agent", 3, None).look()[0] == 2, "the call that had to wait took no slot"
    connection.execute("UPDATE process_states SET moment = 1e300")  # a time that no call can have set counts as past
    assert (other.take(), one.take() > 1) == (0.0, True)
    one.release()
    other.release()


def test_a_forked_child_does_not_hold_its_parent_s_locks(ledger: PostgresUrl) -> None:
    limits = AgentLimits(ledger, "agent", 1, None)
    with closing(ProcessLock(ledger)) as lock:
        assert limits.take() == 0.0

        def use_and_release() -> None:
            limits.release()
            lock.close()
            assert limits.look()[0] == 0, "the parent holds the slot"
            assert is_alive(ledger, lock.owner_id)

        assert in_child(use_and_release) == 0
        assert limits.look()[0] == 0
        with used_session(ledger) as session:
            assert session.holds(f"owner/{lock.owner_id}")
        limits.release()
    assert dead_owners(ledger, [lock.owner_id]) == [lock.owner_id]


def test_a_process_takes_its_locks_again_when_its_connection_was_cut(
    ledger: PostgresUrl, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(ProcessLock(ledger)) as lock, used_session(ledger) as session, exclusive(ledger, "sweep"):
        connection.execute(CUT)
        wait_for(lambda: session.heard == 2 and session.holds("work/sweep"))
        assert session.holds(f"owner/{lock.owner_id}")
        check_exclusive(ledger, "sweep")
        assert dead_owners(ledger, ["0" * 26]) == [], "after a cut, no process is judged dead for a while"
        with dead_owner(ledger, "0" * 26) as dead:
            assert not dead
    assert [each.levelname for each in caplog.records] == ["WARNING", "WARNING"]


def test_a_process_of_an_older_aorch_gets_no_lock_back_after_an_upgrade(
    postgres: PostgresUrl, connection: Connection
) -> None:
    """It can write nothing more, so processes of the newer aorch take over its tasks."""
    with closing(Ledger(postgres)), closing(ProcessLock(postgres)) as lock:

        def is_refused() -> bool:
            try:
                lock.check()
            except LedgerTooNew:
                return True
            except LedgerError:  # it is connecting
                pass
            return False

        held = session_queries.HELD, ([f"owner/{lock.owner_id}"],)
        assert connection.execute(*held).fetchall()
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute(CUT)
        wait_for(is_refused)
        assert not connection.execute(*held).fetchall()


def test_a_process_that_cannot_connect_again_says_so_and_gives_up_work_that_another_one_took(
    ledger: PostgresUrl, connection: Connection, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(ProcessLock(ledger)) as lock, used_session(ledger) as session, exclusive(ledger, "sweep"):
        state, limits = LockedState(ledger, "trace"), AgentLimits(ledger, "agent", 1, None)
        with closing(state):
            with cut_off(connection, cluster):
                wait_for(lambda: not session.holds(f"owner/{lock.owner_id}"))
                for use in (lock.check, lambda: check_exclusive(ledger, "sweep"), lambda: state.write(b"")):
                    with pytest.raises(LedgerError, match="ledger"):
                        use()
                with suppress(LedgerError):
                    limits.take()
                assert connection.execute(session_queries.LOCK, (["work/sweep", "state/trace"], 2)).fetchall()
            wait_for(lambda: session.holds(f"owner/{lock.owner_id}"))
            lock.check()
            with pytest.raises(LedgerBusy, match="another process"):
                check_exclusive(ledger, "sweep")
            with pytest.raises(LedgerBusy, match="another process"):
                state.write(b"")
    assert "other processes hold" in caplog.text


def test_commits_wake_the_other_processes_and_a_broken_connection_wakes_them_too(
    ledger: PostgresUrl, connection: Connection
) -> None:
    woken: list[int] = []
    with used_session(ledger) as session:
        session.wake(lambda: woken.append(1))
        wait_for(lambda: session.is_listening)
        for _ in range(3):
            before = session.heard
            announce(connection)
            wait_for(lambda before=before: session.heard > before)
        before, seen = session.heard, len(woken)
        connection.execute(CUT)
        wait_for(lambda: session.is_listening and session.heard > before)
        assert len(woken) >= seen + 2


def test_a_change_is_seen_by_notification_and_by_polling_while_there_is_none(
    ledger: PostgresUrl, connection: Connection, cluster: Cluster
) -> None:
    with (
        closing(connection_to(ledger)) as reader,
        closing(CommitFeed(ledger, lambda: str(reader.execute(SNAPSHOT).fetchall()[0][0]))) as feed,
    ):
        polled = feed.version()
        assert not feed.notifies
        connection.execute("CREATE TABLE other ()")
        assert feed.version() > polled
        feed.wake(lambda: None)
        wait_for(lambda: feed.notifies)
        notified = feed.version()
        assert feed.version() == notified
        announce(connection)
        wait_for(lambda: feed.version() > notified)
        with cut_off(connection, cluster, " AND query NOT LIKE '%%pg_current_snapshot%%'"):
            wait_for(lambda: not feed.notifies)
            broken = feed.version()
            assert feed.version() == broken
            connection.execute("DROP TABLE other")
            assert feed.version() > broken
        wait_for(lambda: feed.notifies)
        assert feed.version() > broken + 1


async def test_a_process_continues_to_publish_its_commits_when_another_one_took_its_file(
    postgres: PostgresUrl, connection: Connection, cluster: Cluster
) -> None:
    with closing(Ledger(postgres)) as ledger, closing(PublishedCommits(ledger, "serve")) as commits:
        await ledger.write_request(request())
        commits.publish()
        with cut_off(connection, cluster):
            wait_for(lambda: connection.execute(session_queries.LOCK, (["state/owners/commits-serve-1"], 1)).fetchall())
        with used_session(postgres) as session:
            wait_for(lambda: session.holds(f"owner/{ledger.owner_id}"))
        await ledger.write_request(request())
        commits.publish()
        assert [sum(each.counts) for _, each in published(postgres)] == [1, 1]

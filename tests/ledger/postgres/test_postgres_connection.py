"""Connections to a PostgreSQL database: values, rows, transactions, errors."""

import os
import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from postgres_servers import Cluster
from waiting import WAIT_S, wait_for

from aorch.config.ledger_location import PostgresUrl
from aorch.errors import LedgerBusy, LedgerError, LedgerGone, LedgerInvalid
from aorch.ledger.postgres.connection import Connection, connection_to, savepoint, transaction
from aorch.ledger.postgres.failures import translated
from aorch.ledger.server_errors import RowRejected, ServerError


@pytest.fixture
def connection(postgres: PostgresUrl) -> Iterator[Connection]:
    with closing(connection_to(postgres)) as connection:
        connection.execute("CREATE TABLE t (id bigint CONSTRAINT pk_t PRIMARY KEY, name text)")
        yield connection


def test_rows_look_as_those_of_sqlite(connection: Connection) -> None:
    sql = "SELECT 1::int, 2::bigint, sum(x), true, avg(x), 1.5::float8, 'é', NULL FROM generate_series(1, 4) x"
    assert connection.execute(sql).fetchall() == [(1, 2, 10, 1, 2.5, 1.5, "é", None)]


def test_a_number_or_truth_is_a_bigint_parameter(connection: Connection) -> None:
    connection.execute("INSERT INTO t VALUES (%s, %s)", (True, "a"))
    connection.executemany("INSERT INTO t VALUES (%s, %s)", [(2**62, "b"), (-3, None)])
    assert connection.execute("SELECT id, name FROM t ORDER BY id").fetchall() == [(-3, None), (1, "a"), (2**62, "b")]


def test_a_transaction_commits_at_its_end_and_rolls_back_if_it_raises(connection: Connection) -> None:
    with transaction(connection):
        connection.execute("INSERT INTO t VALUES (1, 'kept')")
        with suppress(RowRejected), savepoint(connection):
            connection.execute("INSERT INTO t VALUES (1, 'rejected')")
    with suppress(KeyError), transaction(connection):
        connection.execute("INSERT INTO t VALUES (2, 'lost')")
        raise KeyError
    assert not connection.in_transaction
    assert connection.execute("SELECT name FROM t").fetchall() == [("kept",)]


def test_one_transaction_at_a_time_writes(connection: Connection, postgres: PostgresUrl) -> None:
    begun = threading.Event()

    def write() -> None:
        with closing(connection_to(postgres)) as other:
            begun.set()
            with transaction(other):
                other.execute("INSERT INTO t SELECT max(id) + 1, 'second' FROM t")

    with transaction(connection):
        thread = threading.Thread(target=write)
        thread.start()
        assert begun.wait(WAIT_S)
        connection.execute("INSERT INTO t VALUES (1, 'first')")
    thread.join(WAIT_S)
    assert connection.execute("SELECT name FROM t ORDER BY id").fetchall() == [("first",), ("second",)]


def test_a_wait_for_the_write_lock_ends_when_it_is_not_wanted_any_more(
    connection: Connection, postgres: PostgresUrl
) -> None:
    raised: list[BaseException] = []
    with closing(connection_to(postgres)) as other, transaction(connection):

        def wait() -> None:
            try:
                with transaction(other):
                    pass
            except ServerError as error:
                raised.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        other.may_wait = lambda: False
        thread.join(5)
        with pytest.raises(LedgerBusy, match="locked by another process"), translated(postgres):
            raise raised[0]
        assert other.execute("SELECT 1").fetchone() == (1,)


def test_a_write_gives_up_if_the_lock_is_not_free_in_time_and_keeps_its_connection(
    connection: Connection, postgres: PostgresUrl
) -> None:
    connection.execute("SET lock_timeout = '50ms'")
    backend = connection.raw.info.backend_pid
    with closing(connection_to(postgres)) as other, transaction(other):
        connection.reconnect_s = 0.0
        with pytest.raises(LedgerBusy, match="locked by another process"), translated(postgres):
            connection.transact(lambda: None)
    assert connection.raw.info.backend_pid == backend


def test_a_write_gives_up_if_its_connection_breaks_each_time(connection: Connection, postgres: PostgresUrl) -> None:
    connection.reconnect_s, calls = 0.3, [0]

    def work() -> None:
        calls[0] += 1
        with closing(connection_to(postgres)) as other:
            other.execute("SELECT pg_terminate_backend(%s::int)", (connection.raw.info.backend_pid,))
        connection.execute("SELECT 1")

    with pytest.raises(LedgerGone), translated(postgres):
        connection.transact(work)
    assert calls[0] > 1


def test_a_write_works_in_a_process_with_more_than_1024_open_files(postgres: PostgresUrl) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2048)), hard))
    with Path(os.devnull).open() as file:
        opened = [os.dup(file.fileno())]
        try:
            while opened[-1] < 1024:
                opened.append(os.dup(file.fileno()))
            with closing(connection_to(postgres)) as connection, transaction(connection):
                assert connection.raw.fileno() > 1024
        finally:
            for each in opened:
                os.close(each)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_missing_certificate_is_not_reported_as_a_missing_database() -> None:
    """The server here accepts TLS, and then libpq looks for the certificate."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            client, _ = server.accept()
            with client:
                client.recv(8)
                client.sendall(b"S")
                client.recv(1)

        thread = threading.Thread(target=accept)
        thread.start()
        port = server.getsockname()[1]
        location = PostgresUrl(f"postgresql://me@127.0.0.1:{port}/db?sslmode=verify-full&sslrootcert=/missing.crt")
        with pytest.raises(LedgerError, match=r"no secure connection.*/missing\.crt") as raised, translated(location):
            connection_to(location)
        thread.join(5)
    assert "`ssl`" in str(raised.value.hint)


def test_a_server_that_takes_no_connection_is_asked_by_few_of_many_callers() -> None:
    asked = 0
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:

        def refuse() -> None:
            nonlocal asked
            with suppress(OSError):  # the end of the test
                while True:
                    client, _ = server.accept()
                    client.close()
                    asked += 1

        def connect(_: int) -> str:
            with pytest.raises(ServerError) as raised:
                connection_to(location)
            return str(raised.value)

        threading.Thread(target=refuse).start()
        location = PostgresUrl(f"postgresql://127.0.0.1:{server.getsockname()[1]}/db?sslmode=disable")
        with ThreadPoolExecutor(4) as threads:
            said = list(threads.map(connect, range(200)))
        server.shutdown(socket.SHUT_RDWR)
    assert set(said) == {said[0]}
    assert asked < 50


def test_a_caller_that_was_refused_connects_once_the_server_takes_connections(cluster: Cluster) -> None:
    with cluster.database() as other:
        location = PostgresUrl(cluster.url(name := f"{other}_late"))
        with pytest.raises(ServerError, match="does not exist"):
            connection_to(location)
        cluster.psql(f"CREATE DATABASE {name}")
        try:
            wait_for(lambda: _is_open(location))
        finally:
            cluster.psql(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_server_learns_within_30_s_that_a_machine_is_gone(connection: Connection) -> None:
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
    sql = "SELECT setting::int FROM pg_settings WHERE name = ANY (%s) AND source = 'session' ORDER BY name"
    count, idle, interval = (value for (value,) in connection.execute(sql, (list(names),)).fetchall())
    assert idle + count * interval <= 30


def test_a_commit_waits_for_the_disk_whatever_the_role_sets(connection: Connection, postgres: PostgresUrl) -> None:
    connection.execute("ALTER ROLE CURRENT_USER IN DATABASE " + _name(postgres) + " SET synchronous_commit = off")
    with closing(connection_to(postgres)) as other:
        assert other.execute("SHOW synchronous_commit").fetchone() == ("on",)


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("postgresql://127.0.0.1:{port}/postgres?user=nobody", LedgerError, "rejects the login"),
        ("postgresql:///missing?host={folder}&port={port}&user=aorch", LedgerInvalid, "does not exist"),
        ("postgresql:///postgres?host={folder}&port=1&user=aorch", LedgerGone, "cannot reach the server"),
        ("postgresql://host/db?colour=red", LedgerError, 'invalid URI query parameter: "colour"'),
    ],
)
def test_a_connection_that_fails_names_the_reason(
    cluster: Cluster, url: str, kind: type[LedgerError], said: str
) -> None:
    location = PostgresUrl(url.format(port=cluster.port, folder=cluster.folder))
    with pytest.raises(kind, match=said) as raised, translated(location):
        connection_to(location)
    assert raised.value.hint or kind is LedgerError


def _is_open(location: PostgresUrl) -> bool:
    with suppress(ServerError), closing(connection_to(location)):
        return True
    return False


def _name(location: PostgresUrl) -> str:
    return str(location).partition("?")[0].rpartition("/")[2]

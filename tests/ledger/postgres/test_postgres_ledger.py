"""A ledger in a PostgreSQL database has the tables of one in SQLite, executes the same statements, and keeps the same bytes."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from ports import free_port
from postgres_servers import Cluster
from rows import empty_ledger, pairs, put
from sqlalchemy import create_engine, inspect, pool
from transfer_cases import exported, rows, write
from waiting import wait_for

from aorch.config.ledger_location import PostgresUrl, postgres_url
from aorch.errors import LedgerError, LedgerInvalid, LedgerReadOnly, LedgerTooNew, UsageError
from aorch.ledger.database import Database, connect
from aorch.ledger.postgres import statements
from aorch.ledger.postgres.connection import connection_to, raw_connection
from aorch.ledger.postgres.migrate import connection_for_migrations
from aorch.ledger.postgres.twins import own_text
from aorch.ledger.sqlite import statements as sqlite
from aorch.ledger.transfer import import_contracts

NAMES = [name for name in vars(statements) if name.isupper() and name != "REVISION"]
ONLY_HERE = {"process_states"}
"""A table for what SQLite's package stores in files next to the ledger."""
VIEWS = {"session_index", "session_turns"}
"""Tables of SQLite that are views here."""
OTHER_INDEXES = {
    "ix_contracts_queue",
    "ix_contracts_session_id_position",
    "ix_contracts_session_id_priority_turn",
    "ix_contracts_capability_to_agent_required_labels_priority_turn",
}


@pytest.fixture(scope="module")
def ledger(cluster: Cluster) -> Iterator[PostgresUrl]:
    """An empty ledger, which only tests that write nothing use."""
    with cluster.database() as name:
        location = PostgresUrl(cluster.url(name))
        connect(location).close()
        yield location


def test_the_server_can_prepare_each_statement(ledger: PostgresUrl) -> None:
    """The pieces of composed statements are executed by the tests of reading."""
    prepared = 0
    with closing(raw_connection(ledger, autocommit=True)) as raw:
        for number, name in enumerate(NAMES):
            text = getattr(statements, name)
            if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", text):
                counted = iter(range(1, text.count("%s") + 1))
                numbered = re.sub("%s", lambda _, counted=counted: f"${next(counted)}", text).replace("%%", "%")  # type: ignore[misc]
                raw.execute(f"PREPARE p{number} AS {numbered}".encode(), prepare=False)
                prepared += 1
    assert prepared > 200


def test_the_head_of_the_queue_is_read_in_its_order_without_a_sort(ledger: PostgresUrl) -> None:
    """So a claim reads as many tasks as it claims, however many are queued."""
    text = statements.QUEUE_HEAD.replace("%s::BIGINT", "%s")
    with closing(raw_connection(ledger, autocommit=True)) as raw:
        raw.execute("SET enable_seqscan = off")
        plan = raw.execute(f"EXPLAIN {text}".encode(), ("echo", None, None, 32)).fetchall()
    assert "ix_contracts_queue" in str(plan)
    assert "Sort" not in str(plan)


def test_a_statement_of_sqlite_has_one_text_here() -> None:
    """The connection finds its own text by that of SQLite, so two names with one text there must have one text here."""
    texts = defaultdict(set)
    for name in NAMES:
        texts[getattr(sqlite, name)].add(getattr(statements, name))
        assert own_text(getattr(sqlite, name)) == getattr(statements, name)
    assert {text: found for text, found in texts.items() if len(found) > 1} == {}


def test_a_new_ledger_has_the_tables_and_rows_of_one_in_sqlite(ledger: PostgresUrl) -> None:
    with closing(connect(ledger)) as ours, closing(connect(empty_ledger())) as theirs:
        for sql in (
            "SELECT * FROM queue_clock ORDER BY priority",
            "SELECT value FROM counters WHERE name = 'deleted_contracts'",
            "SELECT version_num FROM alembic_version",
        ):
            assert ours.execute(sql).fetchall() == theirs.execute(sql).fetchall()
    engine = create_engine("postgresql+psycopg://", creator=lambda: raw_connection(ledger), poolclass=pool.NullPool)
    found, known = described(engine), described(create_engine(f"sqlite:///{empty_ledger()}"))
    assert found.keys() - ONLY_HERE == known.keys() - VIEWS
    assert {name: found[name] for name in known if name not in VIEWS} == {
        name: table for name, table in known.items() if name not in VIEWS
    }
    assert set(inspect(engine).get_view_names()) >= VIEWS


def described(engine: Any) -> dict[str, Any]:
    """Each table with its columns, keys and indexes, but for those that the two databases have differently on purpose."""
    looking = inspect(engine)
    return {
        table: {
            "columns": [(each["name"], each["nullable"]) for each in looking.get_columns(table)],
            "key": looking.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(str(each["column_names"]) for each in looking.get_unique_constraints(table)),
            "indexes": {
                (each["name"], tuple(each["column_names"]), bool(each["unique"]))
                for each in looking.get_indexes(table)
                if each["name"] not in OTHER_INDEXES and not str(each["name"]).startswith("uq_")
            },
        }
        for table in looking.get_table_names()
        if not table.startswith("contracts_text")
    }


def test_text_has_the_collation_c_and_numbers_64_bits(ledger: PostgresUrl) -> None:
    sql = (
        "SELECT DISTINCT data_type, collation_name FROM information_schema.columns c JOIN information_schema.tables USING"
        " (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        " AND data_type <> 'tsvector'"
        " AND table_name NOT IN ('alembic_version', 'process_states') AND column_name NOT IN (SELECT unnest(%s::text[]))"
    )
    json = ["payload", "result", "metadata", "scopes", "capabilities", "progress", "block", "beside", "selection"]
    with closing(connection_to(ledger)) as connection:
        found = set(connection.execute(sql, ([*json, "document", "unconfirmed"],)).fetchall())
    assert found == {("bigint", None), ("text", "C"), ("double precision", None)}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contracts=some.lists(rows, min_size=1, max_size=4, unique_by=lambda row: row.contract_id))
def test_contracts_go_from_one_database_to_the_other_byte_for_byte(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, contracts: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("transfer")
    file, there, back = write(folder / "in.jsonl", *contracts), folder / "there.jsonl", folder / "back.jsonl"
    with cluster.database() as name:
        ours, theirs = PostgresUrl(cluster.url(name)), folder / "theirs.db"
        import_contracts(theirs, file)
        there.write_bytes(exported(theirs))
        import_contracts(ours, there)
        assert exported(ours) == there.read_bytes()
        back.write_bytes(exported(ours))
        import_contracts(folder / "again.db", back)
        assert exported(folder / "again.db") == there.read_bytes()


@pytest.mark.parametrize(
    "payload",
    [
        '{"a":1,"b":2,"a":3}',
        '{"n":123456789012345678901234567890.10}',
        r'{"nul":"\u0000","half":"\ud800"}',
        '{ "spaces" : [ 1 , 2 ] }',
    ],
)
def test_a_payload_is_kept_as_it_was_written(postgres: PostgresUrl, payload: str) -> None:
    """Keys twice, numbers of any size and escapes that PostgreSQL's own types for JSON change or refuse."""
    (contract, _) = pairs(1)
    put(postgres, contract._replace(payload=payload, metadata=payload))
    with closing(connect(postgres)) as connection:
        found = connection.execute("SELECT payload, aorch_json_text(metadata, 'n') FROM contracts").fetchone()
    assert found[0] == payload
    assert found[1] == ("123456789012345678901234567890.10" if '"n"' in payload else None)


# What is refused


def refusal(location: PostgresUrl, kind: type[LedgerError]) -> str:
    with pytest.raises(kind) as raised:
        connect(location)
    assert raised.value.hint
    return str(raised.value)


def test_the_database_of_another_program_is_refused(postgres: PostgresUrl) -> None:
    with closing(connection_to(postgres)) as connection:
        connection.execute("CREATE TABLE customers (id int)")
    assert "another program's database" in refusal(postgres, LedgerInvalid)


def test_a_ledger_of_a_newer_aorch_is_refused(postgres: PostgresUrl) -> None:
    with closing(connect(postgres)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "revision 9999 of a newer aorch" in refusal(postgres, LedgerTooNew)


def test_a_database_that_cannot_store_every_text_is_refused(cluster: Cluster) -> None:
    with cluster.database(encoding="LATIN1") as name:
        assert "LATIN1" in refusal(PostgresUrl(cluster.url(name)), LedgerInvalid)


def test_a_server_that_only_reads_is_refused_for_writing(postgres: PostgresUrl) -> None:
    connect(postgres).close()
    with closing(connection_to(postgres)) as connection:
        name = connection.one("SELECT current_database()")[0]
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "read-only replica" in refusal(postgres, LedgerReadOnly)
    with Database(postgres).peek() as reading:
        assert reading.execute(sqlite.CONTRACT_TOTAL).fetchone() == (0,)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@host/db",
        "postgres://host/db?password=secret",
        "postgresql://a:secret@h1,h2/db",
        "postgresql://u:se?cret@h/db",
        "postgresql://u:secret#2@h/db",
        "postgresql://h/db?p%61ssword=secret",
        "postgresql://h/db?connect_timeout=3&sslpassword=secret",
        "postgresql://h/db?oauth_client_secret=secret",
    ],
)
def test_a_url_with_a_password_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError, match="contains a password") as raised:
        postgres_url(url, "--ledger")
    assert "PGPASSWORD" in str(raised.value.hint)
    with pytest.raises(UsageError, match="contains a password"):  # also if a program names it
        connection_to(PostgresUrl(url))
    assert "secret" not in f"{raised.value}{raised.value.hint}"


def test_positions_are_in_the_order_of_commits(postgres: PostgresUrl, tmp_path: Path) -> None:
    """Whoever reads after a position misses nothing, while several processes write."""
    connect(postgres).close()
    writing, seen = [2], list[int]()

    def write_rows() -> None:
        with Database(postgres) as database:
            for contract in pairs(40):
                with database.write() as connection:
                    connection.execute(sqlite.INSERT_CONTRACT, contract)
        writing[0] -= 1

    threads = [threading.Thread(target=write_rows) for _ in range(2)]
    for thread in threads:
        thread.start()
    with closing(connection_to(postgres)) as following:
        while True:
            is_over = not writing[0]
            last = seen[-1] if seen else 0
            found = following.execute("SELECT position FROM contracts WHERE position > %s ORDER BY position", (last,))
            seen += [position for (position,) in found]
            if is_over:
                break
        for thread in threads:
            thread.join()
        assert seen == [p for (p,) in following.execute("SELECT position FROM contracts ORDER BY position")]
    assert len(seen) == 160


def test_a_read_after_the_server_ended_an_idle_connection_uses_a_new_one(postgres: PostgresUrl) -> None:
    """The server sends a message before it closes the connection."""
    connect(postgres).close()
    with closing(connection_to(postgres)) as other, Database(postgres) as database:
        for _ in range(5):
            with database.read() as reading:
                assert reading.execute(sqlite.CONTRACT_TOTAL).fetchone() == (0,)
            other.execute("SELECT pg_terminate_backend(%s::int, 5000)", (reading.raw.info.backend_pid,))


# Migrations, poolers, old servers

UNDONE = (
    "DROP INDEX ix_contracts_queue",
    "CREATE INDEX ix_contracts_queue ON contracts (capability, coalesce(to_agent, ''), coalesce(required_labels, ''), priority,"
    " turn) WHERE turn IS NOT NULL",
    "DROP VIEW session_index",
    "CREATE VIEW session_index AS SELECT session_id, position FROM contracts",
    "DROP INDEX ix_contracts_status_position_contract_type",
    "CREATE INDEX ix_contracts_status_position ON contracts (status, position) WHERE status <> 'completed'",
    "DROP VIEW session_turns",
    "DROP TABLE rate_buckets",
    "DROP INDEX ix_contracts_corrections",
)
"""What the migrations since 0020 did, undone, the newest first: each new migration has a line here."""


def test_a_migration_has_the_settings_of_every_session(postgres: PostgresUrl) -> None:
    """So it waits for a lock as long as any other write, and its commit for the disk. Short statements are not compiled."""
    with closing(connection_to(postgres)) as connection:
        connection.execute(
            f"ALTER DATABASE {connection.one('SELECT current_database()')[0]} SET synchronous_commit = off"
        )
        with closing(connection_for_migrations(postgres)) as migrating:
            names = ("lock_timeout", "synchronous_commit", "jit")
            found = [migrating.execute(f"SHOW {name}").fetchone() for name in names]
    assert found == [("30s",), ("on",), ("off",)]


def test_a_ledger_of_the_first_revision_on_postgresql_upgrades(postgres: PostgresUrl) -> None:
    """That is 0020. Several processes may open the ledger at once."""
    with closing(connect(postgres)) as connection:
        for undo in UNDONE:
            connection.execute(undo)
        connection.execute("UPDATE alembic_version SET version_num = '0020'")
    threads = [threading.Thread(target=lambda: connect(postgres).close()) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with closing(connect(postgres)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(statements.REVISION,)]
        assert connection.execute("SELECT to_regclass('ix_contracts_corrections') IS NOT NULL").fetchone() == (1,)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler_may_not_share_a_session_between_clients(cluster: Cluster, postgres: PostgresUrl, mode: str) -> None:
    with pooler(cluster, mode) as port:
        url = PostgresUrl(f"postgresql://aorch@127.0.0.1:{port}/{str(postgres).partition('?')[0].rpartition('/')[2]}")
        if mode == "session":
            connect(url).close()
        else:
            assert "transaction mode" in refusal(url, LedgerInvalid)


@contextmanager
def pooler(cluster: Cluster, mode: str) -> Iterator[int]:
    """The port of a PgBouncer in front of the cluster."""
    if (program := shutil.which("pgbouncer")) is None:
        pytest.skip("PgBouncer is not installed")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
        config = Path(folder) / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={cluster.folder} port={cluster.port} user=aorch\n[pgbouncer]\npool_mode = {mode}\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\n"
        )
        as_user: Any = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if as_user:
            shutil.chown(folder, "postgres")
            shutil.chown(config, "postgres")
        running = subprocess.Popen([program, "-q", str(config)], cwd="/", stderr=subprocess.DEVNULL, **as_user)
        try:
            wait_for(lambda: can_connect(port))
            yield port
        finally:
            running.kill()
            running.wait()


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_server_that_is_too_old_is_refused() -> None:
    """A double that says what such a server says: it accepts any login, and answers one query with its version."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=pretend_to_be_old, args=(listening,), daemon=True).start()
        url = PostgresUrl(
            f"postgresql://a@127.0.0.1:{listening.getsockname()[1]}/db?sslmode=disable&gssencmode=disable"
        )
        assert "PostgreSQL 12, which is too old" in refusal(url, LedgerInvalid)


def pretend_to_be_old(listening: socket.socket) -> None:
    def message(kind: bytes, body: bytes) -> bytes:
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    client, _ = listening.accept()
    with client:
        client.recv(4096)
        parameters = {"server_version": "12.22", "client_encoding": "UTF8", "standard_conforming_strings": "on"}
        said = [message(b"S", f"{name}\0{value}\0".encode()) for name, value in parameters.items()]
        ready = message(b"Z", b"I")
        client.sendall(message(b"R", bytes(4)) + b"".join(said) + message(b"K", bytes(8)) + ready)
        while query := client.recv(65536):
            if b"transaction_read_only" in query:
                column = b"x\0" + bytes(6) + (25).to_bytes(4, "big") + b"\xff\xff" + b"\xff" * 4 + bytes(2)
                row = (1).to_bytes(2, "big") + (3).to_bytes(4, "big") + b"off"
                answer = message(b"T", (1).to_bytes(2, "big") + column) + message(b"D", row)
                client.sendall(answer + message(b"C", b"SHOW\0") + ready)
            else:
                client.sendall(message(b"E", b"SERROR\0C42704\0Munrecognized parameter\0\0") + ready)

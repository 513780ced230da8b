"""Migrations are the only way to change a schema, they create the declared one, and a new ledger has the same."""

import re
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from homes import Home
from revisions import engine_of, ledger_at
from sqlalchemy import create_mock_engine

from aorch.ledger.record import Record
from aorch.ledger.schema import metadata
from aorch.ledger.sqlite import generate_new_ledger
from aorch.ledger.sqlite.migrate import configuration, upgrade
from aorch.ledger.sqlite.opening import connect, connect_reading
from aorch.ledger.sqlite.statements import ENQUEUE, INSERT_CONTRACT, REVISION
from aorch.ledger.upkeep import sessions_with_wrong_turns

pytestmark = pytest.mark.sqlite_only("PostgreSQL ledgers exist only since the newest revision")

SCRIPTS = ScriptDirectory.from_config(configuration())
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]
"""From the oldest to the newest."""

SEARCH = "contracts_text"
"""SQLite's full-text index: its tables are FTS5's own, and no part of the declared schema."""

ROWS = [
    Record("01A", "it's a \U0001f600\n/session", "REQUEST", "orchestrator", "agent", "echo", '{"text":"hi"}', "completed",
        "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.500Z", metadata='{"routing":{"chosen":"the only one"}}'),
    Record("01B", "it's a \U0001f600\n/session", "RESPONSE", "agent", "orchestrator", "echo", "{}", "completed",
        "2026-01-01T00:00:00.500Z", "2026-01-01T00:00:00.500Z", '{"message":"Echo: hi"}', request_id="01A"),
    Record("01C", "other", "REQUEST", "orchestrator", None, "fly", "{}", "failed", "2026-01-01T00:00:01.000Z",
        "2026-01-01T00:00:01.000Z", error="No agent", parent_id="01A"),
]  # fmt: skip


def test_revision_is_the_newest_migration() -> None:
    """There is one line of migrations, and their numbers grow: the program compares them as text."""
    assert SCRIPTS.get_heads() == [REVISION] == REVISIONS[-1:]
    assert sorted(REVISIONS) == REVISIONS


def test_migrations_create_exactly_the_declared_schema(tmp_path: Path) -> None:
    """Alembic finds nothing to migrate."""
    ledger_at(tmp_path / "migrated.db", "head")
    with engine_of(tmp_path / "migrated.db").connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "include_name": _declared}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []


def test_migrations_create_the_same_file_as_the_declaration(tmp_path: Path) -> None:
    """Also what Alembic does not compare on SQLite: the order of columns, and the conditions and uniqueness of indexes."""
    ledger_at(tmp_path / "migrated.db", "head")
    metadata.create_all(engine_of(tmp_path / "declared.db"))
    assert schema(tmp_path / "migrated.db") == schema(tmp_path / "declared.db")


def test_the_checked_in_statements_for_a_new_ledger_are_what_the_generator_writes() -> None:
    """After a new migration: `uv run python -m aorch.ledger.sqlite.generate_new_ledger`."""
    assert generate_new_ledger.OUTPUT.read_text(encoding="utf-8") == generate_new_ledger.generated()


def test_a_new_ledger_has_the_tables_and_rows_that_the_migrations_create(tmp_path: Path) -> None:
    ledger_at(tmp_path / "migrated.db", "head")
    connect(tmp_path / "new.db").close()
    assert contents(tmp_path / "new.db") == contents(tmp_path / "migrated.db")


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_ledger_of_each_revision_upgrades_with_its_rows(tmp_path: Path, revision: str) -> None:
    """Opening it is enough; no contract changes."""
    path = tmp_path / "ledger.db"
    ledger_at(path, revision)
    with closing(sqlite3.connect(path)) as connection:
        columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(contracts)")}
        names = [name for name in Record._fields if name in columns]
        for row in ROWS:
            values = [getattr(row, name) for name in names]
            connection.execute(
                f"INSERT INTO contracts ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", values
            )
        connection.commit()

    with closing(connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = connection.execute(f"SELECT {', '.join(Record._fields)} FROM contracts ORDER BY position").fetchall()
        for row, after in zip(ROWS, map(Record._make, found), strict=True):
            for name in names:
                assert getattr(after, name) == getattr(row, name)
    assert schema(path) == fresh_schema()


OLD_BATCHES = [
    ("", "a client's key", "fingerprint", "01A"),
    ("batch", "nightly: 100 %", "", "GENERATION"),
    ("batch:GENERATION", "line 1", "", "01A"),
    ("batch:GENERATION", "line 2", "", "01C"),
    ("retry", "01A", "", "01D"),
    ("resume", "01A", "", "01E"),
]
"""Idempotency keys, under whose callers revisions before 0008 stored batches and retries."""


@pytest.mark.parametrize("revision", [each for each in REVISIONS if "0002" <= each < "0008"])
def test_batches_and_retries_of_an_older_ledger_move_to_their_own_tables(tmp_path: Path, revision: str) -> None:
    """And the idempotency keys of clients stay."""
    path = tmp_path / "ledger.db"
    ledger_at(path, revision)
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany("INSERT INTO idempotency_keys VALUES (?, ?, ?, ?)", OLD_BATCHES)
        connection.commit()

    with closing(connect(path)) as connection:
        assert connection.execute("SELECT * FROM idempotency_keys").fetchall() == OLD_BATCHES[:1]
        assert connection.execute("SELECT * FROM batches").fetchall() == [("nightly: 100 %", "GENERATION")]
        assert connection.execute("SELECT * FROM batch_lines ORDER BY line_key").fetchall() == [
            ("GENERATION", "line 1", "01A"),
            ("GENERATION", "line 2", "01C"),
        ]
        assert connection.execute("SELECT * FROM retries ORDER BY command").fetchall() == [
            ("01A", "resume", "01E"),
            ("01A", "retry", "01D"),
        ]


def test_queued_tasks_of_an_older_ledger_keep_their_turns(tmp_path: Path) -> None:
    """New tasks of their sessions come after them. Cancelled tasks have left gaps between the turns."""
    path = tmp_path / "ledger.db"
    ledger_at(path, "0023")
    turns = [("a", 3, 1), ("a", 3, 2), ("a", 3, 5), ("a", 4, 7), ("b", 3, 2), ("b", 3, 3)]
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(
            "INSERT INTO contracts (session_id, priority, turn, contract_id, contract_type, from_agent, capability, payload,"
            " status, created_at, metadata) VALUES (?, ?, ?, ?, 'REQUEST', 'me', 'echo', '{}', 'pending', ?, '{}')",
            [(*each, f"01{number}", "2026-01-01T00:00:00.000Z") for number, each in enumerate(turns)],
        )
        connection.commit()
    with closing(connect(path)) as connection:
        assert connection.execute("SELECT * FROM session_turns").fetchall() == [
            ("a", 3, 2, 1), ("a", 3, 5, 5), ("a", 4, 7, 7), ("b", 3, 3, 2)
        ]  # fmt: skip
        assert sessions_with_wrong_turns(connection) == []
        queued = ROWS[0]._replace(contract_id="01Z", session_id="a", status="pending")
        connection.execute(ENQUEUE, (*queued, 3, None, None, None))
        assert connection.execute("SELECT turn FROM contracts WHERE contract_id = '01Z'").fetchone() == (6,)


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_program_reads_and_writes_a_ledger_of_each_revision(home: Home, revision: str) -> None:
    """With its rows."""
    ledger_at(home.ledger, revision)
    assert home.aorch("run", "echo", "text=hi").out == "Echo: hi\n"
    assert home.rows("SELECT contract_type, status FROM contracts") == [
        ("REQUEST", "completed"),
        ("RESPONSE", "completed"),
    ]
    with closing(connect_reading(home.ledger)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_opening_twice_changes_nothing(tmp_path: Path) -> None:
    """A second upgrade does nothing, and the rows stay."""
    path = tmp_path / "ledger.db"
    with closing(connect(path)) as connection:
        connection.executemany(INSERT_CONTRACT, ROWS)
    before = schema(path)
    with closing(connect(path)) as connection:
        upgrade(connection)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM contracts").fetchone() == (len(ROWS),)
    assert schema(path) == before


def test_the_migrations_compile_for_postgresql(tmp_path: Path) -> None:
    """Compiled without a server: PostgreSQL's own types, and nothing of SQLite's."""
    said: list[str] = []
    engine = create_mock_engine(
        "postgresql+psycopg://", lambda sql, *_, **__: said.append(str(sql.compile(dialect=engine.dialect)))
    )
    context = MigrationContext(engine.dialect, engine, {"as_sql": False})
    with Operations.context(context):
        for revision in REVISIONS:
            SCRIPTS.get_revision(revision).module.upgrade()
    text = re.sub(r"\s+", " ", ";\n".join(said))
    assert "payload JSONB NOT NULL" in text
    assert "created_at TIMESTAMP WITH TIME ZONE NOT NULL" in text
    assert "position SERIAL NOT NULL" in text
    assert re.search(r"CREATE UNIQUE INDEX \w+ ON contracts \(request_id\) WHERE request_id IS NOT NULL", text)
    assert "VIRTUAL" not in text


def schema(path: Path) -> dict[str, Any]:
    """The schema of `path`: the columns of each table in order, and each index, view and trigger as SQL."""
    found: dict[str, Any] = {}
    with closing(sqlite3.connect(path)) as connection:
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
            if not _declared(name, kind, {}):
                continue
            if kind == "table":
                found[name] = connection.execute(f"PRAGMA table_xinfo({name})").fetchall()
                found[f"unique in {name}"] = sorted(
                    tuple(column for _, _, column in connection.execute(f"PRAGMA index_info({index})"))
                    for _, index, unique, *_ in connection.execute(f"PRAGMA index_list({name})").fetchall()
                    if unique
                )
            elif sql is not None:
                found[name] = re.sub(r"\s+", " ", sql)
    return found


def contents(path: Path) -> dict[str, tuple[str, list[Any]]]:
    """The definition of each table, index, view and trigger, also of FTS5's own, and the rows of each table."""
    with closing(sqlite3.connect(path)) as connection:
        objects = connection.execute("SELECT name, type, sql FROM sqlite_master").fetchall()
        return {
            name: (
                " ".join((sql or "").split()),
                sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) if kind == "table" else [],
            )
            for name, kind, sql in objects
        }


@cache
def fresh_schema() -> dict[str, Any]:
    """The schema of a ledger that is created now."""
    with tempfile.TemporaryDirectory() as folder:
        connect(Path(folder) / "fresh.db").close()
        return schema(Path(folder) / "fresh.db")


def _declared(name: str | None, _kind: str, _parents: Any) -> bool:
    return not (name or "").startswith((SEARCH, "alembic_version", "sqlite_"))


def test_the_upgrade_of_a_large_ledger_is_announced_once(bare_home: Home) -> None:
    ledger_at(bare_home.ledger, "0020")
    with closing(sqlite3.connect(bare_home.ledger)) as connection, connection:
        large = ROWS[0]._replace(payload=f'{{"text":"{"x" * 50_000_000}"}}')._asdict()
        names, places = ", ".join(large), ", ".join("?" * len(large))
        connection.execute(f"INSERT INTO contracts ({names}) VALUES ({places})", tuple(large.values()))
    first, second = bare_home.aorch("contracts", "list", "--fields", "status"), bare_home.aorch("sessions", "list")
    assert "warning: upgrading the ledger" in first.err
    assert "(50 MB); other processes cannot write to it meanwhile" in first.err
    assert (first.code, second.code, "upgrading" in second.err) == (0, 0, False)


def test_the_upgrade_of_a_small_ledger_is_not_announced(bare_home: Home) -> None:
    ledger_at(bare_home.ledger, "0020")
    assert bare_home.aorch("sessions", "list").err == ""

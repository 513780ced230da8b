"""The one object that opens a ledger's file: what its blocks hold, and what they raise."""

import ast
import re
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from forks import in_child
from rows import request
from waiting import WAIT_S

import aorch
from aorch.errors import LedgerError
from aorch.ledger.database import Database
from aorch.ledger.sqlite.statements import INSERT_CONTRACT

pytestmark = pytest.mark.sqlite_only("it opens files")

PACKAGE = Path(aorch.__file__).parent
COUNT = "SELECT count(*) FROM contracts"


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(COUNT).fetchone()[0])


def test_what_a_block_wrote_is_committed_at_its_end_and_taken_back_if_it_raises(path: Path) -> None:
    with Database(path) as database:
        with database.write() as connection:
            connection.execute(INSERT_CONTRACT, request())
            assert count(database) == 0
        assert count(database) == 1
        with pytest.raises(LedgerError, match="UNIQUE"), database.write() as connection:
            connection.executemany(INSERT_CONTRACT, [twice := request(), twice])
        assert count(database) == 1


def test_the_version_grows_with_each_commit_of_whatever_connection(path: Path) -> None:
    with Database(path) as database, Database(path) as other:
        before = database.version()
        assert database.version() == before
        for one in (database, other):
            with one.write() as connection:
                connection.execute(INSERT_CONTRACT, request())
            before, last = database.version(), before
            assert before > last
        assert count(database) == 2
        assert database.version() == before


def test_a_file_that_does_not_exist_has_version_0_and_is_not_created(tmp_path: Path) -> None:
    with Database(tmp_path / "none.db") as database:
        assert database.version() == 0
        assert not database.exists()
        with database.write():
            pass
        assert database.exists()
        assert database.version() == 1


def test_a_reading_connection_refuses_to_write(path: Path) -> None:
    with Database(path) as database, pytest.raises(LedgerError), database.read() as connection:
        connection.execute(INSERT_CONTRACT, request())


def test_a_closed_database_refuses_every_block(path: Path) -> None:
    database = Database(path)
    assert count(database) == 0
    database.close()
    database.close()
    for block in (database.read, database.write):
        with pytest.raises(LedgerError, match="the ledger is closed"), block():
            pass


def test_closing_ends_the_wait_for_the_lock_of_another_process(path: Path) -> None:
    failed: list[BaseException] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as other, Database(path) as database:
        other.execute("BEGIN IMMEDIATE")
        database.open_for_writing()
        begun = threading.Event()

        def write() -> None:
            begun.set()
            try:
                with database.write():
                    pass
            except LedgerError as error:  # busy, or closed already
                failed.append(error)

        writing = threading.Thread(target=write)
        writing.start()
        assert begun.wait(WAIT_S)
        database.close()
        writing.join(WAIT_S)
        assert not writing.is_alive()
    assert failed


def test_a_peek_reads_an_older_ledger_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.commit()
    with Database(path).peek() as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)


def test_a_forked_child_can_neither_use_the_parent_s_database_nor_close_it(path: Path) -> None:

    def close_and_read() -> None:
        database.forget()
        database.close()
        with pytest.raises(LedgerError):
            count(database)

    with Database(path) as database:
        assert count(database) == 0
        assert in_child(close_and_read) == 0
        assert count(database) == 0


def test_only_the_folder_of_sqlite_uses_what_only_sqlite_has() -> None:
    """Besides, two modules use an index in memory, which is no ledger."""
    known = re.compile(r"\bsqlite3\b|PRAGMA|data_version|sqlite_errorn|FTS5")
    using = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if PACKAGE / "ledger" / "sqlite" not in file.parents
        and known.search(file.read_text())
        and known.search(code_of(file))
    }
    assert using == {"memory/relevance.py", "ledger/postgres/tokens.py"}


def code_of(file: Path) -> str:
    """A file without its comments and docstrings."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(...)
    return ast.unparse(tree)

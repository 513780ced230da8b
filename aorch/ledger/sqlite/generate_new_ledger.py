"""Generates the statements that create a ledger from the migrations: `python -m aorch.ledger.sqlite.generate_new_ledger`.

Run it after adding a migration. A test fails if the checked-in file differs from the generated text.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from aorch.ledger.sqlite.connection import Connection, connection_to
from aorch.ledger.sqlite.migrate import upgrade

OUTPUT = Path(__file__).parent / "new_ledger.py"

HEADER = '''"""The statements that create a new ledger. Generated from the migrations: do not edit.

To generate this file again, run `uv run python -m aorch.ledger.sqlite.generate_new_ledger`. It is checked in because a new
ledger must not need Alembic and SQLAlchemy (400 ms).
"""

'''


def generated() -> str:
    """The text of the file."""
    with TemporaryDirectory() as folder, closing(connection_to(Path(folder) / "new.db", "mode=rwc")) as connection:
        upgrade(connection)
        statements = [*_definitions(connection), *_inserts(connection)]
    items = "".join(f'    r"""{statement}""",\n' for statement in statements)
    return f"{HEADER}STATEMENTS = (\n{items})\n"


def _definitions(connection: Connection) -> Iterator[str]:
    """The tables, indexes, views and triggers, except those that SQLite and FTS5 create themselves."""
    for (text,) in connection.execute(
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*'"
        " AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow') ORDER BY rowid"
    ):
        yield "\n".join(line.rstrip().replace("\t", "    ") for line in text.strip().splitlines())


def _inserts(connection: Connection) -> Iterator[str]:
    """The rows of a new ledger."""
    for (table,) in connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name <> 'sqlite_schema' ORDER BY name"
    ).fetchall():
        for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1"):  # noqa: S608  a table of the ledger
            yield f"INSERT INTO {table} VALUES ({', '.join(map(repr, row))})"  # noqa: S608


if __name__ == "__main__":
    OUTPUT.write_text(generated(), encoding="utf-8")

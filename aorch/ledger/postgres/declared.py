"""The names of everything that a ledger of this revision has in its database."""

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import create_mock_engine

from aorch.ledger.postgres.definitions import DEFINITIONS
from aorch.ledger.postgres.migrate import tables_of_a_ledger
from aorch.ledger.schema import metadata

_CREATED = re.compile(r"\s*CREATE (?:UNIQUE )?(TABLE|INDEX|VIEW|FUNCTION|TRIGGER) (?:IF NOT EXISTS )?(\w+)")


def declared_objects() -> Iterator[tuple[str, str]]:
    """The kind and the name of each table, column, index, trigger, function and view."""
    statements = list(DEFINITIONS)

    def note(element: Any, *_: object, **__: object) -> None:
        statements.append(str(element.compile(dialect=engine.dialect)))

    engine = create_mock_engine("postgresql+psycopg://", note)
    metadata.create_all(engine, tables=tables_of_a_ledger(), checkfirst=False)
    for statement in statements:
        if found := _CREATED.match(statement):
            yield found[1].lower(), found[2]
    for table in tables_of_a_ledger():
        yield from (("column", f"{table.name}.{column.name}") for column in table.columns)

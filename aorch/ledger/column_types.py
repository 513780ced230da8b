"""What the ledger's tables share: their metadata, and the types of text, JSON and times, which both databases store alike."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Integer, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import AutoString, MetaData

from aorch import jsonio
from aorch.clock import from_rfc3339, rfc3339

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMING)

BYTES = Text(collation="C")
"""Text of PostgreSQL that is compared and sorted by its bytes, as SQLite does, whatever the database's locale is."""


class Json(TypeDecorator[Any]):
    """JSON text, exactly as it was written. Types for JSON change it: JSONB of PostgreSQL sorts keys and drops duplicates, and a
    numeric column of SQLite turns `1.0` into 1.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Convert for writing to the database."""
        return None if value is None else jsonio.encode(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Convert after reading from the database."""
        return None if value is None else jsonio.decode(value)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime, as RFC 3339 text with milliseconds and `Z`, which sorts by time."""

    impl = Text().with_variant(BYTES, "postgresql")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Convert for writing to the database."""
        return None if value is None else rfc3339(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """Convert after reading from the database."""
        return None if value is None else from_rfc3339(value)


def set_postgresql_types(tables: MetaData) -> None:
    """Let PostgreSQL store the text of `tables` as BYTES, and their numbers as bigint."""
    for table in tables.tables.values():
        for column in table.columns:
            if isinstance(column.type, Integer):
                column.type = column.type.with_variant(BigInteger(), "postgresql")
            elif isinstance(column.type, AutoString):
                column.type = column.type.with_variant(BYTES, "postgresql")

"""SQL that SQLite and PostgreSQL spell differently, each as one expression that compiles for both."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CTE,
    BindParameter,
    ColumnElement,
    FromClause,
    Function,
    Integer,
    ScalarSelect,
    Select,
    String,
    TableValuedAlias,
    bindparam,
    literal_column,
    select,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction, ReturnTypeFromArgs
from sqlalchemy.sql.selectable import Join

from aorch.ledger.column_types import UtcDateTime
from aorch.ledger.record import Record
from aorch.ledger.schema import Contract, Counter

contracts = Contract.__table__  # type: ignore[attr-defined]  # SQLModel adds it
RECORD = [contracts.c[name] for name in Record._fields]
"""The columns of a record, in the order of its fields."""


def indexed_position() -> ScalarSelect[int]:
    """The position up to which the session index has all contracts."""
    counters = Counter.__table__  # type: ignore[attr-defined]  # SQLModel adds it
    return select(counters.c.value).where(counters.c.name == literal_column("'session_index'")).scalar_subquery()


class greatest(ReturnTypeFromArgs[Any]):
    """The largest of its arguments."""

    inherit_cache = True


class json_text(GenericFunction[str]):
    """The text under a key of a JSON object, or under a path of keys (`caller.name`); NULL if there is none. On SQLite,
    numbers stay numbers.
    """

    type = String()
    inherit_cache = True


class json_flag(GenericFunction[int]):
    """1 or 0 for true or false under a key of a JSON object; NULL if there is none."""

    type = Integer()
    inherit_cache = True


class json_values(GenericFunction[Any]):
    """The elements of a JSON list, as a table with the column `value`."""

    inherit_cache = True


class as_number(GenericFunction[int]):
    """An element of a JSON list as a number. On SQLite it is one already."""

    type = Integer()
    inherit_cache = True


class is_same(GenericFunction[Any]):
    """Whether two texts that are not empty are equal, or both NULL, so that an index finds them."""

    inherit_cache = True


class position_in(GenericFunction[int]):
    """The position of the second string in the first, counted from 1; 0 if it does not occur."""

    inherit_cache = True


class contract_count(GenericFunction[int]):
    """The number of contracts. SQLite need not count rows: it stores the last position, and a trigger counts deletions."""

    type = Integer()
    inherit_cache = True


class byte_length(GenericFunction[int]):
    """The number of bytes of a text in UTF-8."""

    type = Integer()
    inherit_cache = True


class like_ignoring_case(GenericFunction[Any]):
    """Whether a string matches a pattern of LIKE in upper or lower case; `/` escapes a wildcard."""

    inherit_cache = True


class current_moment(GenericFunction[datetime]):
    """The time of the database's machine, which is the same for all processes of the ledger, as RFC 3339 text."""

    type = UtcDateTime()
    inherit_cache = True


def _renamed(kind: type[Function[Any]], *, sqlite: str, postgresql: str) -> None:
    def compile_as(name: str) -> Any:
        def compiled(element: Any, compiler: SQLCompiler, **options: Any) -> str:
            return f"{name}({compiler.process(element.clauses, **options)})"

        return compiled

    compiles(kind, "sqlite")(compile_as(sqlite))
    compiles(kind, "postgresql")(compile_as(postgresql))


_renamed(greatest, sqlite="max", postgresql="greatest")
_renamed(json_values, sqlite="json_each", postgresql="json_array_elements_text")
_renamed(position_in, sqlite="instr", postgresql="strpos")


@compiles(json_text, "sqlite")
def _sqlite_json_text(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    column, key = element.clauses
    return f"json_extract({compiler.process(column, **options)}, '$.{key.name}')"


@compiles(json_text, "postgresql")
def _postgresql_json_text(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    column, key = element.clauses
    path = ", ".join(f"'{name}'" for name in key.name.split("."))
    return f"aorch_json_text({compiler.process(column, **options)}, {path})"


@compiles(json_flag, "postgresql")
def _postgresql_json_flag(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return f"CASE {_postgresql_json_text(element, compiler, **options)} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"


compiles(json_flag, "sqlite")(_sqlite_json_text)


@compiles(as_number, "sqlite")
def _sqlite_number(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(as_number, "postgresql")
def _postgresql_number(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.clauses, **options)}::BIGINT"


@compiles(is_same, "sqlite")
def _sqlite_is_same(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    column, value = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} IS {value}"


@compiles(is_same, "postgresql")
def _postgresql_is_same(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    column, value = (compiler.process(each, **options) for each in element.clauses)
    return f"coalesce({column}, '') = coalesce({value}, '')"


@compiles(contract_count, "sqlite")
def _sqlite_contract_count(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    last = "(SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'contracts')"
    deleted = "(SELECT value FROM counters WHERE name = 'deleted_contracts')"
    return f"{last} - {deleted}"


@compiles(contract_count, "postgresql")
def _postgresql_contract_count(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return "(SELECT count(*) FROM contracts)"


@compiles(current_moment, "sqlite")
def _sqlite_current_moment(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"


@compiles(current_moment, "postgresql")
def _postgresql_current_moment(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    form = '\'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"\''
    return f"to_char(clock_timestamp() AT TIME ZONE 'UTC', {form})"


@compiles(byte_length, "sqlite")
def _sqlite_byte_length(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"


@compiles(byte_length, "postgresql")
def _postgresql_byte_length(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return f"octet_length({compiler.process(element.clauses, **options)})"


def _like(operator: str) -> Any:
    def compiled(element: Any, compiler: SQLCompiler, **options: Any) -> str:
        column, pattern = (compiler.process(each, **options) for each in element.clauses)
        return f"{column} {operator} {pattern} ESCAPE '/'"

    return compiled


compiles(like_ignoring_case, "sqlite")(_like("LIKE"))
compiles(like_ignoring_case, "postgresql")(_like("ILIKE"))


class CrossJoin(Join):
    """A join without a condition.

    SQLite keeps the table order of a CROSS JOIN, so rows of the left table look up the right table's index.
    """

    inherit_cache = True


@compiles(CrossJoin)
def _cross_join(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    options.pop("asfrom", None), options.pop("from_linter", None)
    left, right = (compiler.process(side, asfrom=True, **options) for side in (element.left, element.right))
    return f"{left} CROSS JOIN {right}"


def cross_join(first: FromClause, *others: FromClause) -> FromClause:
    """These tables, read in this order."""
    joined = first
    for other in others:
        joined = CrossJoin(joined, other, true())
    return joined


def metadata_text(table: Any, key: str) -> ColumnElement[str]:
    """The text under `key` in the metadata of a contract."""
    return json_text(table.c.metadata, literal_column(key))


def metadata_flag(table: Any, key: str) -> ColumnElement[int]:
    """1 or 0 for true or false under `key` in the metadata of a contract."""
    return json_flag(table.c.metadata, literal_column(key))


def listed(name: str) -> Select[Any]:
    """The elements of the parameter `name`, which is a JSON list of texts."""
    elements: TableValuedAlias = json_values(bindparam(name)).table_valued("value")
    return select(elements.c.value)


def listed_numbers(name: str) -> Select[Any]:
    """The elements of the parameter `name`, which is a JSON list of numbers."""
    elements: TableValuedAlias = json_values(bindparam(name)).table_valued("value")
    return select(as_number(elements.c.value).label("value"))


def given(*names: str, numbers: tuple[str, ...] = ()) -> CTE:
    """Texts and `numbers`, parameters with those names, as a table with one row, so that a statement can use each of them more
    than once.
    """
    parameters: list[BindParameter[Any]] = [
        *(bindparam(name) for name in names),
        *(bindparam(name, type_=Integer) for name in numbers),
    ]
    return select(*(each.label(each.key) for each in parameters)).cte("given")

"""Generates the SQL of each database from the expressions in queries/: `python -m aorch.ledger.generate_statements`.

Run it after a change of schema.py, record.py or queries/. A test fails if a checked-in file differs from the generated text.
"""

import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import BindParameter, ClauseElement
from sqlalchemy.types import Integer, TypeEngine

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
OUTPUTS = {
    "sqlite": Path(__file__).parent / "sqlite" / "statements.py",
    "postgresql": Path(__file__).parent / "postgres" / "statements.py",
}
"""The file with the SQL of each database that the ledger supports, by dialect."""
MODULES = (
    "contract_queries",
    "upkeep_queries",
    "pruning_queries",
    "check_queries",
    "reading_queries",
    "exchange_queries",
    "stats_queries",
    "session_queries",
    "tree_queries",
    "queue_queries",
    "work_queries",
    "rate_queries",
    "retry_queries",
    "attempt_queries",
    "delivery_queries",
    "memory_block_queries",
    "correction_queries",
    "token_queries",
    "agent_queries",
    "metric_queries",
    "span_queries",
    "erasure_queries",
)
"""Modules of aorch.ledger.queries, in the order of their statements in the generated files."""
DIALECTS: dict[str, tuple[type[Dialect], str]] = {
    "sqlite": (sqlite.dialect, "qmark"),
    "postgresql": (postgresql.dialect, "format"),
}
"""Each database's dialect, and how its driver marks parameters: by position, `?` or `%s`."""
LINE_LENGTH = 120

HEADER = '''"""The SQL of the ledger for {dialect}. Generated: do not edit.

Source: aorch/ledger/queries/, which also documents each statement. To generate this file again, run
`uv run python -m aorch.ledger.generate_statements`. It is checked in because no command may import SQLAlchemy (210 ms).
"""

REVISION = "{revision}"
"""The newest revision in migrations/versions."""
'''


class Compiled(NamedTuple):
    """A statement, or a piece of one, as text, and the names of its parameters in the order of their marks."""

    text: str
    parameters: tuple[str, ...]


def queries() -> Iterator[tuple[str, dict[str, ClauseElement]]]:
    """Each module of aorch.ledger.queries, with its statements and pieces of statements by name."""
    for module in MODULES:
        names = vars(import_module(f"aorch.ledger.queries.{module}"))
        yield module, {name: each for name, each in names.items() if name.isupper() and isinstance(each, ClauseElement)}


def compiled(statement: ClauseElement, dialect: str) -> Compiled:
    """`statement` as text. Constants in it become literals, so that partial indexes and plans can use them."""
    kind, paramstyle = DIALECTS[dialect]
    target = kind(paramstyle=paramstyle)  # type: ignore[call-arg]  # every dialect of SQLAlchemy takes it
    target.statement_compiler = type("Compiler", (_Literals, target.statement_compiler), {})
    result: Any = statement.compile(dialect=target)
    lines = str(result).replace("\n LIMIT", "\nLIMIT")
    text = re.sub(r" +(?=\n|$)|\n(?=\n)| OFFSET 0$", "", lines)  # SQLite needs no OFFSET 0
    return Compiled(text, tuple(result.positiontup or result.bind_names.values()))


class _Literals:
    def visit_bindparam(self, bindparam: BindParameter[Any], literal_binds: bool = False, **options: Any) -> str:
        literal = literal_binds or not bindparam.required
        text: str = super().visit_bindparam(bindparam, literal_binds=literal, **options)  # type: ignore[misc]  # a mixin
        return text

    def render_bind_cast(self, type_: TypeEngine[Any], dbapi_type: object, sqltext: str) -> str:
        """For PostgreSQL: a parameter is a number only if that is stated, and a text without that."""
        return f"{sqltext}::BIGINT" if isinstance(type_, Integer) else sqltext


def generated(dialect: str = "sqlite") -> str:
    """The text of the file for that dialect."""
    revision = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    parts = [HEADER.format(dialect={"sqlite": "SQLite", "postgresql": "PostgreSQL"}[dialect], revision=revision)]
    for module, statements in queries():
        parts.append(f"# {module}.py\n")
        parts += [_assignment(name, compiled(each, dialect)) for name, each in statements.items()]
    return "\n".join(parts)


def _assignment(name: str, statement: Compiled) -> str:
    quote = "'" if '"' in statement.text else '"'
    assignment = f"{name} = {quote}{' '.join(statement.text.split())}{quote}\n"
    if len(assignment) > LINE_LENGTH or assignment.count(quote) > 2:
        lines = [part for line in statement.text.splitlines() for part in _wrap(line.strip())]
        assignment = "\n".join([f'{name} = """\\', *lines, '"""\n'])
    parameters = "\n".join(_wrap(", ".join(statement.parameters)))
    return f'{assignment}"""Parameters: {parameters}."""\n' if parameters else assignment


_wrap = textwrap.TextWrapper(
    LINE_LENGTH - 20, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
).wrap


if __name__ == "__main__":
    for dialect, output in OUTPUTS.items():
        output.write_text(generated(dialect), encoding="utf-8")

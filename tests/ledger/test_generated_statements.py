"""The SQL is what the generator makes of queries/, fits the tables, and finds its rows through indexes."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Executable
from sqlalchemy.exc import CompileError

from aorch.ledger.database import statements
from aorch.ledger.generate_statements import OUTPUTS, compiled, generated, queries
from aorch.ledger.memory_blocks import BlockRow
from aorch.ledger.outbox import Parked
from aorch.ledger.record import Record
from aorch.ledger.schema import Contract, metadata
from aorch.ledger.sqlite.opening import connect_reading
from aorch.ledger.token_store import TokenRow

QUERIES = {name: query for _, queries_of_module in queries() for name, query in queries_of_module.items()}
STATEMENTS = {name for name, query in QUERIES.items() if isinstance(query, Executable) and name != "LIMIT"}
"""The others are pieces of statements. test_reading.py and test_exchanges.py check what is composed of them."""
SELECTED = {f"{what}{which}" for what in ("CONTRACTS", "SHOWN_CONTRACTS", "COUNT") for which in ("", "_BY_SESSION")}
SELECTED |= {"EXCHANGES", "EXCHANGES_BY_SESSION", "EXCHANGES_BY_MATCH", "MATCHED_POSITIONS"}
SELECTED |= {f"STATS_BY_{by}" for by in ("CAPABILITY", "AGENT", "SESSION", "TIME", "CALLER", "ERROR")}
"""Statements to which conditions are added."""
SQLITE_ONLY: set[str] = set()
"""Statements that PostgreSQL cannot execute: it needs others in their place."""
TABLES = {*metadata.tables, *"bckqrs"}
"""The tables, and what the statements call them."""
READ_WHOLE_TABLES = {"NEWEST_IDS", "GIVE_UP_URL", "ANY_DELIVERY_IS_DUE", "DELIVERY_COUNTS", "PARKED_KINDS"}
READ_WHOLE_TABLES |= {
    "SESSION_COUNT",
    "ANY_REGISTERED_AGENT",
    "REGISTERED_COUNT",
    "DELETE_ENDED_PROGRESS",
    "METRIC_TOTALS",
    "FEW_DUE",
}
READ_WHOLE_TABLES |= {
    "TEXTS_ABOUT_CONTRACTS",
    "ALL_BLOCKS",
    "ERASURES",
    "ERASED_CONTRACTS",
    "UNFINISHED_ERASURES",
    "FINISH_ERASURES",
}
READ_WHOLE_TABLES |= {"DELETE_FULL_BUCKETS", "DELETE_UNUSED_OFFERS", "UNCONFIRMED_WORK"}
READ_WHOLE_TABLES |= {"ERASE_KEYS", "ERASE_PARKED", "LINES_OF", "PARKED_EVENTS_OF", "CONTRACT_AGES"}
"""Statements that read all webhooks in waiting, all parked deliveries, the ages of all runs, the session index, all agents, the
progress of all running tasks, all erasures or all totals of metrics, and those that stop at their limit.
"""
READ_WHOLE_TABLES |= {"OLDEST_CONTRACT", "NEWEST_CONTRACT", "RESUMABLE_GENERATIONS", "ALL_CONTENT_BYTES"}
READ_WHOLE_TABLES |= {name for module, its in queries() if module == "check_queries" for name in its}
"""A prune reads all batches once, and a dry run the whole table if it has to estimate a size. A check reads everything."""
SORT_FEW_ROWS = {
    "ERASURES",
    "CLAIMED_CONTRACTS",
    *("LAST_TRY", "NEWEST_BLOCKS_OF_SESSION", "PARKED_KINDS", "REQUESTS_AT"),
    *("SESSIONS_FROM", "SESSIONS_WITH_NEWS", "STEPS_OF_TRIES", "UNFINISHED"),
    *("FIRST_SESSIONS", "SESSIONS_AFTER", "ALL_CHILDREN", "FIRST_CHILDREN"),
}
"""Statements that sort the rows of one session, the sessions after the last run of the session index, or as many as given."""


@pytest.mark.parametrize("dialect", OUTPUTS)
def test_the_checked_in_statements_are_what_the_generator_writes(dialect: str) -> None:
    """After a change of a table or a query: `uv run python -m aorch.ledger.generate_statements`."""
    assert OUTPUTS[dialect].read_text(encoding="utf-8") == generated(dialect)


def test_each_declared_table_is_used_by_a_statement() -> None:
    """A table without one would be declared for nothing."""
    texts = [getattr(statements, name) for name in QUERIES]
    used = {
        table
        for table in metadata.tables
        if any(re.search(rf"(FROM|JOIN|INTO|UPDATE) {table}\b", text) for text in texts)
    }
    assert used == metadata.tables.keys()


def test_every_query_compiles_for_postgresql_unless_it_is_listed() -> None:
    """With PostgreSQL's own functions, and with the same values by position."""
    not_compiled = set()
    for name, query in QUERIES.items():
        try:
            text, parameters = compiled(query, "postgresql")
        except CompileError:
            not_compiled.add(name)
            continue
        assert not re.search(r"\b(json_each|json_extract|instr|iif|OR REPLACE|sqlite_sequence)\b", text), name
        assert text.count("%s") == len(parameters), name
        assert parameters == compiled(query, "sqlite").parameters, name
    assert not_compiled == SQLITE_ONLY


def test_a_field_of_a_record_is_a_column_of_the_table() -> None:
    """A field may be None if its column may be NULL."""
    table = Contract.__table__  # type: ignore[attr-defined]  # SQLModel adds it
    nullable = {name for name, kind in Record.__annotations__.items() if "None" in str(kind)}
    assert nullable == {name for name in Record._fields if table.c[name].nullable}


@pytest.mark.parametrize(
    ("name", "record"),
    [("INSERT_CONTRACT", Record), ("INSERT_BLOCK", BlockRow), ("INSERT_TOKEN", TokenRow), ("PARK_DELIVERY", Parked)],
)
def test_a_record_is_inserted_as_it_is(name: str, record: type[Record | BlockRow | TokenRow | Parked]) -> None:
    """Its fields are the parameters, in order."""
    assert compiled(QUERIES[name], "sqlite").parameters == record._fields


def test_the_record_of_a_token_has_the_columns_of_the_table() -> None:
    assert TokenRow._fields == tuple(metadata.tables["tokens"].columns.keys())


@pytest.fixture(scope="module")
def empty(made_ledger: Path) -> Iterator[sqlite3.Connection]:
    """An empty ledger, which nobody writes to."""
    with closing(connect_reading(made_ledger)) as connection:
        yield connection


def test_every_statement_finds_its_rows_through_an_index(empty: sqlite3.Connection) -> None:
    """So a ledger of a million contracts starts as fast as one of ten. Rows that come in an order are read in that order."""
    scans, sorts = {}, {}
    for name in STATEMENTS - SELECTED:
        parameters = [""] * len(compiled(QUERIES[name], "sqlite").parameters)
        plan = [detail for *_, detail in empty.execute(f"EXPLAIN QUERY PLAN {getattr(statements, name)}", parameters)]
        if {found[1] for line in plan if (found := re.match(r"SCAN (\w+)(?!.* USING )", line))} & TABLES:
            scans[name] = plan
        if any("TEMP B-TREE FOR ORDER" in line for line in plan):
            sorts[name] = plan
    assert {name: plan for name, plan in scans.items() if name not in READ_WHOLE_TABLES} == {}
    assert {name: plan for name, plan in sorts.items() if name not in SORT_FEW_ROWS} == {}

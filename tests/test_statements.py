"""The statements that are compiled ahead of time say what the table says, and the written ones do what they say."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import bindparam, create_engine, func, insert, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.expression import Executable
from sqlmodel import Session

from aorch.ledger import statements
from aorch.ledger.contract import Contract, IdempotencyKey, StoredBlock
from aorch.ledger.database import connect
from aorch.ledger.row import Row
from aorch.moments import from_rfc3339

COLUMNS = Contract.__table__.c  # type: ignore[attr-defined]  # SQLModel adds it
KEYS = IdempotencyKey.__table__.c  # type: ignore[attr-defined]  # likewise
BLOCKS = StoredBlock.__table__.c  # type: ignore[attr-defined]  # likewise
COMPILED = {
    "INSERT": (insert(Contract), list(Row._fields)),
    "INSERT_KEY": (insert(IdempotencyKey), None),
    "INSERT_BLOCK": (insert(StoredBlock), None),
    "COVERED": (select(func.max(BLOCKS.last_position)).where(BLOCKS.session_id == bindparam("session")), None),
    "REPLACE_KEY": (insert(IdempotencyKey).prefix_with("OR REPLACE"), None),
    "UNDER_KEY": (
        select(KEYS.request_id).where(KEYS.caller == bindparam("caller"), KEYS.key == bindparam("key")),
        None,
    ),
    "START": (
        update(Contract).where(COLUMNS.contract_id == bindparam("id"), COLUMNS.status == bindparam("pending")),
        ["status"],
    ),
    "COMPLETE": (
        update(Contract).where(COLUMNS.contract_id == bindparam("id")),
        ["status", "completed_at", "claimed_by"],
    ),
    "CLAIMED": (select(COLUMNS.claimed_by).where(COLUMNS.claimed_by.is_not(None)).distinct(), None),
    "ORPHANS": (
        select(COLUMNS.contract_id).where(COLUMNS.claimed_by == bindparam("owner")),
        None,
    ),
    "PAYLOAD": (select(COLUMNS.payload).where(COLUMNS.contract_id == bindparam("id")), None),
    "RESULT": (select(COLUMNS.result).where(COLUMNS.request_id == bindparam("id")), None),
}
"""Each statement as SQLAlchemy would make it, with the columns that it sets."""

WRITTEN = {"ANCESTORS", "TRIED", "SESSIONS_FROM", "NEWEST_IDS", "RECORDED", "UNDONE", "ASKED"}
"""Those that are written by hand; each has a test of its answers below."""


@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_statement_is_what_sqlalchemy_makes_of_the_table(name: str) -> None:
    """For SQLite, with its question marks."""
    statement, columns = COMPILED[name]
    compiled = compile_for_sqlite(statement, columns)
    assert getattr(statements, name) == compiled


def test_every_statement_is_held_by_a_test() -> None:
    """One that is added must be added above too."""
    names = {name for name in vars(statements) if name.isupper()} - {"REVISION"}
    assert names == COMPILED.keys() | WRITTEN


def test_a_row_has_the_columns_of_the_table_in_order() -> None:
    """All but the position, which the database gives, and the queue's, which come last.

    A field may be None where the column may be NULL.
    """
    columns = [column for column in COLUMNS if column.name != "position"][: len(Row._fields)]
    assert Row._fields == tuple(column.name for column in columns)
    nullable = {name for name, kind in Row.__annotations__.items() if "None" in str(kind)}
    assert nullable == {column.name for column in columns if column.nullable}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A new, migrated ledger."""
    with closing(connect(tmp_path / "ledger.db")) as connection:
        yield connection


def test_a_row_reads_back_as_the_table_s_object_and_the_other_way_round(
    ledger: sqlite3.Connection, tmp_path: Path
) -> None:
    """What the statement writes is what SQLModel writes."""
    written = row(
        "A",
        payload='{"n":36893488147419103232,"text":"\ufffd\'"}',
        completed_at="2026-02-03T04:05:06.789Z",
        result="[1.5,null]",
        metadata='{"a":{}}',
        request_id="Q",
    )
    ledger.execute(statements.INSERT, written)
    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with Session(engine) as session:
        contract = session.get_one(Contract, 1)
        assert contract.payload == {"n": 2**65, "text": "\ufffd'"}
        assert contract.result == [1.5, None]
        assert contract.details == {"a": {}}
        assert contract.completed_at == from_rfc3339("2026-02-03T04:05:06.789Z")
        assert contract.as_dict() == written.as_dict()
        values = contract.model_dump() | {"contract_id": "B", "position": None, "request_id": "R"}
        session.add(Contract(**values))
        session.commit()
    engine.dispose()
    (copy,) = ledger.execute(f"SELECT {', '.join(Row._fields)} FROM contracts WHERE contract_id = 'B'")
    assert Row(*copy).as_dict() == written._replace(contract_id="B", request_id="R").as_dict()


def test_a_key_is_kept_once_for_each_caller(ledger: sqlite3.Connection) -> None:
    """A second time is refused by the primary key, which no contract has: that tells it apart from a contract's trouble."""
    for caller, key in (("", "k"), ("a", "k"), ("", "K")):
        ledger.execute(statements.INSERT_KEY, (caller, key, "f", "R"))
    with pytest.raises(sqlite3.IntegrityError) as refusal:
        ledger.execute(statements.INSERT_KEY, ("", "k", "other", "other"))
    assert refusal.value.sqlite_errorname == "SQLITE_CONSTRAINT_PRIMARYKEY"
    ledger.execute(statements.INSERT, row("A", request_id="R"))
    for again in (row("A"), row("B", request_id="R")):
        with pytest.raises(sqlite3.IntegrityError) as refusal:
            ledger.execute(statements.INSERT, again)
        assert refusal.value.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE"


def test_start_and_complete_change_only_what_changes(ledger: sqlite3.Connection) -> None:
    """Status, completion and claim; START only what is pending."""
    for number, status in enumerate(("pending", "cancelled")):
        ledger.execute(statements.INSERT, row(f"C{number}", status=status, claimed_by="me"))
        ledger.execute(statements.START, ("in_progress", f"C{number}", "pending"))
    assert everything(ledger) == [
        row("C0", status="in_progress", claimed_by="me"),
        row("C1", status="cancelled", claimed_by="me"),
    ]
    ledger.execute(statements.COMPLETE, ("completed", "2026-01-01T00:00:01.000Z", None, "C0"))
    assert everything(ledger)[0] == row("C0", status="completed", completed_at="2026-01-01T00:00:01.000Z")
    assert everything(ledger)[1] == row("C1", status="cancelled", claimed_by="me")


def test_orphans_are_found_by_their_owner(ledger: sqlite3.Connection) -> None:
    """CLAIMED names each owner once; ORPHANS what one of them holds."""
    rows = [row("A", claimed_by="one"), row("B", claimed_by="one", parent_id="A"), row("C", claimed_by="two"), row("D")]
    ledger.executemany(statements.INSERT, rows)
    assert sorted(ledger.execute(statements.CLAIMED)) == [("one",), ("two",)]
    assert ledger.execute(statements.ORPHANS, ("one",)).fetchall() == [("A",), ("B",)]


def test_ancestors_lead_from_a_contract_to_the_root(ledger: sqlite3.Connection) -> None:
    """In that order; nothing for one that is not there; and an end, should they form a circle."""
    for child, parent in (("root", None), ("a", "root"), ("b", "a"), ("other", "root"), ("x", "y"), ("y", "x")):
        ledger.execute(statements.INSERT, row(child, parent_id=parent, to_agent=f"agent of {child}"))

    ledger.set_progress_handler(lambda: 1, 1_000_000)  # a circle without an end is an error and not a full machine

    def above(contract_id: str) -> list[Any]:
        return ledger.execute(statements.ANCESTORS, (contract_id,)).fetchall()

    assert above("b") == [(name, f"agent of {name}", "echo") for name in ("b", "a", "root")]
    assert [name for name, *_ in above("x")] == ["x", "y"]
    assert above("nowhere") == []


def test_tried_is_what_one_agent_asked_for_in_a_request_and_in_those_that_it_resumes(
    ledger: sqlite3.Connection,
) -> None:
    """Not what another asked for, nor in a REQUEST of another session or capability, whatever the metadata says."""
    above = {
        "first": {},
        "second": {"metadata": '{"resumes":"first"}'},
        "third": {"metadata": '{"resumes":"second"}'},
        "foreign": {"metadata": '{"resumes":"first"}', "session_id": "other"},
        "unlike": {"metadata": '{"resumes":"first"}', "capability": "other"},
        "x": {"metadata": '{"resumes":"y"}'},
        "y": {"metadata": '{"resumes":"x"}'},
        "odd": {"metadata": '{"resumes":["first"]}'},
    }
    for name, different in above.items():
        ledger.execute(statements.INSERT, row(name, **different))
        ledger.execute(statements.INSERT, row(f"{name} 1", parent_id=name, from_agent="pipe", metadata='{"step":"a"}'))
    ledger.execute(statements.INSERT, row("another's", parent_id="first", from_agent="else"))
    ledger.execute(
        statements.INSERT,
        row("answer", parent_id="first", from_agent="pipe", contract_type="RESPONSE", request_id="first 1"),
    )
    ledger.set_progress_handler(lambda: 1, 1_000_000)

    def tried(contract_id: str) -> list[str]:
        return [row[0] for row in ledger.execute(statements.TRIED, (contract_id, "pipe"))]

    assert tried("third") == ["first 1", "second 1", "third 1"]
    assert tried("first") == ["first 1"]
    assert [tried(name) for name in ("foreign", "unlike", "odd")] == [["foreign 1"], ["unlike 1"], ["odd 1"]]
    assert tried("x") == ["x 1", "y 1"]
    assert tried("nowhere") == []
    assert ledger.execute(statements.TRIED, ("first", "pipe")).fetchone() == (
        "first 1", "agent", "echo", "{}", "in_progress", '{"step":"a"}'
    )  # fmt: skip


def test_newest_ids_come_newest_first(ledger: sqlite3.Connection) -> None:
    """In the order of commits, not of ids."""
    ledger.executemany(statements.INSERT, [row("B", session_id="first"), row("A", session_id="second"), row("C")])
    assert ledger.execute(statements.NEWEST_IDS, (2,)).fetchall() == [("C", "echo", "session"), ("A", "echo", "second")]


def test_what_came_of_keys_is_read_with_their_contracts(ledger: sqlite3.Connection) -> None:
    """Of that caller's used keys alone; a result that is too long is left out, and told."""
    for key in ("done", "open", "long"):
        ledger.execute(statements.INSERT_KEY, ("me", key, "", f"Q-{key}"))
        ledger.execute(statements.INSERT, row(f"Q-{key}", metadata='{"retry_of":"Q"}' if key == "open" else "{}"))
    ledger.execute(statements.INSERT_KEY, ("other", "done", "", "Q-open"))
    about = {
        "contract_type": "RESPONSE",
        "status": "failed",
        "metadata": '{"code":"c","duration_ms":1.5,"called":false}',
    }
    ledger.execute(statements.INSERT, row("R-done", request_id="Q-done", error="e", **about))
    ledger.execute(statements.INSERT, row("R-long", request_id="Q-long", result='"123456"', **about))
    moment = "2026-01-01T00:00:00.000Z"
    asked = ("me", '["done","open","long","never"]', 5)
    assert ledger.execute(statements.RECORDED, asked).fetchall() == [
        ("done", "Q-done", "session", "agent", "echo", None, "failed", moment, None, None, "e", "c", 1.5, 0),
        ("open", "Q-open", "session", "agent", "echo", "Q", None, None, None, None, None, None, None, None),
        ("long", "Q-long", "session", "agent", "echo", None, "failed", moment, None, 1, None, "c", 1.5, 0),
    ]


def test_what_is_undone_are_the_first_trials_whose_last_came_to_nothing(ledger: sqlite3.Connection) -> None:
    """Not what an agent asked for, not what is being tried now, and nothing of another session."""
    rows = [
        row("never again", status="failed"),
        row("succeeded", status="completed"),
        row("failed again", status="cancelled"),
        row("then done", status="failed"),
        row("now running", status="failed"),
        row("a child", status="failed", parent_id="never again"),
        row("elsewhere", status="failed", session_id="other"),
    ]
    trials = {"failed again": ["failed", "cancelled"], "then done": ["failed", "completed"], "now running": ["pending"]}
    for root, its in trials.items():
        for number, status in enumerate(its):
            rows.append(row(f"{root} {number}", status=status, metadata=f'{{"retry_of":"{root}"}}'))
    ledger.executemany(statements.INSERT, rows)
    assert ledger.execute(statements.UNDONE, ("session",)).fetchall() == [(1, "never again"), (3, "failed again 1")]
    assert [row[0] for row in ledger.execute(statements.ASKED, ("[3,1]",))] == ["never again", "failed again"]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A migrated ledger for examples that each roll back."""
    with closing(connect(tmp_path_factory.mktemp("scratch") / "ledger.db")) as connection:
        yield connection


SESSIONS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=3)


@given(st.lists(SESSIONS, max_size=20), SESSIONS | st.just(""), st.integers(1, 8))
def test_sessions_come_in_order_from_the_first_on_and_each_once(
    scratch: sqlite3.Connection, sessions: list[str], first: str, most: int
) -> None:
    """As many as asked for; in the order of code points."""
    scratch.execute("BEGIN")
    try:
        rows = [row(f"{number}", session_id=session) for number, session in enumerate(sessions)]
        scratch.executemany(statements.INSERT, rows)
        found = [session for (session,) in scratch.execute(statements.SESSIONS_FROM, (first, most))]
    finally:
        scratch.execute("ROLLBACK")
    assert found == sorted({session for session in sessions if session >= first})[:most]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("START", ("", "", "")),
        ("COMPLETE", ("", "", "", "")),
        ("CLAIMED", ()),
        ("ORPHANS", ("",)),
        ("ANCESTORS", ("",)),
        ("PAYLOAD", ("",)),
        ("TRIED", ("", "")),
        ("RESULT", ("",)),
        ("SESSIONS_FROM", ("", 1)),
        ("RECORDED", ("", "[]", 1)),
        ("UNDONE", ("",)),
        ("ASKED", ("[]",)),
    ],
)
def test_no_statement_reads_the_whole_table(ledger: sqlite3.Connection, name: str, parameters: tuple[Any, ...]) -> None:
    """Each finds its rows through an index, so that a ledger of a million starts as one of ten."""
    plan = [detail for *_, detail in ledger.execute(f"EXPLAIN QUERY PLAN {getattr(statements, name)}", parameters)]
    of_table = [line for line in plan if re.search(r"(SEARCH|SCAN) (contracts|c|k|q|r)\b", line)]
    assert of_table
    assert all("INDEX" in line or "PRIMARY KEY" in line for line in of_table), plan


def compile_for_sqlite(statement: Executable, columns: list[str] | None) -> str:
    """On one line, as the driver takes it."""
    compiled = statement.compile(dialect=sqlite.dialect(), column_keys=columns)  # type: ignore[attr-defined]
    return re.sub(r"\s+", " ", str(compiled))


def row(contract_id: str, **different: Any) -> Row:
    """A REQUEST in the one session, but for what is `different`."""
    usual = {
        "contract_id": contract_id,
        "session_id": "session",
        "contract_type": "REQUEST",
        "from_agent": "orchestrator",
        "to_agent": "agent",
        "capability": "echo",
        "payload": "{}",
        "status": "in_progress",
        "created_at": "2026-01-01T00:00:00.000Z",
    }
    return Row(**(usual | different))


def everything(connection: sqlite3.Connection) -> list[Row]:
    """All rows in the order of commits."""
    rows = connection.execute(f"SELECT {', '.join(Row._fields)} FROM contracts ORDER BY position")
    return [Row(*each) for each in rows]

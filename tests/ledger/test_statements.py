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
from sqlalchemy import bindparam, create_engine, func, insert, null, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.expression import Executable
from sqlmodel import Session

from aorch.clock import from_rfc3339
from aorch.ledger import statements
from aorch.ledger.record import Row
from aorch.ledger.schema import Contract, IdempotencyKey, StoredBlock
from aorch.ledger.sqlite.opening import connect

COLUMNS = Contract.__table__.c  # type: ignore[attr-defined]  # SQLModel adds it
KEYS = IdempotencyKey.__table__.c  # type: ignore[attr-defined]  # likewise
BLOCKS = StoredBlock.__table__.c  # type: ignore[attr-defined]  # likewise
COMPILED = {
    "INSERT": (insert(Contract), list(Row._fields)),
    "INSERT_BEGUN": (insert(Contract), [*Row._fields[:9], "metadata", "parent_id", "claimed_by"]),
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
        update(Contract).where(COLUMNS.contract_id == bindparam("id")).values(claimed_by=null()),
        ["status", "completed_at", "claimed_by"],
    ),
    "CLAIMED": (select(COLUMNS.claimed_by).where(COLUMNS.claimed_by.is_not(None)).distinct(), None),
    "ORPHANS": (
        select(COLUMNS.contract_id).where(COLUMNS.claimed_by == bindparam("owner")),
        None,
    ),
    "AGENT": (select(COLUMNS.to_agent).where(COLUMNS.contract_id == bindparam("id")), None),
    "PAYLOAD": (select(COLUMNS.payload).where(COLUMNS.contract_id == bindparam("id")), None),
    "RESULT": (select(COLUMNS.result).where(COLUMNS.request_id == bindparam("id")), None),
}
"""Each statement as SQLAlchemy would make it, with the columns that it sets."""

WRITTEN = {"ANCESTORS", "TRIED", "SESSIONS_FROM", "NEWEST_IDS", "RECORDED", "UNDONE", "LAST_TRY", "ASKED"} | {
    *("ENQUEUE", "FIRST", "CLAIM", "CLOCK", "DUE", "PROMOTE", "EXPIRED", "NEXT_MOMENT", "LENGTH", "WAITING"),
    *("STATE", "CLAIMED_STATE", "END", "REQUEUE", "CANCEL", "CANCELLED"),
    *("BY_POSITION", "BY_ID", "BY_REQUEST", "BETWEEN", "ANSWERED"),
    *("ENQUEUE_WEBHOOK", "DUE_WEBHOOKS", "WEBHOOK_SENT", "WEBHOOK_FAILED", "WEBHOOK_DUE", "WEBHOOKS_GONE"),
}
"""Those that are written by hand; each has a test of its answers below."""


@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_statement_is_what_sqlalchemy_makes_of_the_table(name: str) -> None:
    """For SQLite, with its question marks."""
    statement, columns = COMPILED[name]
    compiled = compile_for_sqlite(statement, columns)
    assert getattr(statements, name) == compiled


def test_every_statement_is_held_by_a_test() -> None:
    """One that is added must be added above too."""
    names = {name for name in vars(statements) if name.isupper() and name[0] != "_"} - {"REVISION"}
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
    ledger.execute(statements.COMPLETE, ("completed", "2026-01-01T00:00:01.000Z", "C0"))
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
        "first 1", "agent", "echo", "{}", "in_progress", 0, '{"step":"a"}'
    )  # fmt: skip


def test_newest_ids_come_newest_first(ledger: sqlite3.Connection) -> None:
    """In the order of commits, not of ids."""
    ledger.executemany(statements.INSERT, [row("B", session_id="first"), row("A", session_id="second"), row("C")])
    assert ledger.execute(statements.NEWEST_IDS, (2,)).fetchall() == [("C", "echo", "session"), ("A", "echo", "second")]


def test_what_came_of_keys_is_read_with_their_contracts(ledger: sqlite3.Connection) -> None:
    """In their last trials, of that caller's used keys alone; what is too long is left out."""
    for key in ("done", "open", "long"):
        ledger.execute(statements.INSERT_KEY, ("me", key, "", f"Q-{key}"))
        ledger.execute(statements.INSERT, row(f"Q-{key}", metadata='{"retry_of":"Q"}' if key == "open" else "{}"))
    ledger.execute(statements.INSERT_KEY, ("other", "done", "", "Q-open"))
    ledger.execute(statements.INSERT_KEY, ("me", "again", "", "Q-first"))
    for before, after in (("Q-first", "Q-second"), ("Q-second", "Q-last")):
        ledger.execute(statements.INSERT_KEY, ("retry", before, "", after))
        ledger.execute(statements.INSERT, row(after, metadata='{"retry_of":"Q-first"}'))
    about = {
        "contract_type": "RESPONSE",
        "status": "failed",
        "metadata": '{"called":false}',
    }
    ledger.execute(statements.INSERT, row("R-done", request_id="Q-done", error="e", **about))
    ledger.execute(statements.INSERT, row("R-long", request_id="Q-long", result='"123456"', **about))
    moment, none = "2026-01-01T00:00:00.000Z", (None,) * 7
    asked = ("me", '["done","open","long","again","never"]', len(about["metadata"]) + 5)
    assert ledger.execute(statements.RECORDED, asked).fetchall() == [
        ("done", "Q-done", "session", "agent", None, "orchestrator", "failed", moment, "e", 0, None, about["metadata"]),
        ("open", "Q-open", "session", "agent", "Q", *none),
        ("long", "Q-long", "session", "agent", None, "orchestrator", "failed", moment, None, 0, None, None),
        ("again", "Q-last", "session", "agent", "Q-first", *none),
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
        ("COMPLETE", ("", "", "")),
        ("CLAIMED", ()),
        ("ORPHANS", ("",)),
        ("ANCESTORS", ("",)),
        ("AGENT", ("",)),
        ("PAYLOAD", ("",)),
        ("TRIED", ("", "")),
        ("RESULT", ("",)),
        ("SESSIONS_FROM", ("", 1)),
        ("RECORDED", ("", "[]", 1)),
        ("UNDONE", ("",)),
        ("LAST_TRY", ("", "")),
        ("ASKED", ("[]",)),
        ("ENQUEUE", ("",) * 19),
        ("FIRST", ("", "", 1)),
        ("CLAIM", ("", "", 1)),
        ("DUE", ("", 1)),
        ("PROMOTE", (1, "", 3)),
        ("EXPIRED", ("", 1)),
        ("NEXT_MOMENT", ()),
        ("LENGTH", ()),
        ("WAITING", ()),
        ("STATE", ("",)),
        ("CLAIMED_STATE", ("",)),
        ("END", ("", "", "")),
        ("REQUEUE", (0, None, "")),
        ("CANCEL", ("", "")),
        ("CANCELLED", ("",)),
        ("BY_POSITION", (1,)),
        ("BY_ID", ("",)),
        ("BY_REQUEST", ("",)),
        ("BETWEEN", ("", "", "")),
        ("ANSWERED", ("[]",)),
        ("DUE_WEBHOOKS", ("", "[]", "[]", 1)),
        ("WEBHOOK_SENT", ("",)),
        ("WEBHOOK_FAILED", (1, "", "", "")),
        ("WEBHOOK_DUE", ("", "")),
    ],
)
def test_no_statement_reads_the_whole_table(ledger: sqlite3.Connection, name: str, parameters: tuple[Any, ...]) -> None:
    """Each finds its rows through an index, so that a ledger of a million starts as one of ten; and what is to come in an
    order lies in it.
    """
    plan = [detail for *_, detail in ledger.execute(f"EXPLAIN QUERY PLAN {getattr(statements, name)}", parameters)]
    of_table = [line for line in plan if re.search(r"(SEARCH|SCAN) (contracts|c|k|q|r|webhooks)\b", line)]
    assert of_table
    assert all("INDEX" in line or "PRIMARY KEY" in line for line in of_table), plan
    if name not in ("UNDONE", "LAST_TRY", "ASKED", "TRIED"):  # whose rows are few, or of one session
        assert not any("TEMP B-TREE FOR ORDER" in line for line in plan), plan


# The queue


def enqueue(
    connection: sqlite3.Connection,
    contract_id: str,
    session: str = "session",
    priority: int = 3,
    due_at: str | None = None,
    expires_at: str | None = None,
    **different: Any,
) -> None:
    """Put a REQUEST into the queue."""
    given = row(
        contract_id, session_id=session, to_agent=different.pop("to_agent", None), status="pending", **different
    )
    connection.execute(statements.ENQUEUE, (*given, priority, due_at, expires_at))


def waiting(connection: sqlite3.Connection) -> dict[str, int | None]:
    """The turn of everything that was enqueued."""
    return dict(connection.execute("SELECT contract_id, turn FROM contracts WHERE priority IS NOT NULL"))


def first(connection: sqlite3.Connection, agent_id: str | None = None, most: int = 10) -> list[str]:
    """The ids of what FIRST finds of `echo`."""
    found = connection.execute(statements.FIRST, ("echo", agent_id, most)).fetchall()
    assert found == sorted(found)
    return [connection.execute(statements.BY_POSITION, (position,)).fetchone()[0] for _, _, position, _ in found]


def claim(connection: sqlite3.Connection, contract_id: str, owner: str = "me") -> None:
    """Claim it as the queue does."""
    ((position, priority, turn),) = connection.execute(
        "SELECT position, priority, turn FROM contracts WHERE contract_id = ?", (contract_id,)
    )
    connection.execute(statements.CLAIM, (owner, "an agent", position))
    connection.execute(statements.CLOCK, (priority, turn))


def test_enqueue_writes_the_whole_row_and_gives_it_a_turn(ledger: sqlite3.Connection) -> None:
    """One after the last that waits of its session and priority; none where its time has not come."""
    enqueue(ledger, "A", payload='{"a":1}', metadata='{"b":2}', parent_id="P", expires_at="2026-03-01T00:00:00.000Z")
    for contract_id, session, priority in (("B", "session", 3), ("C", "other", 3), ("D", "session", 1)):
        enqueue(ledger, contract_id, session, priority)
    enqueue(ledger, "E", due_at="2026-02-01T00:00:00.000Z")
    assert waiting(ledger) == {"A": 1, "B": 2, "C": 1, "D": 1, "E": None}
    assert everything(ledger)[0] == row(
        "A", to_agent=None, status="pending", payload='{"a":1}', metadata='{"b":2}', parent_id="P"
    )
    columns = (
        "SELECT priority, due_at, expires_at, attempts, cancelled_by FROM contracts WHERE contract_id IN ('A', 'E')"
    )
    assert ledger.execute(columns).fetchall() == [
        (3, None, "2026-03-01T00:00:00.000Z", None, None),
        (3, "2026-02-01T00:00:00.000Z", None, None, None),
    ]


def test_first_goes_by_priority_then_turn_then_order(ledger: sqlite3.Connection) -> None:
    """Of that capability, and of those that insist on an agent only that agent's."""
    for contract_id, session, priority in (("A", "s", 3), ("B", "s", 3), ("C", "t", 3), ("D", "u", 5), ("E", "u", 1)):
        enqueue(ledger, contract_id, session, priority)
    enqueue(ledger, "F", "v", to_agent="agent")
    enqueue(ledger, "G", "w", capability="other")
    enqueue(ledger, "H", due_at="2026-02-01T00:00:00.000Z")
    assert first(ledger) == ["E", "A", "C", "B", "D"]
    assert first(ledger, most=2) == ["E", "A"]
    assert first(ledger, "agent") == ["F"]
    assert first(ledger, "another") == []
    assert sorted(ledger.execute(statements.WAITING), key=str) == [
        ("echo", "agent", 1), ("echo", None, 5), ("other", None, 1)
    ]  # fmt: skip


def test_a_claim_leaves_the_queue_and_moves_its_clock(ledger: sqlite3.Connection) -> None:
    """So a session that comes later takes turns with one that has been there for long."""
    for contract_id in "ABC":
        enqueue(ledger, contract_id, expires_at="2026-03-01T00:00:00.000Z")
    claim(ledger, "A")
    claim(ledger, "B")
    assert first(ledger) == ["C"]
    (claimed, *_) = everything(ledger)
    assert (claimed.status, claimed.claimed_by) == ("in_progress", "me")
    assert ledger.execute("SELECT expires_at, attempts FROM contracts").fetchall()[0] == (None, 1)
    assert ledger.execute("SELECT turn FROM queue_clock ORDER BY priority").fetchall() == [(0,), (0,), (2,), (0,), (0,)]
    enqueue(ledger, "D", "new")
    assert waiting(ledger)["D"] == waiting(ledger)["C"] == 3
    assert first(ledger) == ["C", "D"]
    ledger.execute(statements.CLOCK, (3, 0))  # it never goes back
    assert ledger.execute("SELECT turn FROM queue_clock WHERE priority = 3").fetchone() == (2,)


def test_what_is_due_is_let_in_and_what_is_late_is_found(ledger: sqlite3.Connection) -> None:
    """The longest due first; NEXT_MOMENT is when there will be more."""
    assert ledger.execute(statements.NEXT_MOMENT).fetchone() == (None,)
    enqueue(ledger, "A", due_at="2026-02-02T00:00:00.000Z", expires_at="2026-02-09T00:00:00.000Z")
    enqueue(ledger, "B", due_at="2026-02-01T00:00:00.000Z")
    enqueue(ledger, "C")
    assert ledger.execute(statements.NEXT_MOMENT).fetchone() == ("2026-02-01T00:00:00.000Z",)
    assert ledger.execute(statements.LENGTH).fetchone() == (3,)
    due = ledger.execute(statements.DUE, ("2026-02-02T00:00:00.000Z", 5)).fetchall()
    assert due == [(2, "session", 3), (1, "session", 3)]
    assert ledger.execute(statements.DUE, ("2026-02-01T23:59:59.999Z", 5)).fetchall() == due[:1]
    ledger.executemany(statements.PROMOTE, due)
    assert waiting(ledger) == {"C": 1, "B": 2, "A": 3}
    assert ledger.execute(statements.NEXT_MOMENT).fetchone() == ("2026-02-09T00:00:00.000Z",)
    assert ledger.execute(statements.EXPIRED, ("2026-02-08T00:00:00.000Z", 5)).fetchall() == []
    assert ledger.execute(statements.EXPIRED, ("2026-02-09T00:00:00.000Z", 5)).fetchall() == [(1,)]


def test_the_end_of_what_waits_takes_it_out_of_the_queue(ledger: sqlite3.Connection) -> None:
    """STATE says whether it waits; END leaves nothing of the queue but its priority."""
    enqueue(ledger, "A", due_at="2026-02-02T00:00:00.000Z", expires_at="2026-02-09T00:00:00.000Z")
    enqueue(ledger, "B")
    assert ledger.execute(statements.STATE, ("A",)).fetchone() == ("pending", "REQUEST", 1, None, 1)
    for contract_id in "AB":
        ledger.execute(statements.END, ("cancelled", "2026-01-02T00:00:00.000Z", contract_id))
        state = ledger.execute(statements.STATE, (contract_id,)).fetchone()
        assert state[:4] == ("cancelled", "REQUEST", 0, None)
    assert ledger.execute(statements.NEXT_MOMENT).fetchone() == (None,)
    assert ledger.execute(statements.LENGTH).fetchone() == (0,)


def test_what_is_given_back_waits_at_the_head_and_remembers_its_attempts(ledger: sqlite3.Connection) -> None:
    """One that its agent never heard of does not count."""
    for contract_id in "ABC":
        enqueue(ledger, contract_id)
    for contract_id in "AB":
        claim(ledger, contract_id)
    assert ledger.execute(statements.CLAIMED_STATE, ("A",)).fetchone() == (1, 1, None, 1)
    ledger.execute(statements.REQUEUE, (0, None, "A"))
    ledger.execute(statements.REQUEUE, (1, None, "B"))
    assert ledger.execute("SELECT status, claimed_by, attempts FROM contracts").fetchall() == [
        ("pending", None, 1),
        ("pending", None, 0),
        ("pending", None, None),
    ]
    assert first(ledger) == ["A", "B", "C"]
    assert ledger.execute(statements.CLAIMED_STATE, ("A",)).fetchone() is None


def test_a_cancellation_is_found_by_the_owner_and_the_first_one_stands(ledger: sqlite3.Connection) -> None:
    """As long as it holds it."""
    ledger.executemany(
        statements.INSERT, [row("A", claimed_by="me"), row("B", claimed_by="you"), row("C", claimed_by="me")]
    )
    for by in ("Ann", "Bob"):
        ledger.execute(statements.CANCEL, (by, "A"))
    ledger.execute(statements.CANCEL, ("Ann", "B"))
    assert ledger.execute(statements.CANCELLED, ("me",)).fetchall() == [("A", "Ann")]
    ledger.execute(statements.COMPLETE, ("cancelled", "2026-01-02T00:00:00.000Z", "A"))
    assert ledger.execute(statements.CANCELLED, ("me",)).fetchall() == []


def test_rows_are_found_by_what_names_them(ledger: sqlite3.Connection) -> None:
    """By position, by id, and by the REQUEST that they answer."""
    request, response = row("A"), row("B", contract_type="RESPONSE", request_id="A")
    ledger.executemany(statements.INSERT, [request, response, row("C")])
    assert Row(*ledger.execute(statements.BY_POSITION, (1,)).fetchone()) == request
    assert Row(*ledger.execute(statements.BY_ID, ("A",)).fetchone()) == request
    assert Row(*ledger.execute(statements.BY_REQUEST, ("A",)).fetchone()) == response
    assert ledger.execute(statements.BY_REQUEST, ("C",)).fetchone() is None
    assert ledger.execute(statements.ANSWERED, ('["C","A","none"]',)).fetchall() == [("A",)]


def test_a_webhook_is_due_from_its_task_s_end_until_it_is_sent_or_given_up(ledger: sqlite3.Connection) -> None:
    """The longest due first."""
    for name in "ABC":
        ledger.execute(statements.ENQUEUE_WEBHOOK, (name, f"http://{name}"))
    late = "2026-12-01T00:00:00.000Z"
    assert ledger.execute(statements.DUE_WEBHOOKS, (late, "[]", "[]", 5)).fetchall() == []
    for name, moment in (("B", "2026-02-01T00:00:00.000Z"), ("A", "2026-02-02T00:00:00.000Z"), ("none", late)):
        ledger.execute(statements.WEBHOOK_DUE, (moment, name))
    assert ledger.execute(statements.DUE_WEBHOOKS, (late, "[]", "[]", 5)).fetchall() == [
        ("B", "http://B", 0),
        ("A", "http://A", 0),
    ]
    assert ledger.execute(statements.DUE_WEBHOOKS, ("2026-02-01T00:00:00.000Z", "[]", "[]", 5)).fetchall() == [
        ("B", "http://B", 0)
    ]
    for hosts, urls in (('["http://B/"]', "[]"), ("[]", '["http://B"]')):
        assert ledger.execute(statements.DUE_WEBHOOKS, (late, hosts, urls, 5)).fetchall() == [("A", "http://A", 0)]
    ledger.execute(statements.WEBHOOK_SENT, ("B",))
    ledger.execute(statements.WEBHOOK_FAILED, (1, "2026-03-01T00:00:00.000Z", "answered 500", "A"))
    assert ledger.execute(statements.DUE_WEBHOOKS, (late, "[]", "[]", 5)).fetchall() == [("A", "http://A", 1)]
    ledger.execute(statements.WEBHOOK_FAILED, (2, None, "answered 501", "A"))
    assert ledger.execute(statements.DUE_WEBHOOKS, (late, "[]", "[]", 5)).fetchall() == []
    assert ledger.execute("SELECT request_id, attempts, due_at, error FROM webhooks ORDER BY 1").fetchall() == [
        ("A", 2, None, "answered 501"),
        ("C", 0, None, None),
    ]


def test_all_webhooks_that_wait_for_a_url_that_is_gone_are_given_up(ledger: sqlite3.Connection) -> None:
    """Also that of a task which ends later; not what was given up before, and not another URL's."""
    moment = "2026-02-01T00:00:00.000Z"
    for name, url in (("A", "http://x/1"), ("B", "http://x/1"), ("C", "http://x/1"), ("D", "http://x/2")):
        ledger.execute(statements.ENQUEUE_WEBHOOK, (name, url))
    for name in "AD":
        ledger.execute(statements.WEBHOOK_DUE, (moment, name))
    ledger.execute(statements.WEBHOOK_FAILED, (10, None, "answered 500", "C"))
    ledger.execute(statements.WEBHOOKS_GONE, ("answered 410", "http://x/1"))
    ledger.execute(statements.WEBHOOK_DUE, (moment, "B"))
    assert ledger.execute("SELECT request_id, due_at, error FROM webhooks ORDER BY 1").fetchall() == [
        ("A", None, "answered 410"),
        ("B", None, "answered 410"),
        ("C", None, "answered 500"),
        ("D", moment, None),
    ]


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


def test_the_contracts_between_two_of_a_session_come_oldest_first(ledger: sqlite3.Connection) -> None:
    """Both ends included, and none of another session; and the last try of a REQUEST is found by its session."""
    rows = [
        row("a"),
        row("b", session_id="other"),
        row("c", status="failed"),
        row("d", metadata='{"resumes":"c"}'),
        row("e"),
    ]
    ledger.executemany(statements.INSERT, rows)
    assert [found[0] for found in ledger.execute(statements.BETWEEN, ("session", "a", "d"))] == ["a", "c", "d"]
    assert ledger.execute(statements.LAST_TRY, ("session", "c")).fetchall() == [("d", "in_progress")]
    assert ledger.execute(statements.LAST_TRY, ("session", "a")).fetchall() == [("a", "in_progress")]

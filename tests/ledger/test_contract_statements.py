"""The statements that write contracts and find them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import statement_cases
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine
from sqlmodel import Session
from statement_cases import end_endless_queries, everything, row

from aorch.clock import from_rfc3339
from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.database import Connection, statements
from aorch.ledger.record import Record
from aorch.ledger.schema import Contract
from aorch.ledger.sqlite.opening import connect

ledger = statement_cases.ledger


def engine_of(location: LedgerLocation) -> Engine:
    """An engine of SQLAlchemy for that ledger."""
    if isinstance(location, Path):
        return create_engine(f"sqlite:///{location}")
    return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(str(location)))


def test_a_record_and_an_object_of_the_table_store_the_same_row(ledger: Connection) -> None:
    """The statement writes what SQLModel writes."""
    written = row(
        "A",
        payload='{"n":36893488147419103232,"text":"\ufffd\'"}',
        completed_at="2026-02-03T04:05:06.789Z",
        result="[1.5,null]",
        metadata='{"a":{}}',
        request_id="Q",
    )
    ledger.execute(statements.INSERT_CONTRACT, written)
    engine = engine_of(ledger.location)
    with Session(engine) as session:
        contract = session.get_one(Contract, 1)
        assert contract.payload == {"n": 2**65, "text": "\ufffd'"}
        assert contract.result == [1.5, None]
        assert contract.details == {"a": {}}
        assert contract.completed_at == from_rfc3339("2026-02-03T04:05:06.789Z")
        values = contract.model_dump() | {"contract_id": "B", "position": None, "request_id": "R"}
        session.add(Contract(**values))
        session.commit()
    engine.dispose()
    (copy,) = ledger.execute(f"SELECT {', '.join(Record._fields)} FROM contracts WHERE contract_id = 'B'")
    assert Record(*copy).as_dict() == written._replace(contract_id="B", request_id="R").as_dict()


def test_starting_and_finishing_a_request_changes_only_its_status_completion_and_claim(
    ledger: sqlite3.Connection,
) -> None:
    """START_REQUEST changes only pending REQUESTs."""
    for number, status in enumerate(("pending", "cancelled")):
        ledger.execute(statements.INSERT_CONTRACT, row(f"C{number}", status=status, claimed_by="me"))
        ledger.execute(statements.START_REQUEST, (f"C{number}",))
    assert everything(ledger) == [
        row("C0", status="in_progress", claimed_by="me"),
        row("C1", status="cancelled", claimed_by="me"),
    ]
    ledger.execute(statements.FINISH_REQUEST, ("completed", "2026-01-01T00:00:01.000Z", "C0"))
    assert everything(ledger)[0] == row("C0", status="completed", completed_at="2026-01-01T00:00:01.000Z")
    assert everything(ledger)[1] == row("C1", status="cancelled", claimed_by="me")


def test_claims_are_found_by_their_owner(ledger: sqlite3.Connection) -> None:
    """CLAIM_OWNERS names each owner once. CLAIMED_BY_OWNER has its running REQUESTs, then those that wait for their agent."""
    rows = [
        row("A", status="pending", claimed_by="one"),
        row("B", status="in_progress", claimed_by="one", parent_id="A"),
        row("C", status="in_progress", claimed_by="two"),
        row("D", status="pending"),
    ]
    ledger.executemany(statements.INSERT_CONTRACT, rows)
    assert sorted(ledger.execute(statements.CLAIM_OWNERS)) == [("one",), ("two",)]
    assert ledger.execute(statements.CLAIMED_BY_OWNER, ("one",)).fetchall() == [("B",), ("A",)]


def test_ancestors_lead_from_a_contract_to_the_root(ledger: sqlite3.Connection) -> None:
    """In that order. An unknown contract has none, and a cycle ends."""
    for child, parent in (("root", None), ("a", "root"), ("b", "a"), ("other", "root"), ("x", "y"), ("y", "x")):
        ledger.execute(statements.INSERT_CONTRACT, row(child, parent_id=parent, to_agent=f"agent of {child}"))

    end_endless_queries(ledger)

    def above(contract_id: str) -> list[Any]:
        return ledger.execute(statements.ANCESTORS, (contract_id,)).fetchall()

    assert above("b") == [(name, f"agent of {name}", "echo") for name in ("b", "a", "root")]
    assert [name for name, *_ in above("x")] == ["x", "y"]
    assert above("nowhere") == []


def test_newest_ids_come_newest_first(ledger: sqlite3.Connection) -> None:
    """In the order of commits, not of ids."""
    ledger.executemany(
        statements.INSERT_CONTRACT, [row("B", session_id="first"), row("A", session_id="second"), row("C")]
    )
    assert ledger.execute(statements.NEWEST_IDS, (2,)).fetchall() == [("C", "echo", "session"), ("A", "echo", "second")]


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
    """Up to the limit, in the order of code points."""
    scratch.execute("BEGIN")
    try:
        rows = [row(f"{number}", session_id=session) for number, session in enumerate(sessions)]
        scratch.executemany(statements.INSERT_CONTRACT, rows)
        found = [session for (session,) in scratch.execute(statements.SESSIONS_FROM, (first, most))]
    finally:
        scratch.execute("ROLLBACK")
    assert found == sorted({session for session in sessions if session >= first})[:most]


def test_contracts_are_found_by_position_by_id_and_by_the_request_they_answer(ledger: sqlite3.Connection) -> None:
    """As records."""
    request, response = row("A"), row("B", contract_type="RESPONSE", request_id="A")
    ledger.executemany(statements.INSERT_CONTRACT, [request, response, row("C")])
    assert Record(*ledger.execute(statements.CONTRACT_AT, (1,)).fetchone()) == request
    assert Record(*ledger.execute(statements.CONTRACT_BY_ID, ("A",)).fetchone()) == request
    assert Record(*ledger.execute(statements.RESPONSE_TO, ("A",)).fetchone()) == response
    assert ledger.execute(statements.RESPONSE_TO, ("C",)).fetchone() is None
    assert ledger.execute(statements.ANSWERED_REQUESTS, ('["C","A","none"]',)).fetchall() == [("A",)]


def test_the_contracts_between_two_of_a_session_come_oldest_first(ledger: sqlite3.Connection) -> None:
    """Both are included, and none of another session. LAST_TRY finds the last try in the session."""
    rows = [
        row("a"),
        row("b", session_id="other"),
        row("c", status="failed"),
        row("d", metadata='{"resumes":"c"}'),
        row("e"),
    ]
    ledger.executemany(statements.INSERT_CONTRACT, rows)
    assert [found[0] for found in ledger.execute(statements.CONTRACTS_BETWEEN, ("session", "a", "d"))] == [
        "a",
        "c",
        "d",
    ]
    assert ledger.execute(statements.LAST_TRY, ("session", "c")).fetchall() == [("d", "in_progress")]
    assert ledger.execute(statements.LAST_TRY, ("session", "a")).fetchall() == [("a", "in_progress")]

"""The statements of idempotency keys, batches and retries."""

import sqlite3

import pytest
import statement_cases
from statement_cases import end_endless_queries, row

from aorch.ledger.database import DatabaseError, is_taken_key, statements

ledger = statement_cases.ledger


def test_a_key_is_stored_once_per_caller(ledger: sqlite3.Connection) -> None:
    """The primary key rejects the second one. Contracts have no such key, so this error differs from theirs."""
    for caller, key in (("", "k"), ("a", "k"), ("", "K")):
        ledger.execute(statements.INSERT_KEY, (caller, key, "f", "R"))
    with pytest.raises(DatabaseError) as refusal:
        ledger.execute(statements.INSERT_KEY, ("", "k", "other", "other"))
    assert is_taken_key(refusal.value)
    ledger.execute(statements.INSERT_CONTRACT, row("A", request_id="R"))
    for again in (row("A"), row("B", request_id="R")):
        with pytest.raises(DatabaseError) as refusal:
            ledger.execute(statements.INSERT_CONTRACT, again)
        assert not is_taken_key(refusal.value)


def test_the_steps_of_a_pipeline_include_those_of_the_requests_that_it_resumes(
    ledger: sqlite3.Connection,
) -> None:
    """Not those of another agent, or of a REQUEST of another session or capability, whatever the metadata contains."""
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
        ledger.execute(statements.INSERT_CONTRACT, row(name, **different))
        ledger.execute(
            statements.INSERT_CONTRACT, row(f"{name} 1", parent_id=name, from_agent="pipe", metadata='{"step":"a"}')
        )
    ledger.execute(statements.INSERT_CONTRACT, row("another's", parent_id="first", from_agent="else"))
    ledger.execute(
        statements.INSERT_CONTRACT,
        row("answer", parent_id="first", from_agent="pipe", contract_type="RESPONSE", request_id="first 1"),
    )
    end_endless_queries(ledger)

    def tried(contract_id: str) -> list[str]:
        return [row[0] for row in ledger.execute(statements.STEPS_OF_TRIES, (contract_id, "pipe"))]

    assert tried("third") == ["first 1", "second 1", "third 1"]
    assert tried("first") == ["first 1"]
    assert [tried(name) for name in ("foreign", "unlike", "odd")] == [["foreign 1"], ["unlike 1"], ["odd 1"]]
    assert tried("x") == ["x 1", "y 1"]
    assert tried("nowhere") == []
    assert ledger.execute(statements.STEPS_OF_TRIES, ("first", "pipe")).fetchone() == (
        "first 1", "agent", "echo", "{}", "in_progress", 0, '{"step":"a"}'
    )  # fmt: skip


def test_a_batch_line_has_the_result_of_its_last_try(ledger: sqlite3.Connection) -> None:
    """Only lines of that generation that have run. A result that is too long is left out."""
    for key in ("done", "open", "long"):
        ledger.execute(statements.INSERT_BATCH_LINE, ("G", key, f"Q-{key}"))
        ledger.execute(
            statements.INSERT_CONTRACT, row(f"Q-{key}", metadata='{"retry_of":"Q"}' if key == "open" else "{}")
        )
    ledger.execute(statements.INSERT_BATCH_LINE, ("other", "done", "Q-open"))
    ledger.execute(statements.INSERT_BATCH_LINE, ("G", "again", "Q-first"))
    for before, after in (("Q-first", "Q-second"), ("Q-second", "Q-last")):
        ledger.execute(statements.INSERT_RETRY, (before, after))
        ledger.execute(statements.INSERT_CONTRACT, row(after, metadata='{"retry_of":"Q-first"}'))
    about = {
        "contract_type": "RESPONSE",
        "status": "failed",
        "metadata": '{"called":false}',
    }
    ledger.execute(statements.INSERT_CONTRACT, row("R-done", request_id="Q-done", error="e", **about))
    ledger.execute(statements.INSERT_CONTRACT, row("R-long", request_id="Q-long", result='"123456"', **about))
    moment, none = "2026-01-01T00:00:00.000Z", (None,) * 7
    asked = (len(about["metadata"]) + 5, "G", '["done","open","long","again","never"]')
    assert sorted(ledger.execute(statements.BATCH_RESULTS, asked)) == [
        ("again", "Q-last", "session", "agent", "Q-first", *none),
        ("done", "Q-done", "session", "agent", None, "orchestrator", "failed", moment, "e", 0, None, about["metadata"]),
        ("long", "Q-long", "session", "agent", None, "orchestrator", "failed", moment, None, 0, None, None),
        ("open", "Q-open", "session", "agent", "Q", *none),
    ]


def test_unfinished_are_requests_whose_last_try_failed_or_was_cancelled(ledger: sqlite3.Connection) -> None:
    """Not a REQUEST of an agent, none that is tried again now, and none of another session."""
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
    ledger.executemany(statements.INSERT_CONTRACT, rows)
    assert ledger.execute(statements.UNFINISHED, ("session",)).fetchall() == [(1, "never again"), (3, "failed again 1")]
    assert [row[0] for row in ledger.execute(statements.REQUESTS_AT, ("[3,1]",))] == ["never again", "failed again"]


@pytest.mark.sqlite_only("it reads the plan of SQLite for a statement")
def test_the_last_tries_of_a_session_are_joined_through_an_index(ledger: sqlite3.Connection) -> None:
    """Comparing each REQUEST with each retry took minutes in a session of 100,000."""
    plan = [detail for *_, detail in ledger.execute(f"EXPLAIN QUERY PLAN {statements.UNFINISHED}", ("session",))]
    joins = [line for line in plan if "SEARCH ranked" in line]
    assert joins
    assert all("previous=?" in line for line in joins)

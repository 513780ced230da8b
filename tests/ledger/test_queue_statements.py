"""The statements of the queue and its webhooks."""

import sqlite3
from typing import Any

import statement_cases
from statement_cases import everything, row

from aorch.ledger.database import statements

ledger = statement_cases.ledger


def enqueue(
    connection: sqlite3.Connection,
    contract_id: str,
    session: str = "session",
    priority: int = 3,
    due_at: str | None = None,
    expires_at: str | None = None,
    labels: str | None = None,
    **different: Any,
) -> None:
    """Put a REQUEST in the queue."""
    given = row(
        contract_id, session_id=session, to_agent=different.pop("to_agent", None), status="pending", **different
    )
    connection.execute(statements.ENQUEUE, (*given, priority, due_at, expires_at, labels))


def waiting(connection: sqlite3.Connection) -> dict[str, int | None]:
    """The turn of every REQUEST that was queued."""
    return dict(connection.execute("SELECT contract_id, turn FROM contracts WHERE priority IS NOT NULL"))


def first(
    connection: sqlite3.Connection, agent_id: str | None = None, most: int = 10, labels: str | None = None
) -> list[str]:
    """The ids that QUEUE_HEAD finds for `echo`."""
    found = connection.execute(statements.QUEUE_HEAD, ("echo", agent_id, labels, most)).fetchall()
    assert found == sorted(found)
    return [connection.execute(statements.CONTRACT_AT, (position,)).fetchone()[0] for _, _, position, *_ in found]


def claim(connection: sqlite3.Connection, contract_id: str, owner: str = "me") -> None:
    """Claim a REQUEST as the queue does."""
    ((position, priority, turn),) = connection.execute(
        "SELECT position, priority, turn FROM contracts WHERE contract_id = ?", (contract_id,)
    )
    connection.execute(statements.CLAIM_REQUEST, (owner, "an agent", position))
    connection.execute(statements.ADVANCE_QUEUE_CLOCK, (priority, turn))


def test_enqueue_inserts_the_whole_record_and_gives_it_a_turn(ledger: sqlite3.Connection) -> None:
    """One after the last queued turn of its session and priority; none before it is due."""
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
        " ORDER BY position"
    )
    assert ledger.execute(columns).fetchall() == [
        (3, None, "2026-03-01T00:00:00.000Z", None, None),
        (3, "2026-02-01T00:00:00.000Z", None, None, None),
    ]


def test_the_queue_is_ordered_by_priority_then_turn_then_position(ledger: sqlite3.Connection) -> None:
    """REQUESTs that require an agent are found only for that agent."""
    for contract_id, session, priority in (("A", "s", 3), ("B", "s", 3), ("C", "t", 3), ("D", "u", 5), ("E", "u", 1)):
        enqueue(ledger, contract_id, session, priority)
    enqueue(ledger, "F", "v", to_agent="agent")
    enqueue(ledger, "G", "w", capability="other")
    enqueue(ledger, "H", due_at="2026-02-01T00:00:00.000Z")
    enqueue(ledger, "I", "x", labels="fast")
    assert first(ledger) == ["E", "A", "C", "B", "D"]
    assert (first(ledger, labels="fast"), first(ledger, labels="slow")) == (["I"], [])
    assert first(ledger, most=2) == ["E", "A"]
    assert first(ledger, "agent") == ["F"]
    assert first(ledger, "another") == []
    assert sorted(ledger.execute(statements.QUEUED_COUNTS), key=str) == [
        ("echo", "agent", None, 1), ("echo", None, "fast", 1), ("echo", None, None, 5), ("other", None, None, 1)
    ]  # fmt: skip


def test_labels_that_queued_requests_require_are_found_once_each(ledger: sqlite3.Connection) -> None:
    for number, labels in enumerate(("a", "c", "b", "a", None, "c")):
        enqueue(ledger, str(number), labels=labels)
    enqueue(ledger, "later", due_at="2026-02-01T00:00:00.000Z", labels="d")
    assert ledger.execute(statements.REQUIRED_LABELS).fetchall() == [("a",), ("b",), ("c",)]
    claim(ledger, "2")
    assert ledger.execute(statements.REQUIRED_LABELS).fetchall() == [("a",), ("c",)]


def test_a_claim_leaves_the_queue_and_moves_its_clock(ledger: sqlite3.Connection) -> None:
    """So a later session alternates with one that has been queued for long."""
    for contract_id in "ABC":
        enqueue(ledger, contract_id, expires_at="2026-03-01T00:00:00.000Z")
    claim(ledger, "A")
    claim(ledger, "B")
    assert first(ledger) == ["C"]
    (claimed, *_) = everything(ledger)
    assert (claimed.status, claimed.claimed_by) == ("in_progress", "me")
    assert ledger.execute("SELECT expires_at, attempts FROM contracts ORDER BY position").fetchall()[0] == (None, 1)
    assert ledger.execute("SELECT turn FROM queue_clock ORDER BY priority").fetchall() == [(0,), (0,), (2,), (0,), (0,)]
    enqueue(ledger, "D", "new")
    assert waiting(ledger)["D"] == waiting(ledger)["C"] == 3
    assert first(ledger) == ["C", "D"]
    ledger.execute(statements.ADVANCE_QUEUE_CLOCK, (3, 0))  # it never goes back
    assert ledger.execute("SELECT turn FROM queue_clock WHERE priority = 3").fetchone() == (2,)


def test_due_requests_get_a_turn_and_expired_ones_are_found(ledger: sqlite3.Connection) -> None:
    """The one that has been due longest comes first. NEXT_QUEUE_TIME is the time of the next one."""
    assert ledger.execute(statements.NEXT_QUEUE_TIME).fetchone() == (None,)
    enqueue(ledger, "A", due_at="2026-02-02T00:00:00.000Z", expires_at="2026-02-09T00:00:00.000Z")
    enqueue(ledger, "B", due_at="2026-02-01T00:00:00.000Z")
    enqueue(ledger, "C")
    assert ledger.execute(statements.NEXT_QUEUE_TIME).fetchone() == ("2026-02-01T00:00:00.000Z",)
    assert ledger.execute(statements.QUEUE_LENGTH).fetchone() == (3,)
    assert ledger.execute(statements.ANY_QUEUED).fetchone() == (1,)
    due = ledger.execute(statements.DUE_REQUESTS, ("2026-02-02T00:00:00.000Z", 5)).fetchall()
    assert due == [(2, "session", 3), (1, "session", 3)]
    assert ledger.execute(statements.DUE_REQUESTS, ("2026-02-01T23:59:59.999Z", 5)).fetchall() == due[:1]
    ledger.executemany(statements.QUEUE_DUE_REQUEST, due)
    assert waiting(ledger) == {"C": 1, "B": 2, "A": 3}
    assert ledger.execute(statements.NEXT_QUEUE_TIME).fetchone() == ("2026-02-09T00:00:00.000Z",)
    assert ledger.execute(statements.EXPIRED_REQUESTS, ("2026-02-08T00:00:00.000Z", 5)).fetchall() == []
    assert ledger.execute(statements.EXPIRED_REQUESTS, ("2026-02-09T00:00:00.000Z", 5)).fetchall() == [(1,)]


def test_finishing_a_queued_request_removes_it_from_the_queue(ledger: sqlite3.Connection) -> None:
    """Only its priority stays."""
    enqueue(ledger, "A", due_at="2026-02-02T00:00:00.000Z", expires_at="2026-02-09T00:00:00.000Z")
    enqueue(ledger, "B")
    assert ledger.execute(statements.REQUEST_STATE, ("A",)).fetchone() == ("pending", "REQUEST", 1, None, 1)
    for contract_id in "AB":
        ledger.execute(statements.FINISH_QUEUED_REQUEST, ("cancelled", "2026-01-02T00:00:00.000Z", contract_id))
        state = ledger.execute(statements.REQUEST_STATE, (contract_id,)).fetchone()
        assert state[:4] == ("cancelled", "REQUEST", 0, None)
    assert ledger.execute(statements.NEXT_QUEUE_TIME).fetchone() == (None,)
    assert ledger.execute(statements.QUEUE_LENGTH).fetchone() == (0,)
    assert ledger.execute(statements.ANY_QUEUED).fetchone() == (0,)


def test_a_requeued_request_goes_first_and_keeps_its_attempts(ledger: sqlite3.Connection) -> None:
    """An attempt in which the agent was not called does not count."""
    for contract_id in "ABC":
        enqueue(ledger, contract_id)
    for contract_id in "AB":
        claim(ledger, contract_id)
    assert ledger.execute(statements.CLAIMED_STATE, ("A",)).fetchone() == (1, 1, None, 1)
    ledger.execute(statements.REQUEUE, (0, None, "A"))
    ledger.execute(statements.REQUEUE, (1, None, "B"))
    assert ledger.execute("SELECT status, claimed_by, attempts FROM contracts ORDER BY position").fetchall() == [
        ("pending", None, 1),
        ("pending", None, 0),
        ("pending", None, None),
    ]
    assert first(ledger) == ["A", "B", "C"]
    assert ledger.execute(statements.CLAIMED_STATE, ("A",)).fetchone() is None


def test_a_postponed_request_waits_for_its_time_and_the_attempt_does_not_count(ledger: sqlite3.Connection) -> None:
    enqueue(ledger, "A")
    claim(ledger, "A")
    due_at, expires_at = "2026-02-02T00:00:00.000Z", "2026-02-09T00:00:00.000Z"
    ledger.execute(statements.POSTPONE, ("agent", due_at, expires_at, "A"))
    columns = "status, claimed_by, attempts, to_agent, turn, due_at, expires_at"
    found = ledger.execute(f"SELECT {columns} FROM contracts").fetchone()
    assert found == ("pending", None, 0, "agent", None, due_at, expires_at)
    assert ledger.execute(statements.NEXT_QUEUE_TIME).fetchone() == (due_at,)


def test_the_owner_finds_a_cancellation_and_the_first_one_is_kept(ledger: sqlite3.Connection) -> None:
    """While the owner holds the claim."""
    ledger.executemany(
        statements.INSERT_CONTRACT, [row("A", claimed_by="me"), row("B", claimed_by="you"), row("C", claimed_by="me")]
    )
    for by in ("Ann", "Bob"):
        ledger.execute(statements.REQUEST_CANCELLATION, (by, "A"))
    ledger.execute(statements.REQUEST_CANCELLATION, ("Ann", "B"))
    assert ledger.execute(statements.CANCELLED_CLAIMS, ("me",)).fetchall() == [("A", "Ann")]
    ledger.execute(statements.FINISH_REQUEST, ("cancelled", "2026-01-02T00:00:00.000Z", "A"))
    assert ledger.execute(statements.CANCELLED_CLAIMS, ("me",)).fetchall() == []


def test_a_webhook_is_due_from_the_end_of_its_task_until_it_is_sent_or_given_up(ledger: sqlite3.Connection) -> None:
    """The one that has been due longest comes first."""
    for name in "ABC":
        ledger.execute(statements.INSERT_WEBHOOK, (name, f"http://{name}"))
    late = "2026-12-01T00:00:00.000Z"
    assert ledger.execute(statements.DUE_WEBHOOKS, (late, "[]", "[]", 5)).fetchall() == []
    for name, moment in (("B", "2026-02-01T00:00:00.000Z"), ("A", "2026-02-02T00:00:00.000Z"), ("none", late)):
        ledger.execute(statements.WEBHOOK_IS_DUE, (moment, name))
    assert ledger.execute(statements.DUE_WEBHOOKS, (late, "[]", "[]", 5)).fetchall() == [
        ("B", "http://B", 0),
        ("A", "http://A", 0),
    ]
    assert ledger.execute(statements.DUE_WEBHOOKS, ("2026-02-01T00:00:00.000Z", "[]", "[]", 5)).fetchall() == [
        ("B", "http://B", 0)
    ]
    for hosts, urls in (('["http://B/"]', "[]"), ("[]", '["http://B"]')):
        assert ledger.execute(statements.DUE_WEBHOOKS, (late, hosts, urls, 5)).fetchall() == [("A", "http://A", 0)]
    ledger.execute(statements.DELETE_WEBHOOK, ("B",))
    ledger.execute(statements.FAIL_WEBHOOK, (1, "2026-03-01T00:00:00.000Z", "answered 500", "A"))
    assert ledger.execute(statements.DUE_WEBHOOKS, (late, "[]", "[]", 5)).fetchall() == [("A", "http://A", 1)]
    ledger.execute(statements.FAIL_WEBHOOK, (2, None, "answered 501", "A"))
    assert ledger.execute(statements.DUE_WEBHOOKS, (late, "[]", "[]", 5)).fetchall() == []
    assert ledger.execute("SELECT request_id, attempts, due_at, error FROM webhooks ORDER BY 1").fetchall() == [
        ("A", 2, None, "answered 501"),
        ("C", 0, None, None),
    ]


def test_all_webhooks_to_a_url_are_given_up_together(ledger: sqlite3.Connection) -> None:
    """Also the webhook of a task that ends later; not one that was given up before, and not those to another URL."""
    moment = "2026-02-01T00:00:00.000Z"
    for name, url in (("A", "http://x/1"), ("B", "http://x/1"), ("C", "http://x/1"), ("D", "http://x/2")):
        ledger.execute(statements.INSERT_WEBHOOK, (name, url))
    for name in "AD":
        ledger.execute(statements.WEBHOOK_IS_DUE, (moment, name))
    ledger.execute(statements.FAIL_WEBHOOK, (10, None, "answered 500", "C"))
    ledger.execute(statements.GIVE_UP_URL, ("answered 410", "http://x/1"))
    ledger.execute(statements.WEBHOOK_IS_DUE, (moment, "B"))
    assert ledger.execute("SELECT request_id, due_at, error FROM webhooks ORDER BY 1").fetchall() == [
        ("A", None, "answered 410"),
        ("B", None, "answered 410"),
        ("C", None, "answered 500"),
        ("D", moment, None),
    ]

"""Sessions by last activity with the number of their exchanges, and the trees of a session."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from ledger_state import change
from ledgers import new_ledger
from rows import pairs, put, request, response

from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.reader import Reader
from aorch.ledger.record import Record
from aorch.ledger.schema import RUN
from aorch.ledger.session_list import session_form, sessions_by_activity, sessions_by_id
from aorch.ledger.tree import TreeNode, session_trees

EVERY = 2**63 - 1


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerLocation:
    """An empty ledger."""
    return new_ledger(tmp_path)


def all_pages(reader: Reader, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    before = None
    while page := sessions_by_activity(reader.select, before=before, limit=limit):
        found += [session for _, session in page]
        before = page[-1][0]
    return found


def test_a_session_has_the_numbers_of_its_exchanges(ledger: Path) -> None:
    statuses = ("completed", "failed", "failed", "cancelled", "pending", "in_progress")
    requests = [request("counted", status=status) for status in statuses]
    answers = [response(each) for each in requests[:4]]
    put(ledger, *pairs(1500, "crowd"), *requests, *answers, *pairs(1, "crowd"))
    with Reader(ledger) as reader:
        counted, crowd = sessions_by_id(reader.select, after=None, limit=10)
        assert [session for _, session in sessions_by_activity(reader.select, before=None, limit=10)] == [
            crowd,
            counted,
        ]
    assert counted == {
        "session_id": "counted",
        "contracts": 10,
        "exchanges": 6,
        "failed": 2,
        "open": 2,
        "first_at": requests[0].created_at,
        "last_at": answers[-1].created_at,
    }
    assert (crowd["contracts"], crowd["exchanges"], crowd["failed"], crowd["open"]) == (3002, 1501, 0, 0)


@given(some.lists(some.sampled_from("abcdefgh"), max_size=40), some.integers(1, 5))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sessions_come_by_their_newest_contract(tmp_path: Path, order: list[str], limit: int) -> None:
    ledger = new_ledger(tmp_path)
    put(ledger, *(request(name) for name in order))
    expected = list(dict.fromkeys(reversed(order)))
    with Reader(ledger) as reader:
        assert [each["session_id"] for each in all_pages(reader, limit)] == expected


@pytest.mark.parametrize("sessions", [5, pytest.param(3000, marks=pytest.mark.torture)])
def test_sessions_that_have_long_been_quiet_are_found(ledger: Path, sessions: int) -> None:
    """Few sessions are looked up one by one; many are searched for further back."""
    quiet = [request(f"quiet {number}", payload="{}") for number in range(sessions)]
    put(ledger, *quiet, request("busy", payload="{}"))
    others = ", ".join(name for name in Record._fields if name != "contract_id")
    change(
        ledger,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 140000)"
        f" INSERT INTO contracts (contract_id, {others}) SELECT substr('0000000000000000000' || (1000000 + i), 1, 26), {others}"
        " FROM n, (SELECT * FROM contracts WHERE session_id = 'busy') AS busy",
    )
    with Reader(ledger) as reader:
        found = sessions_by_activity(reader.select, before=None, limit=4)
        more = sessions_by_activity(reader.select, before=found[-1][0], limit=1)
    names = [session["session_id"] for _, session in [*found, *more]]
    assert names == ["busy", *(f"quiet {sessions - number}" for number in range(1, 5))]


def trees(ledger: Path, session: str, **options: Any) -> list[TreeNode]:
    given: dict[str, Any] = {"after": 0, "before": EVERY, "limit": 100, "newest_first": False, "most": 50, **options}
    with Reader(ledger) as reader:
        return [root for _, root in session_trees(reader.select, session, **given)]


def shape(node: TreeNode) -> Any:
    return (node.contract_id, [shape(child) for child in node.children]) if node.children else node.contract_id


def exchange(name: str, parent: str | None = None, session: str = "s") -> list[Record]:
    asked = request(session, contract_id=name, parent_id=parent, from_agent="ann")
    return [asked, response(asked)]


@pytest.fixture
def family(ledger: Path) -> Callable[..., list[TreeNode]]:
    """The trees of the session `s`: A has B, which has C; D has 3 children; E was delegated by another session."""
    rows = [*exchange("A"), *exchange("B", "A"), *exchange("C", "B"), *exchange("D")]
    rows += [row for name in ("D1", "D2", "D3") for row in exchange(name, "D")]
    put(ledger, *rows, *exchange("X", session="other"), *exchange("E", "X"), *exchange("F", "gone"))
    return lambda **options: trees(ledger, "s", **options)


def test_a_tree_of_a_session_begins_at_a_request_that_the_session_did_not_delegate(
    family: Callable[..., list[TreeNode]],
) -> None:
    assert list(map(shape, family())) == [("A", [("B", ["C"])]), ("D", ["D1", "D2", "D3"]), "E", "F"]
    assert list(map(shape, family(newest_first=True, limit=3))) == ["F", "E", ("D", ["D1", "D2", "D3"])]
    first = family()[0]
    assert (first.from_agent, first.duration_ms, first.status) == ("ann", 1.5, "completed")
    assert first.completed_at is not None


def test_a_tree_of_a_session_shows_the_first_children_and_counts_the_others(
    family: Callable[..., list[TreeNode]],
) -> None:
    (fan,) = family(most=1)[1:2]
    assert (shape(fan), fan.omitted) == (("D", ["D1"]), {"completed": 2})


STATUSES = ("completed", "failed", "cancelled", "pending", "in_progress")


@given(some.lists(some.tuples(some.sampled_from("abc"), some.sampled_from(STATUSES)), min_size=1, max_size=12))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_numbers_of_a_session_are_the_same_alone_and_in_a_list(tmp_path: Path, made: list[tuple[str, str]]) -> None:
    """Whether its contracts are read, or those of the ledger that are not completed."""
    ledger = new_ledger(tmp_path)
    for session, status in made:
        asked = request(session, status=status)
        put(ledger, asked, *([response(asked)] if status in STATUSES[:3] else []))
    with Reader(ledger) as reader:
        listed = sessions_by_id(reader.select, after=None, limit=10)
        assert listed == [session_form(reader.select, session) for session in sorted({name for name, _ in made})]
    for form in listed:
        its = [status for session, status in made if session == form["session_id"]]
        assert (form["exchanges"], form["failed"]) == (len(its), its.count("failed"))
        assert form["open"] == its.count("pending") + its.count("in_progress")


@pytest.mark.sqlite_only("it counts the steps of SQLite's machine")
def test_the_exchanges_of_completed_contracts_are_counted_without_reading_them(ledger: Path) -> None:
    put(ledger, *pairs(3 * RUN, "crowd"), request("crowd", status="failed"))
    taken = count()
    with closing(sqlite3.connect(ledger)) as connection:
        connection.set_progress_handler(lambda: next(taken) and 0, 1)
        (crowd,) = sessions_by_id(lambda sql, *values: connection.execute(sql, values).fetchall(), after=None, limit=10)
    assert (crowd["exchanges"], crowd["failed"]) == (3 * RUN + 1, 1)
    assert next(taken) < 16 * 6 * RUN

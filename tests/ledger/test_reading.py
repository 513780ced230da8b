"""What is read from a ledger: pages, filters, single contracts, whole exchanges, counts, and what comes next."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from ledgers import exists, new_ledger, no_ledger
from rows import pairs, put, request, response

from aorch import jsonio
from aorch.clock import rfc3339
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import LedgerInvalid, NotFound, UsageError
from aorch.ids import new_id
from aorch.ledger.database import statements
from aorch.ledger.filters import count_of, records_of, shown_records_of
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import FIELDS
from aorch.ledger.selection import Selection


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerLocation:
    """An empty ledger."""
    return new_ledger(tmp_path)


@pytest.fixture
def reader(ledger: Path) -> Iterator[Reader]:
    """A reader of it."""
    with Reader(ledger) as reader:
        yield reader


def ids(contracts: Any) -> list[str]:
    return [contract.contract_id for contract in contracts]


def test_a_page_is_newest_first_and_its_last_position_is_the_next_cursor(ledger: Path, reader: Reader) -> None:
    rows = pairs(60)
    put(ledger, *rows)
    seen: list[str] = []
    before = None
    while page := reader.page(limit=50, before=before):
        seen += ids(page)
        before = reader.position(page[-1].contract_id)
    assert seen == ids(reversed(rows))


def test_a_page_can_be_oldest_first_and_without_limit(ledger: Path, reader: Reader) -> None:
    rows = pairs(60)
    put(ledger, *rows)
    assert ids(reader.page(limit=None, newest_first=False)) == ids(rows)
    third = reader.page(limit=3, newest_first=False)[2]
    assert ids(reader.page(limit=2, newest_first=False, after=reader.position(third.contract_id))) == ids(rows[3:5])


def test_each_filter_lets_pass_what_it_names_and_nothing_else(ledger: Path, reader: Reader) -> None:
    first = request("one", created_at="2026-01-01T00:00:00.000Z")
    second = request(
        "two", capability="scan", to_agent="scanner", status="failed", created_at="2026-01-02T00:00:00.000Z"
    )
    answer = response(second, created_at="2026-01-03T00:00:00.000Z")
    put(ledger, first, second, answer)

    def found(**which: Any) -> list[str]:
        return ids(reader.page(Filter(**which), newest_first=False))

    assert found(session_id="one") == ids([first])
    assert found(agent="scanner") == ids([second, answer])
    assert found(contract_type="RESPONSE") == ids([answer])
    assert found(capability="echo") == ids([first])
    assert found(status="completed") == ids([first])
    assert found(status="failed") == ids([second, answer])
    assert found(since=datetime(2026, 1, 2, tzinfo=UTC)) == ids([second, answer])
    assert found(until=datetime(2026, 1, 2, tzinfo=UTC)) == ids([first])
    assert found(status="failed", contract_type="REQUEST", session_id="two", text="hi") == ids([second])
    assert found(session_id="one", status="failed") == []


def test_a_moment_in_another_zone_is_the_same_moment(ledger: Path, reader: Reader) -> None:
    row = request(created_at="2026-01-01T12:00:00.000Z")
    put(ledger, row)
    noon = datetime.fromisoformat("2026-01-01T14:00:00+02:00")
    assert ids(reader.page(Filter(since=noon, until=noon + timedelta(milliseconds=1)))) == ids([row])


@pytest.mark.parametrize(
    "name", ["it's", '"; DROP TABLE contracts; --', "a/../b", "new\nline", "🦊", "%", "x" * 10_240]
)
def test_what_a_caller_named_is_data(ledger: Path, reader: Reader, name: str) -> None:
    row = request(name, capability=name, to_agent=name)
    put(ledger, row, request("other"))
    assert ids(reader.page(Filter(session_id=name, capability=name, agent=name))) == ids([row])


def test_text_that_no_ledger_can_hold_finds_nothing(ledger: Path, reader: Reader) -> None:
    put(ledger, request("s"))
    assert reader.page(Filter(session_id="\ud800s\x00")) == []


def test_a_ledger_that_is_not_there_reads_as_empty_and_is_not_made(tmp_path: Path) -> None:
    ledger = no_ledger(tmp_path / "no")
    with Reader(ledger) as reader:
        assert [*reader.page(), *reader.page(Filter(text="x")), *reader.stream()] == []
        assert reader.counts() == {"total_contracts": 0, "total_sessions": 0, "by_status": {}}
        with pytest.raises(NotFound):
            reader.find(new_id())
    assert not exists(ledger)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_sees_a_ledger_that_comes_after_it(ledger: Path, reader: Reader) -> None:
    assert reader.page() == []
    put(ledger, request())
    assert len(reader.page()) == 1


@pytest.mark.sqlite_only("what is in the file")
def test_a_file_that_is_no_ledger_is_told(ledger: Path, reader: Reader) -> None:
    ledger.write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerInvalid, match="not a ledger"):
        reader.page()


values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(payload=some.dictionaries(some.text(), values, max_size=4), result=values)
def test_a_contract_and_its_row_have_one_json_form(ledger: Path, payload: dict[str, Any], result: Any) -> None:
    asked = request(payload=jsonio.encode(payload), completed_at=None)
    answered = response(asked, result, error=None, parent_id=new_id())
    put(ledger, asked, answered)
    with Reader(ledger) as reader:
        page = reader.page(limit=2, newest_first=False, after=reader.last_position() - 2)
    assert [contract.as_dict() for contract in page] == [asked.as_dict(), answered.as_dict()]
    assert [list(contract.as_dict()) for contract in page] == [list(FIELDS)] * 2


def test_a_contract_is_found_by_its_id_or_by_how_it_begins_or_ends(ledger: Path, reader: Reader) -> None:
    wanted = request(contract_id="01AAAAAAAAAAAAAAAAAAAABCDE")
    put(ledger, wanted, request(contract_id="01BBBBBBBBBBBBBBBBBBBBVWXY"))
    for part in (wanted.contract_id, wanted.contract_id.lower(), "01AA", "01aaa", "BCDE", "aabcde"):
        assert reader.find(part).contract_id == wanted.contract_id


def test_a_part_of_several_ids_is_refused_with_their_names(ledger: Path, reader: Reader) -> None:
    rows = [request(contract_id=f"01SAME{number:020}") for number in range(12)]
    put(ledger, *rows)
    with pytest.raises(UsageError, match=rows[0].contract_id) as refusal:
        reader.find("01SAME")
    assert "and more" in str(refusal.value)
    assert str(refusal.value).count("01SAME0") == 10


def test_a_part_that_is_too_short_or_nobodys_is_told(ledger: Path, reader: Reader) -> None:
    put(ledger, request(contract_id="7"), request())
    assert reader.find("7").contract_id == "7"
    with pytest.raises(UsageError, match="too short"):
        reader.find("01")
    for part in ("nobody", "____", "%%%%", "\ud800\x00ab"):
        with pytest.raises(NotFound):
            reader.find(part)


def test_an_id_may_hold_wildcards(ledger: Path, reader: Reader) -> None:
    put(ledger, request(contract_id="call_1%/x"), request(contract_id="callX1Y/x"))
    assert reader.find("call_1%").contract_id == "call_1%/x"


def test_an_exchange_is_the_same_from_its_request_and_from_its_response(ledger: Path, reader: Reader) -> None:
    asked = request()
    answered = response(asked)
    put(ledger, *pairs(2), asked, answered, *pairs(2))
    for row in (asked, answered):
        exchange = reader.exchange(reader.find(row.contract_id))
        both = {"request": asked.as_dict(), "response": answered.as_dict()}
        assert exchange.as_dict() == {**both, "attempts": [], "children": []}


def test_an_exchange_holds_the_tree_of_what_was_delegated(ledger: Path, reader: Reader) -> None:
    top = request()
    left, right = request(parent_id=top.contract_id), request(parent_id=top.contract_id)
    below = request(parent_id=left.contract_id, status="in_progress", completed_at=None)
    put(ledger, top, left, below, response(left), right, response(right), response(top))
    tree = reader.exchange(reader.find(top.contract_id)).as_dict()
    assert [child["request"]["contract_id"] for child in tree["children"]] == ids([left, right])
    open_ = {"request": below.as_dict(), "response": None, "attempts": [], "children": []}
    assert tree["children"][0]["children"] == [open_]
    assert tree["children"][1]["response"]["request_id"] == right.contract_id


def test_an_exchange_that_goes_in_a_circle_ends(ledger: Path, reader: Reader) -> None:
    one, two = (
        request(contract_id="call-one", parent_id="call-two"),
        request(contract_id="call-two", parent_id="call-one"),
    )
    put(ledger, one, two, request(contract_id="itself", parent_id="itself"))
    tree = reader.exchange(reader.find("call-one"))
    assert [child.request.contract_id for child in tree.children if child.request] == ["call-two"]
    assert tree.children[0].children == []
    assert reader.exchange(reader.find("itself")).children == []


def test_a_response_without_its_request_stands_alone(ledger: Path, reader: Reader) -> None:
    lost, nameless = response(request()), response(request(), request_id=None)
    put(ledger, lost, nameless)
    for row in (lost, nameless):
        exchange = reader.exchange(reader.find(row.contract_id))
        assert exchange.as_dict() == {"request": None, "response": row.as_dict(), "attempts": [], "children": []}


def test_counts_are_of_contracts_sessions_and_statuses(ledger: Path, reader: Reader) -> None:
    put(ledger, *pairs(3, "one"), *pairs(2, "two"), request("three", status="pending"), request("one", status="failed"))
    assert reader.counts() == {
        "total_contracts": 12,
        "total_sessions": 3,
        "by_status": {"completed": 10, "failed": 1, "pending": 1},
    }


def test_sessions_beyond_what_is_skipped_through_are_counted_as_well(ledger: Path, reader: Reader) -> None:
    put(ledger, *(request(f"session {number}") for number in range(10_003)))
    assert reader.counts()["total_sessions"] == 10_003


def test_a_stream_gives_every_row_once_in_order(ledger: Path, reader: Reader) -> None:
    rows = pairs(1_100)
    put(ledger, *rows)
    heard: list[tuple[int, int]] = []
    assert [row._replace(claimed_by=None) for row in reader.stream(progress=lambda *so: heard.append(so))] == rows
    assert heard[-1] == (2_200, 2_200)
    assert len(list(reader.stream(Filter(contract_type="RESPONSE")))) == 1_100


def test_a_stream_ends_where_the_ledger_ended_when_it_began(ledger: Path, reader: Reader) -> None:
    put(ledger, *pairs(1_000))
    stream = reader.stream()
    next(stream)
    put(ledger, *pairs(1_000))
    assert sum(1 for _ in stream) == 1_999


@pytest.mark.sqlite_only("an open transaction keeps the write-ahead log from being emptied")
def test_a_stream_holds_no_transaction_open_while_it_waits(ledger: Path, reader: Reader) -> None:
    put(ledger, *pairs(1_000))
    stream = reader.stream()
    next(stream)
    connection = sqlite3.connect(ledger)
    assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    connection.close()


def test_a_follower_is_given_what_others_commit(ledger: Path, reader: Reader) -> None:
    put(ledger, request())
    rows = [request("new"), request("old"), request("new")]
    writer = threading.Thread(target=put, args=(ledger, *rows))
    following = reader.follow(Filter(session_id="new"), after=reader.last_position())
    writer.start()
    assert [next(following).contract_id, next(following).contract_id] == [rows[0].contract_id, rows[2].contract_id]
    writer.join()


PLANS = [
    (Filter(), "SEARCH c USING INTEGER PRIMARY KEY (rowid<?)"),
    (Filter(session_id="s"), "SEARCH s USING PRIMARY KEY (session_id=? AND position<?)"),
    (Filter(session_id="s", status="failed"), "SEARCH s USING PRIMARY KEY (session_id=? AND position<?)"),
    (Filter(status="failed"), "USING INDEX ix_contracts_status_position_contract_type (status=? AND position<?)"),
    (Filter(text="word1", session_id="s"), "SCAN contracts_text VIRTUAL TABLE"),
    (Filter(text="word1", status="failed"), "SCAN contracts_text VIRTUAL TABLE"),
]


@pytest.mark.sqlite_only("it reads the plan of SQLite for a statement")
@pytest.mark.parametrize("select", [records_of, shown_records_of])
@pytest.mark.parametrize(("which", "plan"), PLANS)
def test_a_page_is_a_walk_through_an_index_without_a_sort(
    ledger: Path, which: Filter, plan: str, select: Callable[[Filter], Selection]
) -> None:
    put(ledger, *pairs(20))
    steps = plan_of(ledger, *select(which).page(before=30, newest_first=True, limit=50))
    assert any(plan in step for step in steps)
    assert not [step for step in steps if "TEMP B-TREE" in step or step == "SCAN c"]


@pytest.mark.sqlite_only("it reads the plan of SQLite for a statement")
def test_a_count_of_words_reads_the_full_text_index_once(ledger: Path) -> None:
    put(ledger, *pairs(20))
    steps = plan_of(ledger, *count_of(Filter(text="word1", status="failed")).unordered())
    assert "SCAN contracts_text VIRTUAL TABLE" in steps[0]


@pytest.mark.sqlite_only("it reads the plan of SQLite for a statement")
@pytest.mark.parametrize(
    ("condition", "index"),
    [
        (statements.HAS_ID_IN, "contract_id"),
        (statements.ANSWERS_ONE_OF, "request_id"),
        (statements.DELEGATED_BY_ONE_OF, "parent_id"),
    ],
)
def test_contracts_are_looked_up_in_an_index(ledger: Path, condition: str, index: str) -> None:
    put(ledger, *pairs(20))
    steps = plan_of(ledger, *records_of(Filter()).where(condition, "[]").page())
    assert any(step.startswith("SEARCH c USING INDEX") and f"({index}=?)" in step for step in steps)


def plan_of(ledger: Path, sql: str, values: tuple[Any, ...]) -> list[str]:
    with closing(sqlite3.connect(ledger)) as connection:
        return [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


def test_a_time_is_read_as_the_text_that_was_written(ledger: Path, reader: Reader) -> None:
    moment = datetime(2026, 3, 1, 9, 30, 0, 123_000, tzinfo=UTC)
    put(ledger, request(created_at=rfc3339(moment)))
    (contract,) = reader.page()
    assert contract.created_at == contract.as_dict()["created_at"] == "2026-03-01T09:30:00.123Z"

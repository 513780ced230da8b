"""The log of exchanges: what a row says, what each filter matches, and pages that miss nothing and repeat nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from ledgers import new_ledger, opened
from rows import put, request, response

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import UsageError
from aorch.ledger.database import statements, transaction
from aorch.ledger.exchanges import FEW, ExchangeFilter, ExchangeRow
from aorch.ledger.reader import Reader
from aorch.ledger.record import Record


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerLocation:
    """An empty ledger."""
    return new_ledger(tmp_path)


@pytest.fixture
def reader(ledger: Path) -> Iterator[Reader]:
    """A reader of it."""
    with Reader(ledger) as reader:
        yield reader


def add_attempts(ledger: Path, *rows: tuple[str, int, str, str | None]) -> None:
    """Attempts: REQUEST, number, agent and error."""
    moment = "2026-01-01T00:00:00.000Z"
    with opened(ledger) as connection, transaction(connection):
        connection.executemany(
            statements.PUT_ATTEMPT, [(*row[:3], moment, moment, "agent_busy", row[3]) for row in rows]
        )


def log(reader: Reader, limit: int = 100, **which: Any) -> list[ExchangeRow]:
    """The matching exchanges, read page by page."""
    found: list[ExchangeRow] = []
    before, more = None, True
    while more:
        page, more = reader.exchanges(ExchangeFilter(**which), limit=limit, before=before)
        assert len(page) == limit or not more
        found += [exchange for _, exchange in page]
        before = page[-1][0] if page else None
    return found


def ids(exchanges: list[ExchangeRow]) -> list[str]:
    return [each.request_id for each in exchanges]


def test_a_row_joins_a_request_with_its_response(ledger: Path, reader: Reader) -> None:
    caller = jsonio.encode({"caller": {"id": "t1", "name": "ci"}})
    asked = request("s", parent_id="P", from_agent="ann", metadata=caller)
    answered = response(asked, {"n": 1.0})
    put(ledger, asked, answered)
    (row,) = log(reader)
    assert row.as_dict() == {
        "request_id": asked.contract_id,
        "response_id": answered.contract_id,
        "session_id": "s",
        "parent_id": "P",
        "capability": "echo",
        "from_agent": "ann",
        "caller": "ci",
        "agent_id": "agent_example_001",
        "status": "completed",
        "created_at": asked.created_at,
        "completed_at": asked.completed_at,
        "duration_ms": 1.5,
        "attempts": 1,
        "result": {"n": 1.0},
        "error": None,
        "code": None,
        "erased": None,
    }


def test_an_open_request_has_no_response_yet(ledger: Path, reader: Reader) -> None:
    running = request(status="in_progress", completed_at=None)
    waiting = request(status="pending", completed_at=None, to_agent=None)
    put(ledger, running, waiting)
    rows = [(row.status, row.agent_id, row.attempts, row.response_id, row.duration_ms) for row in log(reader)]
    assert rows == [("pending", None, 0, None, None), ("in_progress", "agent_example_001", 1, None, None)]


def test_a_request_that_is_answered_while_it_is_read_has_the_end_of_its_response(ledger: Path, reader: Reader) -> None:
    running = request(status="in_progress", completed_at=None)
    put(ledger, running, response(running, status="completed", completed_at="2026-01-01T00:00:00.000Z"))
    (row,) = log(reader)
    assert (row.status, row.completed_at) == ("completed", "2026-01-01T00:00:00.000Z")


def test_attempts_are_counted_and_the_last_agent_is_shown(ledger: Path, reader: Reader) -> None:
    retried = request(to_agent="first", status="failed")
    answered = response(retried, None, from_agent="second", error="busy")
    imported = request(to_agent="first", status="failed")
    told = response(imported, None, from_agent="third", metadata='{"attempts":4}')
    refused = request(to_agent=None, status="failed")
    running = request(to_agent="first", status="in_progress", completed_at=None)
    put(ledger, retried, answered, imported, told, refused, response(refused, None, error="no agent"), running)
    add_attempts(ledger, (retried.contract_id, 1, "first", "busy"), (retried.contract_id, 2, "second", "busy"))
    add_attempts(ledger, (running.contract_id, 1, "first", "busy"), (running.contract_id, 2, "other", None))
    rows = [(row.agent_id, row.attempts) for row in log(reader)]
    assert rows == [("other", 2), (None, 0), ("third", 4), ("second", 2)]
    assert ids(log(reader, agent="second")) == [retried.contract_id]
    assert ids(log(reader, agent="other")) == [running.contract_id]
    assert len(log(reader, agent="first")) == 3


def test_interrupted_exchanges_are_failed_ones_too(ledger: Path, reader: Reader) -> None:
    failed, lost, cancelled, good = (
        request(status=status) for status in ("failed", "failed", "cancelled", "completed")
    )
    ends = [response(failed, error="no"), response(lost, status="interrupted", from_agent="orchestrator", error="gone")]
    put(ledger, failed, lost, cancelled, good, *ends, response(cancelled, error="stop"), response(good))
    assert [row.status for row in log(reader)] == ["completed", "cancelled", "interrupted", "failed"]
    assert ids(log(reader, failed=True)) == [lost.contract_id, failed.contract_id]
    for which, row in {"failed": failed, "interrupted": lost, "cancelled": cancelled, "completed": good}.items():
        assert ids(log(reader, status=which)) == [row.contract_id]
    assert ids(log(reader, failed=True, status="interrupted")) == [lost.contract_id]
    assert log(reader, failed=True, status="completed") == []
    assert log(reader, status="pending") == []


def test_error_searches_errors_only_and_takes_wildcards_literally(ledger: Path, reader: Reader) -> None:
    first, second = (request(status="failed", payload='{"text":"Timeout"}') for _ in range(2))
    put(ledger, first, response(first, None, error="TimeoutError: 100% of 5 s"), second, response(second, error="no"))
    for part in ("timeout", "100% OF", "%", "5 s"):
        assert ids(log(reader, error=part)) == [first.contract_id]
    assert log(reader, error="1_0") == []
    assert log(reader, error="timeout", status="completed") == []


def test_by_matches_the_token_or_the_agent_that_sent_the_task(ledger: Path, reader: Reader) -> None:
    def sent(by: Any, from_agent: str = "orchestrator") -> Record:
        return request(from_agent=from_agent, metadata=jsonio.encode({"caller": by, "context": {"caller": "x"}}))

    token, other, odd, agent = (
        sent({"id": "t1", "name": "ci"}),
        sent({"id": "t2", "name": "é'"}),
        sent("ci"),
        sent({}, "ann"),
    )
    put(ledger, token, other, odd, agent)
    assert ids(log(reader, caller="ci")) == ids(log(reader, caller="t1")) == [token.contract_id]
    assert ids(log(reader, caller="é'")) == [other.contract_id]
    assert ids(log(reader, caller="ann")) == [agent.contract_id]
    assert [row.caller for row in log(reader)] == ["ann", "orchestrator", "é'", "ci"]
    assert log(reader, caller="x") == []


def test_text_finds_an_exchange_once_by_its_request_or_its_response(ledger: Path, reader: Reader) -> None:
    both, asked, answered, neither = request(text="apple"), request(text="apple"), request(), request()
    put(ledger, both, asked, response(asked, "pear"), answered, response(answered, "apple"), response(both, "apple"))
    put(ledger, neither, response(neither))
    expected = {both.contract_id, asked.contract_id, answered.contract_id}
    for limit in (1, 2, 10):
        found = ids(log(reader, limit, text="apple"))
        assert len(found) == 3
        assert set(found) == expected
    with pytest.raises(UsageError):
        log(reader, text="…")


@pytest.mark.parametrize("many", [3, FEW + 1])
def test_text_is_searched_among_few_and_among_many_exchanges_of_a_filter(
    ledger: Path, reader: Reader, many: int
) -> None:
    """The first are searched one by one, the others by their text."""
    asked = [request(text="apple" if number == 1 else "x")._replace(to_agent="busy") for number in range(many)]
    answers = [response(each, "apple" if number == 2 else "pear") for number, each in enumerate(asked)]
    failed, other = request(text="apple")._replace(to_agent="busy", status="failed"), request(text="apple")
    put(ledger, *asked, *answers, failed, response(failed, error="apple"), other, response(other, "apple"))
    found = {failed.contract_id, asked[1].contract_id, asked[2].contract_id}
    assert set(ids(log(reader, text="apple", agent="busy"))) == found
    assert ids(log(reader, text="apple", agent="busy", failed=True)) == [failed.contract_id]
    assert log(reader, text="apple", agent="nobody") == log(reader, text="pear", failed=True) == []


def test_a_response_without_its_request_is_no_exchange(ledger: Path, reader: Reader) -> None:
    put(ledger, response(request(), "apple"), response(request(), "apple")._replace(request_id=None))
    assert log(reader) == log(reader, text="apple") == []


def test_invalid_json_of_another_program_is_shown_as_text(ledger: Path, reader: Reader) -> None:
    row = request(metadata="{oops")
    put(ledger, row, response(row)._replace(result="{oops", metadata="[1]"))
    (found,) = log(reader)
    assert found.as_dict()["result"] == "{oops"
    assert (found.caller, found.duration_ms) == ("orchestrator", None)


def test_a_page_ends_after_the_exchange_that_exceeds_its_size(ledger: Path, reader: Reader) -> None:
    rows = [request() for _ in range(4)]
    put(ledger, *(each for row in rows for each in (row, response(row, "x" * 1000))))
    page, more = reader.exchanges(ExchangeFilter(), limit=10, characters=1500)
    assert (len(page), more) == (2, True)
    rest, more = reader.exchanges(ExchangeFilter(), limit=10, before=page[-1][0], characters=5000)
    assert (len(rest), more) == (2, False)


@dataclass(frozen=True)
class Made:
    """An exchange to write: `gap` other exchanges begin before its RESPONSE is written (None: it has none)."""

    session: str
    capability: str
    agent: str | None
    status: str
    word: str
    answer: str
    gap: int | None
    day: int


made = some.builds(
    Made,
    some.sampled_from("ab"),
    some.sampled_from(["echo", "scan"]),
    some.sampled_from(["x", "y", None]),
    some.sampled_from(["completed", "failed", "interrupted", "cancelled", "pending", "in_progress"]),
    some.sampled_from(["apple", "pear"]),
    some.sampled_from(["apple", "pear"]),
    some.none() | some.integers(0, 6),
    some.integers(1, 5),
)
values: dict[str, Any] = {
    "session_id": some.sampled_from("abc"),
    "capability": some.sampled_from(["echo", "none"]),
    "agent": some.sampled_from("xz"),
    "status": some.sampled_from(["completed", "failed", "interrupted", "pending"]),
    "failed": some.booleans(),
    "since": some.integers(1, 5).map(lambda day: datetime(2026, 1, day, tzinfo=UTC)),
    "until": some.integers(1, 5).map(lambda day: datetime(2026, 1, day, tzinfo=UTC)),
    "text": some.sampled_from(["apple", "pear", "app*"]),
    "error": some.sampled_from(["APPLE", "e"]),
}
filters = some.fixed_dictionaries({}, optional=values)


def written(exchanges: list[Made]) -> tuple[list[Record], dict[str, Made]]:
    """The contracts in the order of their commits, and the exchange of each REQUEST."""
    rows: list[tuple[float, Record]] = []
    known = {}
    for number, each in enumerate(exchanges):
        status = "failed" if each.status == "interrupted" else each.status
        is_open = status in ("pending", "in_progress")
        moment = f"2026-01-0{each.day}T00:00:00.000Z"
        asked = request(
            each.session,
            each.word,
            capability=each.capability,
            to_agent=each.agent,
            status=status,
            created_at=moment,
            completed_at=None if is_open else moment,
        )
        known[asked.contract_id] = each
        rows.append((number, asked))
        if each.gap is not None and not is_open:
            error = None if each.status == "completed" else each.answer
            result = each.answer if error is None else None
            rows.append((number + each.gap + 0.5, response(asked, result, status=each.status, error=error)))
    return [row for _, row in sorted(rows, key=lambda found: found[0])], known


def matches(each: Made, which: dict[str, Any]) -> bool:
    """Whether an exchange matches, by the meaning of the filters."""
    is_answered = each.gap is not None and each.status not in ("pending", "in_progress")
    status = "failed" if each.status == "interrupted" and not is_answered else each.status
    error = each.answer if is_answered and status != "completed" else ""
    words = [each.word, *([each.answer] if is_answered else [])]
    moment = datetime(2026, 1, each.day, tzinfo=UTC)
    return (
        which.get("session_id", each.session) == each.session
        and which.get("capability", each.capability) == each.capability
        and which.get("agent", each.agent) == each.agent
        and which.get("status", status) == status
        and (not which.get("failed") or status in ("failed", "interrupted"))
        and which.get("since", moment) <= moment
        and ("until" not in which or moment < which["until"])
        and ("text" not in which or any(word.startswith(which["text"].rstrip("*")) for word in words))
        and ("error" not in which or which["error"].lower() in error)
    )


@given(some.lists(made, max_size=25), filters, some.integers(1, 7))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_pages_of_a_filter_have_exactly_the_matching_exchanges(
    tmp_path: Path, exchanges: list[Made], which: dict[str, Any], limit: int
) -> None:
    ledger = new_ledger(tmp_path)
    rows, known = written(exchanges)
    put(ledger, *rows)
    with Reader(ledger) as reader:
        found = ids(log(reader, limit, **which))
    expected = [row.contract_id for row in reversed(rows) if row.contract_id in known]
    expected = [each for each in expected if matches(known[each], which)]
    if "text" in which:
        assert sorted(found) == sorted(expected)
    else:
        assert found == expected

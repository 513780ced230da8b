"""`aorch query` and the views: what they show, and that no statement writes."""

import re
import select
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from homes import Home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from revisions import ledger_at
from rows import empty_ledger, pairs, put, request, response
from terminal import UNKIND, at_terminal, plain

from aorch import jsonio
from aorch.errors import AorchError, UsageError
from aorch.ledger.exchanges import ExchangeFilter
from aorch.ledger.reader import Reader
from aorch.ledger.sqlite.free_query import answer
from aorch.ledger.sqlite.statements import PUT_ATTEMPT

pytestmark = pytest.mark.sqlite_only("it executes SQL of SQLite")

ROOT = Path(__file__).parents[2]
VIEWS = ("exchanges", "sessions", "agent_latency", "attempts_by_agent")


@pytest.fixture
def filled(home: Home) -> Home:
    """A machine with exchanges of every kind."""
    caller = jsonio.encode({"caller": {"id": "t", "name": "ci"}, "queue": {"not_before": "2026-01-01T00:00:02.000Z"}})
    told = '{"duration_ms":1000.0,"model":"m-1","usage":{"input":10,"output":3}}'
    good = request("a", metadata=caller, created_at="2026-01-01T00:00:00.000Z", completed_at="2026-01-01T00:00:05.000Z")
    bad = request("a", status="failed", to_agent="first")
    lost, none = request("b", status="failed"), request("b", status="failed", to_agent=None)
    runs = request("b", status="in_progress", completed_at=None)
    odd = request("c", metadata="{oops")
    put(home.ledger, good, response(good, {"n": 1}, metadata=told), bad, lost, none, runs, odd)
    put(
        home.ledger,
        response(bad, None, error="busy", from_agent="second", metadata='{"duration_ms":9,"code":"agent_busy"}'),
    )
    put(home.ledger, response(lost, None, error="gone", status="interrupted", from_agent="orchestrator", metadata="{}"))
    put(home.ledger, response(none, None, error="no agent", metadata="{}"), response(odd, metadata="[]"))
    with closing(sqlite3.connect(home.ledger)) as connection, connection:
        connection.execute("UPDATE contracts SET priority = 0 WHERE contract_id = ?", (good.contract_id,))
        for number, agent in ((1, "first"), (2, "second")):
            moment = f"2026-01-01T00:00:0{number}.000Z"
            connection.execute(PUT_ATTEMPT, (bad.contract_id, number, agent, moment, moment, "agent_busy", "busy"))
    return home


def rows(home: Home, sql: str) -> Any:
    done = home.aorch("query", sql, "--json")
    assert done.code == 0, done.err
    return done.json["rows"]


def test_the_view_of_exchanges_agrees_with_the_log(filled: Home) -> None:
    with Reader(filled.ledger) as reader:
        page, _ = reader.exchanges(ExchangeFilter(), limit=10)
    expected = [row.as_dict() for _, row in page]
    found = rows(filled, "SELECT * FROM exchanges ORDER BY position DESC")
    assert len(found) == len(expected) == 6
    for seen, logged in zip(found, expected, strict=True):
        logged["erased_at"] = logged.pop("erased")
        logged["result"] = seen["result"] and jsonio.encode(logged["result"])
        assert {name: seen[name] for name in logged} == logged
    assert (found[-1]["wait_ms"], found[-1]["model"], found[-1]["tokens_in"], found[-1]["tokens_out"]) == (
        2000,
        "m-1",
        10,
        3,
    )
    assert found[-1]["parameters"] == '{"text":"hi"}'
    assert {row["wait_ms"] for row in found[:-1]} == {None}


def test_the_view_of_sessions_counts_exchanges(filled: Home) -> None:
    found = rows(filled, "SELECT session_id, contracts, exchanges, failed, open FROM sessions ORDER BY 1")
    assert [tuple(row.values()) for row in found] == [("a", 4, 2, 1, 0), ("b", 5, 3, 2, 1), ("c", 2, 1, 0, 0)]
    listed = filled.aorch("sessions", "list", "--json").json["sessions"]
    names = ("session_id", "contracts", "exchanges", "failed", "open")
    assert sorted(tuple(each[name] for name in names) for each in listed) == [tuple(row.values()) for row in found]


@given(some.lists(some.floats(0, 1e6), min_size=1, max_size=60))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_percentiles_of_agents_are_nearest_ranks(tmp_path: Path, durations: list[float]) -> None:
    ledger = tmp_path / "ledger.db"
    shutil.copy(empty_ledger(), ledger)
    asked = [request() for _ in durations]
    told = (jsonio.encode({"duration_ms": duration}) for duration in durations)
    put(ledger, *(row for each, text in zip(asked, told, strict=True) for row in (each, response(each, metadata=text))))
    with answer(ledger, "SELECT exchanges, failed, p50_ms, p95_ms, max_ms FROM agent_latency") as found:
        ((count, failed, p50, p95, longest),) = found.rows
    ordered = sorted(durations)
    ranks = [-(-len(ordered) * share // 100) - 1 for share in (50, 95)]
    assert (count, failed, p50, p95, longest) == (len(ordered), 0, *(ordered[rank] for rank in ranks), ordered[-1])


def test_attempts_are_counted_by_agent_with_those_of_tasks_that_needed_one(filled: Home) -> None:
    found = rows(
        filled, "SELECT agent_id, attempts, succeeded, failed, open, retries FROM attempts_by_agent ORDER BY 1"
    )
    assert [tuple(row.values()) for row in found] == [
        ("agent_example_001", 4, 2, 1, 1, 0),
        ("first", 1, 0, 1, 0, 0),
        ("second", 1, 0, 1, 0, 1),
    ]


def test_any_program_that_reads_sqlite_can_use_the_views(filled: Home) -> None:
    for view in VIEWS:
        assert filled.rows(f"SELECT * FROM {view}")


def test_the_documentation_describes_each_column_of_each_view(filled: Home) -> None:
    page = (ROOT / "docs" / "ledger.md").read_text()
    for view in VIEWS:
        described = re.findall(rf"^\| `{view}\.(.*?)` \|", page, re.M)
        names = [name for line in described for name in re.split(r"`, `\.?", line)]
        with answer(filled.ledger, f"SELECT * FROM {view}") as found:
            assert names == list(found.columns), view


def test_a_view_that_a_user_made_does_not_stop_the_upgrade(home: Home) -> None:
    home.ledger.unlink()
    ledger_at(home.ledger, "0015")
    with closing(sqlite3.connect(home.ledger)) as connection, connection:
        connection.execute("CREATE VIEW sessions AS SELECT 1 AS mine")
    assert rows(home, "SELECT count(*) AS n FROM sessions") == [{"n": 0}]


# Statements that write


REFUSED = [
    "DELETE FROM contracts", "INSERT INTO counters VALUES ('a', 1)", "UPDATE contracts SET error = 'x'",
    "REPLACE INTO counters VALUES ('a', 1)", "WITH x AS (SELECT 1) DELETE FROM contracts", "DROP TABLE contracts",
    "CREATE TABLE t (a)", "CREATE TEMP TABLE t (a)", "CREATE TEMP VIEW v AS SELECT 1", "ALTER TABLE contracts ADD x",
    "ATTACH 'other.db' AS other", "DETACH main", "VACUUM", "VACUUM INTO 'copy.db'", "REINDEX", "ANALYZE",
    "BEGIN", "BEGIN IMMEDIATE", "SAVEPOINT x", "COMMIT", "PRAGMA query_only = OFF", "PRAGMA journal_mode = DELETE",
    "PRAGMA writable_schema = ON", "PRAGMA wal_checkpoint", "PRAGMA user_version = 3", "PRAGMA optimize",
    "UPDATE sqlite_master SET sql = ''", "SELECT load_extension('x')", "INSERT INTO contracts_text (words) VALUES ('x')",
    "/* c */ -- d\n DELETE FROM contracts", "CREATE TRIGGER t AFTER INSERT ON contracts BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE t USING fts5(a)", "EXPLAIN DELETE FROM contracts", "UPDATE exchanges SET status = 'x'",
]  # fmt: skip


def test_a_statement_that_writes_is_refused_and_changes_no_file(filled: Home) -> None:
    filled.aorch("query", "SELECT 1")
    before = {file.name: file.read_bytes() for file in filled.folder.iterdir() if file.is_file()}
    for sql in REFUSED:
        with pytest.raises(UsageError) as refused, answer(filled.ledger, sql) as found:
            list(found.rows)
        assert refused.value.hint
    after = {file.name: file.read_bytes() for file in filled.folder.iterdir() if file.is_file()}
    assert {name: after[name] == content for name, content in before.items() if not name.endswith("-shm")} == {
        name: True for name in before if not name.endswith("-shm")
    }
    assert set(after) <= set(before) | {"ledger.db-wal", "ledger.db-shm"}


@given(some.text(max_size=40) | some.sampled_from(REFUSED).flatmap(lambda sql: some.text(max_size=5).map(sql.__add__)))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_answered_or_rejected_and_writes_nothing(tmp_path: Path, sql: str) -> None:
    ledger = tmp_path / "ledger.db"
    if not ledger.exists():
        put(ledger, *pairs(1))
    content = ledger.read_bytes()
    try:
        with answer(ledger, sql) as found:
            list(found.rows)
    except AorchError:
        pass
    assert ledger.read_bytes() == content


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("DELETE FROM contracts", "aorch query only reads the ledger, and cannot execute DELETE"),
        ("create temp table t (a)", "aorch query only reads the ledger, and cannot execute CREATE"),
        ("ATTACH 'x' AS x", "aorch query only reads the ledger, and cannot execute ATTACH"),
        ("PRAGMA journal_mode = DELETE", "aorch query only reads the ledger, and cannot execute PRAGMA journal_mode"),
        (
            "SELECT load_extension('x')",
            "aorch query only reads the ledger, and cannot execute the function load_extension",
        ),
        ("SELEC 1", 'invalid SQL: near "SELEC": syntax error'),
        ("SELECT nosuch FROM exchanges", "invalid SQL: no such column: nosuch"),
        ("SELECT 1; DELETE FROM contracts", "aorch query executes one statement at a time"),
        (" -- nothing", "the query is empty"),
        ("", "the query is empty"),
    ],
)
def test_a_refusal_names_the_reason(filled: Home, sql: str, error: str) -> None:
    done = filled.aorch("query", "-", stdin=sql)
    first, second = done.err.splitlines()
    assert (done.code, done.out, first) == (2, "", f"error: {error}")
    assert second.startswith("hint: ")


@pytest.mark.parametrize(
    "sql",
    [
        "VALUES (1)", "WITH x AS (SELECT 1) SELECT * FROM x", "EXPLAIN QUERY PLAN SELECT 1", "PRAGMA table_info(exchanges)",
        "SELECT count(*) FROM contracts_text WHERE contracts_text MATCH 'hi'", "SELECT value FROM json_each('[1]')",
        "SELECT name FROM pragma_table_info('contracts')", "SELECT max(position) OVER () FROM contracts;", "/* x */ SELECT 1",
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n",
    ],
)  # fmt: skip
def test_every_statement_that_reads_is_executed(filled: Home, sql: str) -> None:
    with answer(filled.ledger, sql) as found:
        assert list(found.rows)


# The command


def test_a_pipe_gets_tab_separated_rows_and_csv_a_header(filled: Home) -> None:
    sql = "SELECT session_id, exchanges AS n, NULL AS empty, x'00ff' AS n FROM sessions ORDER BY 1 LIMIT 2"
    assert filled.aorch("query", sql).out == "a\t2\t\t00ff\nb\t3\t\t00ff\n"
    assert filled.aorch("query", sql, "--csv").out == "session_id,n,empty,n_2\na,2,,00ff\nb,3,,00ff\n"
    assert filled.aorch("query", sql, "--jsonl").out.splitlines()[0] == (
        '{"session_id":"a","n":2,"empty":null,"n_2":"00ff"}'
    )
    assert filled.aorch("query", "-", "--csv", stdin="SELECT 1 AS one").out == "one\n1\n"


def test_a_terminal_gets_a_table_or_blocks_if_it_is_too_narrow(filled: Home) -> None:
    table = plain(at_terminal(filled, "query", "SELECT session_id, exchanges FROM sessions", columns=80)).splitlines()
    assert (table[0].split(), len(table)) == (["session_id", "exchanges"], 4)
    blocks = plain(at_terminal(filled, "query", "SELECT * FROM exchanges WHERE code = 'agent_busy'", columns=80))
    assert re.search(r"^error {9,}busy$", blocks, re.M)
    many = at_terminal(
        filled, "query", "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    )
    assert "only the first 1,000 rows" in many


def test_values_control_no_terminal(home: Home) -> None:
    put(home.ledger, *pairs(1, UNKIND))
    for sql in ("SELECT session_id FROM contracts", "SELECT * FROM exchanges", f'SELECT 1 AS "{UNKIND}"'):
        shown = plain(at_terminal(home, "query", sql))
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown), repr(shown)


def test_ctrl_c_ends_a_long_query(filled: Home) -> None:
    numbers = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n)"
    endless = f"{numbers} SELECT 0 UNION ALL SELECT 1 UNION ALL SELECT max(i) FROM n"
    process = filled.start("query", endless)
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 30)[0]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_ledger_that_does_not_exist_exits_12(home: Home) -> None:
    home.ledger.unlink(missing_ok=True)
    done = home.aorch("query", "SELECT 1")
    assert (done.code, "no ledger at" in done.err) == (12, True)
    assert not home.ledger.exists()

"""A check finds every contradiction in a ledger, names it with the next step, and finds nothing in a sound one."""

import os
from pathlib import Path

import ledgers
import pytest
from homes import Home
from revisions import ledger_at
from rows import pairs, put, request, response

from aorch.config.ledger_location import LedgerLocation
from aorch.errors import NotFound
from aorch.ledger.checking import MOST, check
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.schema import metadata

ASKED = request(text="word", contract_id="asked")
ANSWER = response(ASKED, contract_id="answer")
CASES: dict[str, tuple[str, str]] = {
    f"DELETE FROM contracts WHERE contract_id = '{ASKED.contract_id}'": ("responses", "a RESPONSE without its REQUEST"),
    f"DELETE FROM contracts WHERE contract_id = '{ANSWER.contract_id}'": ("requests", "ended without a RESPONSE"),
    f"UPDATE contracts SET status = 'pending' WHERE contract_id = '{ASKED.contract_id}'": ("states", "an open REQUEST"),
    f"UPDATE contracts SET status = 'failed' WHERE contract_id = '{ASKED.contract_id}'": ("states", "another status"),
    f"UPDATE contracts SET status = 'odd' WHERE contract_id = '{ANSWER.contract_id}'": ("states", "an unknown status"),
    f"UPDATE contracts SET turn = 1 WHERE contract_id = '{ASKED.contract_id}'": ("queue", "in the queue although"),
    f"UPDATE contracts SET claimed_by = 'x' WHERE contract_id = '{ASKED.contract_id}'": ("queue", "a process claims"),
    "INSERT INTO attempts VALUES ('none', 1, 'a', '', NULL, NULL, NULL)": ("attempts", "does not exist"),
    "INSERT INTO idempotency_keys VALUES ('', 'k', 'f', 'none')": ("keys", "does not exist"),
    "INSERT INTO batch_lines VALUES ('g', 'l', 'none')": ("batches", "does not exist"),
    "INSERT INTO retries VALUES ('none', 'retry', 'none')": ("retries", "does not exist"),
    "INSERT INTO webhooks VALUES ('none', 'http://localhost', 0, NULL, NULL)": ("webhooks", "does not exist"),
    "UPDATE counters SET value = 7 WHERE name = 'deleted_contracts'": ("counts", "number of contracts is wrong"),
    "DELETE FROM session_index WHERE position = 5": ("sessions", "the session index does not match"),
    "UPDATE session_index SET is_request = 1 - is_request WHERE position = 5": (
        "sessions",
        "the session index does not match",
    ),
    "UPDATE session_index SET session_id = 'other' WHERE position = 5": (
        "sessions",
        "the session index does not match",
    ),
    "INSERT INTO session_turns VALUES ('s', 3, 7, 7)": ("turns", "the index of turns does not match"),
    "UPDATE contracts SET priority = 3, turn = 9 WHERE contract_type = 'REQUEST'; DELETE FROM session_turns": (
        "turns",
        "the index of turns does not match",
    ),
    "DELETE FROM contracts_text_docsize WHERE id = 5": ("full text", "the full-text index does not match"),
    "INSERT INTO contracts_text (rowid, words) VALUES (99999, 'x')": (
        "full text",
        "the full-text index does not match",
    ),
    "DROP TRIGGER contracts_deleted": ("schema", "trigger contracts_deleted is missing"),
    "DROP INDEX ix_contracts_request_id": ("schema", "index ix_contracts_request_id is missing"),
    "DROP VIEW session_positions; CREATE VIEW session_positions AS SELECT 1": ("schema", "differs"),
}
"""What another program does to a ledger, with the check that finds it."""
KEPT_IN_FILES = ("counts", "sessions", "turns", "full text", "schema")
ONLY_IN_FILES = pytest.mark.sqlite_only("PostgreSQL keeps counts, sessions, turns and words in another way")


def execute(path: LedgerLocation, sql: str) -> None:
    for statement in sql.removesuffix(";").split(";"):
        ledgers.rows(path, statement)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> LedgerLocation:
    """A sound ledger with more than a run of the session index, full text, and every status."""
    path = ledgers.new_ledger(tmp_path_factory.mktemp("made"))
    failed, cut_off = request(status="failed"), request(status="failed")
    rows = [ASKED, ANSWER, failed, response(failed), cut_off, response(cut_off, status="interrupted"), *pairs(1100)]
    put(path, *rows, request(status="pending", completed_at=None), response(request(), request_id=None))
    with Reader(path) as reader:
        assert len(reader.page(Filter(text="word"))) == 1
    return path


@pytest.fixture
def sound(tmp_path: Path, made: LedgerLocation) -> LedgerLocation:
    """A copy of that ledger."""
    return ledgers.copy_of(made, tmp_path)


def content(path: LedgerLocation) -> object:
    """The bytes of the file, or all rows with the numbers of their transactions."""
    if isinstance(path, Path):
        return path.read_bytes()
    tables = [table.name for table in metadata.sorted_tables if table.name not in ("session_index", "session_turns")]
    return [ledgers.rows(path, f"SELECT xmin::text, * FROM {table} ORDER BY 1, 2") for table in tables]


def test_nothing_is_found_in_a_sound_ledger_and_nothing_is_written(sound: LedgerLocation) -> None:
    before = content(sound)
    asked: list[str] = []
    assert check(sound, progress=asked.append) == []
    assert {"file", "schema", "counts", "sessions", "turns", "full text", "states"} <= set(asked)
    assert content(sound) == before


@pytest.mark.parametrize(
    "sql",
    [pytest.param(sql, marks=ONLY_IN_FILES) if name in KEPT_IN_FILES else sql for sql, (name, _) in CASES.items()],
)
def test_a_contradiction_is_found_and_named_with_the_next_step(sound: LedgerLocation, sql: str) -> None:
    name, problem = CASES[sql]
    execute(sound, sql)
    found = [each for each in check(sound) if each.check == name]
    assert [each for each in found if problem in each.problem], check(sound)
    assert all(each.next_step.endswith(".") for each in found)
    if ASKED.contract_id in sql or ANSWER.contract_id in sql:
        assert {subject for each in found for subject in each.subjects} & {ASKED.contract_id, ANSWER.contract_id}


def test_a_finding_counts_all_and_names_some(sound: LedgerLocation) -> None:
    execute(
        sound, "DELETE FROM contracts WHERE contract_type = 'RESPONSE' AND position > 100 AND request_id IS NOT NULL"
    )
    (found,) = [each for each in check(sound) if each.check == "requests"]
    assert found.times is not None
    assert found.times > 1000
    assert len(found.subjects) == MOST


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM contracts_text WHERE position < 500"]
    if ledgers.ON_POSTGRESQL
    else [
        "UPDATE counters SET value = 7",
        "DELETE FROM counters",
        "DELETE FROM session_index WHERE position % 2 = 0",
        "INSERT INTO session_index VALUES ('other', 7, 1)",
        "INSERT INTO session_turns VALUES ('other', 3, 7, 5)",
        "DELETE FROM contracts_text_docsize WHERE id < 500",
        "DROP TRIGGER contracts_deleted; DELETE FROM contracts WHERE position IN (7, 8);",
    ],
)
def test_what_follows_from_the_contracts_can_be_created_anew(sound: LedgerLocation, sql: str) -> None:
    trigger = "SELECT sql FROM sqlite_master WHERE name = 'contracts_deleted'"
    definitions = ledgers.rows(sound, trigger) if "DROP TRIGGER" in sql else []
    execute(sound, sql)
    assert check(sound)
    for (definition,) in definitions:
        ledgers.rows(sound, definition)
    assert check(sound, fix=True) == []
    with Reader(sound) as reader:
        assert reader.counts()["total_contracts"] == len(reader.page(limit=None))
        assert len(reader.page(Filter(text="word"))) == 1
        assert reader.total(Filter(session_id="s")) == len(reader.page(Filter(session_id="s"), limit=None))
    put(sound, *pairs(2100))
    assert check(sound) == []


@pytest.mark.sqlite_only("it damages pages of the file")
@pytest.mark.parametrize(("place", "pages"), [(80, 20), (0, 1)], ids=["pages", "header"])
def test_a_damaged_file_is_found_and_nothing_else_is_said(sound: LedgerLocation, place: int, pages: int) -> None:
    with sound.open("r+b") as file:
        file.seek(4096 * place)
        file.write(os.urandom(4096 * pages))
    (found,) = check(sound)
    assert found.check == "file"
    assert "restore" in found.next_step


def test_a_ledger_of_every_revision_is_sound_once_it_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    ledger_at(path, "0003")
    assert check(path) == []
    put(path, *pairs(3))
    assert check(path) == []


def test_there_is_nothing_to_check_without_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        check(tmp_path / "none.db")
    (tmp_path / "empty.db").touch()
    assert [each.problem for each in check(tmp_path / "empty.db")] == ["the file is empty"]


@pytest.mark.sqlite_only("PostgreSQL keeps no count that another program could change, and no file mode")
def test_the_command_exits_with_14_if_it_found_something(home: Home) -> None:
    put(home.ledger, *pairs(2))
    done = home.aorch("ledger", "check")
    assert (done.code, done.out, done.err) == (0, f"{home.ledger}: no problems found\n", "")
    assert home.aorch("ledger", "check", "--json").json == {"path": str(home.ledger), "ok": True, "findings": []}
    execute(
        home.ledger,
        "DELETE FROM contracts WHERE position = 1; UPDATE counters SET value = 9 WHERE name = 'deleted_contracts'",
    )
    done = home.aorch("ledger", "check")
    assert done.code == 14
    assert "responses: a RESPONSE without its REQUEST\n  01" in done.out
    assert "\n  next: Import an export that contains it" in done.out
    assert "found 2 problems" in done.err
    done = home.aorch("ledger", "check", "--fix", "--json")
    assert done.code == 14
    assert [each["check"] for each in done.json["findings"]] == ["responses"]
    home.ledger.chmod(0o400)
    assert home.aorch("ledger", "check").code == 14

"""`aorch contracts erase` and `erasures`, at a terminal and in a pipe."""

import sqlite3
from contextlib import closing

import ledgers
import pytest
from erasing_rows import NEEDLE, contains, needles
from homes import Home
from ledger_state import change
from ledgers import no_ledger
from rows import pairs, put, request
from terminal import at_terminal, plain


def test_without_yes_only_a_count_and_the_costs_are_shown(home: Home) -> None:
    needles(home.ledger)
    done = home.aorch("contracts", "erase", "--text-match", NEEDLE)
    assert (done.code, done.err) == (0, "")
    first, costs, *_, last = done.out.splitlines()
    assert first.startswith("would erase 2 exchanges (4 contracts) of 1 session, from 20")
    what = ("tables", "can neither read nor") if ledgers.ON_POSTGRESQL else ("file", "cannot")
    assert costs.startswith(f"rewriting the {what[0]}: other processes {what[1]} write for about 1 s; it needs ")
    assert last == "next: run the same command with --yes"
    assert contains(home.ledger)


def test_with_yes_they_are_erased_and_the_erasure_is_listed(home: Home) -> None:
    needles(home.ledger)
    done = home.aorch("contracts", "erase", "--text-match", NEEDLE, "--yes", "--reason", "leaked key")
    assert done.code == 0, done.err
    assert done.out.startswith("erased 2 exchanges (4 contracts) (era_")
    assert "the old bytes of the erased contracts are gone from the ledger's files" in done.out
    assert not contains(home.ledger)
    ((erasure_id, _, by, contracts, reason, cleaned),) = (
        line.split("\t") for line in home.aorch("contracts", "erasures").out.splitlines()
    )
    assert erasure_id in done.out
    assert (by, contracts, reason) == (home.bash("id -un").stdout.strip(), "4", "leaked key")
    assert cleaned.endswith("Z")
    again = home.aorch("contracts", "erase", "--text-match", NEEDLE, "--yes")
    assert (again.code, again.out) == (0, "nothing to erase\n")


def test_the_text_can_come_from_standard_input(home: Home) -> None:
    needles(home.ledger)
    done = home.aorch("contracts", "erase", "--text-match", "-", "--yes", "--json", stdin=f"{NEEDLE}\n")
    assert (done.json["erased"], done.json["contracts"], done.json["cleaned"]) == (True, 4, True)
    assert not contains(home.ledger)


@pytest.mark.torture
@pytest.mark.sqlite_only("another connection keeps old bytes in the WAL")
def test_a_reader_that_keeps_the_old_bytes_is_reported_and_a_second_run_removes_them(home: Home) -> None:
    rows = needles(home.ledger)
    with closing(sqlite3.connect(home.ledger, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM contracts").fetchone()
        done = home.aorch("contracts", "erase", rows[0].contract_id, "--yes")
        assert done.code == 14
        assert "another process still reads old bytes" in done.err
        assert home.aorch("contracts", "erasures").out.rstrip().endswith("unfinished")
        other.execute("COMMIT")
    planned = home.aorch("contracts", "erase", rows[0].contract_id)
    assert "an earlier erasure was interrupted: its old bytes may still be in the ledger's files" in planned.out
    done = home.aorch("contracts", "erase", rows[0].contract_id, "--yes")
    assert done.code == 0, done.err
    assert home.rows("SELECT count(*) FROM erasures WHERE cleaned_at IS NULL") == [(0,)]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("0123", "--session", "s"),
        ("--text-match", "(", "--regex"),
        ("--regex", "--session", "s"),
        ("--older-than", "yesteryear"),
        ("--text-match", ""),
    ],
)
def test_invalid_selections_exit_2(home: Home, arguments: tuple[str, ...]) -> None:
    needles(home.ledger)
    done = home.aorch("contracts", "erase", "--yes", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err
    assert contains(home.ledger)


def test_at_a_narrow_terminal_a_table_of_erasures_fits(home: Home) -> None:
    needles(home.ledger)
    home.aorch("contracts", "erase", "--session", "leak", "--yes", "--reason", "a long reason " * 6)
    for columns in (40, 80):
        shown = plain(at_terminal(home, "contracts", "erasures", columns=columns))
        assert max(map(len, shown.splitlines())) <= columns


@pytest.mark.sqlite_only("a backup is restored in the place of the file")
def test_a_restored_backup_brings_erased_content_back_with_a_warning_that_names_the_command(home: Home) -> None:
    needles(home.ledger)
    assert home.aorch("ledger", "backup", "backup.db").code == 0
    home.aorch("contracts", "erase", "--session", "leak", "--yes")
    restored = home.aorch("ledger", "restore", "backup.db")
    assert restored.code == 0, restored.err
    assert "2 exchanges that had been erased since the backup have their content again; erase them with" in restored.err
    (kept,) = home.folder.glob("ledger.db.before-restore-*Z")
    assert f"--erased-in {kept}" in restored.err
    assert contains(home.ledger)
    done = home.aorch("contracts", "erase", "--erased-in", str(kept), "--yes")
    assert done.code == 0, done.err
    assert done.out.startswith("erased 2 exchanges (4 contracts)")
    assert f"older copies that may contain them:\n  {kept}\n" in done.out
    assert not contains(home.ledger)
    assert home.aorch("contracts", "erase", "--erased-in", str(kept)).out.startswith("nothing to erase\n")
    assert home.aorch("contracts", "erase", "--erased-in", "nowhere.db").code == 12


def test_what_was_erased_in_one_ledger_is_erased_in_another_that_was_restored(home: Home) -> None:
    needles(home.ledger)
    assert home.aorch("ledger", "backup", "backup.db").code == 0
    restored = no_ledger(home.folder / "data")
    assert home.aorch("ledger", "restore", "backup.db", "--ledger", str(restored)).code == 0
    home.aorch("contracts", "erase", "--session", "leak", "--yes")
    assert contains(restored)
    again = ("contracts", "erase", "--erased-in", str(home.ledger), "--ledger", str(restored))
    assert home.aorch(*again, "--yes").out.startswith("erased 2 exchanges (4 contracts)")
    assert not contains(restored)
    assert home.aorch(*again).out.startswith("nothing to erase\n")
    for there_is_none in ("", "postgresql://ann:secret@host/db"):
        refused = home.aorch("contracts", "erase", "--erased-in", there_is_none)
        assert (refused.code, refused.err.startswith("error: --erased-in: the ")) == (2, True), refused


@pytest.mark.sqlite_only("a backup is restored in the place of the file")
def test_a_restored_ledger_keeps_the_record_of_erasures_so_that_nothing_brings_content_back_unnoticed(
    home: Home,
) -> None:
    needles(home.ledger)
    home.aorch("ledger", "backup", "backup.db")
    home.aorch("contracts", "export", "-o", "before.jsonl")
    home.aorch("contracts", "erase", "--session", "leak", "--yes")
    first = home.aorch("ledger", "restore", "backup.db", "--json")
    assert first.json["erased_again"] == 2
    assert "2 exchanges that had been erased since the backup have their content again" in first.err
    assert len(home.aorch("contracts", "erasures", "--json").json["erasures"]) == 1
    second = home.aorch("ledger", "restore", "backup.db", "--json")
    assert second.json["erased_again"] == 2
    change(home.ledger, "DELETE FROM contracts WHERE session_id = 'leak'")
    assert home.aorch("contracts", "import", "before.jsonl").code == 0
    assert home.rows("SELECT count(*) FROM contracts WHERE session_id = 'leak'") == [(0,)]


@pytest.mark.sqlite_only("a backup is restored in the place of the file")
def test_an_erasure_after_a_restore_is_recorded_with_its_contracts(home: Home) -> None:
    needles(home.ledger)
    home.aorch("ledger", "backup", "backup.db")
    home.aorch("contracts", "erase", "--session", "leak", "--yes")
    home.aorch("ledger", "restore", "backup.db")
    home.aorch("contracts", "erase", "--session", "leak", "--yes")
    found = home.aorch("contracts", "erasures", "--json").json["erasures"]
    assert [each["contracts"] for each in found] == [4, 0]


@pytest.mark.sqlite_only("copies beside the file")
def test_an_unfinished_copy_of_a_killed_backup_is_listed_and_the_next_backup_removes_it(home: Home) -> None:
    needles(home.ledger)
    home.aorch("ledger", "backup", "backup.db")
    left = home.ledger.with_name(".backup.db.partial")
    (home.folder / "backup.db").rename(left)
    home.ledger.with_name(".download.partial").write_text("of another program")
    shown = home.aorch("contracts", "erase", "--session", "leak")
    assert f"older copies that may contain them:\n  {left}\n" in shown.out
    assert home.aorch("ledger", "backup", "backup.db").code == 0
    assert not left.exists()


def test_the_intent_of_a_memory_block_is_erased_although_no_contract_contains_the_text(home: Home) -> None:
    put(home.ledger, *pairs(3, "talk"))
    assert home.aorch("compress", "talk", "--intent", f"find the owner of {NEEDLE}").code == 0
    find = ("contracts", "erase", "--text-match", NEEDLE.upper(), "--ignore-case")
    planned = home.aorch(*find).out.splitlines()
    assert planned[0] == "would remove the intent or summary of 1 memory block, which contains the text"
    done = home.aorch(*find, "--yes")
    assert done.out.startswith("1 memory block changed (era_"), done
    assert not contains(home.ledger)
    assert home.aorch(*find).out == "nothing to erase\n"
    assert home.aorch("memory", "verify", "talk").code == 0


def test_the_last_line_says_which_open_exchanges_still_contain_the_text(home: Home) -> None:
    needles(home.ledger)
    waiting = request("leak", NEEDLE, status="pending", completed_at=None)
    put(home.ledger, waiting)
    for yes in ((), ("--yes",)):
        done = home.aorch("contracts", "erase", "--text-match", NEEDLE, *yes)
        assert done.out.splitlines()[-1].startswith(
            f"1 open exchange still contains the text ({waiting.contract_id}): wait"
        )

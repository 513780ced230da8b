"""`aorch ledger`: what it prints, and its exit codes."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from disks import Disk
from homes import Home
from ledgers import exists, no_ledger, rows
from revisions import ledger_at
from rows import pairs, put
from waiters import WAITING, start_waiting
from waiting import WAIT_S


@pytest.mark.sqlite_only("the size of the file and its pages")
def test_info_shows_path_size_age_and_tables_as_text_and_as_json(home: Home) -> None:
    put(home.ledger, *pairs(3))
    told = home.aorch("ledger", "info", "--json")
    assert told.code == 0, told.err
    found = told.json
    rows = home.rows("SELECT min(created_at), max(created_at), max(position) FROM contracts")
    assert rows == [(found["oldest_at"], found["newest_at"], found["last_position"])]
    assert found["contracts"] == 6
    assert found["file_bytes"] == home.ledger.stat().st_size == sum(found["tables"].values()) + found["free_bytes"]
    assert found["path"] == str(home.ledger)
    assert found["revision"] == found["newest_revision"]
    shown = home.aorch("ledger", "info").out
    for text in (str(home.ledger), "contracts  6, from ", " kB  contracts\n"):
        assert text in shown
    assert max(map(len, shown.replace(str(home.ledger), "").splitlines())) <= 80


@pytest.mark.sqlite_only("an old file, and its permissions")
def test_info_of_an_older_or_read_only_ledger_changes_nothing(bare_home: Home) -> None:
    home = bare_home
    ledger_at(home.ledger, "0005")
    found = home.aorch("ledger", "info", "--json").json
    assert (found["revision"], found["contracts"], found["oldest_at"]) == ("0005", 0, None)
    assert "0005 (the next command that writes upgrades it to " in home.aorch("ledger", "info").out
    home.ledger.chmod(0o400)
    before = (home.ledger.read_bytes(), sorted(os.listdir(home.folder)))
    assert home.aorch("ledger", "info").code == 0
    assert (home.ledger.read_bytes(), sorted(os.listdir(home.folder))) == before


@pytest.mark.sqlite_only("the pages of the file")
def test_vacuum_returns_free_pages_to_the_disk(home: Home) -> None:
    put(home.ledger, *pairs(2000))
    with closing(sqlite3.connect(home.ledger)) as connection:
        connection.execute("DELETE FROM contracts WHERE position <= 3900")
        connection.commit()
    assert "`aorch ledger vacuum` returns them" in home.aorch("ledger", "info").out
    done = home.aorch("ledger", "vacuum", "--json").json
    assert done["bytes"] == home.ledger.stat().st_size < done["bytes_before"] / 2
    assert done["is_final"] is True
    assert home.aorch("ledger", "info", "--json").json["free_bytes"] == 0
    assert " before, " in home.aorch("ledger", "vacuum").out


def test_a_ledger_that_does_not_exist_is_not_created(bare_home: Home) -> None:
    for command in ("info", "vacuum"):
        done = bare_home.aorch("ledger", command)
        assert (done.code, done.out) == (12, "")
        assert "ledger not found" in done.err
    assert not exists(bare_home.ledger)


def test_a_backup_says_what_it_did_as_text_and_as_json(home: Home) -> None:
    put(home.ledger, *pairs(3))
    done = home.aorch("ledger", "backup", "copy.db")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{home.folder / 'copy.db'}: 6 contracts, ")
    assert done.out.endswith(" kB, verified\n")
    again = home.aorch("ledger", "backup", "copy.db")
    assert (again.code, again.out) == (13, "")
    assert "--force" in again.err
    found = home.aorch("ledger", "backup", "copy.db", "--force", "--json").json
    assert (found["contracts"], found["verified"], found["file"]) == (6, True, str(home.folder / "copy.db"))


@pytest.mark.sqlite_only("a backup is restored in the place of the file")
def test_a_restore_keeps_the_old_ledger_and_says_what_it_did_as_text_and_as_json(home: Home) -> None:
    put(home.ledger, *pairs(3))
    assert home.aorch("ledger", "backup", "copy.db").code == 0
    put(home.ledger, *pairs(1))
    restored = home.aorch("ledger", "restore", "copy.db")
    assert (restored.code, restored.err) == (0, "")
    assert f"{home.ledger}: 6 contracts, the newest of " in restored.out
    assert "\nthe old ledger is " in restored.out
    found = home.aorch("ledger", "restore", "copy.db", "--json").json
    assert (found["contracts"], found["queued"], found["webhooks"]) == (6, 0, 0)
    assert Path(found["kept_as"]).exists()


def test_a_backup_is_restored_into_a_new_ledger_and_the_command_says_what_it_did(home: Home) -> None:
    put(home.ledger, *pairs(3))
    assert home.aorch("ledger", "backup", "copy.db").code == 0
    for json in (False, True):
        target = no_ledger(home.folder / str(json))
        done = home.aorch("ledger", "restore", "copy.db", "--ledger", str(target), *["--json"] * json)
        assert (done.code, done.err) == (0, "")
        assert f"{target}: 6 contracts, the newest of " in done.out or json
        assert rows(target, "SELECT count(*) FROM contracts") == [(6,)]
    assert (done.json["contracts"], done.json["kept_as"], done.json["erased_again"]) == (6, None, 0)


@pytest.mark.sqlite_only("a backup is restored in the place of the file")
def test_a_ledger_that_runs_a_task_is_not_restored(home: Home) -> None:
    home.write("aorch.toml", WAITING)
    home.aorch("ledger", "backup", "copy.db")
    running = start_waiting(home, "name")
    refused = home.aorch("ledger", "restore", "copy.db")
    assert (refused.code, refused.out) == (14, "")
    assert f"a process uses it (process ID {running.pid})\n" in refused.err
    home.write("name.go", "")
    assert running.wait(WAIT_S) == 0
    running.communicate()
    assert home.aorch("ledger", "restore", "copy.db").code == 0


@pytest.mark.sqlite_only("the permissions of the file")
def test_a_read_only_ledger_is_backed_up_and_left_as_it_is(home: Home) -> None:
    put(home.ledger, *pairs(3))
    home.ledger.chmod(0o400)
    before = (home.ledger.read_bytes(), home.ledger.stat().st_mtime_ns)
    assert home.aorch("ledger", "backup", "copy.db").code == 0
    assert (home.ledger.read_bytes(), home.ledger.stat().st_mtime_ns) == before
    assert home.aorch("contracts", "list", "--ledger", "copy.db").out.count("\n") == 6


@pytest.mark.sqlite_only("the disk of the file")
def test_a_full_disk_leaves_no_backup_and_an_intact_ledger(disk: Disk) -> None:
    """150 KiB are free, less than the ledger takes."""
    assert disk.aorch("run", "echo", "text=hi").code == 0
    free = f"$(df -k --output=avail {disk.folder} | tail -1)"
    assert disk.run("sh", "-c", f"head -c $(({free} - 150))k /dev/zero > {disk.folder}/other").code == 0
    done = disk.aorch("ledger", "backup", str(disk.folder / "copy.db"))
    assert (done.code, done.out) == (14, "")
    assert "no room to write" in done.err
    assert "copy" not in disk.run("ls", "-A", str(disk.folder)).out
    assert disk.aorch("contracts", "list", "--json").code == 0

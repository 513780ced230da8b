"""Backups and copies of damaged ledgers, and backups that cannot be restored: the error names the file that is the cause."""

import os
from pathlib import Path

import pytest
from rows import pairs, put

from aorch.errors import LedgerError, LedgerInvalid, LedgerReadOnly
from aorch.ledger import upkeep
from aorch.ledger.copying import copy_ledger

pytestmark = pytest.mark.sqlite_only("it damages files; PostgreSQL has its own")


def damage(file: Path) -> None:
    """Overwrite pages in the middle of a ledger."""
    with file.open("r+b") as opened:
        opened.seek(4096 * 40)
        opened.write(os.urandom(4096 * 20))


def test_a_damaged_ledger_gives_no_backup(path: Path, tmp_path: Path) -> None:
    put(path, *pairs(2000))
    damage(path)
    with pytest.raises(LedgerInvalid):
        upkeep.back_up(path, tmp_path / "copy.db")
    assert not [name for name in os.listdir(tmp_path) if "copy.db" in name]


@pytest.mark.parametrize(
    ("kind", "kind_of_error", "message"),
    [
        ("cut off", LedgerInvalid, "the backup {} is damaged: "),
        ("damaged inside", LedgerInvalid, "the backup {} is damaged: "),
        ("a text", LedgerInvalid, "{} is not a backup of a ledger: "),
        ("empty", LedgerInvalid, "{} is not a ledger: it is empty"),
        ("a directory", LedgerReadOnly, "cannot read the backup {}: it is a directory"),
        ("a pipe", LedgerReadOnly, "cannot read the backup {}: it is not a regular file"),
    ],
)
def test_a_backup_that_cannot_be_restored_is_named_as_the_cause_and_another_one_as_the_next_step(
    path: Path, tmp_path: Path, kind: str, kind_of_error: type[LedgerError], message: str
) -> None:
    put(path, *pairs(2000))
    backup = tmp_path / "backup.db"
    if kind == "a directory":
        backup.mkdir()
    elif kind == "a pipe":
        os.mkfifo(backup)
    elif kind in ("a text", "empty"):
        backup.write_text("no database" if kind == "a text" else "")
    else:
        upkeep.back_up(path, backup)
        if kind == "cut off":
            os.truncate(backup, 100_000)
        else:
            damage(backup)
    with pytest.raises(kind_of_error) as refused:
        upkeep.restore(backup, path)
    assert str(refused.value).startswith(message.format(backup))
    assert refused.value.hint == "Name another backup. The ledger is unchanged."
    assert upkeep.info(path)["contracts"] == 4000


def test_a_copy_of_a_damaged_ledger_names_the_ledger_that_is_damaged(path: Path, tmp_path: Path) -> None:
    put(path, *pairs(2000))
    damage(path)
    with pytest.raises(LedgerInvalid, match="is damaged") as refused:
        copy_ledger(path, tmp_path / "new.db")
    assert str(path) in str(refused.value)

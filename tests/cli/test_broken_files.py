"""A broken aorch.toml or ledger file: each error names the file, and the file is left as it is."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command_checks import failed_with
from homes import Home
from ledger_state import change

# aorch.toml


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("timeout_s = 5\n[agents.x\n", ["line 2", "column 10"]),
        ('ledger = "a\n', ["line 1", "column"]),
        ("timeout = 5\n", ["unknown key timeout", "timeout_s"]),
        ("timeout_s = -1\n", ["timeout_s", "> 0"]),
        ("[queue]\nparallel = -3\n", ["queue.parallel", ">= 0"]),
        ('[outbound]\nnetworks = ["10.0.0.1/8"]\n', ["outbound.networks", "host bits set", "10.0.0.0/8"]),
        ("[queue]\nmax_waiting = -1\n", ["queue.max_waiting", ">= 0"]),
        ("[queue]\nparalel = 3\n", ["unknown key queue.paralel", "parallel"]),
        ("[serve]\nworkers = 0\n", ["serve.workers", ">= 1"]),
        ('[agents.x]\ncommand = ["true"]\ntimeout = 5\n[agents.x.capabilities.c]\n', ["agents.x.timeout", "timeout_s"]),
        ('[agents.x]\ncommand = "true"\n[agents.x.capabilities.c]\n', ["agents.x.command", "expected a list"]),
        ('[agents.x]\ncommand = ["true", 3]\n[agents.x.capabilities.c]\n', ["agents.x.command[1]"]),
        ('timeout_s = "soon"\n', ["timeout_s", "expected a number, got a string", "Write timeout_s = NUMBER"]),
        ("[queue]\n[queue]\n", ["line 2", "the table [queue] occurs twice"]),
        ("agents = 3\n", ["agents"]),
        (
            '[agents.x]\ncommand = ["cat"]\ncapabilities.c = "C"\n',
            ["Write it as a table: [agents.x.capabilities.c], with"],
        ),
        ("[agents]\nx = 3\n", ["agents.x"]),
        ('[agents.x]\ncommand = ["true"]\n', ["agents.x", "capability"]),
        ("[agents.x]\ncommand = []\n[agents.x.capabilities.c]\n", ["agents.x", "program"]),
        ("[agents.x]\n[agents.x.capabilities.c]\n", ["agents.x", "Add `class`, `command`"]),
        ('[agents.x]\ncommand = ["true"]\n[agents.x.capabilities.c]\ndescripton = "a"\n', ["agents.x.capabilities.c"]),
        ('[agents.x]\ncommand = ["true"]\ntimeout_s = -1\n[agents.x.capabilities.c]\n', ["timeout_s", "above 0"]),
    ],
)
def test_an_invalid_aorch_toml_is_an_error_with_line_and_column(home: Home, content: str, said: list[str]) -> None:
    home.write("aorch.toml", content)
    assert failed_with(home.aorch("run", "echo", "text=a"), 2, str(home.folder / "aorch.toml"), *said)
    assert home.aorch("agents", "list").code == 2


def test_an_aorch_toml_that_is_not_text_is_an_error(home: Home) -> None:
    (home.folder / "aorch.toml").write_bytes(b"a = '\xff'")
    assert failed_with(home.aorch("run", "echo", "text=a"), 2, "aorch.toml")


# The ledger's file


def other_program(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE contracts (id INTEGER, customer TEXT)")
        connection.execute("INSERT INTO contracts VALUES (1, 'mine')")
        connection.commit()


def damaged(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE a (b)")
        connection.executemany("INSERT INTO a VALUES (?)", [(os.urandom(500),) for _ in range(100)])
        connection.commit()
    content = bytearray(file.read_bytes())
    content[100:4000] = os.urandom(3900)
    file.write_bytes(content)


@pytest.mark.sqlite_only("what is in the place of the file")
@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda file: file.write_text("Dear diary, " * 1000), "--ledger"),
        (lambda file: file.write_bytes(b"\x00" * 5000), "--ledger"),
        (other_program, "--ledger"),
        (damaged, "aorch ledger restore"),
    ],
    ids=["text", "zeros", "another program's", "damaged"],
)
def test_a_file_that_is_not_a_ledger_is_rejected_and_not_changed(
    home: Home, make: Callable[[Path], Any], hint: str
) -> None:
    home.ledger.unlink()
    make(home.ledger)
    before = home.ledger.read_bytes()
    assert failed_with(home.aorch("run", "echo", "text=a"), 14, str(home.ledger), hint)
    assert home.ledger.read_bytes() == before
    assert not (home.folder / "ledger.db-owners").exists()


def test_a_ledger_of_a_newer_revision_is_rejected(home: Home) -> None:
    change(home.ledger, "UPDATE alembic_version SET version_num = '9999'")
    assert failed_with(home.aorch("run", "echo", "text=a"), 14, "9999", "newer aorch", "Upgrade aorch")


@pytest.mark.sqlite_only("the file is a directory")
def test_a_directory_as_the_ledger_is_an_error(home: Home) -> None:
    home.ledger.unlink()
    home.ledger.mkdir()
    assert failed_with(home.aorch("run", "echo", "text=a"), 14, str(home.ledger), "is a directory")


def test_a_directory_as_the_ledger_is_an_error_for_readers_too(home: Home) -> None:
    for command in (("contracts", "list"), ("status",), ("memory", "list")):
        assert failed_with(home.aorch(*command, "--ledger", str(home.folder)), 14, str(home.folder), "is a directory")


def test_an_empty_ledger_name_is_an_error(home: Home) -> None:
    """It is what a shell makes of a variable that is not set: nothing is written to another ledger instead."""
    for command in (("run", "echo", "text=a"), ("contracts", "list")):
        assert failed_with(home.aorch(*command, "--ledger", ""), 2, "--ledger: the file name is empty")
    assert home.rows("SELECT * FROM contracts") == []


def test_a_ledger_path_below_a_file_is_an_error(home: Home) -> None:
    home.environment["AORCH_LEDGER"] = str(home.folder / "aorch.toml" / "ledger.db")
    assert failed_with(home.aorch("run", "echo", "text=a"), 14, "aorch.toml/ledger.db")


@pytest.mark.sqlite_only("an empty file")
def test_an_empty_file_becomes_a_ledger(home: Home) -> None:
    home.ledger.unlink()
    home.ledger.touch()
    assert home.aorch("run", "echo", "text=a").out == "Echo: a\n"

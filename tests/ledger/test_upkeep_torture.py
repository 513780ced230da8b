"""Writers, pruners, searches, backups and rewrites at once, killed again and again: ledger and backups stay sound."""

import itertools
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import pause

from aorch.ledger.checking import check
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.upkeep import info

pytestmark = pytest.mark.sqlite_only("it damages and rewrites files")

SUPPORT = str(Path(__file__).parents[1] / "support")
ROLES = {
    "writer": """
root = request(status="in_progress", completed_at=None, claimed_by=None)
put(ledger, root)
children = [request(parent_id=root.contract_id) for _ in range(3)]
put(ledger, *(row for each in children for row in (each, response(each))))
with Database(ledger).transactions() as connection, transaction(connection):
    connection.execute(statements.INSERT_CONTRACT, response(root, status="completed"))
    connection.execute(statements.FINISH_REQUEST, ("completed", now(), root.contract_id))
""",
    "pruner": """
rules = Rules(before=now(), max_bytes=None, young_after=now(), keyed_after=now())
with suppress(LedgerBusy):
    print(prune(ledger, rules).pruned.exchanges, flush=True)
""",
    "backup": """
back_up(ledger, ledger.with_name(f"backup-{sys.argv[3]}.db"), replace=True)
print("one", flush=True)
""",
    "reader": """
with Reader(ledger) as reader:
    reader.page(Filter(text="hi"))
    reader.counts()
""",
    "vacuum": """
vacuum(ledger)
for _ in range(20):  # the others have their turn
    with Reader(ledger) as reader:
        reader.page(limit=100)
""",
}
"""What a process of each role does over and over."""
PROGRAM = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
from contextlib import suppress
from rows import put, request, response
from aorch.clock import now
from aorch.errors import LedgerBusy
from aorch.govern.retention import prune
from aorch.ledger.database import Database, statements, transaction
from aorch.ledger.pruning import Rules
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.upkeep import back_up, vacuum
ledger = pathlib.Path(sys.argv[1])
while True:
    exec(sys.argv[4])
"""
PROCESSES = ("writer", "writer", "writer", "pruner", "pruner", "backup", "backup", "reader", "vacuum")
DURATION_S, ROUND_S = 40.0, 0.7


def started(ledger: Path, number: int) -> "subprocess.Popen[bytes]":
    """The process with that number in PROCESSES."""
    role = PROCESSES[number]
    command = [sys.executable, "-c", PROGRAM, str(ledger), SUPPORT, str(number), ROLES[role]]
    with (ledger.parent / f"{role}-{number}.out").open("ab") as out:
        return subprocess.Popen(command, stdout=out)


def kill(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.torture
def test_everything_at_once_with_kills_leaves_a_sound_ledger_and_sound_backups(path: Path) -> None:
    choose = random.Random(7)
    processes = [started(path, number) for number in range(len(PROCESSES))]
    end = time.monotonic() + DURATION_S
    try:
        while time.monotonic() < end:
            pause(ROUND_S)
            number = choose.randrange(len(PROCESSES))
            assert processes[number].poll() is None, f"{PROCESSES[number]} failed by itself"
            kill(processes[number])
            processes[number] = started(path, number)
    finally:
        for process in processes:
            kill(process)
    assert said(path, "pruner") > 1000
    backups = sorted(path.parent.glob("backup-*.db"))
    assert len(backups) == PROCESSES.count("backup")
    for file in (path, *backups):
        assert check(file) == []
        assert_trees_are_whole(file)
    with Reader(path) as reader:
        assert len(reader.page(Filter(text="hi", contract_type="REQUEST"), limit=None)) == reader.total(
            Filter(contract_type="REQUEST")
        )
    assert info(path)["last_position"] > info(path)["contracts"]


def said(ledger: Path, role: str) -> int:
    """The sum of the numbers that the processes of that role printed."""
    files = ledger.parent.glob(f"{role}-*.out")
    return sum(int(line) for file in files for line in file.read_text().split())


def assert_trees_are_whole(ledger: Path) -> None:
    """No contract refers to one that is gone; a tree that ended has all of its three children, each with its RESPONSE."""
    with Reader(ledger) as reader:
        rows = reader.page(limit=None)
    ids = {row.contract_id for row in rows}
    children = {row.parent_id: 0 for row in rows}
    for row in rows:
        assert row.parent_id is None or row.parent_id in ids
        assert row.request_id is None or row.request_id in ids
        children[row.parent_id] += row.contract_type == "REQUEST"
    for row in itertools.filterfalse(lambda row: row.parent_id or row.contract_type == "RESPONSE", rows):
        if row.status == "completed":
            assert children.get(row.contract_id) == 3

"""Locks between processes: who holds one, and what the next holder finds."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from forks import in_child

from aorch.ledger.database import LockedState, ProcessLock, dead_owner, exclusive, is_alive, owner_ids

pytestmark = pytest.mark.sqlite_only("it locks files")

HOLDER = """
import sys, pathlib
from aorch.ledger.database import LockedState, ProcessLock
ledger = pathlib.Path(sys.argv[1])
state, lock = LockedState(ledger, "work"), ProcessLock(ledger)
state.write(b"half done")
print(lock.owner_id, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where a ledger would be."""
    return tmp_path / "ledger.db"


def test_what_a_killed_process_held_is_free_and_its_state_is_there(ledger: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(ledger)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        owner_id = process.stdout.readline().strip()
        assert LockedState.peek(ledger, "work") == (b"half done", True)
        assert is_alive(ledger, owner_id)
        with pytest.raises(BlockingIOError):
            LockedState(ledger, "work")
        with dead_owner(ledger, owner_id) as dead:
            assert not dead
        process.kill()
    assert LockedState.peek(ledger, "work") == (b"half done", False)
    with closing(LockedState(ledger, "work")) as state:
        assert state.read() == b"half done"
        state.write(b"done")
        assert state.read() == b"done"
    assert owner_ids(ledger) == [owner_id]
    assert not is_alive(ledger, owner_id)
    with dead_owner(ledger, owner_id) as dead:
        assert dead
    assert owner_ids(ledger) == []


def test_a_state_that_was_never_written_is_empty(ledger: Path) -> None:
    assert LockedState.peek(ledger, "work") == (b"", False)
    with closing(LockedState(ledger, "work")) as state:
        assert state.read() == b""
        assert LockedState.peek(ledger, "work") == (b"", True)


def test_one_at_a_time_does_a_work_and_another_work_is_free(ledger: Path) -> None:
    with exclusive(ledger, "sweep") as first, exclusive(ledger, "sweep") as second, exclusive(ledger, "mop") as other:
        assert (first, second, other) == (True, False, True)
    with exclusive(ledger, "sweep") as again:
        assert again


def test_a_forked_child_does_not_hold_its_parent_s_locks(ledger: Path) -> None:
    with closing(ProcessLock(ledger)) as lock:
        assert in_child(lock.close) == 0
        assert owner_ids(ledger) == [lock.owner_id]
        assert is_alive(ledger, lock.owner_id)
    assert owner_ids(ledger) == []

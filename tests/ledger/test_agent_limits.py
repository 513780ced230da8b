"""Limits of an agent that all processes of a ledger share: its slots and its rate."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forks import in_child

from aorch.errors import LedgerError
from aorch.ledger.database import AgentLimits, ProcessLock

pytestmark = pytest.mark.sqlite_only("it locks files")

HOLDER = """
import sys, pathlib
from aorch.ledger.database import AgentLimits
limits = AgentLimits(pathlib.Path(sys.argv[1]), "../a/b", 2, None)
print(limits.take(), limits.take(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where a ledger would be, with the directory of its locks."""
    ProcessLock(tmp_path / "ledger.db").close()
    return tmp_path / "ledger.db"


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_slots_hold_across_processes_and_a_killed_process_frees_its_own(ledger: Path, tmp_path: Path) -> None:
    limits = AgentLimits(ledger, "../a/b", 2, None)
    assert limits.look() == (2, 0.0)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(ledger)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0.0 0.0\n"
        assert 0 < limits.take() <= 0.05
        assert limits.look()[0] == 0
        process.kill()
    assert (limits.look(), limits.take()) == ((2, 0.0), 0.0)
    assert limits.look() == (1, 0.0)
    assert {each.name for each in tmp_path.iterdir()} == {"ledger.db-owners"}, "an agent ID is never a path"


def test_slots_hold_within_a_process_and_a_forked_child_holds_none(ledger: Path) -> None:
    before = descriptors()
    one, other = AgentLimits(ledger, "agent", 2, None), AgentLimits(ledger, "agent", 2, None)
    assert (one.take(), one.take(), one.take()) == (0.0, 0.0, math.inf)
    assert (other.look()[0], AgentLimits(ledger, "agent2", 2, None).look()[0]) == (0, 2)
    in_child(lambda: _free_in_child(one))
    assert other.look()[0] == 0
    one.release()
    assert (other.take(), one.take() > 0) == (0.0, True)
    one.release()
    other.release()
    other.release()
    assert (one.look()[0], descriptors()) == (2, before)


def _free_in_child(limits: AgentLimits) -> None:
    limits.release()
    assert limits.look()[0] == 0, "the parent holds both"
    assert limits.take() > 0


def test_calls_of_several_processes_are_spaced_by_the_rate(ledger: Path) -> None:
    one, other = AgentLimits(ledger, "agent", None, 30), AgentLimits(ledger, "agent", None, 30)
    assert (one.look(), one.take()) == ((1, 0.0), 0.0)
    assert 1 < other.take() <= 2
    free, wait_s = other.look()
    assert (free, 1 < wait_s <= 2) == (0, True)


def test_a_rate_that_is_used_up_takes_no_slot(ledger: Path) -> None:
    limits = AgentLimits(ledger, "agent", 2, 1)
    assert limits.take() == 0.0
    assert 50 < limits.take() <= 60
    assert AgentLimits(ledger, "agent", 2, None).look()[0] == 1


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 8, b"\x00\x00\x00\x00\x00\x00\xf0\x7f", b"\x7f" * 8])
def test_a_time_that_no_call_can_have_set_counts_as_past(ledger: Path, content: bytes) -> None:
    limits = AgentLimits(ledger, "agent", None, 30)
    limits.take()
    (file,) = (ledger.parent / "ledger.db-owners").iterdir()
    file.write_bytes(content)
    assert (limits.take(), limits.take() > 1) == (0.0, True)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    limits = AgentLimits(tmp_path / "missing" / "ledger.db", "agent", 1, None)
    assert limits.look() == (1, 0.0)
    with pytest.raises(LedgerError, match="db-owners"):
        limits.take()

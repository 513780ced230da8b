"""The ledger as a file: which one a path means, who may use it, and what lies beside it."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from homes import Home, Result
from rows import pairs, put, request
from waiting import WAIT_S

from aorch.ledger.database import is_alive, owner_ids
from aorch.ledger.ledger import Ledger
from aorch.ledger.lost_requests import recover
from aorch.ledger.sqlite.connection import connection_to
from aorch.ledger.sqlite.opening import connect, connect_reading
from aorch.trace import lease

pytestmark = pytest.mark.sqlite_only("it is about the file and its permissions")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    """The umask of most machines, which lets everybody read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def without_privileges() -> list[str]:
    """What begins a command that is to run without root's power over files: where the tests run as root, as root without it."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-chown,-fowner", "--inh-caps=-all"]


def unprivileged(home: Home, *arguments: str) -> Result:
    """`aorch`, run without root's power over files."""
    prefix = without_privileges()
    done = subprocess.run(
        [*prefix, *home.command(*arguments)], capture_output=True, cwd=home.folder, env=home.environment, timeout=60
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


# Which file


@pytest.mark.parametrize("name", ["a%20b", "a?b", "a#b", "a?b=c&mode=ro", "x%", "file:x", "a\nb", "\udcff", "天气"])
def test_a_path_opens_exactly_that_file(tmp_path: Path, name: str) -> None:
    """Whatever its characters mean in a URL; nothing else is made."""
    path = tmp_path / name / name
    put(path, *pairs(1))
    Ledger(path).close()
    with closing(connect_reading(path)) as connection:
        assert connection.execute("SELECT count(*) FROM contracts").fetchone() == (2,)
    assert os.listdir(tmp_path) == [name]
    assert sorted(os.listdir(tmp_path / name)) == sorted([name, f"{name}-owners"])


def test_a_ledger_through_a_symlink_has_the_same_owners_and_the_same_lease(tmp_path: Path) -> None:
    """Through one to the file and through one to its folder: whoever runs something there lives."""
    real = tmp_path / "real" / "ledger.db"
    with closing(Ledger(real)) as ledger:
        put(real, request(status="in_progress", completed_at=None, claimed_by=ledger.owner_id))
        (tmp_path / "file.db").symlink_to("real/ledger.db")
        (tmp_path / "folder").symlink_to("real")
        held = lease.acquire(real)
        assert held is not None
        for link in (tmp_path / "file.db", tmp_path / "folder" / "ledger.db"):
            assert is_alive(link, ledger.owner_id)
            assert owner_ids(link) == [ledger.owner_id]
            assert lease.acquire(link) is None
            assert lease.peek(link)[1]
            recover(link)
            Ledger(link).close()
        held.close()
        with closing(connect_reading(real)) as connection:
            assert connection.execute("SELECT status FROM contracts").fetchall() == [("in_progress",)]
    assert sorted(os.listdir(tmp_path)) == ["file.db", "folder", "real"]


def test_a_symlink_to_nothing_yet_makes_the_file_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("folder/ledger.db")
    Ledger(tmp_path / "link.db").close()
    assert sorted(os.listdir(tmp_path / "folder")) == ["ledger.db", "ledger.db-owners"]


# Who may use it


@pytest.mark.usefixtures("umask")
def test_what_is_made_in_a_private_folder_is_its_owners_alone(tmp_path: Path) -> None:
    """The folders above it too, and what lies beside it; also in a folder like /tmp, where everybody makes files."""
    open_to_all = tmp_path / "tmp"
    open_to_all.mkdir()
    open_to_all.chmod(0o1777)
    for path in (tmp_path / "a" / "b" / "ledger.db", open_to_all / "ledger.db"):
        with closing(Ledger(path)) as ledger:
            put(path, request())
            lease.acquire(path)
            beside = {name: mode_of(path.parent / name) for name in os.listdir(path.parent)}
            assert beside.pop("ledger.db-owners") == 0o700
            assert beside.keys() >= {"ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-trace"}
            assert set(beside.values()) == {0o600}
            assert mode_of(path.parent / "ledger.db-owners" / ledger.owner_id) == 0o600
    assert [mode_of(folder) for folder in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700, 0o700]


@pytest.mark.parametrize(("folder_mode", "umask", "file", "folder"), [
    (0o2775, 0o002, 0o660, 0o2770),
    (0o770, 0o002, 0o660, 0o770),
    (0o2755, 0o022, 0o640, 0o2750),
])  # fmt: skip
def test_in_a_folder_of_a_group_the_umask_decides_for_the_group(
    tmp_path: Path, folder_mode: int, umask: int, file: int, folder: int
) -> None:
    """Nobody else may use it in any case."""
    path = tmp_path / "team" / "ledger.db"
    path.parent.mkdir()
    path.parent.chmod(folder_mode)
    before = os.umask(umask)
    try:
        with closing(Ledger(path)) as ledger:
            assert mode_of(path) == file
            assert mode_of(path.parent / "ledger.db-owners") == folder
            assert mode_of(path.parent / "ledger.db-owners" / ledger.owner_id) == file
    finally:
        os.umask(before)


def test_a_lock_that_may_not_be_looked_at_is_held_by_a_living_process(home: Home) -> None:
    """Another user's: nothing of that process is interrupted, and one's own tasks run beside it."""
    owner_id = "01K8VF9XK83SYH1HAX57ZGJDYS"
    Ledger(home.ledger).close()
    put(home.ledger, request(status="in_progress", completed_at=None, claimed_by=owner_id))
    lock = home.folder / "ledger.db-owners" / owner_id
    lock.touch()
    lock.chmod(0)
    listed = unprivileged(home, "contracts", "list", "--status", "in_progress")
    assert (listed.code, listed.out.count("in_progress")) == (0, 1), listed
    assert unprivileged(home, "run", "echo", "text=hi").code == 0
    assert home.rows("SELECT status FROM contracts WHERE claimed_by = ?", owner_id) == [("in_progress",)]
    lock.chmod(0o600)
    assert home.aorch("contracts", "list").code == 0
    assert home.rows("SELECT count(*) FROM contracts WHERE status = 'interrupted'") == [(1,)]


def test_who_may_only_read_leaves_nothing_behind_that_locks_the_owner_out(home: Home) -> None:
    """No -wal and no -shm of another user's, though the folder may be written."""
    put(home.ledger, *pairs(2))
    home.ledger.chmod(0o444)
    listed = unprivileged(home, "contracts", "export")
    assert (listed.code, listed.out.count("\n")) == (0, 4), listed
    assert not [name for name in os.listdir(home.folder) if name.startswith("ledger.db-")]


def test_who_may_only_read_and_tries_to_write_is_refused_and_leaves_nothing_behind(home: Home) -> None:
    """By a command that writes, by a search whose index is behind, and by a list that finds a dead process's task."""
    put(home.ledger, *pairs(1), request(status="in_progress", completed_at=None, claimed_by="0" * 26))
    home.ledger.chmod(0o444)
    refused = unprivileged(home, "run", "echo", "text=hi")
    assert (refused.code, refused.out) == (14, ""), refused
    assert "for writing: the file or its directory is read-only" in refused.err
    assert "3 contracts not searched" in unprivileged(home, "contracts", "list", "--text", "word0").err
    assert unprivileged(home, "contracts", "list").code == 0
    assert not [name for name in os.listdir(home.folder) if name.startswith("ledger.db-")]


def test_who_may_only_read_follows_what_others_write(home: Home) -> None:
    """Though the ledger was at rest when it was opened."""
    put(home.ledger, *pairs(1))
    home.ledger.chmod(0o444)
    command = [*without_privileges(), *home.command("contracts", "tail", "-f", "--jsonl")]
    with subprocess.Popen(command, cwd=home.folder, env=home.environment, stdout=subprocess.PIPE) as tail:
        assert tail.stdout
        assert [b"word0" in tail.stdout.readline() for _ in range(2)] == [True, False]
        home.ledger.chmod(0o644)
        put(home.ledger, request(text="written since"))
        home.ledger.chmod(0o444)
        bound = threading.Timer(WAIT_S, tail.terminate)
        bound.start()
        assert b"written since" in tail.stdout.readline()
        bound.cancel()
        tail.terminate()


# The write-ahead log


@pytest.fixture
def with_log(tmp_path: Path, home: Home) -> Path:
    """A copy of a ledger whose newest contracts are in its -wal, in a folder and files that are read-only."""
    copy = tmp_path / "copy" / "ledger.db"
    copy.parent.mkdir()
    put(home.ledger, *pairs(1))
    with closing(connect(home.ledger)) as reading:  # so that the last writer does not clear the log
        reading.execute("SELECT count(*) FROM contracts").fetchall()
        put(home.ledger, *pairs(1))
        for name in ("ledger.db", "ledger.db-wal"):
            shutil.copy(home.folder / name, copy.parent / name)
            (copy.parent / name).chmod(0o444)
    copy.parent.chmod(0o555)
    return copy


def test_a_read_only_directory_or_ledger_is_named_with_the_next_step(home: Home, tmp_path: Path) -> None:
    put(home.ledger, *pairs(1))
    home.aorch("ledger", "backup", "backup.db")
    folder = tmp_path / "read-only"
    folder.mkdir()
    shutil.copy(home.folder / "backup.db", folder / "l.db")
    shutil.copy(home.folder / "backup.db", home.folder / "ro.db")
    (home.folder / "ro.db").chmod(0o444)
    folder.chmod(0o555)
    pruned = unprivileged(home, "ledger", "prune", "--keep", "1d", "--ledger", str(folder / "l.db"))
    restored = unprivileged(home, "ledger", "restore", "backup.db", "--ledger", str(folder / "l.db"))
    read_only = unprivileged(home, "ledger", "restore", "backup.db", "--ledger", "ro.db")
    folder.chmod(0o755)
    for done in (pruned, restored):
        assert done.code == 14
        assert "Permission denied" in done.err
        assert f"hint: Let this user write in {folder}, or choose another file." in done.err
    assert f"cannot open the ledger {home.folder / 'ro.db'} for writing: the file" in read_only.err


def test_a_read_only_copy_with_its_log_is_refused_rather_than_read_in_part(home: Home, with_log: Path) -> None:
    """The error says what to do, and that works; without the log's contracts it would say two of four."""
    done = unprivileged(home, "contracts", "export", "--ledger", str(with_log))
    assert (done.code, done.out) == (14, "")
    assert "ledger.db-wal" in done.err
    assert "Copy ledger.db and ledger.db-wal together" in done.err
    again = home.folder / "again"
    again.mkdir()
    for name in ("ledger.db", "ledger.db-wal"):
        shutil.copy(with_log.parent / name, again / name)
        (again / name).chmod(0o644)
    done = unprivileged(home, "contracts", "export", "--ledger", str(again / "ledger.db"))
    assert (done.code, done.out.count("\n")) == (0, 4), done


def test_a_log_that_a_living_process_keeps_is_read_whole_by_who_may_only_read(home: Home) -> None:
    """All four contracts, the file being read-only for the reader while the owner has it open."""
    put(home.ledger, *pairs(1))
    with closing(connect(home.ledger)) as owner:
        owner.execute("SELECT count(*) FROM contracts").fetchall()
        put(home.ledger, *pairs(1))
        home.ledger.chmod(0o444)
        done = unprivileged(home, "contracts", "export")
        home.ledger.chmod(0o644)
    assert (done.code, done.out.count("\n")) == (0, 4), done


@pytest.mark.parametrize("way", ["VACUUM INTO", ".dump"])
def test_a_restored_ledger_is_in_write_ahead_mode_again_once_it_is_opened_for_writing(tmp_path: Path, way: str) -> None:
    """With all that it said; so that readers and writers do not wait for each other."""
    path, restored = tmp_path / "ledger.db", tmp_path / "restored.db"
    put(path, *pairs(3))
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(restored)) as target:
        if way == "VACUUM INTO":
            target.close()
            restored.unlink()
            source.execute("VACUUM INTO ?", (str(restored),))
        else:
            target.executescript("\n".join(source.iterdump()))
    with closing(connection_to(restored, "mode=ro")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    Ledger(restored).close()
    with closing(connect_reading(restored)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT count(*) FROM contracts").fetchone() == (6,)


# Fork

FORKING = """
import asyncio, os, sys
from aorch import Orchestrator
from aorch.errors import LedgerError

async def in_child(orchestrator, task):
    for parent_id in (None, "01K8VF9XK83SYH1HAX57ZGJDYS"):
        try:
            await asyncio.wait_for(orchestrator.orchestrate("s", task | {"parent_id": parent_id}), 30)
        except LedgerError as error:
            print(error, flush=True)
    sys.stdin.readline()
    await orchestrator.aclose()
    print((await orchestrator.orchestrate("s", task))["success"], flush=True)

orchestrator = Orchestrator(sys.argv[1])
task = {"capability": "echo", "parameters": {"text": "hi"}}
asyncio.run(orchestrator.orchestrate("s", task))
print(orchestrator.executor.ledger.owner_id, flush=True)
if os.fork():
    os.kill(os.getpid(), 9)
asyncio.run(in_child(orchestrator, task))
"""


def test_a_forked_child_keeps_no_lock_and_is_told_to_open_the_ledger_anew(tmp_path: Path) -> None:
    """The parent is killed, so its exchanges are lost at once, though the child lives; and nothing hangs."""
    path = tmp_path / "ledger.db"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FORKING, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        owner_id = process.stdout.readline().strip()
        said = [process.stdout.readline() for _ in range(2)]
        assert said == ["the ledger was opened before this process was forked\n"] * 2
        assert process.wait(WAIT_S) == -9
        assert owner_id in owner_ids(path)
        assert not is_alive(path, owner_id)
        process.stdin.close()
        assert process.stdout.read() == "True\n"
    with closing(connect_reading(path)) as connection:
        assert connection.execute("SELECT count(*) FROM contracts").fetchone() == (4,)

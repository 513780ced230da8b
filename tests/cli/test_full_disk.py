"""A full or read-only disk: the error names it, and nothing that was answered is lost."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from command_checks import failed_with
from disks import Disk
from waiting import WAIT_S

pytestmark = pytest.mark.sqlite_only("the disk of the file")


def test_a_read_only_ledger_is_an_error_and_not_changed(disk: Disk) -> None:
    assert disk.aorch("run", "echo", "text=a").code == 0
    disk.remount("ro")
    for command in (("run", "echo", "text=a"), ("contracts", "erase", "--text-match", "a")):
        assert failed_with(disk.aorch(*command), 14, f"{disk.folder}/ledger.db", "read-only", "--ledger")
    disk.remount("rw")
    assert disk.aorch("run", "echo", "text=a").code == 0
    assert disk.sql("SELECT count(*) FROM contracts") == [[4]]


def test_no_ledger_can_be_made_on_a_read_only_disk(disk: Disk) -> None:
    disk.remount("ro")
    assert failed_with(disk.aorch("run", "echo", "text=a"), 14, f"{disk.folder}/ledger.db", "--ledger")


def test_a_full_disk_is_an_error_and_commands_work_again_once_there_is_room(disk: Disk) -> None:
    assert disk.aorch("run", "echo", "text=a").code == 0
    disk.fill()
    for _ in range(2):
        assert failed_with(disk.aorch("run", "echo", "text=b"), 14, f"{disk.folder}/ledger.db", "full", "Make room")
    disk.run("rm", f"{disk.folder}/filler")
    assert disk.sql("PRAGMA integrity_check") == [["ok"]]
    assert disk.aorch("run", "echo", "text=c").out == "Echo: c\n"
    assert disk.sql(
        "SELECT json_extract(payload, '$.text'), status FROM contracts WHERE contract_type = 'REQUEST'"
    ) == [
        ["a", "completed"],
        ["c", "completed"],
    ]


@pytest.mark.parametrize("size", [5000, *(pytest.param(size, marks=pytest.mark.torture) for size in (0, 200))])
def test_a_batch_pauses_while_the_disk_is_full_says_so_once_and_continues_when_there_is_room(
    disk: Disk, size: int
) -> None:
    with filling_batch(disk, size) as running:
        disk.run("mount", "-o", "remount,size=64m", str(disk.folder))
        out, err = running.communicate(timeout=10 * WAIT_S)
    assert (running.returncode, "error" in err, "warning" in err) == (0, False, False)
    results = [json.loads(line) for line in out.splitlines()]
    assert sorted(result["id"] for result in results) == list(range(TASKS))
    assert {result["contract_id"] for result in results} <= completed(disk)
    assert disk.sql("SELECT count(*) FROM contracts") == [[2 * (TASKS + 1)]]


@pytest.mark.parametrize("size", [0, pytest.param(5000, marks=pytest.mark.torture)])
def test_a_batch_that_is_stopped_while_the_disk_is_full_exits_14_and_can_be_resumed(disk: Disk, size: int) -> None:
    with filling_batch(disk, size) as running:
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=10 * WAIT_S)
    summary, *_ = said = [line for line in err.splitlines() if not line.startswith("the ledger did not accept")]
    assert (running.returncode, summary.startswith("stopped: ")) == (14, True)
    assert said[1].startswith(f"error: the disk of the ledger {disk.folder}/ledger.db is full")
    assert said[2:] == ["hint: Make room, then run the same command with --resume."]
    told = {result["id"]: result for result in map(json.loads, out.splitlines())}
    assert 0 < len(told) < TASKS
    disk.run("mount", "-o", "remount,size=64m", str(disk.folder))
    kept = completed(disk)
    lost = [result for result in told.values() if result["contract_id"] not in kept]
    assert not lost or f"gave up: {len(lost)}" in said[1]
    done = disk.aorch(*BATCH, "--resume")
    assert done.code == 0
    results = [json.loads(line) for line in done.out.splitlines()]
    assert sorted(result["id"] for result in results) == list(range(TASKS))
    assert all(result["data"]["message"].startswith(f"Echo: {result['id']} ") for result in results)
    assert all(result == told.get(result["id"], result) for result in results if result["contract_id"] in kept)
    assert disk.sql("PRAGMA integrity_check") == [["ok"]]


TASKS = 1000
BATCH = ("run", "echo", "--batch", "b.jsonl", "--session", "s", "--parallel", "4")


@contextmanager
def filling_batch(disk: Disk, size: int) -> Iterator[subprocess.Popen[str]]:
    """A batch, with `size` more bytes in each task, that has filled the disk and said that it waits for room."""
    assert disk.aorch("run", "echo", "text=a").code == 0
    tasks = [{"parameters": {"text": f"{number} {'x' * size}"}, "id": number} for number in range(TASKS)]
    disk.home.write("b.jsonl", "".join(json.dumps(task) + "\n" for task in tasks))
    with disk.start(*BATCH) as running:
        assert running.stderr
        assert running.stderr.readline() == (
            f"warning: the disk of the ledger {disk.folder}/ledger.db is full: no more tasks start, and the results of "
            "running tasks wait to be saved; make room to continue, or press Ctrl-C to stop\n"
        )
        yield running


def completed(disk: Disk) -> set[str]:
    """The REQUESTs that the ledger says are completed."""
    rows = disk.sql("SELECT request_id FROM contracts WHERE contract_type = 'RESPONSE' AND status = 'completed'")
    return {request_id for (request_id,) in rows}


def test_no_ledger_can_be_made_on_a_full_disk_until_there_is_room(disk: Disk) -> None:
    disk.fill()
    assert failed_with(disk.aorch("run", "echo", "text=a"), 14, "full")
    disk.run("rm", f"{disk.folder}/filler")
    assert disk.aorch("run", "echo", "text=a").out == "Echo: a\n"


def test_a_disk_without_room_for_one_more_file_is_an_error(disk: Disk) -> None:
    assert disk.aorch("run", "echo", "text=a").code == 0
    files = [str(disk.folder / f"file{n}") for n in range(64)]
    assert "No space left" in disk.run("touch", *files).err
    assert failed_with(disk.aorch("run", "echo", "text=a"), 14)
    disk.run("rm", "-f", *files)
    assert disk.aorch("run", "echo", "text=a").code == 0


@pytest.mark.torture
@pytest.mark.parametrize("gives_up", [False, True])
def test_an_answer_that_the_disk_has_no_room_for_is_written_once_it_has_or_interrupted_if_aorch_gives_up(
    disk: Disk, gives_up: bool
) -> None:
    disk.home.write(
        "aorch.toml",
        f"[agents.filler]\ncommand = ['sh', '-c', 'head -c 10M /dev/zero > {disk.folder}/filler 2>/dev/null; echo x']\n"
        "[agents.filler.capabilities.fill]\n",
    )
    assert disk.aorch("run", "echo", "text=a").code == 0
    with disk.start("run", "fill") as running:
        assert running.stdout
        assert running.stderr
        assert "is full; aorch retries" in running.stderr.readline()
        if gives_up:
            running.terminate()
            assert running.wait(WAIT_S) == 14
        disk.run("rm", f"{disk.folder}/filler")
        assert running.wait(WAIT_S) == (14 if gives_up else 0)
        assert running.stdout.read() == "x\n"
    assert disk.sql("PRAGMA integrity_check") == [["ok"]]
    assert disk.aorch("run", "echo", "text=b").code == 0
    assert disk.sql("SELECT contract_type, status FROM contracts WHERE capability = 'fill' ORDER BY position") == [
        ["REQUEST", "failed" if gives_up else "completed"],
        ["RESPONSE", "interrupted" if gives_up else "completed"],
    ]

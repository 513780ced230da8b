"""A full or read-only disk: the error names it, and nothing that was answered is lost."""

import json

import pytest
from command_checks import failed_with
from disks import Disk
from waiting import WAIT_S


def test_a_read_only_ledger_is_an_error_and_not_changed(disk: Disk) -> None:
    assert disk.aorch("run", "echo", "text=a").code == 0
    disk.remount("ro")
    assert failed_with(disk.aorch("run", "echo", "text=a"), 14, f"{disk.folder}/ledger.db", "read-only", "--ledger")
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


def test_a_disk_that_fills_during_a_batch_is_reported_once_and_the_batch_can_be_resumed(
    disk: Disk,
) -> None:
    assert disk.aorch("run", "echo", "text=a").code == 0
    tasks = [{"parameters": {"text": f"{number} {'x' * 200}"}, "id": number} for number in range(2000)]
    disk.home.write("b.jsonl", "".join(json.dumps(task) + "\n" for task in tasks))
    batch = ("run", "echo", "--batch", "b.jsonl", "--session", "s", "--parallel", "4")
    full = disk.aorch(*batch)
    assert full.code == 14
    said = full.err.splitlines()
    assert said[0].startswith("stopped: ")
    assert said[1:] == [
        f"error: the disk of the ledger {disk.folder}/ledger.db is full",
        "hint: Make room, then try again.",
    ]
    told = {result["id"]: result for result in map(json.loads, full.out.splitlines())}
    assert 0 < len(told) < 2000
    disk.run("mount", "-o", "remount,size=64m", str(disk.folder))
    kept = disk.sql("SELECT request_id FROM contracts WHERE contract_type = 'RESPONSE' AND status = 'completed'")
    assert {result["contract_id"] for result in told.values()} <= {request_id for (request_id,) in kept}
    done = disk.aorch(*batch, "--resume")
    assert done.code == 0
    results = [json.loads(line) for line in done.out.splitlines()]
    assert sorted(result["id"] for result in results) == list(range(2000))
    assert all(result["data"]["message"].startswith(f"Echo: {result['id']} ") for result in results)
    assert all(result == told.get(result["id"], result) for result in results)
    assert disk.sql("PRAGMA integrity_check") == [["ok"]]


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

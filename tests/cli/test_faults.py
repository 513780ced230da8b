"""Bad input and bad luck: each is told in one sentence with its exit code, and the ledger still tells the truth."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from disks import Disk
from homes import Home, Result
from waiters import WAITING, are_gone, kill_at_work, start_waiting

Wait = Callable[[Callable[[], Any]], Any]


def failed_with(done: Result, code: int, *said: str) -> bool:
    """Whether the command ended with that exit code, nothing on stdout, and sentences that say all of that."""
    assert done.code == code, done
    assert done.out == ""
    first, _, rest = done.err.partition("\n")
    err = rest if first.startswith("warning: no ledger at ") else done.err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert err.count("\n") <= 2
    for each in said:
        assert each in err
    return True


def ends_of(home: Home) -> list[tuple[str, str]]:
    """(type, status) of every contract, in order."""
    return home.rows("SELECT contract_type, status FROM contracts ORDER BY position")


# What was asked


def test_an_unknown_capability_names_near_misses_and_stands_in_the_ledger(home: Home) -> None:
    done = home.aorch("run", "uppercas", "text=hi", "--session", "s")
    assert failed_with(done, 11, "No agent available for capability: uppercas", "Did you mean uppercase?", "echo")
    assert home.rows("SELECT contract_type, status, capability, to_agent, error FROM contracts ORDER BY position") == [
        ("REQUEST", "failed", "uppercas", None, None),
        ("RESPONSE", "failed", "uppercas", "orchestrator", "No agent available for capability: uppercas"),
    ]


def test_an_unknown_agent_names_near_misses(home: Home) -> None:
    done = home.aorch("run", "echo", "text=hi", "--agent", "agent_example_01")
    assert failed_with(done, 11, "agent_example_01", "agent_example_001")
    assert ends_of(home) == [("REQUEST", "failed"), ("RESPONSE", "failed")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "text"), (("txt=hi",), "text"), (("text:=3",), "'text'"), (("text:=null",), "'text'")],
    ids=["none", "misspelt", "a number", "null"],
)
def test_a_missing_or_mistyped_parameter_is_named_and_stands_in_the_ledger(
    home: Home, arguments: tuple[str, ...], said: str
) -> None:
    assert failed_with(home.aorch("run", "echo", *arguments), 2, said, "'echo'")
    assert ends_of(home) == [("REQUEST", "failed"), ("RESPONSE", "failed")]
    assert said in home.rows("SELECT error FROM contracts WHERE request_id IS NOT NULL")[0][0]


@pytest.mark.parametrize("item", ["text=@missing.txt", "text:=@missing.txt"])
def test_a_file_that_is_not_there_exits_12_and_is_named(home: Home, item: str) -> None:
    assert failed_with(home.aorch("run", "echo", item), 12, "missing.txt", "text")


@pytest.mark.parametrize("option", ["--params", "--context"])
@pytest.mark.parametrize("broken", ['{"text": ', "", "{'text': 1}", '{"text": "\ud800"}', "[" * 100_000, "NaN"])
def test_broken_json_on_stdin_is_refused(home: Home, option: str, broken: str) -> None:
    done = home.aorch("run", "echo", "text=a", option, "@-", stdin=broken.encode("utf-8", "surrogatepass"))
    assert failed_with(done, 2, option)
    assert ends_of(home) == []


def test_a_folder_and_a_binary_file_as_a_parameter_are_refused(home: Home) -> None:
    (home.folder / "binary").write_bytes(b"\x89PNG\xff")
    assert failed_with(home.aorch("run", "echo", "text=@binary"), 2, "binary", "UTF-8")
    assert failed_with(home.aorch("run", "echo", "text=@."), 2, "directory")


@pytest.mark.parametrize(
    "where",
    [
        "capability",
        "session",
        "agent",
        "context",
        "key",
        "value",
        "schema",
    ],
)
def test_argument_bytes_that_are_not_utf_8_are_refused(home: Home, where: str) -> None:
    bad = b"caf\xe9".decode("utf-8", "surrogateescape")
    home.write(
        "aorch.toml",
        '[agents.n]\ncommand = ["true"]\n[agents.n.capabilities.count]\nparameters = {n = "integer"}\n',
    )
    arguments = {
        "capability": [bad],
        "session": ["echo", "text=a", "--session", bad],
        "agent": ["echo", "text=a", "--agent", bad],
        "context": ["echo", "text=a", "--context", f'{{"a": "{bad}"}}'],
        "key": ["echo", "text=a", f"{bad}=a"],
        "value": ["echo", f"text={bad}"],
        "schema": ["count", f"n={bad}"],
    }
    assert failed_with(home.aorch("run", *arguments[where]), 2)


HOSTILE_SESSIONS = [
    """it's "quoted" `so`""",
    "../../etc/passwd\\..\\x",
    "a\nb\r\n\tc",
    "🐚👩‍👩‍👧 ñ\u202e",
    "'); DROP TABLE contracts; --",
    "%_*?[a-z]",
    "[bold]<script>alert(1)</script>[/bold]",
    "--help",
    " ",
    "ü" * 255,  # the longest
]


def test_a_session_id_is_kept_exactly_whatever_is_in_it(home: Home) -> None:
    home.aorch("run", "echo", "text=another", "--session", "another")
    for session in HOSTILE_SESSIONS:
        done = home.aorch("run", "echo", "text=a", f"--session={session}", "--json")
        assert done.json["session_id"] == session
    assert {path.name.split("-")[0] for path in home.folder.iterdir()} == {"aorch.toml", "ledger.db"}
    program = """if True:
        import asyncio, json, sys
        from aorch import Orchestrator

        async def main():
            orchestrator = Orchestrator()
            print(json.dumps([await orchestrator.get_contracts(session) for session in json.load(sys.stdin)]))

        asyncio.run(main())
    """
    read = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(HOSTILE_SESSIONS).encode(), cwd=home.folder,
        env=home.environment, stdout=subprocess.PIPE, timeout=60, check=True,
    )  # fmt: skip
    assert [[(each["session_id"], each["contract_type"]) for each in its] for its in json.loads(read.stdout)] == [
        [(session, "REQUEST"), (session, "RESPONSE")] for session in HOSTILE_SESSIONS
    ]
    assert home.rows("SELECT session_id FROM contracts WHERE contract_type = 'REQUEST' ORDER BY position") == [
        (session,) for session in ["another", *HOSTILE_SESSIONS]
    ]


# aorch.toml


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("timeout_s = 5\n[agents.x\n", ["line 2", "column 10"]),
        ('ledger = "a\n', ["line 1", "column"]),
        ("timeout = 5\n", ["unknown key timeout", "timeout_s"]),
        ("timeout_s = -1\n", ["timeout_s", "> 0"]),
        ("[queue]\nparallel = -3\n", ["queue.parallel", ">= 0"]),
        ("[queue]\nmax_waiting = -1\n", ["queue.max_waiting", ">= 0"]),
        ("[queue]\nparalel = 3\n", ["unknown key queue.paralel", "parallel"]),
        ("[serve]\nworkers = 0\n", ["serve.workers", ">= 1"]),
        ('[agents.x]\ncommand = ["true"]\ntimeout = 5\n[agents.x.capabilities.c]\n', ["agents.x.timeout", "timeout_s"]),
        ('[agents.x]\ncommand = "true"\n[agents.x.capabilities.c]\n', ["agents.x.command", "expected a list"]),
        ('[agents.x]\ncommand = ["true", 3]\n[agents.x.capabilities.c]\n', ["agents.x.command[1]"]),
        ('timeout_s = "soon"\n', ["timeout_s", "float"]),
        ("agents = 3\n", ["agents"]),
        ("[agents]\nx = 3\n", ["agents.x"]),
        ('[agents.x]\ncommand = ["true"]\n', ["agents.x", "capability"]),
        ("[agents.x]\ncommand = []\n[agents.x.capabilities.c]\n", ["agents.x", "program"]),
        ("[agents.x]\n[agents.x.capabilities.c]\n", ["agents.x", "`class` or `command`"]),
        ('[agents.x]\ncommand = ["true"]\n[agents.x.capabilities.c]\ndescripton = "a"\n', ["agents.x.capabilities.c"]),
        ('[agents.x]\ncommand = ["true"]\ntimeout_s = -1\n[agents.x.capabilities.c]\n', ["timeout_s", "above 0"]),
    ],
)
def test_a_broken_aorch_toml_is_told_with_its_place(home: Home, content: str, said: list[str]) -> None:
    home.write("aorch.toml", content)
    assert failed_with(home.aorch("run", "echo", "text=a"), 2, str(home.folder / "aorch.toml"), *said)
    assert home.aorch("agents", "list").code == 2


def test_an_aorch_toml_that_is_not_text_is_told(home: Home) -> None:
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


@pytest.mark.parametrize(
    "make",
    [
        lambda file: file.write_text("Dear diary, " * 1000),
        lambda file: file.write_bytes(b"\x00" * 5000),
        other_program,
        damaged,
    ],
    ids=["text", "zeros", "another program's", "damaged"],
)
def test_a_file_that_is_no_ledger_is_refused_and_not_touched(home: Home, make: Callable[[Path], Any]) -> None:
    home.ledger.unlink()
    make(home.ledger)
    before = home.ledger.read_bytes()
    assert failed_with(home.aorch("run", "echo", "text=a"), 14, str(home.ledger), "--ledger")
    assert home.ledger.read_bytes() == before
    assert not (home.folder / "ledger.db-owners").exists()


def test_a_ledger_of_a_newer_revision_is_refused(home: Home) -> None:
    with closing(sqlite3.connect(home.ledger)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    assert failed_with(home.aorch("run", "echo", "text=a"), 14, "9999", "newer aorch", "Upgrade aorch")


def test_a_folder_in_the_ledgers_place_is_told(home: Home) -> None:
    home.ledger.unlink()
    home.ledger.mkdir()
    assert failed_with(home.aorch("run", "echo", "text=a"), 14, str(home.ledger), "is a folder")


def test_a_folder_in_the_ledgers_place_is_told_to_readers_too(home: Home) -> None:
    for command in (("contracts", "list"), ("status",), ("memory", "list")):
        assert failed_with(home.aorch(*command, "--ledger", str(home.folder)), 14, str(home.folder), "is a folder")


def test_an_empty_name_is_no_ledger(home: Home) -> None:
    """It is what a shell makes of a variable that is not set: nothing is written to another ledger instead."""
    for command in (("run", "echo", "text=a"), ("contracts", "list")):
        assert failed_with(home.aorch(*command, "--ledger", ""), 2, "--ledger: the file name is empty")
    assert home.rows("SELECT * FROM contracts") == []


def test_a_ledger_below_a_file_is_told(home: Home) -> None:
    home.environment["AORCH_LEDGER"] = str(home.folder / "aorch.toml" / "ledger.db")
    assert failed_with(home.aorch("run", "echo", "text=a"), 14, "aorch.toml/ledger.db")


def test_an_empty_file_becomes_a_ledger(home: Home) -> None:
    home.ledger.unlink()
    home.ledger.touch()
    assert home.aorch("run", "echo", "text=a").out == "Echo: a\n"


# The disk


def test_a_read_only_ledger_is_told_and_left_as_it_is(disk: Disk) -> None:
    assert disk.aorch("run", "echo", "text=a").code == 0
    disk.remount("ro")
    assert failed_with(disk.aorch("run", "echo", "text=a"), 14, f"{disk.folder}/ledger.db", "read-only", "--ledger")
    disk.remount("rw")
    assert disk.aorch("run", "echo", "text=a").code == 0
    assert disk.sql("SELECT count(*) FROM contracts") == [[4]]


def test_no_ledger_can_be_made_on_a_read_only_disk(disk: Disk) -> None:
    disk.remount("ro")
    assert failed_with(disk.aorch("run", "echo", "text=a"), 14, f"{disk.folder}/ledger.db", "--ledger")


def test_a_full_disk_is_told_and_all_works_again_once_there_is_room(disk: Disk) -> None:
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


def test_a_disk_that_fills_in_the_middle_of_a_batch_is_told_once_and_the_batch_goes_on_once_there_is_room(
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


def test_a_disk_that_has_no_room_for_one_more_file_is_told(disk: Disk) -> None:
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
        assert "is full; aorch tries again" in running.stderr.readline()
        if gives_up:
            running.terminate()
            assert running.wait(5) == 14
        disk.run("rm", f"{disk.folder}/filler")
        assert running.wait(10) == (14 if gives_up else 0)
        assert running.stdout.read() == "x\n"
    assert disk.sql("PRAGMA integrity_check") == [["ok"]]
    assert disk.aorch("run", "echo", "text=b").code == 0
    assert disk.sql("SELECT contract_type, status FROM contracts WHERE capability = 'fill' ORDER BY position") == [
        ["REQUEST", "failed" if gives_up else "completed"],
        ["RESPONSE", "interrupted" if gives_up else "completed"],
    ]


# Many at once

WRITING = """
import asyncio, sys
from aorch import Orchestrator

async def main():
    async with Orchestrator() as orchestrator:
        for n in range(5):
            tasks = [{"capability": "echo", "parameters": {"text": f"{n} {i}"}} for i in range(4)]
            answers = await asyncio.gather(*(orchestrator.orchestrate(sys.argv[1], task) for task in tasks))
            assert all(answer["success"] for answer in answers)

asyncio.run(main())
"""


def start_many(home: Home, program: str, count: int) -> list[str]:
    """Run that many processes of that program at once; each exits with 0. What they write on stderr."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, f"s{n}"], cwd=home.folder, env=home.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for n in range(count)
    ]  # fmt: skip
    ends = [(process.communicate(timeout=60)[1].decode(), process.returncode) for process in running]
    assert [code for _, code in ends] == [0] * count, ends
    return [said for said, _ in ends if said]


def test_twenty_processes_write_at_once_and_no_row_is_lost(home: Home) -> None:
    assert start_many(home, WRITING, 20) == []
    counts = "SELECT count(*), count(DISTINCT contract_id), count(DISTINCT request_id) FROM contracts"
    assert home.rows(counts) == [(800, 800, 400)]
    assert home.rows("SELECT DISTINCT status FROM contracts") == [("completed",)]
    assert home.rows("SELECT DISTINCT count(*) FROM contracts GROUP BY session_id") == [(40,)]
    assert home.rows("PRAGMA integrity_check") == [("ok",)]
    assert os.listdir(home.folder / "ledger.db-owners") == []


@pytest.mark.torture
def test_twenty_processes_open_a_ledger_that_does_not_exist_yet(home: Home) -> None:
    home.ledger.unlink()
    said = start_many(
        home, "import sys; from aorch.__main__ import main; sys.argv[1:] = ['run', 'echo', 'text=a']; main()", 20
    )
    assert set(said) == {f"warning: no ledger at {home.ledger}: aorch creates it\n"}
    assert home.rows("SELECT count(*), count(DISTINCT request_id) FROM contracts") == [(40, 20)]
    assert home.rows("SELECT DISTINCT status FROM contracts") == [("completed",)]
    assert home.rows("SELECT count(*) FROM alembic_version") == [(1,)]
    assert home.rows("PRAGMA integrity_check") == [("ok",)]


# The end of the process


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_run_cancels_the_contract_and_leaves_no_process(
    home: Home, wait_for: Wait, number: signal.Signals, code: int
) -> None:
    home.write("aorch.toml", WAITING)
    running = start_waiting(home, "a", "--session", "s")
    os.killpg(running.pid, number)  # as a terminal does it: the whole foreground group
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (code, b"")
    assert (
        err
        == b"error: interrupted; the task is recorded as cancelled\nhint: Show its contracts: aorch contracts list -s s\n"
    )
    assert wait_for(lambda: are_gone(home, "a"))
    assert home.rows("SELECT contract_type, status, error, claimed_by FROM contracts ORDER BY position") == [
        ("REQUEST", "cancelled", None, None),
        ("RESPONSE", "cancelled", "cancelled by the caller", None),
    ]


def test_an_interrupt_before_anything_was_asked_leaves_no_trace(home: Home) -> None:
    reading = home.start("run", "echo", "text=@-", stdin=subprocess.PIPE)
    reading.send_signal(signal.SIGTERM)
    assert reading.communicate(timeout=30) == (b"", b"")
    assert reading.returncode == -signal.SIGTERM
    assert ends_of(home) == []


def test_the_next_start_answers_what_a_killed_process_left_and_leaves_a_living_one_alone(home: Home) -> None:
    home.write("aorch.toml", WAITING)
    living = start_waiting(home, "living", "--session", "living")
    kill_at_work(home, "killed")
    statuses = (
        "SELECT session_id, contract_type, status FROM contracts WHERE session_id IN ('killed', 'living') "
        "ORDER BY session_id, position"
    )
    assert home.rows(statuses) == [("killed", "REQUEST", "in_progress"), ("living", "REQUEST", "in_progress")]
    for _ in range(2):
        assert home.aorch("run", "echo", "text=next").code == 0
        assert home.rows(statuses) == [
            ("killed", "REQUEST", "failed"),
            ("killed", "RESPONSE", "interrupted"),
            ("living", "REQUEST", "in_progress"),
        ]
    home.write("living.go", "")
    assert living.communicate(timeout=30) == (b"living\n", b"")
    assert home.rows(statuses)[2:] == [("living", "REQUEST", "completed"), ("living", "RESPONSE", "completed")]
    response = home.rows("SELECT a.error, a.from_agent, q.completed_at = a.created_at FROM contracts a "
                         "JOIN contracts q ON q.contract_id = a.request_id WHERE a.session_id = 'killed'")  # fmt: skip
    assert response == [("interrupted: the process that ran this ended before waiter answered", "orchestrator", 1)]
    assert os.listdir(home.folder / "ledger.db-owners") == []


@pytest.mark.parametrize("reading", [("contracts", "list", "--status", "interrupted"), ("status", "--json")])
def test_who_reads_after_a_kill_is_told_what_became_of_it(home: Home, reading: tuple[str, ...]) -> None:
    home.write("aorch.toml", WAITING)
    living = start_waiting(home, "living", "--session", "living")
    kill_at_work(home, "killed")
    assert "interrupted" in home.aorch(*reading).out
    assert home.rows("SELECT status FROM contracts WHERE session_id = 'living'") == [("in_progress",)]
    home.write("living.go", "")
    assert living.communicate(timeout=30) == (b"living\n", b"")


def test_many_starts_at_once_answer_an_orphan_once(home: Home) -> None:
    home.write("aorch.toml", WAITING)
    kill_at_work(home, "killed")
    start_many(home, WRITING, 6)
    assert home.rows("SELECT status FROM contracts WHERE session_id = 'killed' ORDER BY position") == [
        ("failed",),
        ("interrupted",),
    ]


def test_a_copy_of_a_ledger_without_its_owners_folder_is_recovered(home: Home) -> None:
    home.write("aorch.toml", WAITING)
    kill_at_work(home, "killed")
    shutil.rmtree(home.folder / "ledger.db-owners")
    assert home.aorch("run", "echo", "text=a").code == 0
    assert home.rows("SELECT status FROM contracts WHERE session_id = 'killed' AND request_id IS NOT NULL") == [
        ("interrupted",)
    ]

"""A newer aorch upgrades the ledger while processes of this one use it: they write nothing more, end, and say why."""

import asyncio
import sqlite3
import subprocess
from contextlib import closing

import pytest
from homes import Home
from queueing import besides_log, detach
from serving import START_S, serving
from waiting import WAIT_S, wait_for

from aorch import Orchestrator
from aorch.engine.exchange import request_of
from aorch.engine.task import Task
from aorch.errors import LedgerTooNew

pytestmark = pytest.mark.sqlite_only(
    "on PostgreSQL a process continues until it connects again (test_service_on_postgres.py)"
)

WAITS = """
[agents.waiting]
command = ["sh", "-c", "touch began-$0; until [ -e finish ]; do sleep 0.05; done; echo done", "{name}"]
[agents.waiting.capabilities.wait]
"""
"""An agent that ends once there is a file `finish`."""
TASK = {"capability": "echo", "parameters": {"text": "a"}, "session_id": "s"}
NEWER = "revision 9999 of a newer aorch"


def set_revision(home: Home, revision: str) -> None:
    """Let the ledger have that revision."""
    with closing(sqlite3.connect(home.ledger)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def contracts(home: Home) -> list[tuple[object, ...]]:
    return home.rows("SELECT contract_id, status FROM contracts ORDER BY position")


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    err = besides_log(process.communicate(timeout=START_S)[1].decode())
    return process.returncode, err


def test_processes_that_run_write_nothing_more_and_end(home: Home) -> None:
    home.write("aorch.toml", f"[queue]\nparallel = 0\n{WAITS}")
    home.write("lines.jsonl", '{"parameters": {"name": "batch"}}\n')
    with serving(home) as server:
        assert server.post("/v1/orchestrate", json=TASK).json()["success"]
        processes = {
            "command": home.start("run", "wait", "name=command"),
            "batch": home.start("run", "wait", "--batch", "lines.jsonl"),
            "worker": home.start("worker", "--parallel", "1"),
        }
        detach(home, "wait", "name=worker")
        wait_for(lambda: all((home.folder / f"began-{name}").exists() for name in processes))
        queued = detach(home, "wait", "name=second")
        ((revision,),) = home.rows("SELECT version_num FROM alembic_version")
        set_revision(home, "9999")
        written = contracts(home)
        for _ in range(2):
            assert server.post("/v1/orchestrate", json=TASK).json()["code"] == "ledger_too_new"
        home.write("finish", "")
        for name, process in processes.items():
            code, err = ended(process)
            assert (code, NEWER in err) == (14, True), (name, err)
        assert contracts(home) == written
        server.kill()
    set_revision(home, revision)  # the newer aorch, which knows it
    assert home.aorch("worker", "--drain").code == 0
    found = dict(home.rows("SELECT json_extract(payload, '$.name'), status FROM contracts WHERE capability = 'wait'"
                           " AND contract_type = 'REQUEST'"))  # fmt: skip
    assert found == {"command": "failed", "batch": "failed", "worker": "failed", "second": "completed"}
    assert queued in [contract_id for contract_id, _ in contracts(home)]


async def test_a_task_that_cannot_be_given_back_is_left_to_the_next_process(home: Home) -> None:
    """Its agent is gone, and the ledger is too new to queue it again."""
    async with Orchestrator(ledger=home.ledger) as orchestrator:
        task, executor = Task("gone", {}, "s"), orchestrator.executor
        request = request_of(task, None, None, None, None, executor.ledger.owner_id)
        await executor.ledger.write_request(request)
        set_revision(home, "9999")
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(LedgerTooNew):
                await executor.execute_claimed(task, request)
    assert contracts(home) == [(request.contract_id, "in_progress")]

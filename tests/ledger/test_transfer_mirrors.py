"""A RESPONSE ends its REQUEST wherever it is imported, and mirrors by `export --since` become equal to their ledger."""

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import ledgers
import pytest
from homes import Home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from ledgers import copy_of, new_ledger
from rows import put, request, response
from transfer_cases import exported, write

from aorch import jsonio
from aorch.clock import now
from aorch.config.ledger_location import LedgerLocation
from aorch.engine.recovery import recover
from aorch.errors import Conflict
from aorch.ids import new_id
from aorch.ledger import task_queue
from aorch.ledger.database import connect, statements, transaction
from aorch.ledger.importing import ImportCounts
from aorch.ledger.queue_entry import Entry
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import Record
from aorch.ledger.transfer import import_contracts


def contracts(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in exported(ledger).splitlines()]


class Written:
    """A ledger with processes that this one simulates: it requests, claims, answers and cancels, and its owner dies."""

    def __init__(self, ledger: Path) -> None:
        self.connection = connect(ledger)
        self.running: list[Record] = []

    def step(self, kind: str) -> None:
        with transaction(self.connection):
            getattr(self, kind)()

    def ask(self) -> None:
        row = request(text=new_id(), status="in_progress", completed_at=None, claimed_by=new_id())
        self.connection.execute(statements.INSERT_CONTRACT, row)
        self.running.append(row)

    def enqueue(self, idempotent: bool = False) -> None:
        about = jsonio.encode({"queue": {"idempotent": idempotent}})
        row = request(text=new_id(), status="pending", completed_at=None, to_agent=None, metadata=about)
        for statement in Entry(row, 3).statements():
            self.connection.execute(*statement)

    def enqueue_idempotent(self) -> None:
        self.enqueue(idempotent=True)

    def claim(self) -> None:
        for row in task_queue.claim(self.connection, new_id(), [task_queue.Capacity("echo", 1, {"bot": 1})], 1):
            self.connection.execute(f"UPDATE contracts SET to_agent = 'bot' WHERE contract_id = '{row.contract_id}'")
            self.running.append(row)

    def succeed(self, status: str = "completed") -> None:
        for row in self.running[:1]:
            self.running.remove(row)
            moment = now()
            answer = response(row._replace(status=status), created_at=moment, completed_at=moment)
            self.connection.execute(statements.INSERT_CONTRACT, answer)
            self.connection.execute(statements.FINISH_REQUEST, (status, moment, row.contract_id))

    def fail(self) -> None:
        self.succeed("failed")

    def die(self) -> None:
        for row in self.running[:1]:
            self.running.remove(row)
            task_queue.release_or_interrupt(self.connection, row.contract_id)

    def cancel(self) -> None:
        for (request_id,) in self.connection.execute(
            "SELECT contract_id FROM contracts WHERE turn IS NOT NULL LIMIT 1"
        ).fetchall():
            task_queue.cancel(self.connection, request_id, "somebody")

    def end_all(self) -> None:
        while self.running:
            self.step("fail")
        while self.connection.execute("SELECT 1 FROM contracts WHERE turn IS NOT NULL").fetchone():
            self.step("cancel")


STEPS = [
    "ask",
    "enqueue",
    "enqueue_idempotent",
    "claim",
    "claim",
    "succeed",
    "fail",
    "die",
    "cancel",
    "mirror",
    "mirror",
    "copy",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(steps=some.lists(some.sampled_from(STEPS), max_size=25))
def test_mirrors_by_repeated_export_since_become_equal(tmp_path: Path, steps: list[str]) -> None:
    """To the byte, with open REQUESTs and the queue, whether a mirror started empty or as a copy of the file."""
    home, file = new_ledger(tmp_path, "home.db"), tmp_path / "since.jsonl"
    mirrors: dict[LedgerLocation, datetime] = {}
    written = Written(home)

    def copied() -> None:
        since = datetime.now(UTC)
        written.connection.close()  # PostgreSQL copies only a database that no process uses
        mirrors[copy_of(home, Path(mkdtemp(dir=tmp_path)))] = since
        written.connection = connect(home)

    def mirror() -> None:
        for path, since in mirrors.items():
            mirrors[path] = datetime.now(UTC)
            file.write_bytes(exported(home, which=Filter(since=since)))
            import_contracts(path, file)

    copied()
    for step in steps:
        if step == "copy":
            copied()
        elif step == "mirror":
            mirror()
        else:
            written.step(step)
    written.end_all()
    mirror()
    written.connection.close()
    for path in mirrors:
        assert exported(path) == exported(home)


@pytest.mark.parametrize(
    ("status", "error", "end"),
    [
        ("completed", None, "completed"),
        ("failed", "no", "failed"),
        ("cancelled", "by x", "cancelled"),
        ("interrupted", "died", "failed"),
        ("pending", None, "completed"),
        ("pending", "no", "failed"),
    ],
)
@pytest.mark.parametrize("first", ["request", "response"])
def test_a_response_without_its_request_ends_the_open_request(
    blank: LedgerLocation, tmp_path: Path, status: str, error: str | None, end: str, first: str
) -> None:
    asked = request(status="in_progress", completed_at=None)
    answer = response(asked, status=status, error=error)
    for row in (asked, answer) if first == "request" else (answer, asked):
        import_contracts(blank, write(tmp_path / "a.jsonl", row))
    ended = next(each for each in contracts(blank) if each["contract_type"] == "REQUEST")
    assert (ended["status"], ended["completed_at"]) == (end, answer.completed_at)
    assert import_contracts(blank, write(tmp_path / "a.jsonl", asked, answer)) == ImportCounts(present=2)
    with pytest.raises(Conflict, match="answers already"):
        import_contracts(blank, write(tmp_path / "b.jsonl", response(asked)))


def test_a_response_removes_its_request_from_the_queue(blank: LedgerLocation, tmp_path: Path) -> None:
    written = Written(blank)
    written.step("enqueue")
    (waiting,) = contracts(blank)
    written.connection.close()
    import_contracts(
        blank,
        write(
            tmp_path / "a.jsonl",
            response(Record(waiting["contract_id"], "s", "REQUEST", "x", "bot", "echo", "{}", "completed", now())),
        ),
    )
    with closing(connect(blank)) as connection:
        capacities = [task_queue.Capacity("echo", 1, {"bot": 1})]
        assert not task_queue.has_work(connection, capacities)
        assert task_queue.cancel(connection, waiting["contract_id"], "me") == "completed"


def test_a_claimed_request_with_a_response_is_recovered_with_its_status(home: Home) -> None:
    """Older versions imported the RESPONSE of a running REQUEST, and every later start failed on that ledger."""
    asked = request(status="in_progress", completed_at=None, claimed_by=new_id())
    waiting = request(status="pending", completed_at=None, capability="other")
    put(home.ledger, asked, response(asked, status="completed"), response(waiting, status="failed"))
    with closing(connect(home.ledger)) as connection:
        for statement in Entry(waiting, 3).statements():
            connection.execute(*statement)
    recover(home.ledger)
    with Reader(home.ledger) as reader:
        assert reader.find(asked.contract_id).status == "completed"
    assert home.aorch("contracts", "cancel", waiting.contract_id).out == f"{waiting.contract_id}\tfailed\n"
    assert home.aorch("run", "echo", "text=hi").code == 0


def test_a_request_that_answers_a_contract_is_rejected(blank: LedgerLocation, tmp_path: Path) -> None:
    """It would prevent the RESPONSE of the REQUEST that it names."""
    asked = request(status="in_progress", completed_at=None)
    with pytest.raises(Exception, match="request_id: a REQUEST cannot answer another contract"):
        import_contracts(blank, write(tmp_path / "a.jsonl", asked, request(request_id=asked.contract_id)))


def test_a_queued_task_that_was_rejected_elsewhere_ends_by_an_import(blank: LedgerLocation, tmp_path: Path) -> None:
    """An agent in only one of the two is no difference if one of them was exported before the claim."""
    about = jsonio.encode({"queue": {}})
    waits = request(status="pending", completed_at=None, to_agent=None, metadata=about)
    put(blank, waits)
    ended = waits._replace(status="failed", completed_at=now(), to_agent="bot")
    assert (
        import_contracts(
            blank, write(tmp_path / "a.jsonl", waits._replace(status="in_progress", to_agent="bot"))
        ).updated
        == 1
    )
    assert import_contracts(blank, write(tmp_path / "a.jsonl", ended)).updated == 1
    assert import_contracts(
        blank, write(tmp_path / "a.jsonl", waits, waits._replace(status="in_progress"))
    ) == ImportCounts(present=2)
    assert contracts(blank) == [ended.as_dict()]
    with pytest.raises(Conflict, match="differs in to_agent"):
        import_contracts(blank, write(tmp_path / "a.jsonl", ended._replace(to_agent="other")))


# The older JSON store


def old(contract_id: str, contract_type: str, at: str, **more: Any) -> dict[str, Any]:
    """A contract of the older store: a RESPONSE names neither its REQUEST nor its capability."""
    asks = contract_type == "REQUEST"
    about = {"from_agent": "orchestrator" if asks else "bot", "to_agent": "bot" if asks else "orchestrator"}
    said = {"capability": "echo", "payload": {"text": contract_id}} if asks else {"result": {"message": contract_id}}
    fixed = {
        "contract_id": contract_id,
        "session_id": "session_001",
        "contract_type": contract_type,
        "status": "completed",
    }
    return {**fixed, **about, **said, "created_at": f"2025-10-30T17:41:{at}", **more}


def test_a_session_file_of_the_older_store_links_each_response_to_its_request(home: Home) -> None:
    """Also of REQUESTs that ran at the same time, and without one that was never answered."""
    file = home.folder / "session_001.json"
    session = [
        old("lost", "REQUEST", "00.000", status="in_progress"),
        old("slow", "REQUEST", "01.000", completed_at="2025-10-30T17:41:09.000"),
        old("fast", "REQUEST", "02.000", completed_at="2025-10-30T17:41:03.000"),
        old("fast answer", "RESPONSE", "03.000"),
        old("shout", "REQUEST", "04.000", capability="uppercase"),
        old(
            "shout answer", "RESPONSE", "05.000", capability="uppercase", status="failed", result=None, error="no text"
        ),
        old("told", "REQUEST", "05.500", status="pending"),
        old("slow answer", "RESPONSE", "09.000"),
        old("told answer", "RESPONSE", "10.000", metadata={"request_contract": "told"}),
        old("nobody's", "RESPONSE", "11.000"),
        old("stranger's", "RESPONSE", "12.000", from_agent="stranger"),
    ]
    file.write_text(json.dumps(session, indent=2))
    assert import_contracts(home.ledger, file) == ImportCounts(new=11, updated=2)
    found = {each["contract_id"]: each for each in contracts(home.ledger)}
    links = {name: each["request_id"] for name, each in found.items() if each["contract_type"] == "RESPONSE"}
    assert links == {
        "fast answer": "fast", "shout answer": "shout", "slow answer": "slow", "told answer": "told",
        "nobody's": "lost", "stranger's": None,
    }  # fmt: skip
    assert found["fast answer"]["capability"] == "echo"
    assert found["told"]["status"] == "completed"
    assert import_contracts(home.ledger, file) == ImportCounts(present=11)
    assert "fast answer" in home.aorch("contracts", "show", "fast").out
    assert home.aorch("compress", "session_001").code == 0
    assert home.aorch("memory", "verify", "--all").code == 0


def test_importing_a_file_again_links_responses_that_were_imported_without_a_request(home: Home) -> None:
    """An older version linked nothing. An import of contracts without links keeps the links of a ledger."""
    file = home.folder / "session_001.json"
    file.write_text(json.dumps([old("q", "REQUEST", "01.000"), old("r", "RESPONSE", "02.000")]))
    import_contracts(home.ledger, file)
    linked = exported(home.ledger)
    ledgers.rows(home.ledger, "UPDATE contracts SET request_id = NULL, capability = '' WHERE contract_id = 'r'")
    unlinked = exported(home.ledger)
    assert import_contracts(home.ledger, file) == ImportCounts(present=1, updated=1)
    assert exported(home.ledger) == linked
    (home.folder / "a.jsonl").write_bytes(unlinked)
    assert import_contracts(home.ledger, home.folder / "a.jsonl") == ImportCounts(present=2)
    assert exported(home.ledger) == linked
    file.write_text(json.dumps([old("q", "REQUEST", "01.000"), old("r", "RESPONSE", "02.000", error="x")]))
    with pytest.raises(Conflict, match="differs in error"):
        import_contracts(home.ledger, file)

"""A new REQUEST finds the turn of its session's last one, whatever happened to the queue. Claims stay cheap in a long queue."""

import tempfile
from contextlib import closing
from pathlib import Path

import ledgers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from rows import request
from statement_cases import row

from aorch.clock import now
from aorch.ledger import task_queue
from aorch.ledger.checking import check
from aorch.ledger.copying import copy_ledger
from aorch.ledger.database import Connection, connect, statements, transaction
from aorch.ledger.sqlite.connection import Connection as FileConnection
from aorch.ledger.task_queue import Capacity
from aorch.ledger.upkeep import sessions_with_wrong_turns

SESSIONS, CAPABILITIES, PRIORITIES = "xyz", "ab", (3, 4)
places = some.tuples(some.sampled_from(SESSIONS), some.sampled_from(CAPABILITIES), some.sampled_from(PRIORITIES))
steps = some.one_of(
    some.tuples(some.just("enqueue"), places),
    some.tuples(some.just("enqueue"), places),
    some.tuples(some.just("schedule"), places),
    some.tuples(some.sampled_from(("claim_a", "claim_b")), some.integers(1, 4)),
    some.tuples(some.sampled_from(("cancel", "delete", "requeue")), some.integers(0, 20)),
)


class Queue:
    """The queue of a ledger, and what a test does with it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def do(self, step: str, of: object) -> None:
        with transaction(self.connection):
            getattr(self, step)(of)

    def enqueue(self, place: tuple[str, str, int], due_at: str | None = None) -> None:
        session, capability, priority = place
        queued = request(session, capability=capability, status="pending", to_agent=None, completed_at=None)
        self.connection.execute(statements.ENQUEUE, (*queued, priority, due_at, None, None))

    def schedule(self, place: tuple[str, str, int]) -> None:
        self.enqueue(place, now())

    def claim_a(self, most: int, capability: str = "a") -> None:
        task_queue.claim(self.connection, "owner", [Capacity(capability, most, {"agent": most})], most)

    def claim_b(self, most: int) -> None:
        self.claim_a(most, "b")

    def cancel(self, number: int) -> None:
        for contract_id in self._chosen("turn IS NOT NULL", number):
            task_queue.cancel(self.connection, contract_id, "a test")

    def requeue(self, number: int) -> None:
        for contract_id in self._chosen("claimed_by IS NOT NULL", number):
            task_queue.release_or_interrupt(self.connection, contract_id, called=False)

    def delete(self, number: int) -> None:
        for contract_id in self._chosen("turn IS NOT NULL", number):
            self.connection.execute(f"DELETE FROM contracts WHERE contract_id = '{contract_id}'")

    def _chosen(self, condition: str, number: int) -> list[str]:
        """One REQUEST of those, the last ones in the queue with a small number."""
        found = self.connection.execute(
            f"SELECT contract_id FROM contracts WHERE {condition} ORDER BY priority, turn DESC, position DESC"
        ).fetchall()
        return [contract_id for (contract_id,) in found[number : number + 1]]

    def next_turns(self, table: str) -> list[tuple[object, ...]]:
        """The turns that new REQUESTs get, computed from the rows of `table`."""
        return self.connection.execute(
            f"SELECT t.session_id, t.priority, max(t.turn) + 1 FROM {table} t JOIN queue_clock q ON q.priority = t.priority"
            " WHERE t.turn > q.turn GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()


@settings(deadline=None)
@given(some.lists(steps, max_size=40))
def test_the_turns_of_sessions_are_those_of_their_queued_requests(wild: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(connect(ledgers.new_ledger(Path(folder)))) as connection:
        queue = Queue(connection)
        for step, of in wild:
            queue.do(step, of)
            assert queue.next_turns("session_turns") == queue.next_turns("contracts")
            assert sessions_with_wrong_turns(connection) == []
        for capability in CAPABILITIES:
            queue.do(f"claim_{capability}", 100)
        assert connection.execute("SELECT * FROM session_turns").fetchall() == []


def filled(folder: Path, many: int, sessions: int = 100) -> Path:
    """A ledger in which REQUESTs of these sessions wait, in turns."""
    ledger = ledgers.new_ledger(folder)
    assert isinstance(ledger, Path)
    with closing(connect(ledger)) as connection, transaction(connection):
        queued = (row(f"{n:06}", session_id=f"s{n % sessions}", to_agent=None, status="pending") for n in range(many))
        connection.executemany(statements.ENQUEUE, [(*each, 3, None, None, None) for each in queued])
    return ledger


def pages_of_a_claim(ledger: Path) -> float:
    """The pages that a claim of 32 writes, on average."""
    with closing(connect(ledger)) as connection:
        assert isinstance(connection, FileConnection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        capacities = [Capacity("echo", 32, {"agent": 32})]
        for _ in range(20):
            with transaction(connection):
                assert len(task_queue.claim(connection, "owner", capacities, 32)) == 32
        return connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1] / 20


@pytest.mark.sqlite_only("PostgreSQL has no pages to count here: its claims change no index entries")
def test_a_claim_among_many_queued_requests_writes_as_many_pages_as_among_few(tmp_path: Path) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    few.mkdir(), many.mkdir()
    assert pages_of_a_claim(filled(many, 30_000)) <= 1.3 * pages_of_a_claim(filled(few, 1_000))


def test_a_cancelled_session_waits_no_longer_than_a_new_one(tmp_path: Path) -> None:
    """Whatever the order in which its tasks are cancelled."""
    with closing(connect(ledgers.new_ledger(tmp_path))) as connection:
        queue = Queue(connection)
        for order in (range(8, -1, -1), [0] * 9, (3, 5, 0, 1, 0, 2, 1, 1, 0)):
            for _ in range(9):
                queue.do("enqueue", ("x", "a", 3))
            for number in order:
                queue.do("cancel", number)
            assert queue.next_turns("contracts") == queue.next_turns("session_turns") == []
            assert connection.execute("SELECT * FROM session_turns").fetchall() == []


@pytest.mark.sqlite_only("it copies from file to file")
def test_a_copy_of_a_ledger_has_the_turns_of_its_queue(tmp_path: Path) -> None:
    path = filled(tmp_path, 50, 7)
    with closing(connect(path)) as connection:
        queue = Queue(connection)
        queue.do("claim_a", 1)
        for number in (3, 11, 40):
            queue.do("cancel", number)
        with transaction(connection):
            task_queue.claim(connection, "owner", [Capacity("echo", 9, {"agent": 9})], 9)
            task_queue.release_or_interrupt_all(connection, "owner")
    copy_ledger(path, tmp_path / "copy.db")
    turns = "SELECT * FROM session_turns WHERE turn > (SELECT turn FROM queue_clock WHERE priority = 3)"
    assert ledgers.rows(tmp_path / "copy.db", f"{turns} ORDER BY 1, 2, 3")
    assert not [each for each in check(tmp_path / "copy.db") if each.check == "turns"]
    with closing(connect(path)) as source, closing(connect(tmp_path / "copy.db")) as copy:
        assert Queue(source).next_turns("session_turns") == Queue(copy).next_turns("session_turns")

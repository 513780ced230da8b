"""Importing a ledger repeatedly: REQUESTs that were open and have gone on since."""

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from homes import Home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from ledger_state import change
from ledgers import new_ledger, no_ledger
from rows import put, request, response
from transfer_cases import exported, old, write

from aorch.clock import rfc3339
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import Conflict, InvalidJSON
from aorch.ledger.copying import copy_ledger
from aorch.ledger.database import ProcessLock
from aorch.ledger.importing import ImportCounts
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import Record
from aorch.ledger.transfer import export_contracts, import_contracts


class Written:
    """A ledger that is being written: each step continues one of its REQUESTs, from its insertion to its RESPONSE."""

    def __init__(self, ledger: LedgerLocation, steps: list[tuple[int, str]]) -> None:
        self.ledger = ledger
        self.steps = iter(steps)
        self.asked: dict[int, Record] = {}

    def step(self) -> None:
        number, end = next(self.steps)
        asked = self.asked.get(number)
        if asked is None:
            first = "pending" if number % 2 else "in_progress"
            self.asked[number] = asked = request(text=f"{number}", status=first, completed_at=None)
            return put(self.ledger, asked)
        status = "in_progress" if asked.status == "pending" else end
        if asked.status not in ("pending", "in_progress"):
            return None
        moment = None if status == "in_progress" else rfc3339(datetime(2026, 1, 1, 0, 0, number, tzinfo=UTC))
        self.asked[number] = asked = asked._replace(status=status, completed_at=moment)
        change(
            self.ledger,
            "UPDATE contracts SET status = ?, completed_at = ? WHERE contract_id = ?",
            *(status, moment, asked.contract_id),
        )
        return put(self.ledger, response(asked)) if moment else None


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=15
)
@given(
    steps=some.lists(
        some.tuples(some.integers(0, 3), some.sampled_from(["completed", "failed", "cancelled"])),
        min_size=1,
        max_size=14,
    ),
    data=some.data(),
)
def test_exports_of_any_time_imported_in_any_order_give_the_newest_state(
    tmp_path: Path, steps: list[tuple[int, str]], data: some.DataObject
) -> None:
    """To the byte, however often each is imported. The exported ledger itself skips them all."""
    home, mirror = (new_ledger(tmp_path, name) for name in ("home.db", "mirror.db"))
    written, exports = Written(home, steps), []
    for number in range(len(steps)):
        written.step()
        with Reader(home) as reader:
            export_contracts(reader, Filter(), "jsonl", tmp_path / f"{number}.jsonl")
        exports.append(exported(home))
    chosen = data.draw(some.lists(some.sampled_from(range(len(steps))), min_size=1, max_size=6))
    for number in chosen:
        import_contracts(mirror, tmp_path / f"{number}.jsonl")
        assert import_contracts(home, tmp_path / f"{number}.jsonl").new == 0
    assert exported(mirror) == exports[max(chosen)]
    assert exported(home) == exports[-1]


def ended_meanwhile(tmp_path: Path, **more: Any) -> tuple[LedgerLocation, Record, Record]:
    """A ledger with an open imported REQUEST, that REQUEST after its end, and its RESPONSE."""
    asked = request(status="in_progress", completed_at=None)
    ledger = new_ledger(tmp_path)
    put(ledger, asked)
    ended = asked._replace(status="completed", completed_at=rfc3339(datetime(2026, 1, 1, tzinfo=UTC)), **more)
    return ledger, ended, response(ended)


def test_a_request_that_was_open_and_has_ended_is_updated_and_counted(tmp_path: Path) -> None:
    ledger, ended, answer = ended_meanwhile(tmp_path)
    file = write(tmp_path / "a.jsonl", ended.as_dict(), answer.as_dict())
    assert import_contracts(ledger, file) == ImportCounts(new=1, updated=1)
    assert [json.loads(line) for line in exported(ledger).splitlines()] == [ended.as_dict(), answer.as_dict()]
    assert import_contracts(ledger, file) == ImportCounts(present=2)


def test_a_request_ends_in_the_transaction_of_its_response(tmp_path: Path) -> None:
    """However far apart they are in the file: an import that stops between them leaves the REQUEST open."""
    ledger, ended, answer = ended_meanwhile(tmp_path)
    between = [old(f"c{number}") for number in range(1_200)]
    file = write(tmp_path / "a.jsonl", ended.as_dict(), *between, "{", answer.as_dict())
    with pytest.raises(InvalidJSON, match="line 1202"):
        import_contracts(ledger, file)
    assert [json.loads(line)["status"] for line in exported(ledger).splitlines()[:1]] == ["in_progress"]
    write(file, ended.as_dict(), *between, answer.as_dict())
    assert import_contracts(ledger, file) == ImportCounts(new=1, updated=1, present=1_200)


def test_a_request_ends_also_if_its_response_is_in_the_ledger_or_missing(tmp_path: Path) -> None:
    ledger, ended, answer = ended_meanwhile(tmp_path)
    put(ledger, answer)
    file = write(tmp_path / "a.jsonl", ended.as_dict())
    assert import_contracts(ledger, file) == ImportCounts(updated=1)
    other = ended._replace(contract_id="other")
    put(ledger, other._replace(status="pending", completed_at=None))
    assert import_contracts(ledger, write(file, other.as_dict(), other.as_dict())) == ImportCounts(updated=1, present=1)
    assert {json.loads(line)["status"] for line in exported(ledger).splitlines()} == {"completed"}


def test_an_ended_request_may_differ_only_in_its_progress(tmp_path: Path) -> None:
    ledger, ended, answer = ended_meanwhile(tmp_path, payload='{"text":"HI"}')
    before = exported(ledger)
    with pytest.raises(Conflict, match="differs in payload, status, completed_at") as refusal:
        import_contracts(ledger, write(tmp_path / "a.jsonl", ended.as_dict(), answer.as_dict()))
    assert "contracts show" in refusal.value.hint
    assert exported(ledger) == before


def test_two_ends_of_one_request_are_rejected(tmp_path: Path) -> None:
    ledger, ended, answer = ended_meanwhile(tmp_path)
    file = write(tmp_path / "a.jsonl", ended.as_dict(), ended._replace(status="failed").as_dict())
    with pytest.raises(Conflict, match=r"line 2: .* differs in status, completed_at"):
        import_contracts(ledger, file)
    import_contracts(ledger, write(file, ended.as_dict(), answer.as_dict()))
    with pytest.raises(Conflict, match="differs in status"):
        import_contracts(ledger, write(file, ended._replace(status="failed").as_dict()))


def test_a_queued_request_that_ended_elsewhere_leaves_the_queue(home: Home) -> None:
    """Its ledger was copied, and a worker of the copy was faster."""
    request_id = home.aorch("run", "echo", "text=hi", "--detach").out.strip()
    copied = no_ledger(home.folder, "copy.db")
    copy_ledger(home.ledger, copied)
    assert home.aorch("worker", "--drain", "--ledger", str(copied)).code == 0
    write(home.folder / "a.jsonl", exported(copied).decode())
    assert home.aorch("contracts", "import", "a.jsonl").out == "a.jsonl: 1 imported, 1 updated, 0 skipped\n"
    assert home.rows("SELECT turn FROM contracts WHERE contract_id = ?", request_id) == [(None,)]
    assert home.aorch("worker", "--drain").code == 0
    assert exported(home.ledger) == exported(copied)
    assert home.aorch("contracts", "wait", request_id).out == "Echo: hi\n"


def test_a_file_does_not_end_a_request_that_runs_on_this_machine(tmp_path: Path) -> None:
    """Neither by its REQUEST nor by its RESPONSE alone. A REQUEST whose process died is ended."""
    ledger, ended, answer = ended_meanwhile(tmp_path)
    whole, alone = (
        write(tmp_path / f"{len(rows)}", *rows) for rows in ([ended.as_dict(), answer.as_dict()], [answer.as_dict()])
    )
    with closing(ProcessLock(ledger)) as owner:
        change(ledger, "UPDATE contracts SET claimed_by = ?", owner.owner_id)
        before = exported(ledger)
        for file in (whole, alone):
            with pytest.raises(Conflict, match="a process or a worker runs that REQUEST") as refusal:
                import_contracts(ledger, file)
            assert ended.contract_id in refusal.value.hint
        assert exported(ledger) == before
    assert import_contracts(ledger, alone) == ImportCounts(new=1, updated=1)


@pytest.mark.parametrize("status", ["pending", "in_progress"])
def test_an_open_imported_request_cannot_be_cancelled_waited_for_or_resumed(home: Home, status: str) -> None:
    """All three fail at once. After an import of its end, they report that."""
    asked = request(status=status, completed_at=None)
    file = write(home.folder / "a.jsonl", asked.as_dict())
    import_contracts(home.ledger, file)
    waiting = home.aorch("run", "echo", "--detach", "text=hi").out.strip()
    for arguments in (
        ("cancel", asked.contract_id),
        ("wait", asked.contract_id),
        ("wait", waiting, asked.contract_id),
        ("resume", asked.contract_id),
    ):
        done = home.aorch("contracts", *arguments)
        assert (done.code, done.out) == (13, "")
        assert f"{asked.contract_id} was imported without its RESPONSE" in done.err
        assert "import it again" in done.err
    ended = asked._replace(status="completed", completed_at=asked.created_at)
    import_contracts(home.ledger, write(file, ended.as_dict(), response(ended).as_dict()))
    assert home.aorch("contracts", "cancel", asked.contract_id).out == f"{asked.contract_id}\tcompleted\n"
    assert home.aorch("contracts", "wait", asked.contract_id).out == "ok\n"

"""Erasing the content of contracts: every copy is gone, the rest stays, and nothing is ever half erased."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from erasing_rows import MOMENT, NEEDLE, contains, erased, needles
from homes import Home
from ledger_state import change, written
from ledgers import opened
from rows import pairs, put, request, response

from aorch import jsonio
from aorch.errors import Conflict, NotFound, UsageError
from aorch.govern.erasure import ErasureSelection, plan_erasure
from aorch.ledger.database import exclusive
from aorch.ledger.erasing import has_unfinished, read_erasures
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.upkeep import info

BLOCK = jsonio.encode({"aims": [{"text": f"use {NEEDLE}", "contract_ids": ["REQUEST"]}], "ends": {}})


@pytest.fixture
def ledger(home: Home) -> Path:
    """An empty ledger."""
    return home.ledger


@pytest.mark.sqlite_only("the bytes of the file and of its WAL")
def test_no_byte_of_erased_contracts_is_left_although_other_connections_have_the_ledger_open(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as other, Reader(ledger) as reader:
        rows = needles(ledger, 3)
        assert other.execute("SELECT count(*) FROM contracts").fetchone() == (168,)
        assert contains(ledger)
        _, done = erased(ledger, text=NEEDLE)
        assert done.cleaned
        assert (done.counts.exchanges, done.counts.contracts) == (4, 8)
        assert not contains(ledger)
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert reader.page(Filter(text=NEEDLE)) == []
        assert len(reader.page(Filter(text="word7"), limit=None)) == 2
        assert not contains(ledger)
        assert {each.contract_id for each in reader.page(Filter(session_id="leak"))} == {
            row.contract_id for row in rows
        }


def test_ids_times_agents_capability_and_status_stay_with_who_erased_when_and_why(ledger: Path) -> None:
    asked, answered, *_ = needles(ledger)
    _, done = erased(ledger, ids=(answered.contract_id,))
    with Reader(ledger) as reader:
        for before, after in zip((asked, answered), reader.with_counterpart(asked.contract_id), strict=True):
            assert after is not None
            about = jsonio.decode(after.metadata)
            gone = {"payload": "{}", "result": None, "error": None, "metadata": after.metadata}
            assert after == before._replace(**gone)
            ((erasure),) = read_erasures(ledger)
            assert about == {
                "erased": {"at": erasure.erased_at, "by": "ann", "reason": "leaked", "erasure_id": done.erasure_id}
            }
    assert (erasure.erased_by, erasure.reason, erasure.contracts, erasure.selection) == (
        "ann",
        "leaked",
        2,
        {"contracts": 1},
    )
    assert erasure.cleaned_at is not None


def test_the_record_of_an_erasure_does_not_contain_the_text_that_was_searched(ledger: Path) -> None:
    needles(ledger)
    erased(ledger, text=NEEDLE)
    (erasure,) = read_erasures(ledger)
    assert erasure.selection == {"text_match": True}


def test_links_between_contracts_and_the_caller_stay_and_other_metadata_goes(ledger: Path) -> None:
    first = request(text="one")
    caller = {"id": first.contract_id, "name": "ci"}
    metadata = {
        "retry_of": first.contract_id,
        "resumes": "not an id",
        "caller": caller,
        "custom": {"a": 1},
        "line": "x",
    }
    again = request(text="two", metadata=jsonio.encode(metadata))
    put(ledger, first, response(first), again, response(again))
    erased(ledger, ids=(again.contract_id,))
    with Reader(ledger) as reader:
        about = jsonio.decode(reader.find(again.contract_id).metadata)
    assert {name: about[name] for name in about if name != "erased"} == {
        "retry_of": first.contract_id,
        "caller": caller,
    }


def test_an_open_exchange_is_refused_by_id_and_left_out_of_a_selection(ledger: Path) -> None:
    running = request("s", NEEDLE, status="in_progress", completed_at=None)
    done = request("s", NEEDLE)
    put(ledger, running, done, response(done))
    with pytest.raises(Conflict, match=f"{running.contract_id} is still open"):
        plan_erasure(ledger, ErasureSelection((done.contract_id, running.contract_id)))
    plan, result = erased(ledger, session_id="s")
    assert (plan.still_open, result.counts.exchanges) == ([running.contract_id], 1)
    with Reader(ledger) as reader:
        assert jsonio.decode(reader.find(running.contract_id).payload) == {"text": NEEDLE}


def test_selections_match_all_their_conditions(ledger: Path) -> None:
    old, new = "2020-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z"
    rows = {
        name: request(session, text, created_at=at)
        for name, session, text, at in (
            ("old a", "a", "x", old), ("old b", "b", 'a "quoted" secret', old), ("new a", "a", "x", new),
            ("new b", "b", "line\nbreak", new),
        )
    }  # fmt: skip
    put(ledger, *(row for each in rows.values() for row in (each, response(each))))

    def found(**selection: object) -> set[str]:
        plan = plan_erasure(ledger, ErasureSelection(**selection))  # type: ignore[arg-type]  # the fields of the class
        return {name for name, row in rows.items() if row.contract_id in plan.exchanges}

    before = datetime(2021, 1, 1, tzinfo=UTC)
    assert found(session_id="a") == {"old a", "new a"}
    assert found(before=before) == {"old a", "old b"}
    assert found(before=before, session_id="a") == {"old a"}
    assert found(text='a "quoted" secret') == {"old b"}
    assert found(text="line\nbreak") == {"new b"}
    assert found(text="a.*secret") == set()
    assert found(text="a.*secret", is_pattern=True) == {"old b"}
    assert found(text="A.*SECRET", is_pattern=True) == found(text="SECRET") == set()
    assert found(text="A.*SECRET", is_pattern=True, ignores_case=True) == {"old b"}
    assert found(text="Line\nBREAK", ignores_case=True) == {"new b"}
    assert found(text='"text":"x"', session_id="a", before=before) == {"old a"}
    assert found(text="ok", session_id="b") == {"old b", "new b"}


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("attempts", ("REQUEST", 1, "agent_example_001", MOMENT, MOMENT, "agent_lost", f"lost {NEEDLE}")),
        ("task_progress", ("REQUEST", MOMENT, jsonio.encode({"step": NEEDLE}))),
        ("webhooks", ("REQUEST", f"https://example.org/{NEEDLE}", 0, None, None)),
        ("webhooks", ("REQUEST", "https://example.org", 5, None, f"refused {NEEDLE}")),
        ("batch_lines", ("01GENERATION", f"{NEEDLE}:0123", "REQUEST")),
        ("parked_deliveries", (1, "contract.request", "REQUEST", "s", "refused", NEEDLE, 1, MOMENT)),
        ("memory_blocks", ("mem_1", "s", MOMENT, 4, BLOCK, None)),
    ],
)
def test_a_text_is_found_that_only_a_copy_about_the_contract_contains(
    ledger: Path, table: str, values: tuple[object, ...]
) -> None:
    asked, other = request("s", "harmless"), request("s", "harmless too")
    put(ledger, asked, response(asked), other, response(other))
    with opened(ledger) as connection:
        row = [each.replace("REQUEST", asked.contract_id) if isinstance(each, str) else each for each in values]
        connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    assert contains(ledger)
    plan, done = erased(ledger, text=NEEDLE)
    assert plan.exchanges == [asked.contract_id]
    assert done.cleaned
    assert not contains(ledger)
    assert plan_erasure(ledger, ErasureSelection(text="needle", session_id="another")).exchanges == []


def test_tries_reruns_and_delegated_exchanges_are_counted_and_erased_if_the_selection_includes_them(home: Home) -> None:
    parent = request("s", "one")
    step = request("other", NEEDLE, parent_id=parent.contract_id)
    retried = request("other", NEEDLE, metadata=jsonio.encode({"retry_of": step.contract_id}))
    rerun = request("other", NEEDLE, metadata=jsonio.encode({"rerun_of": retried.contract_id}))
    again = request("other", NEEDLE, metadata=jsonio.encode({"rerun_of": rerun.contract_id}))
    alone = request("other", "harmless", metadata=jsonio.encode({"custom": {"rerun_of": "x"}}))
    rows = (parent, step, retried, rerun, again, alone)
    put(home.ledger, *(row for asked in rows for row in (asked, response(asked, NEEDLE if asked != alone else "ok"))))
    related = sorted(each.contract_id for each in (parent, retried, rerun, again))
    for selected, left in ((step, related), (alone, [])):
        assert plan_erasure(home.ledger, ErasureSelection((selected.contract_id,))).related == left
    shown = home.aorch("contracts", "erase", step.contract_id).out
    assert "not selected: 4 exchanges that retried, reran or delegated them" in shown
    done = home.aorch("contracts", "erase", step.contract_id, "--with-related", "--yes")
    assert done.out.startswith("erased 5 exchanges (10 contracts)"), done
    assert "not selected" not in done.out
    assert not contains(home.ledger)
    with Reader(home.ledger) as reader:
        assert jsonio.decode(reader.find(alone.contract_id).payload) == {"text": "harmless"}


def test_invalid_selections_are_refused(ledger: Path) -> None:
    for selection in ({}, {"ids": ("0123",), "session_id": "s"}, {"text": ""}, {"text": "(", "is_pattern": True}):
        with pytest.raises(UsageError):
            ErasureSelection(**selection)
    with pytest.raises(NotFound):
        plan_erasure(ledger, ErasureSelection(("0123",)))


def test_a_plan_writes_nothing_and_says_what_it_costs_and_what_is_elsewhere(ledger: Path) -> None:
    rows = needles(ledger)
    child = request("leak", "harmless", parent_id=rows[0].contract_id)
    put(ledger, child, response(child))
    change(ledger, "INSERT INTO outbox VALUES ('trace', 82, 83)")
    before, file_bytes = written(ledger), info(ledger)["file_bytes"]
    plan = plan_erasure(ledger, ErasureSelection(text=NEEDLE))
    assert written(ledger) == before
    assert (len(plan.exchanges), plan.contracts, plan.sessions, plan.related) == (2, 4, 1, [child.contract_id])
    assert plan.elsewhere.trace == [rows[1].contract_id]  # position 82; 81 was refused
    assert plan.elsewhere.trace_maybe == [rows[2].contract_id]
    assert plan.rewrite is not None
    assert plan.rewrite.disk_bytes >= 2 * file_bytes


def test_only_one_erasure_runs_at_a_time(ledger: Path) -> None:
    needles(ledger)
    with exclusive(ledger, "erasure"), pytest.raises(Conflict, match="another erasure"):
        erased(ledger, text=NEEDLE)
    assert contains(ledger)


KILLED = """
import os, sys
from aorch.config.settings import ledger_path
from aorch.govern.erasure import ErasureSelection, erase, plan_erasure
from aorch.memory.erased_claims import without_erased

def progress(done, total):
    if done == int(sys.argv[2]):
        os.kill(os.getpid(), 9)

ledger, which = ledger_path(sys.argv[1]), ErasureSelection(session_id="leak")
erase(ledger, which, plan_erasure(ledger, which), "ann", "", without_erased, progress)
"""


@pytest.mark.parametrize("killed_after", [1000, 1201])
def test_after_a_kill_each_exchange_is_whole_and_a_second_run_completes(home: Home, killed_after: int) -> None:
    ledger = home.ledger
    put(ledger, *pairs(1200, "leak", metadata=jsonio.encode({"custom": {"key": NEEDLE}})))
    needles(ledger, 0)
    program = [sys.executable, "-c", KILLED, str(ledger), str(killed_after)]
    assert subprocess.run(program, env=home.environment).returncode == -signal.SIGKILL
    assert has_unfinished(ledger)
    states = home.rows(
        """SELECT count(DISTINCT metadata LIKE '%"erased":{%') FROM contracts WHERE session_id = 'leak'"""
        " GROUP BY coalesce(request_id, contract_id)"
    )
    assert states == [(1,)] * 1201
    gone = """SELECT count(*) FROM contracts WHERE metadata LIKE '%"erased":{%'"""
    assert home.rows(gone) == [(2 * killed_after,)]
    plan, done = erased(ledger, session_id="leak")
    assert plan.unfinished
    assert done.cleaned
    assert home.rows(gone) == [(2402,)]
    assert not contains(ledger)
    assert not has_unfinished(ledger)

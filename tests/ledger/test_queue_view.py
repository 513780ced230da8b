"""The queue as people see it: its numbers, and its tasks in the order in which they start."""

import asyncio
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some
from ledgers import exists, new_ledger, no_ledger
from rows import request

from aorch.clock import rfc3339
from aorch.ledger.ledger import Ledger
from aorch.ledger.queue_entry import Entry
from aorch.ledger.queue_view import TASK_FIELDS, queue_view
from aorch.ledger.record import Record
from aorch.ledger.task_queue import Capacity

LATER = rfc3339(datetime.now(UTC) + timedelta(hours=2))


def queued(session: str = "s", capability: str = "echo", **more: Any) -> Record:
    return request(session, capability=capability, status="pending", to_agent=None, completed_at=None, **more)


async def test_numbers_are_counted_by_capability_and_priority(tmp_path: Path) -> None:
    path = new_ledger(tmp_path)
    ledger = Ledger(path)
    try:
        first = queued(created_at="2026-01-01T00:00:00.000Z")
        await ledger.enqueue_all([Entry(first, 1), Entry(queued(), 1), Entry(queued(capability="b"), 3)], [])
        await ledger.enqueue(Entry(queued(), 3, due_at=LATER))
        (running,) = await ledger.claim([Capacity("b", 1, {"agent": 1})], 1)
        found = queue_view(path, 10)
    finally:
        ledger.close()
    assert [found[name] for name in ("queued", "scheduled", "running", "more")] == [2, 1, 1, 0]
    assert found["oldest_s"] > 86_400
    groups = [tuple(group.values()) for group in found["groups"]]
    assert groups == [("echo", 1, 2, 0, 0, first.created_at), ("b", 3, 0, 0, 1, None), ("echo", 3, 0, 1, 0, None)]
    assert found["workers"] == [{"worker_id": running.claimed_by, "running": 1}]
    states = [(task["state"], task["capability"], task["agent_id"], task["not_before"]) for task in found["tasks"]]
    assert states == [
        ("running", "b", "agent", None),
        *[("queued", "echo", None, None)] * 2,
        ("scheduled", "echo", None, LATER),
    ]
    assert all(tuple(task) == TASK_FIELDS for task in found["tasks"])


async def test_a_task_whose_start_time_has_come_is_queued_even_if_no_worker_runs(tmp_path: Path) -> None:
    path = new_ledger(tmp_path)
    ledger = Ledger(path)
    due = rfc3339(datetime.now(UTC) - timedelta(minutes=1))
    try:
        await ledger.enqueue_all(
            [Entry(queued(), 3, due_at=LATER), Entry(queued(), 3, due_at=due), Entry(queued(), 3)], []
        )
    finally:
        ledger.close()
    found = queue_view(path, 10)
    assert (found["queued"], found["scheduled"], found["groups"][0]["oldest_at"]) == (2, 1, due)
    assert 60 <= found["oldest_s"] < 3600
    assert [task["state"] for task in found["tasks"]] == ["queued", "queued", "scheduled"]
    assert [task["waiting_since"] for task in found["tasks"]][1:] == [due, None]


@settings(deadline=None)
@given(
    some.lists(
        some.tuples(
            some.sampled_from("xyz"), some.sampled_from("ab"), some.integers(1, 5), some.sampled_from((None, "agent"))
        ),
        max_size=12,
    )
)
def test_queued_tasks_are_listed_in_the_order_in_which_they_start(wild: list[tuple[str, str, int, str | None]]) -> None:
    async def started_and_listed(path: Path) -> tuple[list[str], list[str]]:
        ledger = Ledger(path)
        try:
            for session, capability, priority, agent_id in wild:
                await ledger.enqueue(Entry(queued(session, capability)._replace(to_agent=agent_id), priority))
            listed = [task["contract_id"] for task in queue_view(path, 100)["tasks"]]
            capacities = [Capacity(capability, 1, {"agent": 1}) for capability in "ab"]
            started = []
            while claimed := await ledger.claim(capacities, 1):
                started += [row.contract_id for row in claimed]
            return started, listed
        finally:
            ledger.close()

    with tempfile.TemporaryDirectory() as folder:
        started, listed = asyncio.run(started_and_listed(new_ledger(Path(folder))))
    assert listed == started


async def test_a_limit_keeps_the_first_tasks_and_counts_the_others(tmp_path: Path) -> None:
    path = new_ledger(tmp_path)
    ledger = Ledger(path)
    try:
        rows = [queued(session) for session in "aabb"]
        await ledger.enqueue_all([Entry(row, 3) for row in rows], [])
    finally:
        ledger.close()
    found = queue_view(path, 2)
    assert [task["contract_id"] for task in found["tasks"]] == [rows[0].contract_id, rows[2].contract_id]
    assert (found["queued"], found["more"]) == (4, 2)
    assert Counter(task["state"] for task in found["tasks"]) == {"queued": 2}


def test_the_queue_of_a_ledger_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    ledger = no_ledger(tmp_path)
    found = queue_view(ledger, 10)
    assert found == {
        **{"queued": 0, "scheduled": 0, "running": 0, "oldest_s": None},
        **{"groups": [], "workers": [], "tasks": [], "more": 0},
    }
    assert not exists(ledger)

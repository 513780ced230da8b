"""Leases of workers over HTTP in the ledger: who gets which REQUESTs, and what a repeated or late request does."""

import sqlite3
from typing import Any

import pytest
from statement_cases import ledger, row

from aorch.errors import LeaseLost
from aorch.ids import new_id
from aorch.ledger import work_leases
from aorch.ledger.queue_entry import Entry
from aorch.ledger.task_queue import Capacity
from aorch.ledger.work_leases import WaitingClaim, shape_of

__all__ = ["ledger"]


def queued(ledger: sqlite3.Connection, count: int, **different: Any) -> list[str]:
    """Queue that many tasks; their ids."""
    ids = [new_id() for _ in range(count)]
    for each in ids:
        request = row(each, status="pending", to_agent=None, **different)
        for sql, values in Entry(request, 3).statements():
            ledger.execute(sql, values)
    return ids


def lease(ledger: sqlite3.Connection) -> str:
    return work_leases.open_lease(ledger, "", "worker", 60.0, []).lease_id


def claim(lease_id: str, limit: int = 8, slots: int = 8) -> WaitingClaim:
    capacities = [Capacity("echo", slots, {"agent": slots})]
    return WaitingClaim(lease_id, capacities, limit, shape_of(capacities))


def given(delivered: dict[str, Any]) -> list[int]:
    return [len(each.requests) for each in delivered.values()]


def test_several_workers_that_wait_share_the_tasks(ledger: sqlite3.Connection) -> None:
    queued(ledger, 7)
    leases = [lease(ledger) for _ in range(3)]
    assert given(work_leases.deliver(ledger, [claim(each) for each in leases])) == [3, 3, 1]


def test_a_single_worker_gets_as_many_as_its_agents_can_start(ledger: sqlite3.Connection) -> None:
    queued(ledger, 7)
    assert given(work_leases.deliver(ledger, [claim(lease(ledger), slots=5)])) == [5]
    assert given(work_leases.deliver(ledger, [claim(lease(ledger), limit=1)])) == [1]


def test_a_worker_that_has_not_confirmed_gets_no_further_tasks(ledger: sqlite3.Connection) -> None:
    queued(ledger, 2)
    lease_id = lease(ledger)
    first = work_leases.deliver(ledger, [claim(lease_id, limit=1)])
    again = work_leases.deliver(ledger, [claim(lease_id)._replace(is_new=False)])
    assert [each and each.requests for each in first.values()] == [each and each.requests for each in again.values()]


def test_a_delivery_is_taken_back_unless_it_is_confirmed(ledger: sqlite3.Connection) -> None:
    queued(ledger, 2)
    lease_id, other = lease(ledger), lease(ledger)
    (confirmed, late) = (work_leases.deliver(ledger, [claim(each, limit=1)])[each] for each in (lease_id, other))
    assert confirmed is not None
    assert late is not None
    work_leases.renew(ledger, lease_id, "", confirmed.delivery_id)
    work_leases.take_back(ledger, lease_id, confirmed.delivery_id)
    work_leases.take_back(ledger, other, late.delivery_id)
    assert work_leases.renew(ledger, other, "", late.delivery_id)[1] is False
    (again,) = work_leases.deliver(ledger, [claim(lease_id)]).values()
    assert again is not None
    assert [each.contract_id for each in again.requests] == [each.contract_id for each in late.requests]


def test_a_lease_without_a_row_is_an_orphan(ledger: sqlite3.Connection) -> None:
    (request_id,) = queued(ledger, 1)
    lease_id = lease(ledger)
    work_leases.deliver(ledger, [claim(lease_id)])
    ledger.execute("DELETE FROM work_leases")
    assert work_leases.orphans(ledger) == [lease_id]
    assert work_leases.deliver(ledger, [claim(lease_id)]) == {lease_id: None}
    with pytest.raises(LeaseLost):
        work_leases.give_back(ledger, lease_id, "", request_id, called=False, due_at=None)
    work_leases.end_leases(ledger, [lease_id])
    assert work_leases.orphans(ledger) == []

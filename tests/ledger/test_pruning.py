"""A prune removes whole finished exchanges with everything that belongs to them, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from ledgers import rows as execute
from rows import pairs, put, request, response

from aorch.clock import now
from aorch.ids import new_id
from aorch.ledger.checking import check
from aorch.ledger.database import Database
from aorch.ledger.memory_blocks import BlockRow, Memory
from aorch.ledger.metric_totals import MetricStore
from aorch.ledger.outbox import DUE, REFUSED, Outbox, Parked
from aorch.ledger.pruning import Pruned, Pruner, Rules
from aorch.ledger.reader import EVERYTHING, Filter, Reader
from aorch.ledger.record import Record
from aorch.ledger.upkeep import used_bytes, vacuum

OLD, CUT, NEW = "2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z"


def at(moment: str, row: Record, **more: Any) -> Record:
    """`row` as it would have been at that moment."""
    ended = None if row.completed_at is None else moment
    return row._replace(created_at=moment, completed_at=ended, **more)


def old(*rows: Record) -> list[Record]:
    return [at(OLD, row) for row in rows]


def exchange(moment: str = OLD, **more: Any) -> list[Record]:
    asked = at(moment, request(**more))
    return [asked, at(moment, response(asked))]


def pruned(path: Path, **more: Any) -> Pruned:
    rules = Rules(**({"before": CUT, "max_bytes": None, "young_after": now(), "keyed_after": now()} | more))
    with Database(path) as database, database.transactions() as connection:
        return Pruner(connection, rules, rest=0).run()


def planned(path: Path, **more: Any) -> Pruned:
    rules = Rules(**({"before": CUT, "max_bytes": None, "young_after": now(), "keyed_after": now()} | more))
    with Database(path) as database, database.read() as connection:
        return Pruner(connection, rules, dry_run=True, rest=0).run()


def left(path: Path) -> set[str]:
    return {contract_id for (contract_id,) in execute(path, "SELECT contract_id FROM contracts")}


def ids(*rows: Record) -> set[str]:
    return {row.contract_id for row in rows}


def assert_consistent(path: Path) -> None:
    """Counts, session index and full-text index have what is there, and nothing else."""
    (count,) = execute(path, "SELECT count(*) FROM contracts")[0]
    sessions = dict(execute(path, "SELECT session_id, count(*) FROM contracts GROUP BY session_id"))
    statuses = dict(execute(path, "SELECT status, count(*) FROM contracts GROUP BY status"))
    with Reader(path) as reader:
        assert reader.total(EVERYTHING) == count
        assert reader.counts() == {"total_contracts": count, "total_sessions": len(sessions), "by_status": statuses}
        assert {each["session_id"]: each["contracts"] for each in reader.sessions(limit=1000)} == sessions
        assert len(reader.page(Filter(text="word*"), limit=None)) == len(
            [1 for (text,) in execute(path, "SELECT payload FROM contracts") if '"word' in text]
        )
    assert [each for each in check(path) if each.check in ("file", "counts", "sessions", "full text")] == []
    for table in ("attempts", "webhooks", "task_progress", "idempotency_keys", "batch_lines", "retries"):
        assert execute(path, f"SELECT request_id FROM {table} EXCEPT SELECT contract_id FROM contracts") == [], table


def test_old_exchanges_go_and_young_ones_stay(path: Path) -> None:
    going, staying = [*exchange(), *exchange()], [*exchange(NEW), *exchange(NEW)]
    put(path, *going, *staying)
    plan = planned(path)
    done = pruned(path)
    assert plan == done
    assert (done.exchanges, done.contracts) == (2, 4)
    assert (done.oldest_at, done.newest_at) == (OLD, OLD)
    assert done.content_bytes == sum(
        len(row.payload) + len(row.metadata) + len(row.result or "") + len(row.error or "") for row in going
    )
    assert left(path) == ids(*staying)
    assert_consistent(path)
    assert pruned(path) == Pruned()


def test_an_exchange_that_ended_lately_stays_although_it_began_long_ago(path: Path) -> None:
    asked = request()._replace(created_at=OLD, completed_at=NEW)
    put(path, asked, at(NEW, response(asked)))
    assert pruned(path).exchanges == 0
    assert len(left(path)) == 2


@pytest.mark.parametrize("status", ["pending", "in_progress"])
def test_an_open_exchange_stays_with_its_whole_tree(path: Path, status: str) -> None:
    root = at(OLD, request(status=status, completed_at=None))
    child = at(OLD, request(parent_id=root.contract_id))
    tree = [root, child, at(OLD, response(child))]
    put(path, *tree, *exchange())
    done = pruned(path)
    assert (done.exchanges, dict(done.kept)) == (1, {"open": 2})
    assert left(path) == ids(*tree)


def test_a_tree_of_delegations_goes_whole_or_stays_whole(path: Path) -> None:
    """A grandchild that ended lately keeps its grandparent."""
    trees = []
    for last in (OLD, NEW):
        root = at(OLD, request())
        child = at(OLD, request(session="other", parent_id=root.contract_id))
        grandchild = at(last, request(parent_id=child.contract_id))
        answers = [at(last, response(grandchild)), at(OLD, response(child)), at(OLD, response(root))]
        trees.append([root, child, grandchild, *answers])
    put(path, *(row for pair in zip(*trees, strict=True) for row in pair))
    assert pruned(path).exchanges == 3
    assert left(path) == ids(*trees[1])
    assert_consistent(path)


def test_all_tries_of_a_task_go_together(path: Path) -> None:
    """A pipeline that failed long ago and was resumed lately still reuses the steps of its first try."""
    first = at(OLD, request(status="failed"))
    step = at(OLD, request(parent_id=first.contract_id))
    second = at(NEW, request(status="failed", metadata=f'{{"resumes":"{first.contract_id}"}}'))
    rows = [first, step, at(OLD, response(step)), at(OLD, response(first)), second, at(NEW, response(second))]
    put(path, *rows)
    execute(path, "INSERT INTO retries VALUES (?, 'retry', ?)", first.contract_id, second.contract_id)
    assert pruned(path).exchanges == 0
    assert left(path) == ids(*rows)
    execute(path, "UPDATE contracts SET created_at = ?, completed_at = ?", OLD, OLD)
    assert pruned(path).exchanges == 3
    assert left(path) == set()
    assert_consistent(path)


def batch(path: Path, name: str, *moments: str) -> list[list[Record]]:
    """A batch with a line that ended at each of these moments."""
    lines, generation = [exchange(moment) for moment in moments], new_id()
    put(path, *(row for line in lines for row in line))
    execute(path, "DELETE FROM batches WHERE name = ?", name)
    execute(path, "INSERT INTO batches VALUES (?, ?)", name, generation)
    for number, (asked, _) in enumerate(lines):
        execute(path, "INSERT INTO batch_lines VALUES (?, ?, ?)", generation, f"{number}", asked.contract_id)
    return lines


def test_a_batch_that_can_be_resumed_goes_whole_or_stays_whole(path: Path) -> None:
    """Otherwise the lines that are gone would run again."""
    batch(path, "over", OLD, OLD)
    staying = batch(path, "newer", OLD, NEW)
    done = pruned(path)
    assert (done.exchanges, done.batches, dict(done.kept)) == (2, ["over"], {"batch": 1})
    assert left(path) == ids(*staying[0], *staying[1])
    assert execute(path, "SELECT name FROM batches") == [("newer",)]
    assert_consistent(path)


def test_lines_of_an_earlier_run_of_a_batch_go_by_themselves(path: Path) -> None:
    """Only the latest run can be resumed."""
    batch(path, "daily", OLD, NEW)
    batch(path, "daily", NEW)
    assert pruned(path).exchanges == 1
    assert_consistent(path)


def test_a_retried_line_keeps_its_batch_if_the_retry_is_young(path: Path) -> None:
    ((asked, _),) = batch(path, "daily", OLD)
    again = exchange(NEW, metadata=f'{{"retry_of":"{asked.contract_id}"}}')
    put(path, *again)
    execute(path, "INSERT INTO retries VALUES (?, 'retry', ?)", asked.contract_id, again[0].contract_id)
    assert pruned(path).exchanges == 0
    assert len(left(path)) == 4


def test_a_large_batch_is_removed_in_several_transactions_after_it_was_unregistered(path: Path) -> None:
    batch(path, "large", *[OLD] * 300)
    seen: list[tuple[int, list[Any]]] = []

    def look(done: Pruned) -> None:
        seen.append((done.exchanges, execute(path, "SELECT name FROM batches")))

    rules = Rules(before=CUT, max_bytes=None, young_after=now(), keyed_after=now())
    with Database(path) as database, database.transactions() as connection:
        done = Pruner(connection, rules, rest=0, progress=look).run()
    assert done.batches == ["large"]
    assert [count for count, _ in seen] == [100, 200, 300]
    assert all(names == [] for _, names in seen)
    assert_consistent(path)


def test_only_exchanges_in_the_given_statuses_go(path: Path) -> None:
    failed = exchange(status="failed")
    cut_off = exchange(status="failed")
    cut_off[1] = cut_off[1]._replace(status="interrupted")
    mixed = exchange()
    mixed += old(child := request(status="failed", parent_id=mixed[0].contract_id), response(child))
    put(path, *failed, *cut_off, *mixed, *exchange())
    done = pruned(path, statuses=frozenset(("completed",)))
    assert (done.exchanges, dict(done.kept)) == (1, {"status": 4})
    assert left(path) == ids(*failed, *cut_off, *mixed)
    assert pruned(path, statuses=frozenset(("interrupted",))).exchanges == 1
    assert left(path) == ids(*failed, *mixed)


def test_contracts_that_trace_has_not_received_stay(path: Path) -> None:
    delivered, half, due = exchange(), exchange(), exchange()
    put(path, *delivered, half[0], *due, half[1])
    with Outbox(path) as outbox:
        outbox.advance(3, 3)
        reached, _ = outbox.reached()
    done = pruned(path, due_after=reached)
    assert (done.exchanges, dict(done.kept)) == (1, {"trace": 2})
    assert left(path) == ids(*half, *due)
    assert pruned(path, due_after=None).exchanges == 2


def test_a_parked_delivery_that_is_due_again_keeps_its_exchange_and_a_refused_one_goes_with_it(path: Path) -> None:
    again, refused = exchange(), exchange()
    put(path, *again, *refused)
    with Outbox(path) as outbox:
        outbox.advance(4, 4)
        for position, rows, state in ((1, again, DUE), (3, refused, REFUSED)):
            outbox.park(Parked(position, "contract.request", rows[0].contract_id, "s", state, "reason", 1, OLD))
    done = pruned(path, due_after=4)
    assert (done.exchanges, dict(done.kept)) == (1, {"trace": 1})
    assert execute(path, "SELECT position FROM parked_deliveries") == [(1,)]
    with Outbox(path) as outbox:
        assert outbox.counts() == {"due": 1, "delivered": 1, "parked": 0, "parked_nodes": 0}


def test_what_belongs_to_an_exchange_goes_with_it(path: Path) -> None:
    asked, answer = exchange(status="failed")
    put(path, asked, answer)
    name = asked.contract_id
    execute(path, "INSERT INTO attempts VALUES (?, 1, 'a', ?, ?, NULL, NULL)", name, OLD, OLD)
    execute(path, "INSERT INTO webhooks VALUES (?, 'http://localhost', 3, NULL, 'gave up')", name)
    execute(path, "INSERT INTO idempotency_keys VALUES ('', 'key', 'f', ?)", name)
    execute(path, "INSERT INTO batch_lines VALUES ('gone', 'line', ?)", name)
    assert pruned(path).exchanges == 1
    assert_consistent(path)


def test_a_webhook_that_is_due_and_a_key_that_may_be_sent_again_keep_their_exchanges(path: Path) -> None:
    hooked, keyed = exchange(), exchange()
    put(path, *hooked, *keyed)
    execute(path, "INSERT INTO webhooks VALUES (?, 'http://localhost', 0, ?, NULL)", hooked[0].contract_id, OLD)
    execute(path, "INSERT INTO idempotency_keys VALUES ('', 'key', 'f', ?)", keyed[0].contract_id)
    done = pruned(path, keyed_after=OLD)
    assert (done.exchanges, dict(done.kept)) == (0, {"webhook": 1, "key": 1})
    assert pruned(path, keyed_after=CUT).exchanges == 1
    assert left(path) == ids(*hooked)


def test_a_response_without_a_request_counts_as_an_exchange(path: Path) -> None:
    asked = request()
    put(path, at(OLD, response(asked)), at(OLD, response(asked, request_id=None)))
    assert pruned(path).exchanges == 2
    assert left(path) == set()


def test_a_cycle_of_imported_parents_ends(path: Path) -> None:
    one, other = old(request(), request())
    put(path, one._replace(parent_id=other.contract_id), other._replace(parent_id=one.contract_id))
    assert pruned(path).exchanges == 2


def test_metadata_of_another_program_does_not_stop_a_prune(path: Path) -> None:
    rows = exchange()
    put(path, rows[0]._replace(metadata='{"resumes": nonsense'), rows[1]._replace(metadata='{"retry_of": 7}'))
    assert pruned(path).exchanges == 1


def test_positions_of_pruned_contracts_are_not_given_again(path: Path) -> None:
    put(path, *exchange(), *exchange())
    pruned(path)
    put(path, *exchange(NEW))
    assert execute(path, "SELECT position FROM contracts") == [(5,), (6,)]
    assert_consistent(path)


def test_the_index_of_sessions_and_the_full_text_are_right_after_a_prune_of_whole_runs(path: Path) -> None:
    put(path, *(at(OLD, row) for row in pairs(1500, "a")), *(at(NEW, row) for row in pairs(800, "b")))
    with Reader(path) as reader:
        assert len(reader.page(Filter(text="word*"), limit=None)) == 2300
    assert pruned(path).exchanges == 1500
    assert_consistent(path)
    put(path, *(at(NEW, row) for row in pairs(20, "a")))
    assert_consistent(path)


def test_words_of_a_contract_that_another_program_changed_do_not_damage_the_index(path: Path) -> None:
    rows = exchange(text="word1")
    put(path, *rows, *exchange(NEW, text="word2"))
    with Reader(path) as reader:
        assert len(reader.page(Filter(text="word1"))) == 1
    longer = f'{{"text": "{" ".join(f"other{number}" for number in range(1000))}"}}'
    execute(path, "UPDATE contracts SET payload = ? WHERE contract_id = ?", longer, rows[0].contract_id)
    assert pruned(path).exchanges == 1
    assert_consistent(path)


def test_totals_of_metrics_do_not_fall(path: Path) -> None:
    put(path, *exchange(), *exchange(NEW))
    with MetricStore(path) as metrics:
        before = metrics.current().counts
    pruned(path)
    with MetricStore(path) as metrics:
        assert metrics.current().counts == before


def test_contracts_of_a_memory_block_are_remembered_and_others_are_not(path: Path) -> None:
    covered, later, other = exchange(session="a"), exchange(session="a"), exchange(session="b")
    put(path, *covered, *later, *other)
    with Memory(path) as memory:
        assert memory.add(BlockRow("mem_1", "a", NEW, 2, "{}"), 0)
    assert pruned(path).exchanges == 3
    rows = execute(path, "SELECT contract_id, session_id, position FROM pruned_contracts ORDER BY position")
    assert rows == [(row.contract_id, "a", number) for number, row in enumerate(covered, 1)]
    assert execute(path, "SELECT block_id FROM memory_blocks") == [("mem_1",)]


def test_a_maximum_size_removes_the_exchanges_that_ended_first_until_the_ledger_is_small_enough(path: Path) -> None:
    """One that began first and ended last stays longest. On PostgreSQL, the limit is for what the rows take."""
    slow = at(OLD, request())
    without_rows = 0 if isinstance(path, Path) else vacuum(path).bytes
    put(path, slow, *(at(OLD, row) for row in pairs(3000)), at(OLD, response(slow)))
    with Database(path) as database, database.read() as connection:
        before = used_bytes(connection)
    limit = before * 2 // 3
    plan = planned(path, before=None, max_bytes=limit)
    done = pruned(path, before=None, max_bytes=limit)
    with Database(path) as database, database.read() as connection:
        after = used_bytes(connection)
    assert limit * 0.9 < after <= limit
    assert plan.exchanges == pytest.approx(done.exchanges, rel=0.1)
    assert done.kept == {}
    assert slow.contract_id in left(path)
    positions = [position for (position,) in execute(path, "SELECT position FROM contracts WHERE position > 1")]
    assert positions == list(range(min(positions), 6003))
    assert vacuum(path).bytes - without_rows <= limit * 1.01
    assert_consistent(path)


def test_a_maximum_size_leaves_what_has_just_ended(path: Path) -> None:
    put(path, *pairs(100))
    assert pruned(path, before=None, max_bytes=1, young_after=CUT).exchanges == 0


def test_a_prune_stops_between_two_transactions_when_it_is_no_longer_wanted(path: Path) -> None:
    put(path, *(at(OLD, row) for row in pairs(500)))
    rules = Rules(before=CUT, max_bytes=None, young_after=now(), keyed_after=now())
    answers = iter([True] * 250)
    with Database(path) as database, database.transactions() as connection:
        done = Pruner(connection, rules, rest=0, wanted=lambda: next(answers, False)).run()
    assert done.exchanges == 200
    assert len(left(path)) == 600
    assert_consistent(path)


def test_an_exchange_that_is_resumed_while_a_prune_looks_at_it_stays(path: Path) -> None:
    """It is read without a lock, and again inside the transaction."""
    asked = at(OLD, request(status="failed"))
    put(path, asked, at(OLD, response(asked)))
    again = exchange(NEW, metadata=f'{{"resumes":"{asked.contract_id}"}}')

    def resume() -> bool:
        if len(left(path)) == 2:
            put(path, *again)
            execute(path, "INSERT INTO retries VALUES (?, 'retry', ?)", asked.contract_id, again[0].contract_id)
        return True

    rules = Rules(before=CUT, max_bytes=None, young_after=now(), keyed_after=now())
    with Database(path) as database, database.transactions() as connection:
        done = Pruner(connection, rules, rest=0, wanted=resume).run()
    assert done.exchanges == 0
    assert len(left(path)) == 4

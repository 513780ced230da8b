"""A prune finds old exchanges wherever they are in the ledger, and reads only the parts that contain some."""

from pathlib import Path

from ledgers import rows
from rows import put, request, response

from aorch.clock import now
from aorch.ledger.contract_ages import ContractAges
from aorch.ledger.database import Database
from aorch.ledger.pruning import Pruned, Pruner, Rules
from aorch.ledger.record import Record

OLD, CUT, NEW = "2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z"
RULES = Rules(before=CUT, max_bytes=None, young_after=CUT, keyed_after=NEW)


def exchange(moment: str) -> list[Record]:
    asked = request()
    return [row._replace(created_at=moment, completed_at=moment) for row in (asked, response(asked))]


def pruned(path: Path) -> Pruned:
    with Database(path) as database, database.transactions() as connection:
        return Pruner(connection, RULES, rest=0).run()


def planned(path: Path) -> Pruned:
    with Database(path) as database, database.read() as connection:
        return Pruner(connection, RULES, dry_run=True, rest=0).run()


def test_old_contracts_that_came_after_many_younger_ones_go_too(path: Path) -> None:
    """As after an import of an old file, also if a prune has read that part of the ledger before."""
    put(path, *(each for _ in range(1100) for each in exchange(NEW)))
    assert pruned(path) == Pruned()
    late = [*exchange(OLD), *exchange(OLD)]
    put(path, *late, *(each for _ in range(1100) for each in exchange(NEW)))
    assert planned(path).contracts == 4
    done = pruned(path)
    assert (done.exchanges, done.contracts) == (2, 4)
    left = {contract_id for (contract_id,) in rows(path, "SELECT contract_id FROM contracts")}
    assert left.isdisjoint(row.contract_id for row in late)
    ages = rows(path, "SELECT last_position, oldest_at FROM contract_ages ORDER BY last_position")
    assert ages == [(2048, NEW), (4096, NEW)]


def test_a_prune_does_not_read_parts_of_the_ledger_in_which_nothing_is_old(path: Path) -> None:
    """It looks at each contract once, and from then on at one row for 2,048 of them."""
    put(path, *(each for _ in range(2100) for each in exchange(NEW)))
    pruned(path)
    with Database(path) as database, database.transactions() as connection:
        ages = ContractAges(connection, keeps=False)
        ages.catch_up(lambda _: None)
        assert ages.next_old(0, CUT) == 4096
        assert ages.next_old(0, now()) == 0
        assert Pruner(connection, RULES, rest=0).run() == Pruned()


def test_a_part_of_the_ledger_from_which_everything_was_removed_is_not_read_again(path: Path) -> None:
    put(path, *(each for _ in range(1024) for each in exchange(OLD)), *exchange(NEW))
    assert pruned(path).contracts == 2048
    assert rows(path, "SELECT * FROM contract_ages") == []
    assert planned(path) == Pruned()

"""The numbers of `aorch status` are those of the rows, and are found without reading the rows."""

import itertools
from contextlib import closing
from pathlib import Path

import ledgers
import pytest
from rows import pairs, put

from aorch.ledger.database import connect, statements
from aorch.ledger.outbox import Outbox, Parked

TIME = "2026-01-01T00:00:00.000Z"


def test_deliveries_are_counted_up_to_any_position_of_the_outbox(tmp_path: Path) -> None:
    """With gaps in the positions, and parked deliveries on both sides."""
    path = ledgers.new_ledger(tmp_path)
    put(path, *pairs(5))
    ledgers.rows(path, "DELETE FROM contracts WHERE position IN (3, 10)")
    states = {2: "refused", 3: "refused", 4: "due", 7: "due", 8: "unknown"}
    with Outbox(path) as outbox:
        outbox.park(*(Parked(p, "event", f"c{p}", "s", state, "because", 1, TIME) for p, state in states.items()))
        outbox.park(Parked(5, "provenance.node", "c5", "s", "refused", "because", 1, TIME))
    left = [position for position in range(1, 11) if position not in (3, 10)]
    aside = [position for position in left if states.get(position, "due") != "due"]
    with closing(connect(path)) as connection:
        for reached, few in itertools.product(range(11), (1, 3, 100)):
            assert connection.execute(statements.DELIVERY_COUNTS, (reached, few)).fetchone() == (
                len(left),
                sum(position > reached for position in left),
                sum(position <= reached for position in (4, 7)),
                len(aside),
                sum(position > reached for position in aside),
                1,
            ), (reached, few)


@pytest.mark.sqlite_only("it counts the steps of SQLite's machine")
def test_a_summary_of_twenty_times_as_many_contracts_reads_no_more_of_them(tmp_path: Path) -> None:
    """Failed contracts take a few steps each in their index, completed ones none, and deliveries none while none was made."""

    def steps(many: int, sql: str, *values: int) -> int:
        (folder := tmp_path / f"{many} {len(sql)}").mkdir()
        path, taken = ledgers.new_ledger(folder), itertools.count()
        put(path, *(each._replace(status="failed") for each in pairs(many // 10)), *pairs(many))
        with closing(connect(path)) as connection:
            connection.set_progress_handler(lambda: next(taken) and 0, 1)  # type: ignore[union-attr]  # a file's
            connection.execute(sql, values).fetchall()
        return next(taken)

    assert steps(2000, statements.DELIVERY_COUNTS, 0, 10_000) <= steps(100, statements.DELIVERY_COUNTS, 0, 10_000) + 20
    failed = 2 * 200
    assert steps(2000, statements.EXCHANGE_STATUS_COUNTS) <= 12 * failed

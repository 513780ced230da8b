"""The attempts of a REQUEST that needed several calls of agents."""

from pathlib import Path

from ledgers import new_ledger

from aorch.ledger.attempt import Attempt
from aorch.ledger.ledger import Ledger

START, END = "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.000Z"


async def test_an_attempt_is_durable_when_it_begins_and_again_when_it_ends(tmp_path: Path) -> None:
    first, second = Attempt("r", 1, "a", START, END, "agent_lost", "gone"), Attempt("r", 2, "b", END)
    path = new_ledger(tmp_path)
    ledger = Ledger(path)
    try:
        await ledger.write_attempts(first, second)
        other = Ledger(path)
        assert other.attempts("r") == [first, second]
        other.close()
        ended = second._replace(ended_at=END, code=None)
        await ledger.write_attempts(ended)
        assert ledger.attempts("r") == [first, ended]
        assert ledger.attempts("another") == []
        assert ended.as_dict() == {
            "number": 2,
            "agent_id": "b",
            "started_at": END,
            "ended_at": END,
            "code": None,
            "error": None,
        }
    finally:
        ledger.close()

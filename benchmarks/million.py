"""A ledger of 1,000,000 contracts beside one of 1,000: `python benchmarks/million.py [ROUNDS] [--keep FOLDER]`.

Each command is a process of its own on either ledger; what it prints is checked. The contracts are made through the
package's own statement: exchanges one a second, in 1,000 sessions, one of which holds a tenth of all; the session that is asked
for has 50 contracts in either ledger, spread from the first day to the last. `--keep` leaves the ledgers in FOLDER and takes
them from there the next time.
"""

import argparse
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from measure import AORCH, PYTHON, Goals, child, interleaved, machine, peak_memory

SMALL, LARGE = 1_000, 1_000_000
ASKED, CROWDED = "session_asked_for", "session_crowded"
ASKED_CONTRACTS = 50
RARE = "zanzibar"
RARE_CONTRACTS = 20
BEGIN_S = datetime(2025, 1, 1, tzinfo=UTC).timestamp()


def main(rounds: int, keep: Path | None) -> None:
    """Make the ledgers, measure, check, print."""
    with machine() as (home, environment):
        ledgers = make_both(keep or home, environment)
        goals = Goals(f"{LARGE:,} contracts beside {SMALL:,}, medians of {rounds} interleaved rounds")
        measure_commands(goals, home, environment, ledgers, rounds)
        measure_queries(goals, ledgers, rounds)
        measure_log(goals, ledgers[LARGE], rounds)
        measure_statistics(goals, ledgers[LARGE], rounds)
        measure_export(goals, home, environment, ledgers[LARGE])
    goals.end()


def make_both(folder: Path, environment: dict[str, str]) -> dict[int, Path]:
    """Both ledgers, by number of contracts; made in another process, since this one stays small."""
    folder.mkdir(parents=True, exist_ok=True)
    ledgers = {many: folder / f"{many}.db" for many in (SMALL, LARGE)}
    for many, ledger in ledgers.items():
        if not ledger.exists():
            child([PYTHON, __file__, "--make", str(many), str(ledger)], folder, environment)
        with closing(sqlite3.connect(ledger)) as connection:
            assert connection.execute("SELECT count(*) FROM contracts").fetchone() == (many,)
    return ledgers


def make(many: int, ledger: Path, begin_s: float = BEGIN_S) -> None:
    """A new ledger of `many` contracts, the first of them at that time (seconds since 1970)."""
    from aorch.ledger.sqlite.opening import connect
    from aorch.ledger.sqlite.statements import INSERT_CONTRACT

    building = ledger.with_suffix(".building")
    with closing(connect(building)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT_CONTRACT, contracts(many, begin_s))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    building.rename(ledger)


def contracts(many: int, begin_s: float) -> Iterator[tuple[str | None, ...]]:
    """REQUEST and RESPONSE by turns, as `orchestrate` writes them; one exchange in 20 has failed."""
    from aorch.clock import rfc3339
    from aorch.ids import Ids
    from aorch.ledger.record import Record

    chance, moment = random.Random(2), begin_s
    vocabulary = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 9))) for _ in range(2000)]
    ids = Ids(lambda: moment)
    every_asked, every_rare = (many // 2) // (ASKED_CONTRACTS // 2), (many // 2) // (RARE_CONTRACTS // 2)
    for number in range(many // 2):
        moment = begin_s + number
        text = " ".join(chance.choices(vocabulary, k=12)) + (f" {RARE}" if number % every_rare == 5 else "")
        crowded = CROWDED if number % 10 == 1 else f"session_{number // 10 % 1000}"
        failed = number % 20 == 19
        request = Record(
            contract_id=ids.next(),
            session_id=ASKED if number % every_asked == 0 else crowded,
            contract_type="REQUEST",
            from_agent="orchestrator",
            to_agent="agent_example_001",
            capability="echo",
            payload=f'{{"text":"{text}"}}',
            status="failed" if failed else "completed",
            created_at=rfc3339(datetime.fromtimestamp(moment, UTC)),
            completed_at=rfc3339(datetime.fromtimestamp(moment + 0.004, UTC)),
            metadata='{"routing":{"chosen":"the only one"}}',
        )
        yield request
        yield request._replace(
            contract_id=ids.next(),
            contract_type="RESPONSE",
            from_agent="agent_example_001",
            to_agent="orchestrator",
            payload="{}",
            created_at=request.completed_at,
            result=None if failed else f'{{"message":"Echo: {text}"}}',
            error=f"RuntimeError: {text}" if failed else None,
            metadata='{"duration_ms":4.0}' if not failed else '{"duration_ms":4.0,"code":"agent_failed"}',
            request_id=request.contract_id,
        )


def measure_commands(
    goals: Goals, home: Path, environment: dict[str, str], ledgers: dict[int, Path], rounds: int
) -> None:
    """Whole commands, from fork to exit, on either ledger."""

    def case(ledger: Path, command: list[str], printed: str, ids: str = "", **more: str) -> Callable[[], float]:
        """`ids` is the condition of the contracts that must be listed, the newest 50 of them and in that order."""
        expected = newest(ledger, ids) if ids else []

        def run() -> float:
            done = child([AORCH, *command], home, environment | {"AORCH_LEDGER": str(ledger)} | more)
            assert printed in done.out, f"{command} on {ledger.name} printed {done.out}"
            if ids:
                assert [line.partition("\t")[0] for line in done.out.splitlines()] == expected
            return done.seconds

        return run

    listing, rare = ["contracts", "list"], f"payload LIKE '%{RARE}%' OR result LIKE '%{RARE}%'"
    for many, ledger in ledgers.items():
        seconds = case(ledger, [*listing, "--text", RARE], RARE, rare)()
        goals.note(f"`contracts list --text WORD` for the first time, {many:,} contracts to index", f"{seconds:.1f} s")
    completion = {"_AORCH_COMPLETE": "complete_bash", "COMP_WORDS": "aorch run -s session_a", "COMP_CWORD": "3"}
    commands: dict[str, tuple[list[str], str, str, dict[str, str]]] = {
        "`contracts list`": (listing, "agent_example_001", "true", {}),
        f"`contracts list --session X` ({ASKED_CONTRACTS} contracts)": (
            [*listing, "--session", ASKED],
            "Echo: ",
            f"session_id = '{ASKED}'",
            {},
        ),
        "`contracts list --session Y` (a tenth of all)": (
            [*listing, "--session", CROWDED],
            "Echo: ",
            f"session_id = '{CROWDED}'",
            {},
        ),
        f"`contracts list --text WORD` (in {RARE_CONTRACTS})": ([*listing, "--text", RARE], RARE, rare, {}),
        "`contracts list --text WORD` (in half of all)": (
            [*listing, "--text", "echo"],
            "Echo: ",
            "result LIKE '%Echo: %'",
            {},
        ),
        "`contracts list --status failed`": ([*listing, "--status", "failed"], "orch", "status = 'failed'", {}),
        "completion of a session": ([], f"{ASKED}\n", "", completion),
        "`status`": (["status"], " sessions", "", {}),
    }
    for name, (command, printed, ids, more) in commands.items():
        cases = {str(many): case(ledger, command, printed, ids, **more) for many, ledger in ledgers.items()}
        medians = interleaved(cases, rounds)
        small, large = medians[str(SMALL)], medians[str(LARGE)]
        goals.at_most(f"{name}: {large * 1000:.0f} ms / {small * 1000:.0f} ms", large / small, 1.5)


def newest(ledger: Path, condition: str) -> list[str]:
    """The ids of the newest 50 contracts of that kind, by SQLite alone."""
    with closing(sqlite3.connect(ledger)) as connection:
        sql = f"SELECT contract_id FROM contracts WHERE {condition} ORDER BY position DESC LIMIT 50"
        return [contract_id for (contract_id,) in connection.execute(sql)]


def measure_queries(goals: Goals, ledgers: dict[int, Path], rounds: int) -> None:
    """The same pages without the start of a process, whose imports would hide a slow query."""
    from aorch.ledger.reader import Filter, Reader

    pages = {
        "newest 50": (Filter(), 50),
        "session X": (Filter(session_id=ASKED), ASKED_CONTRACTS),
        "session Y": (Filter(session_id=CROWDED), 50),
        f"a word in {RARE_CONTRACTS}": (Filter(text=RARE), RARE_CONTRACTS),
        "a word in half of all": (Filter(text="echo"), 50),
    }
    for name, (which, expected) in pages.items():

        def case(ledger: Path, which: Filter = which, expected: int = expected) -> Callable[[], float]:
            def run() -> float:
                with Reader(ledger) as reader:
                    reader.last_position()  # opens the file
                    started = time.perf_counter()
                    assert len(reader.page(which, limit=50)) == expected
                    return time.perf_counter() - started

            return run

        medians = interleaved({str(many): case(ledger) for many, ledger in ledgers.items()}, rounds)
        small, large = medians[str(SMALL)] * 1000, medians[str(LARGE)] * 1000
        goals.note(f"the page alone, in process, {name}: {large:.1f} ms / {small:.1f} ms", f"{large / small:.2f}")


def measure_log(goals: Goals, ledger: Path, rounds: int) -> None:
    """The first page of the log with each filter, also one that nothing matches, and of the sessions, in processor time."""
    from aorch.ledger.exchanges import ExchangeFilter
    from aorch.ledger.reader import Reader
    from aorch.ledger.session_list import sessions_by_activity

    nothing = dict.fromkeys(("session_id", "capability", "agent", "caller", "error"), "zebra")
    half = datetime.fromtimestamp(BEGIN_S + LARGE // 4, UTC)
    found = {
        "all": ({}, 50),
        "session X": ({"session_id": ASKED}, ASKED_CONTRACTS // 2),
        "session Y": ({"session_id": CROWDED}, 50),
        "failed": ({"failed": True}, 50),
        "until the middle": ({"until": half}, 50),
        "since the future": ({"since": datetime(2999, 1, 1, tzinfo=UTC)}, 0),
        "interrupted": ({"status": "interrupted"}, 0),
        "a word in half of all": ({"text": "echo"}, 50),
        "a word in half of all, failed": ({"text": "echo", "failed": True}, 0),
        "a word in half of all, agent that does not exist": ({"text": "echo", "agent": "zebra"}, 0),
        **{f"{name} that does not exist": ({name: value}, 0) for name, value in nothing.items()},
    }

    def case(which: dict[str, object], expected: int) -> Callable[[], float]:
        def run() -> float:
            with Reader(ledger) as reader:
                reader.last_position()  # opens the file
                started = time.process_time()
                page, _ = reader.exchanges(ExchangeFilter(**which), limit=50)  # type: ignore[arg-type]  # its fields
                took = time.process_time() - started
            assert len(page) == expected
            return took

        return run

    def sessions(limit: int) -> Callable[[], float]:
        def run() -> float:
            with Reader(ledger) as reader:
                reader.last_position()
                started = time.process_time()
                assert len(sessions_by_activity(reader.select, before=None, limit=limit)) == limit
                return time.process_time() - started

        return run

    (seconds,) = interleaved({"": sessions(1000)}, rounds).values()
    goals.note("first page of 1,000 sessions by activity", f"{seconds * 1000:.0f} ms")
    cases = {f"exchanges, {name}": case(*each) for name, each in found.items()}
    cases["50 sessions by activity"] = sessions(50)
    for name, seconds in interleaved(cases, rounds).items():
        goals.at_most(f"first page of {name}", seconds * 1000, 300, " ms")


def measure_statistics(goals: Goals, ledger: Path, rounds: int) -> None:
    """What GET /v1/stats computes over the last 24 hours of the ledger, in processor time."""
    from aorch.govern.statistics import DEFAULT_WINDOW, statistics
    from aorch.ledger.exchanges import ExchangeFilter
    from aorch.ledger.reader import Reader

    since = datetime.fromtimestamp(BEGIN_S + LARGE // 2, UTC) - DEFAULT_WINDOW

    def case(by: str) -> Callable[[], float]:
        def run() -> float:
            with Reader(ledger) as reader:
                started = time.process_time()
                found = statistics(reader, by, ExchangeFilter(since=since), {})
                took = time.process_time() - started
            assert found["total"]["count"] == (4_320 if by == "error" else 86_400)
            return took

        return run

    for by, seconds in interleaved({by: case(by) for by in ("capability", "caller", "hour", "error")}, rounds).items():
        goals.at_most(f"statistics of 86,400 exchanges by {by}", seconds * 1000, 300, " ms")


def measure_export(goals: Goals, home: Path, environment: dict[str, str], ledger: Path) -> None:
    """Peak memory of an export of everything, in either format."""
    for form, heading in (("jsonl", 0), ("csv", 1)):
        out = home / f"export.{form}"
        command = ["sh", "-c", 'exec "$0" contracts export --format "$1" > "$2"', AORCH, form, str(out)]
        peak, done = peak_memory(command, home, environment | {"AORCH_LEDGER": str(ledger)})
        with out.open("rb") as lines:
            assert sum(1 for _ in lines) == LARGE + heading
        goals.at_most(
            f"peak memory of `contracts export --format {form}`, {done.seconds:.0f} s", peak / 2**20, 100, " MiB"
        )
        out.unlink()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(int(sys.argv[2]), Path(sys.argv[3]))
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=11)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    main(given.rounds, given.keep and given.keep.absolute())

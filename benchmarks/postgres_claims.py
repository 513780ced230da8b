"""Claiming queued tasks on PostgreSQL among 1,000 and among 1,000,000: `python benchmarks/postgres_claims.py [ROUNDS]`.

Starts a server of its own (durable: `fsync` and `synchronous_commit` are on). The ledger of 1,000 is a new copy in each round.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import psycopg
from measure import Goals, interleaved
from postgres_servers import Cluster, started

CLAIMS, OF = 20, 32
GOAL = 1.5
FILL = """
INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, capability, payload, status, created_at, metadata,
    priority, turn)
SELECT '01M' || lpad(n::text, 23, '0'), 'session_' || n % 100, 'REQUEST', 'orchestrator', 'echo', '{"text":"hi"}', 'pending',
    now(), '{}', 3, n / 100 FROM generate_series(1, MANY) n"""


def filled(cluster: Cluster, name: str, many: int) -> str:
    """A new database with that many queued tasks, of 100 sessions in turn. Returns its name."""
    from aorch.config.ledger_location import PostgresUrl
    from aorch.ledger.database import connect

    cluster.psql(f"CREATE DATABASE {name}")
    connect(PostgresUrl(cluster.url(name))).close()
    with psycopg.connect(cluster.url(name), autocommit=True) as connection:  # psql() waits for one minute at most
        connection.execute(FILL.replace("MANY", str(many)))
        connection.execute("VACUUM ANALYZE contracts")
    return name


async def claim(url: str) -> float:
    """The median duration of CLAIMS claims of OF tasks (ms)."""
    from aorch.config.ledger_location import PostgresUrl
    from aorch.ledger.ledger import Ledger
    from aorch.ledger.task_queue import Capacity

    ledger, took = Ledger(PostgresUrl(url)), []
    capacities = [Capacity("echo", OF, {"agent_example_001": OF})]
    for _ in range(CLAIMS):
        started_at = time.perf_counter()
        claimed = await ledger.claim(capacities, OF)
        took.append(time.perf_counter() - started_at)
        assert len({row.contract_id for row in claimed}) == OF
    ledger.close()
    return statistics.median(took) * 1000


@contextmanager
def server() -> Iterator[Cluster]:
    """A durable server, until the end of the block."""
    cluster = started(fsync="on", max_wal_size="4GB")
    try:
        yield cluster
    finally:
        cluster.stop()


def main(rounds: int) -> None:
    """Measure, check, print."""
    goals, numbers = Goals(f"Claims on PostgreSQL, durable; medians of {rounds} interleaved rounds"), count()
    with server() as cluster:
        few, many = filled(cluster, "few", 1_000), filled(cluster, "many", 1_000_000)

        def of_few() -> float:
            name = f"few_{next(numbers)}"
            cluster.psql(f"CREATE DATABASE {name} TEMPLATE {few}")
            return asyncio.run(claim(cluster.url(name)))

        took = interleaved({"few": of_few, "many": lambda: asyncio.run(claim(cluster.url(many)))}, rounds)
    goals.note(f"a claim of {OF} among 1,000 that wait", f"{took['few']:.2f} ms")
    goals.at_most("the same among 1,000,000, ratio", took["many"] / took["few"], GOAL, " ×")
    goals.end()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

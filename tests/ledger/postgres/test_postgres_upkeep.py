"""Views, queries, sizes, checks, prunes, erasures and backups of a ledger on PostgreSQL."""

import re
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from erasing_rows import NEEDLE, erased
from postgres_rows import put_in
from postgres_servers import Cluster
from rows import pairs, request, response

from aorch import jsonio
from aorch.clock import now
from aorch.config.ledger_location import LedgerLocation, PostgresUrl
from aorch.errors import Conflict, LedgerInvalid, LedgerTooNew, UsageError
from aorch.govern.retention import plan, prune
from aorch.ledger.checking import check
from aorch.ledger.database import Database, connect, transaction
from aorch.ledger.memory_blocks import BlockRow, Memory
from aorch.ledger.postgres.connection import connection_to
from aorch.ledger.postgres.rewriting import rewrite
from aorch.ledger.pruning import Rules
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import Record
from aorch.ledger.upkeep import back_up, info, restore, vacuum
from aorch.ledger.user_query import answer

OLD, CUT = "2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z"


@pytest.fixture
def postgres(postgres_ledger: PostgresUrl) -> PostgresUrl:
    """The URL of an empty ledger."""
    return postgres_ledger


def exchanges() -> list[Record]:
    """Exchanges of all kinds: with callers, usage, a failed and an interrupted one, an open one, and metadata that is no JSON."""
    used = jsonio.encode({"duration_ms": 12.5, "usage": {"input": 3, "output": 4}, "model": "m", "attempts": 2})
    asked = request(metadata=jsonio.encode({"caller": {"name": "ann"}}))
    failed, lost, odd = request("t", status="failed"), request("t", status="failed"), request("t", metadata="{no json")
    return [
        *(asked, response(asked)._replace(metadata=used)),
        *(failed, response(failed)._replace(status="failed", error="broken", metadata='{"code":"agent_failed"}')),
        *(lost, response(lost)._replace(status="interrupted", from_agent="orchestrator")),
        *(odd, response(odd)._replace(metadata="no json}")),
        request(status="in_progress", completed_at=None),
    ]


def rows_of(location: LedgerLocation, sql: str) -> list[tuple[object, ...]]:
    with answer(location, sql) as found:
        return [tuple(found.columns), *found.rows]


@pytest.mark.parametrize("view", ["exchanges", "sessions", "agent_latency", "attempts_by_agent"])
def test_a_view_has_the_same_rows_as_on_sqlite(path: Path, postgres: PostgresUrl, view: str) -> None:
    contracts = exchanges()
    attempt = (contracts[0].contract_id, 1, "agent_b", OLD, CUT, None, None)
    for location in (path, postgres):
        put_in(location, *contracts)
        with Database(location).transactions() as connection, transaction(connection):
            marks = ", ".join(("?" if location is path else "%s",) * 7)
            connection.execute(f"INSERT INTO attempts VALUES ({marks})", attempt)
    sql = f"SELECT * FROM {view} ORDER BY 1, 2"
    assert rows_of(postgres, sql) == rows_of(path, sql)


def test_times_in_views_are_times(postgres: PostgresUrl) -> None:
    put_in(postgres, *pairs(2))
    sql = (
        "SELECT count(*), pg_typeof(min(created_at))::text FROM exchanges WHERE created_at > now() - interval '1 year'"
    )
    assert rows_of(postgres, sql)[1] == (2, "timestamp with time zone")


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM contracts",
        "WITH gone AS (DELETE FROM contracts RETURNING 1) SELECT * FROM gone",
        "SELECT 1; DELETE FROM contracts",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT * FROM contracts FOR UPDATE",
        "EXPLAIN ANALYZE DELETE FROM contracts",
        "COPY contracts TO PROGRAM 'id'",
        "SELECT nextval(pg_get_serial_sequence('contracts', 'position'))",
        "SELECT nothing",
        "COMMIT",
        "",
    ],
)
def test_a_query_that_does_not_only_read_is_refused(postgres: PostgresUrl, sql: str) -> None:
    put_in(postgres, *pairs(1))
    with pytest.raises(UsageError):
        rows_of(postgres, sql)
    assert rows_of(postgres, "SELECT count(*) AS n FROM contracts WHERE 'a%s' LIKE '%s'") == [("n",), (2,)]
    assert rows_of(postgres, "SELECT 1 AS a WHERE false") == [("a",)]


def test_info_and_check_describe_a_sound_ledger_and_find_what_is_missing(postgres: PostgresUrl) -> None:
    put_in(postgres, *pairs(3))
    found = info(postgres)
    assert (found["contracts"], found["last_position"], found["revision"]) == (6, 6, found["newest_revision"])
    assert found["server"].startswith("PostgreSQL ")
    assert found["file_bytes"] == sum(found["tables"].values()) > found["tables"]["contracts"] > 0
    with Reader(postgres) as reader:
        reader.page(Filter(text="word1"))
    assert check(postgres) == []
    with closing(connect(postgres)) as connection, transaction(connection):
        connection.execute("DROP INDEX ix_contracts_parent_id")
        connection.execute("DELETE FROM contracts_text WHERE position = 3")
        connection.execute("DELETE FROM contracts WHERE position = 6")
    problems = {(each.check, each.problem) for each in check(postgres)}
    assert ("schema", "the index ix_contracts_parent_id is missing") in problems
    assert ("full text", "the full-text index does not match the contracts") in problems
    assert ("requests", "a REQUEST that ended without a RESPONSE") in problems
    assert {each.check for each in check(postgres, fix=True)} == {"schema", "requests"}


def aged(*rows: Record) -> list[Record]:
    return [row._replace(created_at=OLD, completed_at=row.completed_at and OLD) for row in rows]


def test_a_prune_removes_old_exchanges_with_what_belongs_to_them(postgres: PostgresUrl) -> None:
    still_open = aged(request(status="in_progress", completed_at=None, claimed_by="0" * 26))
    put_in(postgres, *aged(*pairs(300)), *still_open, *pairs(2))
    with Reader(postgres) as reader:
        assert len(reader.page(Filter(text="word*"), limit=None)) == 302
    rules = Rules(before=CUT, max_bytes=None, young_after=now(), keyed_after=now())
    planned, done = plan(postgres, rules), prune(postgres, rules)
    assert (planned.pruned.exchanges, done.pruned.exchanges, done.pruned.contracts) == (300, 300, 600)
    assert 0 < done.used_bytes < done.used_bytes_before
    with Reader(postgres) as reader:
        assert (reader.total(Filter()), len(reader.page(Filter(text="word*"), limit=None))) == (6, 2)
    assert check(postgres) == []
    assert prune(postgres, rules).pruned.exchanges == 0


def test_a_maximum_size_removes_the_oldest_exchanges_only_as_far_as_needed(postgres: PostgresUrl) -> None:
    put_in(postgres, *aged(*pairs(400)))
    whole = plan(postgres, Rules(before=CUT, max_bytes=None, young_after=now(), keyed_after=now())).used_bytes_before
    rules = Rules(before=None, max_bytes=whole // 2, young_after=CUT, keyed_after=CUT)
    assert 150 < plan(postgres, rules).pruned.exchanges < 300
    done = prune(postgres, rules)
    assert 150 < done.pruned.exchanges <= 300
    assert done.is_small_enough
    assert prune(postgres, rules).pruned.exchanges == 0


def test_no_byte_of_erased_contracts_is_left_in_the_tables_of_the_server(
    cluster: Cluster, postgres: PostgresUrl
) -> None:
    asked = request("leak", f"{NEEDLE} {'long ' * 1000}")
    answered = response(asked, {"echo": NEEDLE})
    failed = request("leak", "harmless", status="failed")
    lost = response(failed)._replace(result=None, error=f"rejected {NEEDLE}")
    put_in(postgres, *pairs(20), asked, answered, failed, lost, *pairs(20))
    claim = {"text": f"use {NEEDLE}", "contract_ids": [asked.contract_id]}
    with Memory(postgres) as memory:
        memory.add(BlockRow("mem_1", "leak", OLD, 44, jsonio.encode({"aims": [claim], "ends": {}})), 0)
    with Database(postgres).transactions() as connection, transaction(connection):
        for sql in (
            f"INSERT INTO attempts VALUES ('{asked.contract_id}', 1, 'a', '{OLD}', '{OLD}', 'agent_lost', 'lost {NEEDLE}')",
            f"INSERT INTO webhooks VALUES ('{asked.contract_id}', 'https://example.org/{NEEDLE}', 0, NULL, NULL)",
            f"INSERT INTO batch_lines VALUES ('01GENERATION', '{NEEDLE}:0123', '{asked.contract_id}')",
            f"INSERT INTO idempotency_keys VALUES ('', 'k', '{NEEDLE}', '{asked.contract_id}')",
        ):
            connection.execute(sql)
    with Reader(postgres) as reader:
        assert len(reader.page(Filter(text=NEEDLE), limit=None)) == 3
    in_database = f"SELECT '{cluster.folder}/data/base/' || oid FROM pg_database WHERE datname = current_database()"
    (folder,) = rows_of(postgres, in_database)[1]
    with closing(connect(postgres)) as connection:
        connection.execute("ANALYZE")
    cluster.psql("CHECKPOINT")

    def has_needle() -> bool:
        last = NEEDLE.rpartition("-")[2]
        return subprocess.run(["grep", "-rqai", last, str(folder)], check=False).returncode == 0

    assert has_needle()
    planned, done = erased(postgres, text=NEEDLE)
    assert planned.rewrite is not None
    assert planned.rewrite.blocks_readers
    assert (done.counts.exchanges, done.counts.blocks, done.cleaned) == (2, 1, True)
    cluster.psql("CHECKPOINT")
    assert not has_needle()
    with Reader(postgres) as reader:
        assert reader.page(Filter(text=NEEDLE)) == []
        assert len(reader.page(Filter(text="word0"), limit=None)) == 2
    assert check(postgres) == []


def test_an_erasure_is_unfinished_while_a_transaction_may_still_see_the_old_rows(postgres: PostgresUrl) -> None:
    put_in(postgres, *pairs(1))
    with closing(connect(postgres)) as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM contracts")
        assert not rewrite(postgres, wait_s=0.1)
        other.execute("COMMIT")
    assert rewrite(postgres, wait_s=5)


def test_an_erasure_waits_for_a_transaction_of_another_database_too(cluster: Cluster, postgres: PostgresUrl) -> None:
    """The server keeps dead rows as long as any transaction is older, whose snapshot its own VACUUM FULL includes."""
    put_in(postgres, *pairs(1))
    with cluster.database() as name, closing(connection_to(PostgresUrl(cluster.url(name)))) as other:
        other.execute("BEGIN")
        other.execute("SELECT pg_current_xact_id()")
        assert not rewrite(postgres, wait_s=0.1)
        other.execute("COMMIT")
        assert rewrite(postgres, wait_s=5)


def test_vacuum_returns_the_space_of_deleted_contracts(postgres: PostgresUrl) -> None:
    put_in(postgres, *pairs(500))
    with closing(connect(postgres)) as connection, transaction(connection):
        connection.execute("DELETE FROM contracts")
    done = vacuum(postgres)
    assert done.is_final
    assert done.bytes < done.bytes_before


def test_a_backup_is_restored_into_an_empty_database_and_into_no_other(
    cluster: Cluster, postgres: PostgresUrl, tmp_path: Path
) -> None:
    put_in(postgres, *exchanges())
    file = tmp_path / "ledger.dump"
    copied = back_up(postgres, file)
    assert (copied.contracts, copied.last_position) == (9, 9)
    assert re.fullmatch(r"0o100600", oct(file.stat().st_mode))
    with pytest.raises(Conflict):
        back_up(postgres, file)
    with pytest.raises(Conflict, match="is not empty"):
        restore(file, postgres)
    with cluster.database() as name:
        target = PostgresUrl(cluster.url(name))
        done = restore(file, target)
        assert (done.copied.contracts, done.kept_as) == (9, None)
        assert check(target) == []
        sql = "SELECT * FROM contracts ORDER BY position"
        assert rows_of(target, sql) == rows_of(postgres, sql)
        put_in(target, *pairs(1))
        assert info(target)["last_position"] == 11


def test_a_backup_of_a_newer_aorch_or_of_another_program_restores_nothing(
    cluster: Cluster, postgres: PostgresUrl, tmp_path: Path
) -> None:
    newer, other = tmp_path / "newer.dump", tmp_path / "other.dump"
    put_in(postgres, *pairs(1))
    with closing(connect(postgres)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with cluster.database() as name:
        cluster.psql("CREATE TABLE things AS SELECT 1", name)
        for source, file in ((str(postgres), newer), (cluster.url(name), other)):
            subprocess.run(["pg_dump", "-Fc", f"--dbname={source}", f"--file={file}"], check=True)
    with cluster.database() as name:
        for file, error in ((newer, LedgerTooNew), (other, LedgerInvalid)):
            with pytest.raises(error):
                restore(file, PostgresUrl(cluster.url(name)))
            assert cluster.psql("SELECT FROM pg_tables WHERE schemaname = 'public'", name) == ""

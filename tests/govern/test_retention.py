"""Retention by `aorch ledger prune` and by a service: which exchanges stay, and what is said."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from homes import Home
from ledger_state import refusing_deletions, written
from revisions import ledger_at
from rows import pairs, put, request
from serving import serving
from waiting import wait_for

from aorch.config.quantities import duration_s, size_bytes
from aorch.govern.retention import last_prune
from aorch.ledger.database import LockedState
from aorch.ledger.outbox import Outbox

AGED = "2020-01-01T00:00:00.000Z"


@pytest.fixture
def aged(home: Home) -> Home:
    """A machine whose ledger has 30 old exchanges and 2 young ones."""
    old = [row._replace(created_at=AGED, completed_at=AGED) for row in pairs(30)]
    put(home.ledger, *old, *pairs(2, "young"))
    return home


def sessions(home: Home) -> dict[str, int]:
    return dict(home.rows("SELECT session_id, count(*) FROM contracts GROUP BY session_id"))


@contextmanager
def pruning_elsewhere(ledger: Path) -> Iterator[None]:
    """Hold the lock that a process holds while it prunes."""
    with closing(LockedState(ledger, "retention")):
        yield


@pytest.mark.parametrize(
    ("text", "seconds"), [("90d", 7_776_000), ("1d12h", 129_600), ("2 weeks", 1_209_600), ("", None), ("90", None)]
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float | None) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("1.5 MiB", 3 * 2**19), ("500 kb", 500_000), ("7", 7), ("7b", 7), ("x", None), ("1ib", None)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int | None) -> None:
    assert size_bytes(text) == size


def test_a_dry_run_says_what_would_go_and_changes_nothing(aged: Home) -> None:
    before = written(aged.ledger)
    done = aged.aorch("ledger", "prune", "--keep", "90d", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("would remove  30 exchanges (60 contracts, ")
    assert f"from  {AGED} to {AGED}\n" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert "\nsize  about " in done.out
    assert written(aged.ledger) == before
    assert last_prune(aged.ledger) is None
    plan = aged.aorch("ledger", "prune", "--keep", "90d", "--dry-run", "--json").json
    found = aged.aorch("ledger", "prune", "--keep", "90d", "--json").json
    same = ("exchanges", "contracts", "content_bytes", "oldest_at", "newest_at", "kept", "batches", "used_bytes_before")
    assert {name: plan[name] for name in same} == {name: found[name] for name in same}
    assert (plan["dry_run"], found["dry_run"]) == (True, False)


def test_a_prune_removes_by_the_configuration_and_says_what_it_did(aged: Home) -> None:
    aged.write("aorch.toml", '[retention]\nkeep = "90d"\n')
    done = aged.aorch("ledger", "prune")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("removed  30 exchanges (60 contracts, ")
    assert "`aorch ledger vacuum` shrinks it once" in done.out
    assert sessions(aged) == {"young": 4}
    last = last_prune(aged.ledger)
    assert last is not None
    assert last.exchanges == 30
    assert f"pruned     {last.ended_at}: 30 exchanges\n" in aged.aorch("ledger", "info").out
    assert aged.aorch("ledger", "prune").out.startswith("removed  0 exchanges (0 contracts, 0 bytes of content)\n")


def test_options_override_the_configuration(aged: Home) -> None:
    aged.write("aorch.toml", '[retention]\nkeep = "90d"\nonly = { status = "failed" }\n')
    assert aged.aorch("ledger", "prune", "--json").json["kept"] == {"status": 30}
    done = aged.aorch("ledger", "prune", "--status", "completed", "--json").json
    assert (done["exchanges"], done["kept"]) == (30, {})
    assert aged.aorch("ledger", "prune", "--keep", "100000d", "--json").json["exchanges"] == 0


def test_exchanges_that_trace_has_not_received_stay_unless_asked(aged: Home) -> None:
    with Outbox(aged.ledger) as outbox:
        outbox.advance(20, 20)
    done = aged.aorch("ledger", "prune", "--keep", "90d")
    assert done.out.startswith("removed  10 exchanges")
    assert "kept  20 exchanges not yet received by Trace (--without-trace removes them too)" in done.out
    assert aged.aorch("ledger", "prune", "--keep", "90d", "--without-trace", "--json").json["exchanges"] == 20


def test_a_configured_trace_that_received_nothing_yet_keeps_everything(aged: Home) -> None:
    aged.environment["TRACE_URL"] = "http://127.0.0.1:9"
    assert aged.aorch("ledger", "prune", "--keep", "90d", "--json").json["kept"] == {"trace": 30}
    aged.environment["TRACE_URL"] = "off"
    assert aged.aorch("ledger", "prune", "--keep", "90d", "--json").json["exchanges"] == 30


@pytest.mark.sqlite_only("the size of the file")
def test_the_file_shrinks_by_itself_once_it_was_rewritten(home: Home) -> None:
    old = [row._replace(created_at=AGED, completed_at=AGED) for row in pairs(3000)]
    put(home.ledger, *old)
    assert home.aorch("ledger", "vacuum").code == 0
    before = home.ledger.stat().st_size
    done = home.aorch("ledger", "prune", "--keep", "1d")
    assert "vacuum" not in done.out
    info = home.aorch("ledger", "info", "--json").json
    assert info["free_bytes"] == 0
    assert home.ledger.stat().st_size < before / 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no limit is set: neither an age nor a size"),
        (("--keep", "soon"), "--keep: 'soon' is not a duration"),
        (("--keep", "0d"), "--keep: '0d' must be more than 0"),
        (("--keep", "2 months"), "hours, days or weeks; write 30d for a month"),
        (("--max-size", "0"), "--max-size: '0' must be more than 0"),
        (("--max-size", "big"), "--max-size: 'big' is not a size"),
        (("--keep", "1d", "--status", "done"), "--status: no exchange ends as 'done'"),
        (("--status", "failed"), "--status has no effect without --keep or --max-size"),
    ],
)
def test_an_invalid_option_is_refused_with_the_next_step(home: Home, arguments: tuple[str, ...], said: str) -> None:
    done = home.aorch("ledger", "prune", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "\nhint: " in done.err


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('keep = "soon"', "retention.keep: 'soon' is not a duration"),
        ("keep = 90", "retention.keep: expected a string"),
        ('max_size = "2 elephants"', "retention.max_size: '2 elephants' is not a size"),
        ('keep = "1d"\nonly = { status = ["failed", "lost"] }', "retention.only: no exchange ends as 'lost'"),
        ('only = { status = "failed" }', "retention.only has no effect without"),
        ('keeps = "1d"', "unknown key retention.keeps"),
    ],
)
def test_an_invalid_configuration_names_the_key(home: Home, table: str, said: str) -> None:
    home.write("aorch.toml", f"[retention]\n{table}\n")
    done = home.aorch("ledger", "prune")
    assert done.code == 2
    assert said in done.err


def test_one_process_prunes_a_ledger_at_a_time(aged: Home) -> None:
    with pruning_elsewhere(aged.ledger):
        done = aged.aorch("ledger", "prune", "--keep", "90d")
        assert (done.code, done.out) == (14, "")
        assert "another process prunes the ledger" in done.err
        assert aged.aorch("ledger", "prune", "--keep", "90d", "--dry-run").code == 0
    assert aged.aorch("ledger", "prune", "--keep", "90d").code == 0


@pytest.mark.sqlite_only("the permissions of the file")
def test_a_dry_run_works_on_a_read_only_ledger(aged: Home) -> None:
    aged.ledger.chmod(0o400)
    plan = aged.aorch("ledger", "prune", "--keep", "90d", "--dry-run")
    assert plan.code == 0, plan.err


@pytest.mark.sqlite_only("an old file")
def test_an_older_ledger_is_upgraded_and_pruned(bare_home: Home) -> None:
    ledger_at(bare_home.ledger, "0014")
    assert bare_home.aorch("ledger", "prune", "--keep", "90d").code == 0
    assert bare_home.aorch("ledger", "prune", "--keep", "90d", "--ledger", "none.db").code == 12


def test_a_service_prunes_by_itself_while_it_works(aged: Home) -> None:
    aged.write("aorch.toml", '[retention]\nkeep = "90d"\n')
    with serving(aged) as server:
        wait_for(lambda: sessions(aged).keys() == {"young"})
        wait_for(lambda: last_prune(aged.ledger) is not None)
        assert server.get("/v1/health").json()["down"] == []
        assert server.get("/v1/status").json()["contracts"]["total_contracts"] == 4


def test_a_service_shows_in_its_health_that_it_cannot_prune(aged: Home) -> None:
    aged.write("aorch.toml", '[retention]\nkeep = "90d"\n')
    with ExitStack() as refusing:
        refusing.enter_context(refusing_deletions(aged.ledger))
        with serving(aged) as server:
            wait_for(lambda: server.get("/v1/health").json()["status"] == "degraded")
            assert [each["loop"] for each in server.get("/v1/health").json()["down"]] == ["retention"]
            assert sessions(aged) == {"s": 60, "young": 4}
            refusing.close()
            wait_for(lambda: server.get("/v1/health").json()["status"] == "healthy")
            assert sessions(aged) == {"young": 4}


def test_several_workers_of_a_service_prune_once(aged: Home) -> None:
    aged.write("aorch.toml", '[retention]\nkeep = "90d"\n')
    with serving(aged, "--workers", "2") as server:
        wait_for(lambda: last_prune(aged.ledger) is not None)
        first = last_prune(aged.ledger)
        assert server.get("/v1/health").json()["status"] == "healthy"
        assert last_prune(aged.ledger) == first
    assert first is not None
    assert first.exchanges == 30


def test_what_a_dead_process_left_open_long_ago_has_ended_for_a_prune(home: Home) -> None:
    """A prune from cron may be the first command after a crash."""
    left_open = request(status="in_progress", completed_at=None, claimed_by="0" * 26, created_at=AGED)
    put(home.ledger, left_open)
    done = home.aorch("ledger", "prune", "--keep", "90d", "--json").json
    assert (done["exchanges"], done["kept"]) == (0, {})
    assert home.rows("SELECT status FROM contracts ORDER BY position") == [("failed",), ("interrupted",)]

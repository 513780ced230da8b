"""Fixtures for all tests: homes with a ledger, a Trace double, bounded waits."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

pytest.register_assert_rewrite(*(file.stem for file in Path(__file__).with_name("support").glob("*.py")))

import ledgers  # noqa: E402  likewise
from homes import Home, abandon, empty_home, home_with_ledger, prestarted, started  # noqa: E402  pytest rewrites it before its import
from waiting import WAIT_S  # noqa: E402

from aorch import Orchestrator  # noqa: E402

if TYPE_CHECKING:
    from disks import Disk
    from postgres_servers import Cluster
    from trace_double import Double

    from aorch.config.ledger_location import LedgerLocation, PostgresUrl

for _profile, _examples in (("suite", 25), ("thorough", 200)):  # .ci/run uses the second one for the long trials
    settings.register_profile(
        _profile, deadline=None, max_examples=_examples
    )  # no deadline: a busy machine is no fault
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(number) is signal.SIG_IGN:
        # started by nohup, or in the background of a script: commands of tests must not inherit that, and inherit no handler
        signal.signal(number, lambda *_: None)


SHARED = "AORCH_TEST_SHARED"
"""The variable with the folder that the workers of this session share."""


def pytest_configure(config: pytest.Config) -> None:
    """The process that starts the workers creates the folder that they share."""
    if not hasattr(config, "workerinput"):
        os.environ[SHARED] = tempfile.mkdtemp(prefix="aorch-tests-")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect tests without collecting garbage, which takes a third less time. No garbage is searched among them later."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two more than the processors, because many tests wait for a process."""
    return (os.cpu_count() or 1) + 2


@pytest.fixture(autouse=True)
def _end_commands_of_a_failed_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Commands that a failed test leaves running end with it; their open pipes would fail a later test."""
    earlier, failures = set(started), request.session.testsfailed
    yield
    if request.session.testsfailed > failures:
        for process in set(started) - earlier:
            abandon(process)


@pytest.fixture(scope="session", autouse=ledgers.ON_POSTGRESQL)
def _database_server(cluster: "Cluster") -> None:
    """The server on which the ledgers of all tests are, if they are on PostgreSQL."""
    ledgers.clusters.append(cluster)


@pytest.fixture(autouse=ledgers.ON_POSTGRESQL)
def _remove_databases() -> Iterator[None]:
    """Remove the ledgers of this test; those of a module end with the server."""
    earlier = set(ledgers.databases)
    yield
    ledgers.drop(ledgers.databases - earlier)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of the other database: of SQLite's files if ledgers are on PostgreSQL, otherwise of its servers.

    The long trials run for both at once.
    """
    chosen, others = [], []
    for item in items:
        of_postgresql = "cluster" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("torture")
        is_other = item.get_closest_marker("sqlite_only") if ledgers.ON_POSTGRESQL else of_postgresql
        (others if is_other else chosen).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = chosen


@pytest.fixture
def home(tmp_path: Path, made_ledger: Path) -> Home:
    """A machine with an empty ledger."""
    return home_with_ledger(tmp_path, made_ledger)


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory, made_ledger: Path) -> Home:
    """A machine with an empty ledger that the tests of a module share."""
    return home_with_ledger(tmp_path_factory.mktemp("home"), made_ledger)


@pytest.fixture
def incident(home: Home) -> Home:
    """A machine whose ledger contains one session."""
    from memory_homes import incident_4711, take_in

    take_in(home, incident_4711())
    return home


@pytest.fixture
def disk(home: Home) -> "Iterator[Disk]":
    """A disk of 512 KiB on which the ledger of `home` is."""
    from disks import small_disk

    with small_disk(home) as disk:
        yield disk


@pytest.fixture
def double(tmp_path: Path) -> "Iterator[Double]":
    """A double of Trace, on a free port."""
    from trace_double import doubling

    with doubling(tmp_path / "trace") as double:
        yield double


@pytest.fixture
def traced(home: Home, double: "Double") -> Home:
    """A home that delivers its contracts to the double of Trace."""
    home.environment["TRACE_URL"] = double.url
    return home


@pytest.fixture
def bare_home(tmp_path: Path) -> Home:
    """A machine without a ledger."""
    return empty_home(tmp_path)


@pytest.fixture(scope="session")
def made_ledger() -> Path:
    """An empty ledger, which tests copy."""
    return ledgers.empty_ledger()


@pytest.fixture(scope="session")
def cluster() -> "Cluster":
    """A PostgreSQL server, which all workers of this session share."""
    import postgres_servers

    if postgres_servers.programs() is None:
        pytest.skip("PostgreSQL is not installed")
    return postgres_servers.shared(Path(os.environ[SHARED]))


@pytest.fixture
def postgres(cluster: "Cluster") -> "Iterator[PostgresUrl]":
    """The URL of an empty PostgreSQL database."""
    from aorch.config.ledger_location import PostgresUrl

    with cluster.database() as name:
        yield PostgresUrl(cluster.url(name))


@pytest.fixture
def postgres_ledger(cluster: "Cluster") -> "Iterator[PostgresUrl]":
    """The URL of a PostgreSQL database with an empty ledger."""
    import postgres_servers

    from aorch.config.ledger_location import PostgresUrl

    template = postgres_servers.ledger_template(cluster, Path(os.environ[SHARED]))
    with cluster.database(template) as name:
        yield PostgresUrl(cluster.url(name))


def pytest_unconfigure(config: pytest.Config) -> None:
    """The process that started the workers ends what they shared."""
    if not hasattr(config, "workerinput"):
        import postgres_servers

        postgres_servers.stop_shared(Path(os.environ[SHARED]))
        shutil.rmtree(os.environ.pop(SHARED))


@pytest.fixture
def no_leftovers() -> Iterator[None]:
    """No child of this process outlives the test."""
    import psutil

    forked = prestarted()
    above = [psutil.Process(), *([psutil.Process(forked.pid)] if forked else [])]

    def children() -> set[psutil.Process]:
        return {child for process in above for child in process.children(recursive=True)}

    before = children()
    yield
    _, alive = psutil.wait_procs(children() - before, timeout=WAIT_S)
    assert not alive


@pytest.fixture
async def orchestrator(
    tmp_path: Path, made_ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Orchestrator]:
    """An orchestrator over an empty ledger, with the example agent and nothing of this machine's configuration."""
    (tmp_path / "aorch.toml").touch()
    monkeypatch.chdir(tmp_path)
    ledger: LedgerLocation = tmp_path / "ledger.db"
    if ledgers.ON_POSTGRESQL or not (tmp_path / "ledger.db").exists():
        ledger = ledgers.new_ledger(tmp_path)
    async with Orchestrator(ledger) as orchestrator:
        yield orchestrator

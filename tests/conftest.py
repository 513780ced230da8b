"""Fixtures for all tests: homes with a ledger, a Trace double, bounded waits."""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

pytest.register_assert_rewrite(*(file.stem for file in Path(__file__).with_name("support").glob("*.py")))

from homes import Home, abandon, empty_home, home_with_ledger, prestarted, started  # noqa: E402  pytest rewrites it before its import
from rows import empty_ledger  # noqa: E402
from waiting import WAIT_S  # noqa: E402

from aorch import Orchestrator  # noqa: E402

if TYPE_CHECKING:
    from disks import Disk
    from trace_double import Double

settings.register_profile("suite", deadline=None, max_examples=60)  # no deadline: a busy machine is no fault
settings.load_profile("suite")
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(number) is signal.SIG_IGN:
        # started by nohup, or in the background of a script: commands of tests must not inherit that, and inherit no handler
        signal.signal(number, lambda *_: None)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than the processors, because many tests wait for a process."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True)
def _end_commands_of_a_failed_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Commands that a failed test leaves running end with it; their open pipes would fail a later test."""
    earlier, failures = set(started), request.session.testsfailed
    yield
    if request.session.testsfailed > failures:
        for process in set(started) - earlier:
            abandon(process)


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
    return empty_ledger()


@pytest.fixture
def no_leftovers() -> Iterator[None]:
    """No child of this process outlives the test."""
    import psutil

    prestarted()  # which stays
    before = set(psutil.Process().children(recursive=True))
    yield
    _, alive = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=WAIT_S)
    assert not alive


@pytest.fixture
async def orchestrator(
    tmp_path: Path, made_ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Orchestrator]:
    """An orchestrator over an empty ledger, with the example agent and nothing of this machine's configuration."""
    (tmp_path / "aorch.toml").touch()
    monkeypatch.chdir(tmp_path)
    if not (tmp_path / "ledger.db").exists():
        shutil.copy(made_ledger, tmp_path / "ledger.db")
    async with Orchestrator(tmp_path / "ledger.db") as orchestrator:
        yield orchestrator

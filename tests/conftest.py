"""What the tests stand on: the real program in a real process, real files, and bounded waits."""

import atexit
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prestarted import Prestarted

from aorch import Orchestrator

if TYPE_CHECKING:
    from trace_double import Double

WAIT_S = 5.0
"""No wait in a test is longer."""


@dataclass
class Home:
    """A person's machine: an empty home, a working directory, a ledger; and `aorch` in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    def aorch(self, *arguments: str, stdin: str | bytes | None = None, timeout: float = 60) -> "Result":
        """Run the console command to its end."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        forked = prestarted()
        if forked and forked.can_run(self.environment):
            folder = os.open(self.folder, os.O_DIRECTORY)
            try:
                code, out, err = forked.run(list(arguments), given, folder, self.environment, timeout)
            finally:
                os.close(folder)
            return Result(code, out.decode(), err.decode())
        done = subprocess.run(
            self.command(*arguments),
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            cwd=self.folder,
            env=self.environment,
            timeout=timeout,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start the console command and leave it running."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
        return subprocess.Popen(self.command(*arguments), cwd=self.folder, env=self.environment, **options)

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "aorch", *arguments]

    def write(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.write_text(content, encoding="utf-8")
        return path

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the ledger's file holds, read by SQLite alone."""
        connection = sqlite3.connect(f"{self.ledger.as_uri()}?mode=ro", uri=True)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()


@cache
def prestarted() -> Prestarted | None:
    """The process that commands are forks of; None on a system that cannot wait for one of several processes."""
    if not hasattr(os, "pidfd_open"):
        return None
    folder = Path(tempfile.mkdtemp(prefix="aorch-commands-"))
    forked = Prestarted(folder, empty_home(folder).environment)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(forked.stop)
    return forked


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def empty_home(folder: Path) -> Home:
    """An empty machine in `folder`: nothing of this one's configuration is seen."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "AORCH_LEDGER": str(folder / "ledger.db"),
        "LANG": "C.UTF-8",
        "PYTHONWARNINGS": "error",
    }
    (folder / "aorch.toml").touch()
    return Home(folder, environment)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are processors: many a test waits for a process."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture
def home(tmp_path: Path, made_ledger: Path) -> Home:
    """A machine with an empty ledger, which is there already: making it would be most of a test's time."""
    home = empty_home(tmp_path)
    shutil.copy(made_ledger, home.ledger)
    return home


@pytest.fixture
def incident(home: Home) -> Home:
    """A machine whose ledger holds one session."""
    from memory_homes import incident_4711, take_in

    take_in(home, incident_4711())
    return home


@pytest.fixture
def double(tmp_path: Path) -> "Iterator[Double]":
    """Trace, on a free port."""
    from trace_double import doubling

    with doubling(tmp_path / "trace") as double:
        yield double


@pytest.fixture
def traced(home: Home, double: "Double") -> Home:
    """A home whose contracts are delivered to that Trace."""
    home.environment["TRACE_URL"] = double.url
    return home


@pytest.fixture
def bare_home(tmp_path: Path) -> Home:
    """A machine on which there is no ledger yet."""
    return empty_home(tmp_path)


@pytest.fixture(scope="session")
def made_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger as it is on any day but the first: making one takes longer than most tests."""
    ledger = tmp_path_factory.mktemp("made") / "ledger.db"
    python = "import sys, pathlib; from aorch.ledger.ledger import Ledger; Ledger(pathlib.Path(sys.argv[1])).close()"
    subprocess.run([sys.executable, "-c", python, ledger], check=True, timeout=60)
    return ledger


@pytest.fixture
def wait_for() -> Callable[[Callable[[], Any]], Any]:
    """Ask again until the answer is true, at most WAIT_S; the answer."""

    def wait(ask: Callable[[], Any]) -> Any:
        end = time.monotonic() + WAIT_S
        while not (answer := ask()):
            assert time.monotonic() < end, f"still not so after {WAIT_S:g} s"
            os.sched_yield()
        return answer

    return wait


@pytest.fixture
def no_leftovers() -> Iterator[None]:
    """No child of this process outlives the test."""
    import psutil

    before = set(psutil.Process().children(recursive=True))
    yield
    _, alive = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=WAIT_S)
    assert not alive


@pytest.fixture
async def orchestrator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Orchestrator]:
    """An orchestrator over a new ledger, with the example agent and nothing of this machine's configuration."""
    (tmp_path / "aorch.toml").touch()
    monkeypatch.chdir(tmp_path)
    async with Orchestrator(tmp_path / "ledger.db") as orchestrator:
        yield orchestrator

"""A user's machine in a temporary folder, and the `aorch` command on it."""

import atexit
import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

import ledgers
from prestarted import Prestarted, command_at

from aorch.config.ledger_location import LedgerLocation

started: "weakref.WeakSet[subprocess.Popen[bytes]]" = weakref.WeakSet()
"""The commands that `Home.start` started."""


@dataclass
class Home:
    """A user's machine: one folder that is the home, the working directory and the place of the ledger."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    database: LedgerLocation | None = None

    @property
    def ledger(self) -> Any:
        """The location of the ledger: a Path, or a PostgresUrl if the tests run on PostgreSQL."""
        return self.database or self.folder / "ledger.db"

    def aorch(self, *arguments: str, stdin: str | bytes | None = None, timeout: float = 60) -> "Result":
        """Run `aorch` with `arguments` until it exits."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        forked = prestarted()
        if forked and forked.can_run(self.environment):
            code, out, err = forked.run(list(arguments), given, self.folder, self.environment, timeout)
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

    def start(self, *arguments: str, new_python: bool = False, **options: Any) -> subprocess.Popen[bytes]:
        """Start `aorch` with `arguments` as a process of its own and return it.

        `new_python` makes it a new interpreter, for tests of what happens while a command starts.
        """
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
        forked = prestarted()
        if forked and not new_python and "preexec_fn" not in options and forked.can_run(self.environment):
            command = forked.start(list(arguments), self.folder, self.environment, **options)
            process = cast("subprocess.Popen[bytes]", command)
        else:
            process = subprocess.Popen(self.command(*arguments), cwd=self.folder, env=self.environment, **options)
        started.add(process)
        return process

    def bash(self, line: str, *, new_python: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a line in bash, in which `aorch` is the command; with `new_python`, in a new interpreter."""
        forked = None if new_python else prestarted()
        command = forked.command if forked and forked.can_run(self.environment) else self.command()
        script = f'aorch() {{ {shlex.join(command)} "$@"; }}; {line}'
        return subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60
        )

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "aorch", *arguments]

    def write(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.write_text(content, encoding="utf-8")
        return path

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows that the database reads from the ledger."""
        if self.database is not None:
            return ledgers.rows(self.database, sql, *parameters)
        connection = sqlite3.connect(f"{self.ledger.as_uri()}?mode=ro", uri=True)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()


def abandon(process: "subprocess.Popen[bytes]") -> None:
    """Kill a command and close its pipes, also those that a thread still reads."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                getattr(pipe, "raw", pipe).close()


@cache
def prestarted() -> Prestarted | None:
    """The process of which commands are forks; None on a system without pidfd_open."""
    if not hasattr(os, "pidfd_open"):
        return None
    shared = os.environ.get("AORCH_TEST_SHARED")
    forked = Prestarted(_address(), _machine(_address().parent).environment, Path(shared) if shared else None)
    atexit.register(forked.stop)
    return forked


def script_command(script: Path) -> list[str]:
    """The words of a program that runs that Python script. It is quick to start if `prestarted` was called before."""
    return command_at(_address(), script) if hasattr(os, "pidfd_open") else [sys.executable, str(script)]


def start_script(script: str, *arguments: str, **streams: Any) -> "subprocess.Popen[bytes]":
    """Start that Python script in a process of its own. The streams are what they are for `subprocess.Popen`."""
    if (forked := prestarted()) is None:
        return subprocess.Popen([sys.executable, script, *arguments], **streams)
    process = forked.start(["--script", script, *arguments], Path.cwd(), dict(os.environ), **streams)
    return cast("subprocess.Popen[bytes]", process)


@cache
def _address() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="aorch-commands-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "commands"


@dataclass(frozen=True)
class Result:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def empty_home(folder: Path) -> Home:
    """A machine without a ledger in `folder`; it sees no configuration of the real machine."""
    home = _machine(folder)
    return _with_database(home, ledgers.no_ledger) if ledgers.ON_POSTGRESQL else home


def home_with_ledger(folder: Path, made_ledger: Path) -> Home:
    """A machine in `folder` with an empty ledger: a copy of `made_ledger`, or a new database."""
    home = _machine(folder)
    if ledgers.ON_POSTGRESQL:
        return _with_database(home, ledgers.new_ledger)
    shutil.copy(made_ledger, home.ledger)
    return home


def with_copy(home: Home, ledger: LedgerLocation) -> Home:
    """`home` with a copy of that ledger, which no process uses."""
    if isinstance(ledger, Path):
        shutil.copy(ledger, home.ledger)
        return home
    return _with_database(home, lambda folder: ledgers.copy_of(ledger, folder))


def _with_database(home: Home, created: Callable[[Path], LedgerLocation]) -> Home:
    home.database = created(home.folder)
    home.environment["AORCH_LEDGER"] = str(home.database)
    return home


def _machine(folder: Path) -> Home:
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

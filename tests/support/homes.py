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
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from prestarted import Prestarted

started: "weakref.WeakSet[subprocess.Popen[bytes]]" = weakref.WeakSet()
"""The commands that `Home.start` started."""


@dataclass
class Home:
    """A user's machine: one folder that is the home, the working directory and the place of the ledger."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

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
        """The rows that SQLite reads from the ledger's file."""
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
    folder = Path(tempfile.mkdtemp(prefix="aorch-commands-"))
    forked = Prestarted(folder, empty_home(folder).environment)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(forked.stop)
    return forked


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


def home_with_ledger(folder: Path, made_ledger: Path) -> Home:
    """A machine in `folder` with a copy of `made_ledger`."""
    home = empty_home(folder)
    shutil.copy(made_ledger, home.ledger)
    return home

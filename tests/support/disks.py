"""A small disk for the ledger, which a test can fill or remount read-only."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homes import Home, Result, prestarted


@dataclass
class Disk:
    """A small disk of its own, seen by the commands that `run` starts and by nobody else."""

    home: Home
    folder: Path
    enter: list[str]
    namespaces: tuple[str, ...]
    """Those that `enter` enters, as files."""

    def command(self, *command: str) -> list[str]:
        return [*self.enter, "sh", "-c", 'cd "$0" && exec "$@"', str(self.home.folder), *command]

    def run(self, *command: str) -> Result:
        done = subprocess.run(self.command(*command), env=self.home.environment, capture_output=True, timeout=120)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def aorch(self, *arguments: str) -> Result:
        environment, forked = self.home.environment, prestarted()
        if forked is None or not forked.can_run(environment):
            return self.run(*self.home.command(*arguments))
        options = {"timeout": 120, "namespaces": self.namespaces}
        code, out, err = forked.run(list(arguments), None, self.home.folder, environment, **options)
        return Result(code, out.decode(), err.decode())

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `aorch`; each program in front of it replaces itself, so the process id is that of aorch."""
        command, pipe = self.command(*self.home.command(*arguments)), subprocess.PIPE
        return subprocess.Popen(command, env=self.home.environment, stdout=pipe, stderr=pipe, text=True)

    def sql(self, statement: str) -> list[list[Any]]:
        program = (
            "import json, sqlite3, sys; print(json.dumps(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall()))"
        )
        return self.run(sys.executable, "-W", "ignore", "-c", program, str(self.folder / "ledger.db"), statement).json

    def remount(self, how: str) -> None:
        assert self.run("mount", "-o", f"remount,bind,{how}", str(self.folder)).code == 0

    def fill(self) -> None:
        """Write a file that leaves no block free."""
        self.run("sh", "-c", f"head -c 10M /dev/zero > {self.folder}/filler")


@contextmanager
def small_disk(home: Home) -> Iterator[Disk]:
    """A disk of 1 MiB for the ledger of `home`, until the end of the block.

    It is a tmpfs in a mount namespace, which root can create, and any other user in a user namespace.
    """
    folder = home.folder / "disk"
    folder.mkdir()
    home.environment["AORCH_LEDGER"] = str(folder / "ledger.db")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = f"mount -t tmpfs -o size=1m,nr_inodes=64,mode=700 tmpfs '{folder}' && echo ready && exec sleep 300"
    holder = subprocess.Popen(["unshare", *user, "--mount", "sh", "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout
    try:
        assert holder.stdout.readline() == b"ready\n"
        preserve = ["--user", "--preserve-credentials"] if user else []
        namespaces = tuple(f"/proc/{holder.pid}/ns/{kind}" for kind in (["user"] if user else []) + ["mnt"])
        yield Disk(home, folder, ["nsenter", "--target", str(holder.pid), *preserve, "--mount"], namespaces)
    finally:
        holder.kill()
        holder.communicate()

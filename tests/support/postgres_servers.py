"""A PostgreSQL server for tests: one cluster for a whole session of pytest, and an empty database for each test.

The programs are Debian's. As root they run as the user `postgres`, because PostgreSQL refuses to run as root.
"""

import fcntl
import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from secrets import token_hex

from ports import free_port

SUPERUSER = "aorch"
"""The role that owns everything; through the socket it needs no password. Over TCP each role needs one."""
ENOUGH_BYTES = 2**31
"""What the files of a session need at most: the write-ahead log and the databases of tests that run."""


@cache
def programs() -> Path | None:
    """The folder of the newest server's programs; None if none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(each.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@dataclass(frozen=True)
class Cluster:
    """A running server: its folder, in which its socket is, and its port, on which it also listens at 127.0.0.1."""

    folder: Path
    port: int
    addresses: str = "127.0.0.1"

    def url(self, database: str, **parameters: str) -> str:
        """The URL of a database through the socket."""
        query = "&".join(f"{name}={value}" for name, value in ({"host": str(self.folder)} | parameters).items())
        return f"postgresql://{SUPERUSER}@:{self.port}/{database}?{query}"

    def psql(self, sql: str, database: str = "postgres") -> str:
        """The answer of psql to `sql`, one line per row, without headings."""
        done = subprocess.run(
            [_program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", sql],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def database(self, template: str = "template0", encoding: str = "UTF8") -> Iterator[str]:
        """The name of a new database, which is removed at the end with all its connections."""
        name = f"t_{token_hex(6)}"
        self.psql(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING '{encoding}'")
        try:
            yield name
        finally:
            self.psql(f"DROP DATABASE {name} WITH (FORCE)")

    def control(self, *arguments: str) -> None:
        """Run pg_ctl for this server."""
        options = f"-k {self.folder} -p {self.port} -c listen_addresses={self.addresses}"
        _run("pg_ctl", "-D", self.folder / "data", "-w", "-o", options, "-l", self.folder / "log", *arguments)

    def stop(self) -> None:
        """Stop the server at once and remove its folder."""
        self.control("-m", "immediate", "stop")
        shutil.rmtree(self.folder)


def started(addresses: str = "127.0.0.1", **settings: str) -> Cluster:
    """A new server that listens at these addresses.

    Its writes survive the end of its processes, but not of the machine: nothing is synced."""
    folder = Path(tempfile.mkdtemp(prefix="aorch-postgres-", dir=_fast_disk()))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    auth = ("--auth-local=trust", "--auth-host=scram-sha-256")
    _run("initdb", "-D", folder / "data", "-U", SUPERUSER, "-E", "UTF8", "--no-locale", "--no-sync", *auth)
    defaults = {
        "fsync": "off",
        "max_connections": "300",
        "shared_buffers": "64MB",
        "max_wal_size": "256MB",
        "log_min_messages": "fatal",
    }
    with (folder / "data" / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in (defaults | settings).items())
    cluster = Cluster(folder, free_port(), addresses)
    cluster.control("start")
    return cluster


def shared(folder: Path) -> Cluster:
    """The server that the workers of a session of pytest share; the first one starts it. `folder` is theirs together."""
    with (folder / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = folder / "postgres"
        if not known.exists():
            cluster = started()
            known.write_text(f"{cluster.folder}\n{cluster.port}\n")
        place, port = known.read_text().split()
        return Cluster(Path(place), int(port))


def ledger_template(cluster: Cluster, folder: Path) -> str:
    """The name of a database with an empty ledger, from which CREATE DATABASE makes others in a tenth of the time."""
    from aorch.config.ledger_location import PostgresUrl
    from aorch.ledger.database import connect

    name = "ledger_template"
    with (folder / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cluster.psql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            cluster.psql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
            connect(PostgresUrl(cluster.url(name))).close()
    return name


def stop_shared(folder: Path) -> None:
    """Stop the server that `shared` started, if it did."""
    if (known := folder / "postgres").exists():
        place, port = known.read_text().split()
        Cluster(Path(place), int(port)).stop()
        known.unlink(missing_ok=True)


def _fast_disk() -> Path | None:
    """The memory, if it has space: CREATE DATABASE takes a tenth of the time there, because it creates 300 files."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ENOUGH_BYTES else None


def _program(name: str) -> str:
    folder = programs()
    assert folder is not None, "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    return str(folder / name)


def _run(name: str, *arguments: str | Path) -> None:
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    as_user = {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run(
        [_program(name), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # the server inherits it, so a pipe would never end
        stderr=subprocess.PIPE if name != "pg_ctl" else subprocess.DEVNULL,
        text=True,
        cwd="/",
        timeout=120,
        **as_user,  # type: ignore[arg-type]
    )
    assert done.returncode == 0, f"{name} failed: {done.stderr or ''}"

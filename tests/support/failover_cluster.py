"""A PostgreSQL cluster that survives failures, on this machine: three etcd, and three servers under Patroni with synchronous
replication.

etcd is Debian's (`apt-get install etcd-server`); Patroni comes from PyPI into an environment of Debian's own Python, which the
user `postgres` can read. AORCH_TEST_PATRONI names an existing environment.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from ports import free_port
from postgres_servers import programs
from waiting import wait_for

NODES = 3
TTL_S = 20
"""After how many seconds without a sign of the primary another server takes over. Patroni allows no less."""
START_S = 120.0
PRIORITY = -10
"""The cluster goes first, if the user may ask for that: a real one has its own machines, which aorch does not keep busy."""
_REAPER = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
sys.stdin.read()
subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
"""
"""Runs a Patroni once its priority is set (then stdin ends), and reaps it and its servers, for which Patroni itself waits as
long as they are zombies: the init of a container may never reap them. Ends when all of them have.
"""
_AS_POSTGRES: dict[str, Any] = (
    {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
)
_CONFIG = """
scope: aorch
name: {name}
log: {{level: WARNING, dir: {folder}}}
restapi: {{listen: "127.0.0.1:{rest}", connect_address: "127.0.0.1:{rest}"}}
etcd3: {{hosts: "{etcd}"}}
bootstrap:
  dcs:
    ttl: {ttl}
    loop_wait: 5
    retry_timeout: 5
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters: {{max_connections: 300, shared_buffers: 64MB, fsync: "off", wal_log_hints: "on", log_min_messages: fatal}}
  initdb: [{{encoding: UTF8}}, {{locale: C}}, no-sync]
postgresql:
  listen: "127.0.0.1:{port}"
  connect_address: "127.0.0.1:{port}"
  data_dir: {folder}/data
  bin_dir: {bin}
  pgpass: {folder}/pgpass
  authentication:
    superuser: {{username: aorch, password: secret}}
    replication: {{username: replicator, password: secret}}
    rewind: {{username: rewinder, password: secret}}
  pg_hba: ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
  parameters: {{unix_socket_directories: "{folder}"}}
"""


class FailoverCluster:
    """A running cluster, until `stop`. What dies is started again by `revive`, as systemd would do it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="aorch-cluster-"))
        self.folder.chmod(0o755)
        self._bin = programs()
        self._patroni = patroni(self.folder)
        self._etcd_ports = [(free_port(), free_port()) for _ in range(3)]
        self._ports = [(free_port(), free_port()) for _ in range(NODES)]
        self._etcd: list[subprocess.Popen[bytes] | None] = [None] * 3
        self._nodes: list[subprocess.Popen[bytes] | None] = [None] * NODES
        try:
            for number in range(NODES):
                self._configure(number)
            self.revive()
            self.wait_until_whole()
            self.psql("CREATE DATABASE aorch")
        except BaseException:
            self.stop()
            raise

    def url(self) -> str:
        """The URL of the ledger: all servers, of which the one that accepts writes is used."""
        hosts = ",".join(f"127.0.0.1:{port}" for port, _ in self._ports)
        return f"postgresql://aorch@{hosts}/aorch?target_session_attrs=read-write&connect_timeout=3"

    def psql(self, sql: str) -> str:
        """The answer of the primary to `sql`, one line per row."""
        url = self.url().replace("/aorch?", "/postgres?") if sql.startswith("CREATE DATABASE") else self.url()
        assert self._bin is not None
        command = [self._bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def is_whole(self) -> bool:
        """Whether there is a primary and the other servers are its replicas, one of them synchronous."""
        states = [self._answer(number) for number in range(NODES)]
        roles = sorted(str(each.get("role")) for each in states)
        synchronous = any(each.get("sync_standby") for each in states)
        running = all(each.get("state") in ("running", "streaming") for each in states)
        return running and synchronous and roles == ["primary"] + ["replica"] * (NODES - 1)

    def primary(self) -> int | None:
        """The number of the server that accepts writes, if there is one."""
        roles = [self._answer(number).get("role") for number in range(NODES)]
        return roles.index("primary") if "primary" in roles else None

    def kill_primary(self) -> int:
        """Kill the primary server and its Patroni at once. Returns its number."""
        number: int = wait_for(lambda: (found := self.primary()) is not None and (found + 1), START_S) - 1
        self._kill_node(number)
        return number

    def wait_until_whole(self) -> None:
        """Wait until `is_whole`."""
        wait_for(self.is_whole, START_S)

    def kill_etcd(self, number: int) -> None:
        """Kill one etcd."""
        process = self._etcd[number]
        if process is not None:
            process.kill()
            process.wait()
            self._etcd[number] = None

    def revive(self) -> None:
        """Start what does not run."""
        for number, process in enumerate(self._etcd):
            if process is None:
                self._etcd[number] = self._start_etcd(number)
        for number, process in enumerate(self._nodes):
            if process is None:
                folder, options = self._patroni / "bin", self._place(number) / "patroni.yml"
                command = (folder / "python", "-c", _REAPER, folder / "patroni", options)
                self._nodes[number] = self._start(f"node{number}", *command)

    def stop(self) -> None:
        """Kill everything and remove it."""
        for number in range(NODES):
            self._kill_node(number)
        for number in range(3):
            self.kill_etcd(number)
        shutil.rmtree(self.folder, ignore_errors=True)

    def logs(self) -> str:
        """The last lines of all logs, for the report of a failed test."""
        files = sorted(self.folder.glob("*.log")) + sorted(self.folder.glob("node*/patroni.log"))
        return "\n".join(f"== {each}\n" + "\n".join(each.read_text().splitlines()[-15:]) for each in files)

    def _place(self, number: int) -> Path:
        return self.folder / f"node{number}"

    def _kill_node(self, number: int) -> None:
        process = self._nodes[number]
        if process is not None:
            wait_for(lambda: _kill_below(process) or process.poll() is not None)
            self._nodes[number] = None

    def _configure(self, number: int) -> None:
        place = self._place(number)
        place.mkdir()
        port, rest = self._ports[number]
        etcd = ",".join(f"127.0.0.1:{client}" for client, _ in self._etcd_ports)
        values = {"name": place.name, "folder": place, "rest": rest, "etcd": etcd, "ttl": TTL_S, "port": port}
        (place / "patroni.yml").write_text(_CONFIG.format(**values, bin=self._bin))
        for each in (self.folder, place, place / "patroni.yml"):
            if _AS_POSTGRES:
                shutil.chown(each, "postgres", "postgres")

    def _start_etcd(self, number: int) -> subprocess.Popen[bytes]:
        client, peer = (f"http://127.0.0.1:{port}" for port in self._etcd_ports[number])
        peers = ",".join(f"etcd{i}=http://127.0.0.1:{port}" for i, (_, port) in enumerate(self._etcd_ports))
        options = {
            "name": f"etcd{number}",
            "data-dir": self.folder / f"etcd{number}",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": peers,
            "log-level": "error",
        }
        return self._start(f"etcd{number}", "etcd", *(f"--{name}={value}" for name, value in options.items()))

    def _start(self, name: str, *command: Path | str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.folder)},
                **_AS_POSTGRES,
            )
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, process.pid, PRIORITY)
        assert process.stdin is not None
        process.stdin.close()
        return process

    def _answer(self, number: int) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[number][1]}/patroni", timeout=2) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:  # 503 of a replica
            return dict(json.loads(error.read() or b"{}"))
        except OSError:
            return {}


def patroni(folder: Path) -> Path:
    """An environment with Patroni: that of AORCH_TEST_PATRONI, or a new one in `folder`."""
    if given := os.environ.get("AORCH_TEST_PATRONI"):
        return Path(given)
    place = folder / "patroni"
    subprocess.run(["/usr/bin/python3", "-m", "venv", place], check=True, capture_output=True)
    packages = ["patroni[etcd3]", "psycopg[binary]"]
    subprocess.run([place / "bin" / "pip", "install", "-q", *packages], check=True, capture_output=True)
    return place


def _kill_below(process: subprocess.Popen[bytes]) -> None:
    """Kill all processes below `process`, the topmost first."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()

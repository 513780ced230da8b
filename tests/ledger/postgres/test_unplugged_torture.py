"""A machine whose network is gone: the server ends its locks, though no packet says that it left."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from secrets import token_hex

import postgres_servers
import psycopg
import pytest
from postgres_servers import SUPERUSER
from waiting import wait_for

from aorch.config.ledger_location import PostgresUrl
from aorch.ledger.ledger import Ledger
from aorch.ledger.postgres.locks import dead_owners
from aorch.ledger.postgres.session import used_session

pytestmark = pytest.mark.torture

HOLDER = """
import sys
from aorch.config.ledger_location import PostgresUrl
from aorch.ledger.postgres.connection import connection_to
from aorch.ledger.postgres.locks import ProcessLock
ledger = PostgresUrl(sys.argv[1])
lock, connection = ProcessLock(ledger), connection_to(ledger)
connection.begin()
print(lock.owner_id, flush=True)
sys.stdin.read()
"""


@contextmanager
def machine() -> Iterator[tuple[str, str, str]]:
    """A network of two: the name of a network namespace, the name of the cable to it, and this side's address."""
    name, cable = f"aorch-{token_hex(2)}", f"aorch{token_hex(2)}"
    host = f"10.{201 + int(token_hex(1), 16) % 50}.{int(token_hex(1), 16)}"
    if shutil.which("ip") is None or subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        pytest.skip("this user cannot create a network namespace")
    try:
        for command in (
            f"ip link add {cable} type veth peer name {cable}n",
            f"ip link set {cable}n netns {name}",
            f"ip addr add {host}.1/24 dev {cable}",
            f"ip link set {cable} up",
            f"ip -n {name} addr add {host}.2/24 dev {cable}n",
            f"ip -n {name} link set {cable}n up",
        ):
            subprocess.run(command.split(), check=True)
        yield name, cable, f"{host}.1"
    finally:
        subprocess.run(["ip", "link", "del", cable], check=False)
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_the_locks_of_an_unplugged_machine_are_free_within_30_seconds() -> None:
    with machine() as (name, cable, address):
        cluster = postgres_servers.started(f"127.0.0.1,{address}")
        try:
            url, far = (
                PostgresUrl(text)
                for text in (cluster.url("aorch"), f"postgresql://{SUPERUSER}@{address}:{cluster.port}/aorch")
            )
            cluster.psql("CREATE DATABASE aorch")
            Ledger(url).close()
            hba = cluster.folder / "data" / "pg_hba.conf"
            hba.write_text(f"local all all trust\nhost all all {address}/24 trust\n")
            cluster.psql("SELECT pg_reload_conf()")
            with subprocess.Popen(
                ["ip", "netns", "exec", name, sys.executable, "-c", HOLDER, str(far)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            ) as process:
                assert process.stdout is not None
                owner_id = process.stdout.readline().decode().strip()
                assert dead_owners(url, [owner_id]) == []
                subprocess.run(["ip", "link", "set", cable, "down"], check=True)
                unplugged_at = time.monotonic()
                wait_for(lambda: not holds(url, owner_id), 60)
                with closing(psycopg.connect(str(url))) as other:  # and the write lock that it held
                    other.execute("SELECT pg_advisory_xact_lock(%s)", (0x616F_7263_68,))
                assert time.monotonic() - unplugged_at < 30
                wait_for(lambda: dead_owners(url, [owner_id]) == [owner_id], 20)
                process.kill()
        finally:
            cluster.stop()


def holds(url: PostgresUrl, owner_id: str) -> bool:
    """Whether the owner has its lock."""
    dead_owners(url, [owner_id])  # from now on it is seen without it
    with used_session(url) as session:
        return bool(session.held([f"owner/{owner_id}"]))

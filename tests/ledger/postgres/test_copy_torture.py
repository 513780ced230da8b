"""A copy of a ledger that is killed: what is there is refused until a second copy has completed it."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from homes import Home
from postgres_servers import Cluster
from rows import pairs, put
from waiting import wait_for

from aorch.config.ledger_location import LedgerLocation, PostgresUrl
from aorch.errors import LedgerError
from aorch.ledger.copying import copy_ledger
from aorch.ledger.database import Database, is_running
from aorch.ledger.postgres.connection import connection_to
from aorch.ledger.server_errors import ServerError

EXCHANGES = 2500
USES = (
    ("run", "echo", "text=a"),
    ("status",),
    ("contracts", "list"),
    ("log",),
    ("ledger", "info"),
    ("ledger", "check"),
)


@contextmanager
def new_target(kind: str, cluster: Cluster, folder: Path) -> Iterator[LedgerLocation]:
    if kind == "server":
        with cluster.database() as name:
            yield PostgresUrl(cluster.url(name))
    else:
        yield folder / "target.db"
        for file in folder.glob("target.db*"):
            if file.is_file():
                file.unlink()


def written(target: LedgerLocation) -> int:
    """The number of bytes of contracts at the target, committed or not. 0 before the copy has marked it."""
    if isinstance(target, Path):
        files = [target.with_name(target.name + suffix) for suffix in ("", "-wal")]
        return sum(file.stat().st_size for file in files if file.exists()) if is_marked(target) else 0
    with closing(connection_to(target)) as connection:
        try:
            return int(connection.one("SELECT pg_relation_size('contracts')")[0]) + 1 if is_marked(target) else 0
        except ServerError:
            return 0


def is_marked(target: LedgerLocation) -> bool:
    if isinstance(target, Path) and not target.exists():
        return False
    try:
        with Database(target).peek() as connection:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except LedgerError as error:
        return "is not complete" in str(error)
    return bool(found) and found[0].startswith("copying")


def killed_at(bytes_written: int, home: Home, source: LedgerLocation, target: LedgerLocation) -> bool:
    """Copy, and kill the copy once it has written that many bytes; False if it had ended before."""
    copying = home.start(
        "ledger", "copy", str(source), str(target), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: copying.poll() is not None or written(target) >= bytes_written, 120)
    copying.kill()
    return copying.wait() != 0


@pytest.mark.torture
@pytest.mark.parametrize("kind", ["server", "file"])
def test_a_copy_that_is_killed_is_refused_until_a_second_one_completes_it(
    kind: str, home: Home, cluster: Cluster, path: Path, tmp_path: Path
) -> None:
    put(path, *pairs(EXCHANGES))
    with ExitStack() as stack:
        source: LedgerLocation = path
        if kind == "file":
            source = stack.enter_context(new_target("server", cluster, tmp_path))
            copy_ledger(path, source)
        with new_target(kind, cluster, tmp_path) as target:
            whole = copy_ledger(source, target)
            size = target.stat().st_size if isinstance(target, Path) else size_of(target)
        kills = 0
        for share in (0.0, 0.1, 0.5, 0.9, 1.0):
            with new_target(kind, cluster, tmp_path) as target:
                home.environment["AORCH_LEDGER"] = str(target)
                if killed_at(max(1, int(share * size)), home, source, target) and is_marked(target):
                    kills += 1
                    for use in USES:
                        refused = home.aorch(*use)
                        assert refused.code == 14, (share, use, refused)
                        assert "is not complete" in refused.err, (use, refused)
                        assert "run it again" in refused.err, (use, refused)
                    wait_for(lambda: not is_running(source, "copy"))
                    again = home.aorch("ledger", "copy", str(source), str(target), "--json", timeout=120)
                    assert again.code == 0, again
                    assert (again.json["checksum"], again.json["last_position"]) == (whole.checksum, 2 * EXCHANGES)
                else:
                    refused = home.aorch("ledger", "copy", str(source), str(target))
                    assert (refused.code, "is not empty" in refused.err) == (13, True), refused
                assert home.aorch("ledger", "check").code == 0
                counted = json.loads(home.aorch("ledger", "info", "--json").out)["contracts"]
                assert counted == 2 * EXCHANGES
                assert home.aorch("run", "echo", "text=a").code == 0
        assert kills >= 2


def size_of(target: PostgresUrl) -> int:
    with closing(connection_to(target)) as connection:
        return int(connection.one("SELECT pg_relation_size('contracts')")[0])

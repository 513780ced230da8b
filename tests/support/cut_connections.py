"""Connections to a PostgreSQL server that break."""

from collections.abc import Iterator
from contextlib import contextmanager

from postgres_servers import Cluster

from aorch.ledger.postgres.connection import Connection

CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'aorch' AND pid <> pg_backend_pid()"
)


@contextmanager
def cut_off(connection: Connection, cluster: Cluster, which: str = "") -> Iterator[None]:
    """Cut the connections of this process besides `connection`, and let it make no new ones until the end of the block."""
    name = connection.execute("SELECT current_database()").fetchall()[0][0]
    cluster.psql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    connection.execute(f"{CUT}{which}")
    yield
    cluster.psql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

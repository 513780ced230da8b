"""A PostgreSQL ledger whose processes and servers are killed under load: nothing acknowledged is lost, and nothing is done twice
that must not be.

AORCH_TORTURE_S is how long the load on the cluster lasts (default: 60), and AORCH_TORTURE_RATE how many tasks per second are
sent (default: 200; a quarter of it while a single server restarts). At that rate all processes together, those of the cluster
and of the clients included, take about one of two cores. Most of the time is spent afterwards: Trace accepts one request at a
time, and gets three for each task, so it receives the tasks of one minute within two to three more.
"""

import asyncio
import logging
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import postgres_servers
import pytest
from failover_cluster import TTL_S, FailoverCluster
from homes import Home
from machines_load import MachinesLoad
from trace_double import doubling

pytestmark = pytest.mark.torture

SECONDS = float(os.environ.get("AORCH_TORTURE_S", "60"))
RATE = float(os.environ.get("AORCH_TORTURE_RATE", "200"))
PAUSE_S = 5.0
"""How long a killed server of the cluster is missing."""


@pytest.fixture
def whole(bare_home: Home) -> Iterator[FailoverCluster]:
    """A cluster of three servers."""
    if postgres_servers.programs() is None or shutil.which("etcd") is None:
        pytest.skip("PostgreSQL or etcd is not installed")
    cluster = FailoverCluster()
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the double of Trace."""
    return tmp_path_factory.mktemp("trace")


def test_kills_of_any_process_of_a_cluster_lose_nothing(bare_home: Home, whole: FailoverCluster, trace: Path) -> None:
    load = MachinesLoad(bare_home, whole.url(), RATE)

    async def disturb() -> None:
        """One kill after another in random order, and each kind at least once."""
        kinds = ["primary", "serve", "worker", "etcd"]
        while True:
            for kind in random.sample(kinds, len(kinds)):
                await asyncio.sleep(random.uniform(2, 4))
                if kind == "serve":
                    load.kill_server()
                elif kind == "worker":
                    load.kill_worker()
                elif kind == "etcd":
                    await asyncio.to_thread(whole.kill_etcd, random.randrange(3))
                    load.figures.kills["etcd"] += 1
                else:
                    await asyncio.to_thread(whole.kill_primary)
                    load.figures.kills["primary"] += 1
                await asyncio.sleep(PAUSE_S)
                await asyncio.to_thread(whole.revive)
                if kind == "primary":
                    await asyncio.to_thread(whole.wait_until_whole)

    with doubling(trace) as double:
        bare_home.environment["TRACE_URL"] = double.url
        try:
            asyncio.run(load.run(SECONDS, disturb))
            load.check()
            load.check_trace(double)
            assert load.figures.longest_gap_s - load.figures.longest_outage_s <= 5, "aorch was late, not the cluster"
            assert load.figures.longest_gap_s <= TTL_S + 5
        finally:
            load.stop()
            logging.getLogger("torture").warning("%s", load.figures)


def test_restarts_of_the_server_under_load_lose_nothing(bare_home: Home, trace: Path) -> None:
    if postgres_servers.programs() is None:
        pytest.skip("PostgreSQL is not installed")
    cluster = postgres_servers.started()
    load = MachinesLoad(bare_home, cluster.url("aorch"), RATE / 4)

    async def disturb() -> None:
        for _ in range(3):
            await asyncio.sleep(random.uniform(3, 5))
            await asyncio.to_thread(cluster.control, "-m", "immediate", "restart")
            load.figures.kills["primary"] += 1

    with doubling(trace) as double:
        bare_home.environment["TRACE_URL"] = double.url
        try:
            cluster.psql("CREATE DATABASE aorch")
            asyncio.run(load.run(20, disturb))
            load.check()
            load.check_trace(double)
            assert load.figures.longest_gap_s <= 10
        finally:
            load.stop()
            logging.getLogger("torture").warning("%s", load.figures)
            cluster.stop()

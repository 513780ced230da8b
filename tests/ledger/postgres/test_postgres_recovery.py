"""Processes that are killed while they work on a PostgreSQL ledger: any other process recovers their tasks."""

from contextlib import closing

import pytest
from cut_connections import cut_off
from homes import Home
from postgres_servers import Cluster
from serving import serving
from waiting import wait_for

from aorch.config.ledger_location import PostgresUrl
from aorch.ledger.database import connect, exclusive, owner_ids
from aorch.ledger.lost_requests import recover_open
from aorch.ledger.postgres.connection import Connection, connection_to
from aorch.ledger.postgres.session import used_session

AGENT = """
import asyncio
from pathlib import Path
from aorch.agents import Agent, AgentCapability

class Slow(Agent):
    def __init__(self):
        super().__init__("slow", "Slow")

    def get_capabilities(self):
        return [AgentCapability("once"), AgentCapability("again", idempotent=True)]

    async def execute(self, task):
        with Path("begun").open("a") as file:
            file.write(task["capability"] + "\\n")
        if not Path("hurry").exists():
            await asyncio.sleep(60)
        return {"success": True, "data": {}}
"""


def test_the_tasks_of_a_killed_worker_are_recovered_by_another_process(bare_home: Home, postgres: PostgresUrl) -> None:
    home = bare_home
    home.environment["AORCH_LEDGER"] = str(postgres)
    home.write("slow.py", AGENT)
    home.write("aorch.toml", '[agents.slow]\nclass = "slow:Slow"\n')
    for capability in ("once", "again"):
        assert home.aorch("run", capability, "--detach").code == 0
    worker = home.start("worker")
    begun = home.folder / "begun"
    wait_for(lambda: begun.exists() and len(begun.read_text().split()) == 2)
    running = home.start("run", "once")
    wait_for(lambda: len(begun.read_text().split()) == 3)
    for process in (worker, running):
        process.kill()
        process.communicate()
    assert ends_of(home, "REQUEST") == [("again", "pending"), ("once", "failed"), ("once", "failed")]
    home.write("hurry", "")
    assert home.aorch("worker", "--drain").code == 0
    assert begun.read_text().split().count("once") == 2
    assert ends_of(home, "RESPONSE") == [("again", "completed"), ("once", "interrupted"), ("once", "interrupted")]


@pytest.mark.torture
def test_a_process_that_comes_back_after_it_was_taken_for_dead_drops_its_results(
    bare_home: Home, postgres: PostgresUrl, cluster: Cluster
) -> None:
    home = bare_home
    home.environment["AORCH_LEDGER"] = str(postgres)
    home.write("slow.py", AGENT)
    home.write("aorch.toml", '[agents.slow]\nclass = "slow:Slow"\n')
    once, again = (home.aorch("run", capability, "--detach", "--json").json for capability in ("once", "again"))
    worker = home.start("worker")
    begun = home.folder / "begun"
    wait_for(lambda: begun.exists() and len(begun.read_text().split()) == 2)
    with (
        closing(connect(postgres)) as connection,
        exclusive(postgres, "judging"),
        used_session(postgres) as session,
    ):
        ((own,),) = session.execute("SELECT pg_backend_pid()")
        with cut_off(connection, cluster, f" AND pid <> {own}"):
            wait_for(lambda: is_recovered(connection, postgres))
            home.write("hurry", "")
    wait_for(lambda: ends_of(home, "RESPONSE") == [("again", "completed"), ("once", "interrupted")])
    worker.terminate()
    said = worker.communicate(timeout=30)[1].decode()
    assert worker.returncode == 0
    for task in (once, again):
        assert f"the result of {task['contract_id']} is dropped: the locks of this process were lost" in said
    assert sorted(begun.read_text().split()) == ["again", "again", "once"]


def is_recovered(connection: Connection, location: PostgresUrl) -> bool:
    """Recover what processes without their locks left, as if those had been missing for long. Returns whether some was found."""
    recover_open(connection, location, owner_ids(location))
    connection.execute(
        "UPDATE process_states SET moment = moment - 10 WHERE name LIKE 'owner/%%' AND moment < 'infinity'"
    )
    recover_open(connection, location, owner_ids(location))
    return bool(connection.one("SELECT count(*) FROM contracts WHERE claimed_by IS NULL AND status = 'failed'")[0])


def ends_of(home: Home, kind: str) -> list[tuple[str, str]]:
    """The capability and the status of each contract of that type."""
    listed = home.aorch("contracts", "list", "--type", kind, "--json").json
    return sorted((each["capability"], each["status"]) for each in listed["contracts"])


@pytest.mark.torture
def test_a_server_reports_that_it_has_no_connection_for_its_locks_and_goes_on_when_it_has_one_again(
    bare_home: Home, postgres: PostgresUrl, cluster: Cluster
) -> None:
    bare_home.environment["AORCH_LEDGER"] = str(postgres)
    with closing(connection_to(postgres)) as connection, serving(bare_home) as server:
        with cut_off(connection, cluster):
            wait_for(lambda: "recovery: cannot reach the server of the ledger" in server.log)
            assert server.get("/v1/health").status_code == 503
            wait_for(lambda: "the connection for the locks of this process is lost" in server.log)
        wait_for(lambda: server.get("/v1/health").json().get("status") == "healthy")
        wait_for(lambda: "the connection for the locks of this process is back" in server.log)

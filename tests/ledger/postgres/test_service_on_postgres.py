"""A service and the commands that read answer on a PostgreSQL ledger as on a file."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from cut_connections import CUT
from homes import Home, abandon
from serving import serving
from waiting import wait_for

from aorch.config.ledger_location import PostgresUrl
from aorch.ledger.database import Connection, connect

ROUTES = (
    *(
        "/v1/status",
        "/v1/contracts?text=needle",
        "/v1/exchanges?limit=2",
        "/v1/exchanges?text=needle",
        "/v1/exchanges?error=x",
    ),
    *(
        "/v1/sessions",
        "/v1/sessions?order=last_at",
        "/v1/sessions/work",
        "/v1/sessions/work/tree",
        "/v1/queue",
        "/v1/stats",
    ),
    *(
        "/v1/stats?by=hour",
        "/v1/stats?by=error",
        "/v1/stats?by=session",
        "/v1/agents",
        "/v1/memory",
        "/",
        "/openapi.json",
    ),
    "/v1/memory/search?text=needle",
)
COMMANDS = (
    *("log", "log --failed", "log --error none", "log --last", "log -s work", "log --text needle", "sessions list"),
    *(
        "sessions show work",
        "sessions show work --mermaid",
        "stats",
        "stats --by agent",
        "stats --by session",
        "stats --by hour",
    ),
    *("stats --by error", "stats --by caller", "queue", "status", "contracts list --text needle", "contracts export"),
    *("compress --all", "compress work", "memory list", "memory show work", "memory verify --all", "tokens list"),
    *("contracts erasures", "trace status", "otel status", "ledger info", "ledger check", "ledger prune --keep 1d"),
)


@pytest.fixture
def on_postgres(home: Home, postgres: PostgresUrl) -> Home:
    """A home whose ledger is in an empty PostgreSQL database."""
    home.environment["AORCH_LEDGER"] = str(postgres)
    return home


def test_a_service_answers_every_request_for_reading(on_postgres: Home) -> None:
    with serving(on_postgres) as server:
        task = {"capability": "echo", "parameters": {"text": "needle"}, "session_id": "work"}
        done = server.post("/v1/orchestrate", json=task).json()
        assert done["success"], done
        answers = {route: server.get(route) for route in ROUTES}
        assert {route: answer.status_code for route, answer in answers.items()} == dict.fromkeys(ROUTES, 200)
        assert answers["/v1/status"].json()["exchanges"] == {"total": 1, "by_status": {"completed": 1}}
        assert len(answers["/v1/contracts?text=needle"].json()["contracts"]) == 2
        assert answers["/v1/stats"].json()["groups"][0]["count"] == 1
        metrics = server.get("/metrics").text
        assert 'aorch_exchanges_total{agent="agent_example_001",capability="echo",status="completed"} 1.0' in metrics
        assert server.get("/v1/health").json()["down"] == []
        erased = server.client.delete(f"/v1/contracts/{done['contract_id']}/content")
        assert (erased.status_code, erased.json()["contracts"]) == (200, 2)
        assert server.get("/v1/contracts?text=needle").json()["contracts"] == []


WAITS = """
[agents.waiting]
command = ["sh", "-c", "until [ -e finish ]; do sleep 0.05; done; echo done"]
[agents.waiting.capabilities.wait]
"""
"""An agent that ends once there is a file `finish`."""


@pytest.mark.torture
def test_an_older_service_writes_nothing_after_an_upgrade_once_it_connects_again(
    on_postgres: Home, postgres: PostgresUrl
) -> None:
    """Nor does it read, and the next process records what it was doing as interrupted."""
    on_postgres.write("aorch.toml", WAITS)
    on_postgres.write("lines.jsonl", "{}\n")
    task = {"capability": "echo", "parameters": {"text": "a"}, "session_id": "work"}
    with (
        serving(on_postgres) as server,
        closing(connect(postgres)) as connection,
        ThreadPoolExecutor() as threads,
    ):
        assert server.post("/v1/orchestrate", json=task).json()["success"]
        assert server.get("/v1/contracts").status_code == 200
        in_service = threads.submit(
            server.post, "/v1/orchestrate", json={"capability": "wait", "session_id": "service"}
        )
        in_command = on_postgres.start("run", "wait", "-s", "command")
        in_batch = on_postgres.start("run", "wait", "--batch", "lines.jsonl", "-s", "batch")
        assert on_postgres.aorch("run", "wait", "--detach", "-s", "queue").code == 0
        in_worker = on_postgres.start("worker", "--drain")
        sessions = ["batch", "command", "queue", "service"]
        wait_for(lambda: open_sessions(connection) == sessions)
        ((revision,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        connection.execute("ALTER TABLE contracts ADD COLUMN later text")  # as a later revision may do
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        answer = server.post(
            "/v1/orchestrate", json=task
        ).json()  # after a second, the service has read its tokens again
        assert answer["success"] or answer["code"] == "ledger_too_new", answer
        refused = on_postgres.aorch("run", "echo", "text=a")
        assert (refused.code, "revision 9999 of a newer aorch" in refused.err) == (14, True)
        written = contracts(connection)
        connection.execute(CUT)
        wait_for(lambda: server.get("/v1/contracts").json().get("code") == "ledger_too_new")
        on_postgres.write("finish", "")
        said = in_command.communicate(timeout=60)[1].decode()
        assert (in_command.returncode, "revision 9999 of a newer aorch" in said) == (14, True), said
        said = in_batch.communicate(timeout=60)[1].decode()
        assert (in_batch.returncode, "revision 9999 of a newer aorch" in said) == (14, True), said
        assert in_service.result().json()["code"] == "ledger_too_new"
        assert server.post("/v1/orchestrate", json=task).json()["code"] == "ledger_too_new"
        assert contracts(connection) == written
        assert open_sessions(connection) == sessions
        server.kill()
        abandon(in_worker)
        connection.execute(
            "UPDATE alembic_version SET version_num = %s", (revision,)
        )  # the newer aorch, which knows it
        wait_for(lambda: on_postgres.aorch("run", "echo", "text=a").code == 0 and not open_sessions(connection))
    ended = on_postgres.aorch("log", "--json").out
    assert ended.count('"interrupted"') >= len(sessions), ended


def open_sessions(connection: Connection) -> list[str]:
    """The sessions of the REQUESTs that are running."""
    sql = "SELECT session_id FROM contracts WHERE status = 'in_progress' ORDER BY 1"
    return [name for (name,) in connection.execute(sql)]


def contracts(connection: Connection) -> int:
    """The number of contracts."""
    return int(connection.execute("SELECT count(*) FROM contracts").fetchall()[0][0])


@pytest.mark.torture
def test_every_command_that_reads_works(on_postgres: Home) -> None:
    for text in ("needle one", "needle two"):
        on_postgres.aorch("run", "echo", f"text={text}", "-s", "work")
    on_postgres.aorch("run", "fly")
    for command in COMMANDS:
        done = on_postgres.aorch(*command.split())
        assert done.code == 0, (command, done)

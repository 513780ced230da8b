"""`aorch worker` at a server: it claims tasks over HTTP, and behaves as a worker that has the ledger."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cut_proxy import cut_proxy
from homes import Home
from queueing import besides_log, furnish, noted
from remote_homes import with_client
from serving import START_S, Server, serving
from tokens import token
from waiting import pause, wait_for


@pytest.fixture
def server(home: Home) -> Iterator[Server]:
    """A server that runs no queued tasks itself."""
    home.write("aorch.toml", "[queue]\nparallel = 0\n")
    with serving(home) as server:
        yield server


def machine(home: Home, url: str, name: str = "client", *, lease_s: float = 30.0, **environment: str) -> Home:
    """A machine with the agents of queueing.CONFIG, and no ledger, whose commands use the server at `url`."""
    client = with_client(home, url, **environment)
    folder = home.folder / name
    folder.mkdir(exist_ok=True)
    client.folder = folder
    return furnish(client, f"[queue]\nlease_s = {lease_s}\n")


@contextmanager
def working(client: Home, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`aorch worker` there, killed at the end of the block unless it has ended."""
    process = client.start("worker", *arguments)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=START_S)


def end(process: "subprocess.Popen[bytes]", number: int = signal.SIGTERM) -> tuple[int, str]:
    """Stop a worker; its exit code and what it said besides its log."""
    process.send_signal(number)
    err = process.communicate(timeout=START_S)[1].decode()
    return process.returncode, besides_log(err)


def queue(server: Server, capability: str, text: str = "", **more: Any) -> str:
    """Queue a task once a worker offers the capability; its id."""
    body: dict[str, Any] = {"capability": capability, "session_id": "s", "parameters": {"text": text}} | more
    answer = wait_for(lambda: (found := server.post("/v1/tasks", json=body)).status_code == 202 and found)
    return str(answer.json()["contract_id"])


def task(server: Server, contract_id: str, wait_s: float = 0) -> Any:
    return server.get(f"/v1/tasks/{contract_id}", params={"wait_s": wait_s} if wait_s else None).json()


def responses(home: Home, contract_id: str) -> list[Any]:
    return home.rows("SELECT status, from_agent FROM contracts WHERE request_id = ?", contract_id)


def test_a_task_runs_with_the_agents_of_the_worker_which_has_no_ledger(home: Home, server: Server) -> None:
    client = machine(home, server.url)
    with working(client) as worker:
        contract_id = queue(server, "note", "hi")
        done = task(server, contract_id, 30)
        assert (done["status"], done["answer"]["data"], done["answer"]["agent_id"]) == (
            "completed",
            {"text": "hi"},
            "noter",
        )
        assert noted(client, "note") == ["hi"]
        assert server.get("/v1/queue").json()["running"] == 0
        assert end(worker) == (0, "")
    assert not list(client.folder.rglob("*.db"))
    assert server.get("/v1/work/leases").json()["total"] == 0


def test_a_cancellation_and_a_stop_reach_the_agents_of_the_worker(home: Home, server: Server) -> None:
    client = machine(home, server.url)
    with working(client, "--grace", "0.2") as worker:
        cancelled, again, once = (queue(server, name, name) for name in ("hold", "hold_again", "hold"))
        wait_for(lambda: len(noted(client, "hold")) == 2 and noted(client, "hold_again"))
        server.post(f"/v1/tasks/{cancelled}/cancel")
        assert task(server, cancelled, 30)["answer"]["error"] == "cancelled by an HTTP client"
        assert end(worker) == (0, "")
    assert task(server, again)["status"] == "pending"
    assert task(server, once)["answer"]["error"].startswith("interrupted: the worker that ran this stopped")
    (client.folder / "hold_again.go").touch()
    drained = client.aorch("worker", "--drain")
    assert (drained.code, besides_log(drained.err)) == (0, "")
    assert task(server, again)["status"] == "completed"


def test_a_program_of_the_worker_keeps_the_environment_of_its_machine(home: Home, server: Server) -> None:
    client = machine(home, server.url)
    told = 'echo "$AORCH_LEDGER,$AORCH_URL,$AORCH_PARENT_ID,$AORCH_SESSION_ID"'
    toml = client.folder / "aorch.toml"
    toml.write_text(f"{toml.read_text()}[agents.teller]\ncommand = ['sh', '-c', '{told}']\ncapabilities.tell = {{}}\n")
    with working(client):
        done = task(server, queue(server, "tell"), 30)
    assert done["answer"]["data"] == {"text": f",{server.url},,s\n"}


def test_a_running_task_ends_within_the_grace_time(home: Home, server: Server) -> None:
    client = machine(home, server.url)
    with working(client, "--parallel", "1") as worker:
        running = queue(server, "hold", "one")
        wait_for(lambda: noted(client, "hold"))
        worker.send_signal(signal.SIGTERM)
        (client.folder / "one.go").touch()
        assert task(server, running, 30)["status"] == "completed"
        assert besides_log(worker.communicate(timeout=START_S)[1].decode()) == ""


def test_a_token_needs_the_scope_work_and_may_limit_the_capabilities(home: Home) -> None:
    home.write("aorch.toml", "[queue]\nparallel = 0\n")
    reader = token(home, "reader", "--scope", "read", "--scope", "run")
    limited = token(home, "limited", "--scope", "work", "--capability", "note", "--capability", "paint")
    with serving(home) as server:
        refused = machine(home, server.url, AORCH_TOKEN=reader).aorch("worker", "--drain")
        assert refused.code == 4
        assert "lacks the scope 'work'" in refused.err
        server.client.headers["Authorization"] = f"Bearer {reader}"
        with working(machine(home, server.url, AORCH_TOKEN=limited)) as worker:
            assert task(server, queue(server, "note", "x"), 30)["status"] == "completed"
            other = server.post("/v1/tasks", json={"capability": "hold", "session_id": "s"})
            assert other.status_code == 404, other.text
            assert end(worker) == (0, "warning: the token allows paint, which no agent here has\n")


@pytest.mark.torture
def test_the_tasks_of_a_killed_worker_are_queued_again_or_interrupted(home: Home, server: Server) -> None:
    client = machine(home, server.url, lease_s=1)
    with working(client) as worker:
        once, again = queue(server, "hold", "once"), queue(server, "hold_again", "again")
        wait_for(lambda: noted(client, "hold") and noted(client, "hold_again"))
        worker.kill()
    assert task(server, once, 60)["answer"]["error"].startswith(
        "interrupted: the worker that ran this lost the connection"
    )
    (client.folder / "again.go").touch()
    with working(client):
        assert task(server, again, 60)["status"] == "completed"
    assert len(responses(home, again)) == len(responses(home, once)) == 1


@pytest.mark.torture
def test_a_worker_that_was_cut_off_longer_than_its_lease_is_refused_and_says_so(home: Home, server: Server) -> None:
    with cut_proxy(server.url) as proxy:
        late, other = machine(home, proxy.url, "late", lease_s=1), machine(home, server.url, "other")
        with working(late) as cut_off:
            again, once = queue(server, "hold_again", "again"), queue(server, "hold", "once")
            wait_for(lambda: noted(late, "hold") and noted(late, "hold_again"))
            proxy.cut = True
            wait_for(lambda: task(server, once)["status"] == "failed")
            (other.folder / "again.go").touch()
            with working(other):
                assert task(server, again, 60)["status"] == "completed"
            for name in ("again", "once"):
                (late.folder / f"{name}.go").touch()
            pause(1.0)  # the agents of the worker that is cut off end
            proxy.cut = False
            wait_for(lambda: server.get("/v1/work/leases").json()["total"])  # a new lease: it works again
            assert task(server, queue(server, "note", "after"), 60)["status"] == "completed"
            code, err = end(cut_off)
    assert code == 0
    assert f"the report about {again} was refused" in err
    assert f"the report about {once} was refused" in err
    assert responses(home, again) == [("completed", "noter")]
    assert responses(home, once) == [("interrupted", "orchestrator")]


@pytest.mark.torture
def test_another_server_of_the_ledger_continues_when_the_first_is_killed(home: Home, server: Server) -> None:
    with serving(home) as second, cut_proxy(server.url) as proxy:
        client = machine(home, proxy.url)
        with working(client) as worker:
            contract_id = queue(second, "hold", "x")
            wait_for(lambda: noted(client, "hold"))
            server.kill()
            proxy.server = second.url
            (client.folder / "x.go").touch()
            assert task(second, contract_id, 60)["status"] == "completed"
            assert task(second, queue(second, "note", "y"), 60)["status"] == "completed"
            code, _ = end(worker)
        assert code == 0
        assert noted(client, "hold") == ["x"]
        assert len(responses(home, contract_id)) == 1


ASKING = """
import asyncio
from aorch import Agent, AgentCapability, Orchestrator

class Asking(Agent):
    def __init__(self):
        super().__init__("asking", "Asking")

    def get_capabilities(self):
        return [AgentCapability("ask"), AgentCapability("ask_elsewhere")]

    async def execute(self, task):
        async def ask():
            return await Orchestrator().orchestrate(session_id=task["session_id"], task=task["parameters"])
        answer = await (ask() if task["capability"] == "ask" else asyncio.to_thread(asyncio.run, ask()))
        return {"success": answer["success"], "data": answer["data"], "error": answer["error"]}
"""


def test_an_agent_of_the_worker_delegates_to_the_agents_of_the_server(home: Home) -> None:
    slow = "[agents.slow]\ncommand = ['sh', '-c', 'touch started; sleep 60']\ncapabilities.slow = {}\n"
    home.write("aorch.toml", f"[queue]\nparallel = 0\n{slow}")
    with serving(home) as server:
        client = machine(home, server.url)
        client.write("asking.py", ASKING)
        with (client.folder / "aorch.toml").open("a") as file:
            file.write('[agents.asking]\nclass = "asking:Asking"\n')
        with working(client):
            echo = {"capability": "echo", "parameters": {"text": "hi"}}
            for capability in ("ask", "ask_elsewhere"):
                asked = queue(server, capability, parameters=echo)
                assert task(server, asked, 30)["answer"]["data"] == {"message": "Echo: hi"}
                (child,) = home.rows("SELECT capability, from_agent FROM contracts WHERE parent_id = ? AND contract_type = "
                                     "'REQUEST'", asked)  # fmt: skip
                assert child == ("echo", "asking")
            unknown = {"capability": "fly", "parameters": {}}
            assert "No agent available" in task(server, queue(server, "ask", parameters=unknown), 30)["answer"]["error"]
            asked = queue(server, "ask", parameters={"capability": "slow"})
            wait_for((home.folder / "started").exists)
            server.post(f"/v1/tasks/{asked}/cancel")
            assert task(server, asked, 30)["status"] == "cancelled"
            query = "SELECT status FROM contracts WHERE parent_id = ? AND contract_type = 'REQUEST'"
            assert wait_for(lambda: home.rows(query, asked) == [("cancelled",)])
        assert not (client.folder / "ledger.db").exists()


def test_the_agents_of_workers_are_listed_by_the_server_and_on_its_ledger(home: Home, server: Server) -> None:
    client = machine(home, server.url)
    with working(client):
        queue(server, "note", "hi")
        there, here = (each.aorch("agents", "list", "--json").json["agents"] for each in (client, home))
        noter = next(each for each in there if each["agent_id"] == "noter")
        assert (noter["kind"], noter["capabilities"][0]["name"]) == ("worker", "note")
        assert [each["agent_id"] for each in there] == [each["agent_id"] for each in here]
        shown = [each.aorch("agents", "show", "noter").out for each in (client, home)]
        assert "note" in shown[0]
        assert shown[0].splitlines()[0] == shown[1].splitlines()[0]


def test_a_token_that_is_limited_to_capabilities_starts_and_cancels_only_their_tasks(home: Home) -> None:
    limited = home.aorch("tokens", "create", "painter", "--scope", "work", "--scope", "run", "--capability", "echo")
    admin = {"Authorization": f"Bearer {token(home, 'admin', '--scope', 'admin')}"}
    with serving(home) as server:
        mine = {"Authorization": f"Bearer {limited.out.strip()}"}
        later = {"session_id": "s", "not_before": "2999-01-01T00:00:00Z"}
        others = server.post(
            "/v1/tasks", json={"capability": "uppercase", "parameters": {"text": "a"}, **later}, headers=admin
        )
        own = server.post("/v1/tasks", json={"capability": "echo", "parameters": {"text": "a"}, **later}, headers=mine)
        assert own.status_code == 202
        for path, body in (
            (f"/v1/tasks/{others.json()['contract_id']}/cancel", None),
            (f"/v1/tasks/{others.json()['contract_id']}/rerun", None),
            ("/v1/orchestrate", {"session_id": "s", "capability": "uppercase", "parameters": {"text": "a"}}),
            ("/v1/compress", {"session_id": "s"}),
            ("/v1/compress/sessions", {}),
        ):
            assert server.post(path, json=body, headers=mine).status_code == 403, path
        cancelled = server.post(f"/v1/tasks/{own.json()['contract_id']}/cancel", headers=mine)
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")

"""`aorch.agents.serve` turns an agent into an HTTP service that aorch, and any client, can call."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from agent_servers import JSON, serving
from waiting import WAIT_S

from aorch import Agent, AgentCapability, capability, report_progress
from aorch.agents import AgentState, AgentStatus
from aorch.agents.agent_server import AgentServer, serve
from aorch.agents.function import as_agent
from aorch.agents.http_endpoint import HttpAgent
from aorch.errors import UsageError

TASK = {"task_id": "01K", "session_id": "s", "capability": "greet", "parameters": {"name": "Ann"}, "context": {}}


@capability("greet", idempotent=True)
async def greet(name: str) -> str:
    """Greet someone."""
    report_progress("half")
    return f"Hello {name}"


class Gate(Agent):
    """Runs until it is released, in a thread if `blocking`; counts calls, and which of them were cancelled."""

    concurrency = 1

    def __init__(self) -> None:
        super().__init__("gate", "Gate", version="2")
        self.calls, self.cancelled, self.closed = 0, asyncio.Event(), False
        self.entered, self.released = asyncio.Event(), asyncio.Event()
        self.state = AgentState()

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("wait")]

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        self.entered.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return {"success": True, "data": self.calls}

    async def probe(self) -> AgentState:
        return self.state

    async def close(self) -> None:
        self.closed = True


WAIT = {"capability": "wait"}


async def test_a_function_answers_as_an_endpoint_that_aorch_calls() -> None:
    async with serving(greet) as client:
        agent = HttpAgent("greeter", "G", endpoint=client.url)
        assert (await agent.probe()).status == "available"
        (found,) = agent.get_capabilities()
        assert (found.name, found.description, found.idempotent) == ("greet", "Greet someone.", True)
        assert await agent.execute(TASK) == {"success": True, "data": "Hello Ann"}
        await agent.close()


async def test_progress_is_sent_as_lines_to_a_client_that_accepts_them() -> None:
    async with serving(greet) as client:
        given = {**JSON, "Accept": "application/x-ndjson"}
        async with client.session.post(f"{client.url}/execute", json=TASK, headers=given) as answer:
            lines = [json.loads(line) for line in (await answer.text()).splitlines()]
            assert answer.content_type == "application/x-ndjson"
        assert lines == [{"progress": "half"}, {"success": True, "data": "Hello Ann"}]
        assert (await client.execute(TASK))[1] == {"success": True, "data": "Hello Ann"}


@pytest.mark.parametrize(
    ("task", "headers", "status", "detail"),
    [
        (b"{", {}, 400, "not JSON"),
        (b"[]", {}, 400, "the body is not a JSON object"),
        ({}, {}, 400, "the task has no capability"),
        ({"capability": "greet", "parameters": []}, {}, 400, "parameters is []; it must be an object"),
        ({"capability": "sing"}, {}, 404, "greet has no capability 'sing'"),
        ({"capability": "greet"}, {}, 422, "parameter 'name' of 'greet' is missing"),
        (TASK, {"Content_Type": "text/plain"}, 415, "the body must be application/json"),
        (TASK, {"Origin": "http://evil.example"}, 403, "requests of web pages are not accepted"),
        (TASK, {"Idempotency_Key": "k" * 256}, 400, "the Idempotency-Key is longer than 255 characters"),
        (b'"' + b"x" * 2000 + b'"', {}, 413, "Request Entity Too Large"),
    ],
)
async def test_a_request_that_is_no_task_is_a_problem(
    task: Any, headers: dict[str, str], status: int, detail: str
) -> None:
    async with serving(greet, max_body_bytes=1000) as client:
        code, problem, given = await client.execute(task, **headers)
    assert (code, problem["status"], given["Content-Type"].partition(";")[0]) == (
        status,
        status,
        "application/problem+json",
    )
    assert detail in problem["detail"]


async def test_other_paths_and_methods_are_problems() -> None:
    async with serving(greet) as client:
        assert (await client.get("/nowhere"))[0] == 404
        assert (await client.get("/execute"))[0] == 405


async def test_what_goes_wrong_in_the_agent_is_a_failure() -> None:
    @capability("fail")
    def fail(how: str) -> Any:
        if how == "stop":
            raise StopIteration
        raise SystemExit("too dark")

    class Odd(Agent):
        def get_capabilities(self) -> list[AgentCapability]:
            return [AgentCapability("odd")]

        def execute(self, task: Any) -> Any:
            return "odd"

    async with serving(fail) as client:
        for how, error in (("stop", "RuntimeError: coroutine raised StopIteration"), ("exit", "SystemExit: too dark")):
            status, answer, _ = await client.execute({"capability": "fail", "parameters": {"how": how}})
            assert (status, answer["success"], answer["error"].startswith(error)) == (200, False, True)
    async with serving(Odd("odd", "Odd")) as client:
        assert "it answered with str" in (await client.execute({"capability": "odd"}))[1]["error"]


async def test_a_full_agent_rejects_tasks_until_a_slot_is_free() -> None:
    gate = Gate()
    async with serving(gate) as client:
        first = asyncio.create_task(client.execute(WAIT))
        await gate.entered.wait()
        status, problem, headers = await client.execute(WAIT)
        assert (status, problem["code"], headers["Retry-After"]) == (503, "agent_busy", "1")
        assert (await client.get("/health"))[1]["status"] == "busy"
        gate.released.set()
        assert (await first)[1]["data"] == 1
        assert (await client.execute(WAIT))[1]["data"] == 2
    assert gate.closed


async def test_a_thread_that_outlives_its_client_keeps_its_slot() -> None:
    entered, released = threading.Event(), threading.Event()

    @capability("block")
    def block() -> None:
        entered.set()
        released.wait(WAIT_S)

    agent = as_agent(block)
    agent.concurrency = 1
    async with serving(agent) as client:
        request = asyncio.create_task(client.execute({"capability": "block"}))
        await asyncio.to_thread(entered.wait, WAIT_S)
        (run,) = client.server.runs.running
        request.cancel()
        async with asyncio.timeout(WAIT_S):
            while run._followers:  # noqa: ASYNC110  the server notices the disconnection
                await asyncio.sleep(0.01)
        assert (await client.execute({"capability": "block"}))[0] == 503
        released.set()
        async with asyncio.timeout(WAIT_S):
            while (await client.execute({"capability": "block"}))[0] == 503:  # noqa: ASYNC110  likewise
                await asyncio.sleep(0.01)


async def test_a_task_is_cancelled_when_the_last_of_its_clients_disconnects() -> None:
    gate = Gate()
    async with serving(gate) as client:
        both = [asyncio.create_task(client.execute(WAIT, Idempotency_Key='"k"')) for _ in range(2)]
        await gate.entered.wait()
        async with asyncio.timeout(WAIT_S):
            (run,) = client.server.runs.running
            while len(run._followers) < 2:  # noqa: ASYNC110  the second request arrives
                await asyncio.sleep(0.01)
            both[0].cancel()
            while len(run._followers) > 1:  # noqa: ASYNC110  likewise
                await asyncio.sleep(0.01)
            assert not gate.cancelled.is_set()
            both[1].cancel()
            await gate.cancelled.wait()
    assert gate.calls == 1


async def test_the_same_key_gives_the_same_answer_and_another_body_is_a_conflict() -> None:
    gate = Gate()
    async with serving(gate) as client:
        first, second = (asyncio.create_task(client.execute(WAIT, Idempotency_Key='"k"')) for _ in range(2))
        await gate.entered.wait()
        gate.released.set()
        assert [(await each)[1]["data"] for each in (first, second)] == [1, 1]
        assert (await client.execute(WAIT, Idempotency_Key="k"))[1]["data"] == 1
        assert (await client.execute({**WAIT, "context": {"a": 1}}, Idempotency_Key="k"))[0] == 409
        assert (await client.execute(WAIT, Idempotency_Key="other"))[1]["data"] == 2


async def test_health_is_what_the_agent_reports() -> None:
    gate = Gate()
    async with serving(gate) as client:
        assert await client.get("/health") == (200, {"status": "available", "reason": None, "running": 0})
        gate.state = AgentState(AgentStatus.ERROR, "no disk")
        assert await client.get("/health") == (503, {"status": "error", "reason": "no disk", "running": 0})
        client.server.runs.closing = True
        assert (await client.get("/health"))[1]["status"] == "draining"
        assert (await client.execute(WAIT))[0] == 503


async def test_a_token_is_needed_for_all_but_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREETER_TOKEN", "s3cret")
    async with serving(greet, token_env="GREETER_TOKEN") as client:
        assert (await client.execute(TASK))[0] == 401
        assert (await client.execute(TASK, Authorization="Bearer s3cre"))[0] == 401
        assert (await client.execute(TASK, Authorization="Bearer s3cret"))[0] == 200
        assert ((await client.get("/health"))[0], (await client.get("/capabilities"))[0]) == (200, 401)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "0.0.0.0"}, "0.0.0.0 is reachable from other machines, and neither a token nor a key is set"),
        ({"token_env": "NOT_SET"}, "token_env names NOT_SET, which is not set"),
        ({"host": "203.0.113.1", "insecure": True}, "cannot listen on 203.0.113.1:0"),
        ({"register": "localhost:8888"}, "register is not the URL of an aorch server"),
        ({"register": "http://localhost:1", "register_token_env": "NOT_SET"}, "register_token_env names NOT_SET"),
    ],
)
def test_options_that_cannot_work_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        serve(greet, **options)


PROGRAM = """
import asyncio, sys
from aorch import capability
from aorch.agents import serve

@capability("nap")
async def nap(seconds: float) -> str:
    sys.stderr.write("asleep\\n")
    await asyncio.sleep(seconds)
    return "rested"

serve(nap, grace_s=20)
"""


@pytest.mark.parametrize(("seconds", "signals", "answer"), [(0.3, 1, "rested"), (60, 2, None)])
def test_a_stopped_server_lets_tasks_finish_and_a_second_signal_cancels_them(
    tmp_path: Path, seconds: float, signals: int, answer: str | None
) -> None:
    file = tmp_path / "nap.py"
    file.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, file], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().rpartition(" ")[2].strip()

        async def ask() -> Any:
            agent = HttpAgent("nap", "Nap", endpoint=url)
            asking = asyncio.ensure_future(
                agent.execute({**TASK, "capability": "nap", "parameters": {"seconds": seconds}})
            )
            try:
                assert process.stderr is not None
                assert await asyncio.to_thread(process.stderr.readline) == "asleep\n"
                for _ in range(signals):
                    process.send_signal(signal.SIGTERM)
                    await asyncio.sleep(0.1)
                return (await asking)["data"]
            except Exception as error:  # noqa: BLE001  the test shows it
                return type(error).__name__
            finally:
                await agent.close()

        assert asyncio.run(ask()) == (answer or "AgentLost")
        assert process.wait(WAIT_S) == 0


async def test_a_port_that_cannot_exist_is_an_error_of_the_argument() -> None:
    with pytest.raises(UsageError, match=r"cannot listen on 127\.0\.0\.1:70000: .*port must be 0-65535"):
        await AgentServer(as_agent(greet)).start("127.0.0.1", 70000)


async def test_a_port_that_is_in_use_is_named_once() -> None:
    async with serving(greet) as client:
        port = int(client.url.rpartition(":")[2])
        with pytest.raises(UsageError) as raised:
            await AgentServer(as_agent(greet)).start("127.0.0.1", port)
    assert str(raised.value) == f"cannot listen on 127.0.0.1:{port}: address already in use"

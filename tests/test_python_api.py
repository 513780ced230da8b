"""The Python API: its names, its types, and what `register_agent` says about an object that is not an agent."""

import asyncio
import pydoc
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from homes import Home
from trace_double import doubling
from waiting import wait_for

import aorch
from aorch import Agent, AgentCapability, AgentStatus, AorchError, Conflict, Orchestrator, UsageError
from aorch.agents import AgentMetadata, ExampleAgent
from aorch.trace.delivery_state import DeliveryState
from aorch.trace.lease import acquire
from aorch.trace.push import push_until


class Greeter(Agent):
    """Greets."""

    def __init__(self, word: str = "Hello") -> None:
        super().__init__("greeter", "Greeter", "Greets people", version="1.2.0", endpoint="http://localhost:9/greet")
        self.word = word

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        return {"success": True, "data": {"text": f"{self.word}, {task['parameters']['name']}!"}}

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("greet", "Greet somebody", {"name": "string"})]


async def test_agents_are_registered_found_and_deregistered_as_in_the_json_store_system(
    orchestrator: Orchestrator,
) -> None:
    greeter = Greeter()
    assert orchestrator.register_agent(greeter) is True
    assert orchestrator.get_agent("greeter") is greeter
    assert orchestrator.get_agent("nobody") is None
    assert orchestrator.find_agent_by_capability("greet") is greeter
    assert isinstance(orchestrator.find_agent_by_capability("uppercase"), ExampleAgent)
    assert orchestrator.find_agent_by_capability("fly") is None
    answer = await orchestrator.orchestrate(
        "s", {"capability": "greet", "parameters": {"name": "Ann"}}, from_agent="me"
    )
    assert (answer["data"], answer["agent_id"]) == ({"text": "Hello, Ann!"}, "greeter")
    request, response = await orchestrator.get_conversation("s")
    assert (request["from_agent"], response["to_agent"]) == ("me", "me")
    status = await orchestrator.get_status()
    assert set(status) >= {"orchestrator", "agents", "contracts", "integrations"}
    assert status["agents"]["total"] == 2
    assert status["contracts"]["total_contracts"] == 2
    assert orchestrator.deregister_agent("greeter") is True
    assert orchestrator.deregister_agent("greeter") is False
    assert orchestrator.find_agent_by_capability("greet") is None
    assert not (await orchestrator.orchestrate("s", {"capability": "greet", "parameters": {"name": "Ann"}}))["success"]


def test_an_agent_says_what_it_is() -> None:
    greeter = Greeter()
    assert greeter.can_handle("greet")
    assert not greeter.can_handle("fly")
    assert greeter.to_dict() == {
        "agent_id": "greeter",
        "name": "Greeter",
        "description": "Greets people",
        "version": "1.2.0",
        "capabilities": [
            {"name": "greet", "description": "Greet somebody", "parameters": {"name": "string"}, "idempotent": False}
        ],
        "status": "available",
        "endpoint": "http://localhost:9/greet",
    }
    assert greeter.get_metadata() == AgentMetadata(
        "greeter", "Greeter", "Greets people", "1.2.0", greeter.get_capabilities(), AgentStatus.AVAILABLE,
        "http://localhost:9/greet",
    )  # fmt: skip


async def test_the_addresses_of_the_services_are_given_to_the_orchestrator(home: Home) -> None:
    async with Orchestrator(
        home.ledger, trace_url="http://127.0.0.1:9/", memagent_url="http://127.0.0.1:10"
    ) as orchestrator:
        assert (orchestrator.config.trace_url, orchestrator.config.trace_configured) == ("http://127.0.0.1:9", True)
        assert orchestrator.config.memagent_url == "http://127.0.0.1:10"
    assert Orchestrator(home.ledger, trace_url="off").config.trace_url == ""
    for wrong in ({"trace_url": "localhost:8787"}, {"memagent_url": "http://ann:secret@localhost"}):
        with pytest.raises(UsageError) as refused:
            Orchestrator(home.ledger, **wrong)
        assert next(iter(wrong)) in str(refused.value)
        assert "secret" not in str(refused.value)


async def test_an_orchestrator_with_a_trace_url_delivers_to_trace_itself(home: Home) -> None:
    with doubling(home.folder / "trace") as double:
        async with Orchestrator(home.ledger, trace_url=double.url) as orchestrator:
            await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "one"}})
            await asyncio.to_thread(wait_for, lambda: double.count == 2)
            await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "two"}})
        assert double.count == 4  # what was due at the close too
        double.mode(delay_s=0.1)
        async with Orchestrator(home.ledger, trace_url=double.url) as orchestrator:
            await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "slow"}})
            await asyncio.to_thread(wait_for, lambda: double.count == 5)  # a request is in flight at the close
        assert double.count == 6
        double.mode()
        async with Orchestrator(home.ledger) as only_records:
            await only_records.orchestrate("s", {"capability": "echo", "parameters": {"text": "three"}})
        assert double.count == 6
        double.kill()
        async with Orchestrator(home.ledger, trace_url=double.url) as orchestrator:
            answer = await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "four"}})
            assert answer["success"]
        double.start()
        async with Orchestrator(home.ledger, trace_url=double.url) as orchestrator:
            await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "five"}})
            await asyncio.to_thread(wait_for, lambda: double.count == 12)
        assert not double.collisions


async def test_closing_while_trace_is_let_alone_after_a_kill_says_nothing_against_trace(home: Home) -> None:
    with doubling(home.folder / "trace") as double:
        async with Orchestrator(home.ledger) as orchestrator:
            await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "one"}})
        lease = acquire(home.ledger)
        assert lease is not None
        lease.write(DeliveryState(request_started_at=time.time()))  # its process was killed
        lease.close()
        with pytest.raises(TimeoutError):
            await push_until(Orchestrator(home.ledger, trace_url=double.url).config, time.monotonic() + 1.5)
        assert home.aorch("trace", "status", "--json").json["last_error"] is None
        assert not double.count


async def test_a_registered_agent_is_replaced_on_demand(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Greeter())
    with pytest.raises(Conflict, match="'greeter'"):
        orchestrator.register_agent(Greeter("Hi"))

    class Greeter2(Greeter):  # a cell of a notebook that is run again makes another class
        pass

    assert orchestrator.register_agent(Greeter2("Hi"), replace=True)
    answer = await orchestrator.orchestrate("s", {"capability": "greet", "parameters": {"name": "Ann"}})
    assert answer["data"] == {"text": "Hi, Ann!"}
    assert [agent["agent_id"] for agent in orchestrator.list_agents()] == ["agent_example_001", "greeter"]


class NoInit(Greeter):
    def __init__(self) -> None:
        pass


class NoText(Greeter):
    def __init__(self) -> None:
        super().__init__()
        self.agent_id = 7  # type: ignore[assignment]


class Says(Greeter):
    """Answers with what it was given when it is asked for its capabilities."""

    def __init__(self, capabilities: Any) -> None:
        super().__init__()
        self.capabilities = capabilities

    def get_capabilities(self) -> Any:
        if isinstance(self.capabilities, Exception):
            raise self.capabilities
        return self.capabilities


class Async(Greeter):
    async def get_capabilities(self) -> Any:
        return []


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Greeter, "Greeter is a class, not an agent"),
        (7, "int is not an agent: it does not extend aorch.Agent and has no execute and no get_capabilities"),
        (None, "NoneType is not an agent"),
        (NoInit(), "NoInit has no agent_id: its __init__ does not call super().__init__"),
        (NoText(), "the agent_id of NoText is 7"),
        (Says(None), "Says.get_capabilities() returned NoneType, not a list"),
        (Says("greet"), "Says.get_capabilities() returned str, not a list"),
        (Says(["greet"]), "Says.get_capabilities() returned a list with str, not AgentCapability"),
        (Says([AgentCapability("")]), "a capability of Says is named ''"),
        (Says([AgentCapability("a", "", ["x"])]), "the capability 'a' of Says has parameters of type list, not dict"),  # type: ignore[arg-type]
        (Says([AgentCapability("a"), AgentCapability("a")]), "Says has the capability 'a' twice"),
        (Says(RuntimeError("no model")), "Says.get_capabilities() raised RuntimeError: no model"),
        (Async(), "Async.get_capabilities is async"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_register_agent_says_what_is_wrong_with_an_object_that_is_not_an_agent(
    home: Home, monkeypatch: pytest.MonkeyPatch, made: Any, said: str
) -> None:
    monkeypatch.chdir(home.folder)
    orchestrator = Orchestrator(home.ledger)
    with pytest.raises(UsageError) as refused:
        orchestrator.register_agent(made)
    assert str(refused.value).startswith(said)
    assert refused.value.hint
    assert len(orchestrator.list_agents()) == 1


def test_all_public_names_are_shown_before_they_are_used() -> None:
    code = "import sys, aorch; print(' '.join(dir(aorch))); print('aorch.errors' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    shown, imported = done.stdout.splitlines()
    assert set(aorch.__all__) <= set(shown.split())
    assert imported == "False"
    text = pydoc.plain(pydoc.render_doc(aorch))
    assert "class Orchestrator(" in text
    assert "class LedgerBusy(" in text


def test_every_error_is_exported() -> None:
    from aorch import errors

    all_errors = {
        name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, AorchError)
    }
    assert all_errors <= set(aorch.__all__), "add it to `__all__` in aorch/__init__.py"
    assert all(getattr(aorch, name) for name in aorch.__all__)


TYPED = """
from aorch import Agent, AgentAnswer, AgentCapability, AgentTask, NotFound, Orchestrator


class Typed(Agent):
    async def execute(self, task: AgentTask) -> AgentAnswer:
        return {"success": True, "data": task["parameters"]}

    def get_capabilities(self) -> list[AgentCapability]:
        return []


class Loose(Agent):
    def execute(self, task: dict) -> dict:  # type: ignore[type-arg]
        return {"success": True}

    def get_capabilities(self) -> list[AgentCapability]:
        return []


class Wrong(Typed):
    async def execute(self, task: AgentTask) -> AgentAnswer:
        print(task["paramters"])  # error
        return {"sucess": True}  # error


async def main(orchestrator: Orchestrator) -> None:
    answer = await orchestrator.orchestrate("s", {"capability": "echo", "parameters": {"text": "a"}})
    print(answer["data"], answer["error"])
    print(answer["sucess"])  # error
    await orchestrator.orchestrate("s", {"capability": "echo", "paramters": {}})  # error
    await orchestrator.submit("s", {"capabilty": "echo"})  # error
    async for each in orchestrator.map("echo", [{"text": "a"}]):
        print(each["index"], each["itm"])  # error
    try:
        await orchestrator.cancel("x")
    except NotFound as missing:
        print(missing.hint)
"""


@pytest.mark.torture
def test_mypy_finds_a_misspelt_key_of_a_task_and_of_an_answer(tmp_path: Path) -> None:
    (tmp_path / "typed.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(tmp_path), "typed.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    meant = {number for number, line in enumerate(TYPED.splitlines(), 1) if line.endswith("# error")}
    assert found == meant, done.stdout

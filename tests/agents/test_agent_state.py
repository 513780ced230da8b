"""An agent's state: checked off the event loop, read by routing, and found again without a restart."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from homes import Home
from waiting import WAIT_S

from aorch import Agent, AgentCapability, Orchestrator, Task
from aorch.agents import AgentState, AgentStatus
from aorch.agents.agent_kind import CapabilityConfig
from aorch.agents.program import ProgramAgent, ProgramConfig
from aorch.agents.registry import Registry
from aorch.config.settings import Config

WORK = {"capability": "work"}


class Remote(Agent):
    """Counts how often it is opened, checked and closed, and reports `state`."""

    def __init__(self, agent_id: str = "remote") -> None:
        super().__init__(agent_id, agent_id)
        self.state: AgentState | Exception = AgentState()
        self.refusal: Exception | None = None
        self.opened = self.probed = self.closed = 0

    async def open(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def probe(self) -> AgentState:
        self.probed += 1
        await asyncio.sleep(0)
        if isinstance(self.state, Exception):
            raise self.state
        return self.state

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        assert self.opened > self.closed
        return {"success": True, "data": self.agent_id}

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("work")]


def program(folder: Path, name: str) -> ProgramAgent:
    table = ProgramConfig(command=[str(folder / name)], capabilities={"work": CapabilityConfig()})
    return ProgramAgent(name, table, Config(folder / "ledger.db"))


def install(folder: Path, name: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\necho {name}\n")
    file.chmod(0o755)
    return file


async def until_data(orchestrator: Orchestrator, data: object) -> None:
    """Ask until the answer is `data`, for at most 5 s."""
    async with asyncio.timeout(WAIT_S):
        while (await orchestrator.orchestrate("s", WORK))["data"] != data:  # noqa: ASYNC110  the answers show it
            await asyncio.sleep(0.05)


async def test_a_program_that_is_installed_later_is_found_without_a_restart(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    orchestrator.register_agent(program(tmp_path, "late"))
    refused = await orchestrator.orchestrate("s", WORK)
    assert "late' is not on PATH and not an executable file" in str(refused["error"])
    install(tmp_path, "late")
    await until_data(orchestrator, {"text": "late\n"})


async def test_after_a_failed_start_tasks_go_to_another_agent_and_come_back_once_the_program_exists(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    first = install(tmp_path, "first")
    install(tmp_path, "second")
    for name in ("first", "second"):
        orchestrator.register_agent(program(tmp_path, name))
    assert (await orchestrator.orchestrate("s", WORK))["data"] == {"text": "first\n"}
    first.unlink()
    await until_data(orchestrator, {"text": "second\n"})
    states = {each["agent_id"]: each["status"] for each in orchestrator.list_agents()}
    assert (states["first"], states["second"]) == ("error", "available")
    install(tmp_path, "first")
    await until_data(orchestrator, {"text": "first\n"})


async def test_an_agent_is_opened_and_checked_once_before_its_first_tasks_and_closed_at_the_end(
    orchestrator: Orchestrator,
) -> None:
    remote = Remote()
    orchestrator.register_agent(remote)
    answers = await asyncio.gather(*(orchestrator.orchestrate("s", WORK) for _ in range(10)))
    assert [answer["data"] for answer in answers] == ["remote"] * 10
    assert (remote.opened, remote.probed, remote.closed) == (1, 1, 0)
    await orchestrator.aclose()
    assert (remote.opened, remote.closed) == (1, 1)
    assert (await orchestrator.orchestrate("s", WORK))["success"]
    orchestrator.deregister_agent("remote")
    await orchestrator.aclose()
    assert (remote.opened, remote.closed) == (2, 2)


@pytest.mark.parametrize(
    ("state", "status", "reason"),
    [
        (AgentState(AgentStatus.OFFLINE, "connection refused"), "offline", "connection refused"),
        (AgentState(AgentStatus.DRAINING), "draining", "draining"),
        (AgentState(AgentStatus.ERROR, "no key"), "error", "no key"),
        (OSError("no route"), "error", "its probe() raised OSError: no route"),
    ],
)
async def test_tasks_go_only_to_agents_whose_state_takes_tasks(
    orchestrator: Orchestrator, state: AgentState | Exception, status: str, reason: str
) -> None:
    away, here = Remote("away"), Remote("here")
    away.state = state
    for agent in (away, here):
        orchestrator.register_agent(agent)
    assert (await orchestrator.orchestrate("s", WORK))["data"] == "here"
    shown = orchestrator.registry.get("away").as_dict()
    assert (shown["status"], shown["problem"].startswith(reason)) == (status, True)
    orchestrator.deregister_agent("here")
    refused = await orchestrator.orchestrate("s", WORK)
    assert f"(away: {reason}" in str(refused["error"])
    assert orchestrator.registry.get("away").as_dict()["since"] == shown["since"]
    away.state = AgentState()
    await until_data(orchestrator, "away")
    assert orchestrator.registry.get("away").as_dict()["since"] > shown["since"]


async def test_an_agent_that_reports_busy_still_gets_tasks(orchestrator: Orchestrator) -> None:
    remote = Remote()
    remote.state = AgentState(AgentStatus.BUSY, "9 of 9")
    orchestrator.register_agent(remote)
    assert (await orchestrator.orchestrate("s", WORK))["success"]
    assert orchestrator.registry.get("remote").as_dict()["status"] == "busy"


async def test_an_agent_that_cannot_be_opened_is_in_error_until_it_can(orchestrator: Orchestrator) -> None:
    remote = Remote()
    remote.refusal = ConnectionError("no server")
    orchestrator.register_agent(remote)
    refused = await orchestrator.orchestrate("s", WORK)
    assert "remote: its open() raised ConnectionError: no server" in str(refused["error"])
    remote.refusal = None
    await until_data(orchestrator, "remote")
    assert remote.opened == 1


async def test_a_removed_agent_is_closed_once_its_tasks_have_ended() -> None:
    idle, busy = Remote("idle"), Remote("busy")
    registry = Registry([idle, busy])
    await registry.refresh()
    running = registry.get("busy")
    running.try_acquire("01A")
    registry.remove("idle")
    registry.remove("busy")
    await registry.close_removed()
    assert (idle.closed, busy.closed) == (1, 0)
    running.release("01A")
    await registry.close_removed()
    await registry.close()
    assert (idle.closed, busy.closed) == (1, 1)


def test_check_opens_probes_and_closes_an_agent(home: Home) -> None:
    home.write(
        "mine.py",
        "from aorch.agents import Agent, AgentCapability, AgentState, AgentStatus\n"
        "class Mine(Agent):\n"
        "    def __init__(self):\n"
        "        super().__init__('mine', 'Mine')\n"
        "    async def open(self):\n"
        "        print('open')\n"
        "    async def close(self):\n"
        "        print('close')\n"
        "    async def probe(self):\n"
        "        return AgentState(AgentStatus.OFFLINE, 'nobody answers')\n"
        "    async def execute(self, task):\n"
        "        return {'success': True}\n"
        "    def get_capabilities(self):\n"
        "        return [AgentCapability('work')]\n",
    )
    home.write("aorch.toml", "[agents.mine]\nclass = 'mine:Mine'\n")
    checked = home.aorch("agents", "check", "mine")
    assert (checked.code, checked.out) == (10, "mine\tno\tnobody answers\n")
    assert checked.err.startswith("open\nclose\n")


@pytest.mark.parametrize(
    ("states", "hint"),
    [
        ({"a": AgentState(AgentStatus.ERROR, "no disk")}, "Correct that, then run `aorch agents check a`."),
        (
            {"it's": AgentState(AgentStatus.ERROR, "no disk"), "b": AgentState(AgentStatus.OFFLINE, "gone")},
            """Correct that, then run `aorch agents check 'it'"'"'s'`.""",
        ),
        (
            {"a": AgentState(AgentStatus.ERROR, "no disk"), "b": AgentState(AgentStatus.ERROR, "no key")},
            "Correct that, then run `aorch agents check`.",
        ),
        ({"a": AgentState(AgentStatus.OFFLINE, "gone")}, "Start the agent, or try again later."),
        (
            {"a": AgentState(AgentStatus.DRAINING)},
            "Wait until the agent has restarted: an agent that is draining takes no new tasks.",
        ),
    ],
)
async def test_the_hint_names_what_makes_an_agent_able_again(
    orchestrator: Orchestrator, states: dict[str, AgentState], hint: str
) -> None:
    for agent_id, state in states.items():
        agent = Remote(agent_id)
        agent.state = state
        orchestrator.register_agent(agent)
    answer = await orchestrator.perform(Task("work", {}, "s"))
    assert (answer.failure is not None, answer.hint) == (True, hint)

"""How long it takes to choose an agent: `python benchmarks/routing.py [ROUNDS]`.

20 programs that share a capability, and 1,000 agents with 20 capabilities each, of which either the first
is idle or all are busy, so that all are compared. Median of the rounds, in microseconds per decision.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from aorch.agents import Agent, AgentCapability
from aorch.agents.agent_kind import CapabilityConfig
from aorch.agents.program import ProgramAgent, ProgramConfig
from aorch.agents.registry import Registry
from aorch.config.settings import Config
from aorch.engine.routing import check_and_choose, choose
from aorch.engine.task import Task

GOAL_US = 50.0
DECISIONS = 200


class Remote(Agent):
    """An agent with 20 capabilities."""

    def execute(self, task: object) -> dict[str, object]:
        """Never called."""
        raise NotImplementedError

    def get_capabilities(self) -> list[AgentCapability]:
        """c0 to c19."""
        return [AgentCapability(f"c{number}") for number in range(20)]


def programs(folder: Path) -> Registry:
    """20 programs with one capability, and room for any number of tasks."""
    table = ProgramConfig(command=["cat"], capabilities={"c0": CapabilityConfig()}, concurrency=1000)
    return Registry(ProgramAgent(f"p{number}", table, Config(folder / "ledger.db")) for number in range(20))


def remotes() -> Registry:
    """1,000 agents with the same 20 capabilities."""
    return Registry(Remote(f"a{number}", "Remote") for number in range(1000))


def busy(registry: Registry) -> Registry:
    """The same agents, each with tasks under way, the last with fewest."""
    for number, each in enumerate(registry):
        each.holders.update(map(str, range(3 if number < len(registry) - 1 else 2)))
    return registry


async def microseconds(registry: Registry, rounds: int) -> float:
    """The median time of a decision."""
    task = Task("c0", session_id="s")
    await check_and_choose(registry, task)

    def decide() -> None:
        for _ in range(DECISIONS):
            assert choose(registry, task) is not None

    return statistics.median(_timed(decide) / DECISIONS for _ in range(rounds))


def _timed(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e6


def main(rounds: int) -> int:
    """Measure, print, and return 1 if a goal is missed."""
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, registry in {
            "20 programs, the first idle": programs(Path(folder)),
            "20 programs, all busy": busy(programs(Path(folder))),
            "1,000 agents x 20 capabilities, the first idle": remotes(),
            "1,000 agents x 20 capabilities, all busy": busy(remotes()),
        }.items():
            took = asyncio.run(microseconds(registry, rounds))
            worst = max(worst, took)
            print(f"{name:50} {took:8.1f} us")
    print(f"goal: at most {GOAL_US:g} us: {'met' if worst <= GOAL_US else 'missed'}")
    return 0 if worst <= GOAL_US else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9))

"""The loggers `aorch.*`: silent by default, and heard by the handlers of a program that embeds aorch."""

import logging
import subprocess
import sys
from typing import Any

import pytest
from homes import Home

from aorch import Agent, AgentCapability, Orchestrator
from aorch.engine.task import QueueOptions, Task
from aorch.worker.queue_worker import QueueWorker
from aorch.worker.task_log import log_task


class Broken(Agent):
    def __init__(self) -> None:
        super().__init__("broken", "Broken")

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("break")]

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("broken")


async def test_a_program_that_embeds_aorch_gets_records_by_its_own_handler(
    orchestrator: Orchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    orchestrator.register_agent(Broken())
    orchestrator.open()
    await orchestrator.queue.submit(Task("break", {}, "s"), QueueOptions())
    with caplog.at_level(logging.INFO, "aorch"):
        await QueueWorker(orchestrator.executor, 1, lambda error: pytest.fail(str(error)), log_task).run(drain=True)
    raised, ended = caplog.records
    assert (raised.name, raised.levelname, raised.exc_info is not None) == ("aorch.agents", "ERROR", True)
    assert (ended.name, ended.levelname) == ("aorch.tasks", "INFO")
    assert ended.getMessage().startswith("break failed ")
    assert ended.getMessage().endswith("session=s code=agent_failed")


def test_a_program_without_handlers_has_nothing_on_standard_error(home: Home) -> None:
    program = (
        "import asyncio\nfrom aorch import Orchestrator\n"
        "import test_logging\n"
        "async def main():\n    async with Orchestrator('ledger.db') as orchestrator:\n"
        "        orchestrator.register_agent(test_logging.Broken())\n"
        "        print((await orchestrator.orchestrate('s', {'capability': 'break'}))['error'])\n"
        "asyncio.run(main())\n"
    )
    environment = {**home.environment, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=home.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout[:18], done.stderr) == ("ValueError: broken", "")

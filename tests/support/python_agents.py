"""Python agents that a test writes into a file."""

import subprocess
import sys
from typing import Any

from homes import Home, Result


def agent(home: Home, body: str, *, sync: bool = False, before: str = "") -> None:
    """Register the agent `mine`, whose `execute` is that body and whose one capability is `work`."""
    text = "".join(f"        {line}\n" for line in body.splitlines())
    home.write(
        "mine.py",
        f"import asyncio, functools, sys, threading, time\nfrom aorch.agents import Agent, AgentCapability\n{before}\n"
        "class Mine(Agent):\n"
        "    def __init__(self, agent_id='mine', **more):\n"
        "        super().__init__(agent_id, 'Mine')\n"
        "        self.more = more\n"
        "    def get_capabilities(self):\n"
        "        return [AgentCapability('work')]\n"
        f"    {'' if sync else 'async '}def execute(self, task):\n{text}",
    )
    home.write("aorch.toml", '[agents.mine]\nclass = "mine:Mine"\n')


def python(home: Home, program: str, timeout: float = 30) -> Result:
    """Run a program that uses the package, as a person's own script would."""
    home.write("program.py", program)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=home.folder, env=home.environment, capture_output=True, timeout=timeout
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def response(home: Home) -> tuple[Any, ...]:
    """(status of the REQUEST, status, error and result of the RESPONSE) of the one exchange in the ledger."""
    (found,) = home.rows("SELECT q.status, a.status, a.error, a.result FROM contracts q "
                         "JOIN contracts a ON a.request_id = q.contract_id")  # fmt: skip
    return found

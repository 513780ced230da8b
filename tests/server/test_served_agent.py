"""An agent that `aorch.agents.serve` serves registers itself at `aorch serve`, works there, and deregisters."""

import signal
import subprocess
import sys

from homes import Home
from serving import serving
from waiting import WAIT_S, wait_for

PROGRAM = """
import sys
from aorch import capability
from aorch.agents import serve

@capability("greet")
async def greet(name: str) -> str:
    return f"Hello {name}"

serve(greet, register=sys.argv[1])
"""
TASK = {"session_id": "s", "capability": "greet", "parameters": {"name": "Ann"}}


def test_a_served_agent_registers_itself_gets_tasks_and_deregisters(home: Home) -> None:
    program = home.write("greeter.py", PROGRAM)
    with serving(home) as server:

        def listed() -> bool:
            return "greet" in [each["agent_id"] for each in server.get("/v1/agents").json()["agents"]]

        with subprocess.Popen([sys.executable, program, server.url], stderr=subprocess.PIPE, text=True) as agent:
            assert agent.stderr is not None
            assert agent.stderr.readline().startswith("greet listens on ")
            assert agent.stderr.readline() == f"registered at {server.url}\n"
            wait_for(listed)
            answer = server.post("/v1/orchestrate", json=TASK).json()
            assert (answer["data"], answer["agent_id"]) == ("Hello Ann", "greet")
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(WAIT_S) == 0
        wait_for(lambda: not listed())

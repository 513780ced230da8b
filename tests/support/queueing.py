"""The queue in tests: agents that say in files what they did, and workers in processes of their own."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from homes import Home
from serving import START_S

from aorch.errors import AorchError

AGENTS = """
import asyncio, os
from pathlib import Path
from aorch.agents import Agent, AgentCapability


class Noter(Agent):
    '''Appends to a file named like the task's capability what it was given, and does so before it answers.'''

    def __init__(self, agent_id="noter", concurrency=None):
        super().__init__(agent_id, "Noter")
        self.concurrency = concurrency

    def get_capabilities(self):
        names = ("note", "hold")
        return [AgentCapability(name) for name in names] + [
            AgentCapability(f"{name}_again", idempotent=True) for name in names
        ]

    async def execute(self, task):
        said = str(task["parameters"].get("text", ""))
        file = os.open(task["capability"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{said}\\n".encode())
        os.close(file)
        if task["capability"].startswith("hold"):
            try:
                while not Path(f"{said}.go").exists():
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                Path(f"{said}.stopped").touch()
                raise
        return {"success": True, "data": {"text": said}}


class Single(Noter):
    '''One at a time.'''

    def __init__(self):
        super().__init__("single", 1)

    def get_capabilities(self):
        return [AgentCapability("hold_alone")]
"""

CONFIG = """
[agents.noter]
class = "queue_agents:Noter"

[agents.single]
class = "queue_agents:Single"

[agents.absent]
command = ["./appears"]
[agents.absent.capabilities.appear]

[agents.waiter]
command = ["sh", "-c", "sleep 60 & echo $$ $! > {name}.pids; while [ ! -e {name}.go ]; do sleep 0.02; done; echo {name}"]
[agents.waiter.capabilities.wait]
"""


def furnish(home: Home, more: str = "") -> Home:
    """Put the agents in; `more` begins aorch.toml."""
    home.write("queue_agents.py", AGENTS)
    home.write("aorch.toml", more + CONFIG)
    return home


def detach(home: Home, capability: str, *arguments: str) -> str:
    """`aorch run --detach`; the id of the REQUEST."""
    done = home.aorch("run", capability, *arguments, "--detach")
    assert (done.code, done.err) == (0, ""), done
    return done.out.strip()


def noted(home: Home, capability: str) -> list[str]:
    """What the agent noted of that capability, in order."""
    path = home.folder / capability
    return path.read_text().splitlines() if path.exists() else []


def said(home: Home, request_id: str) -> tuple[Any, ...]:
    """The status of the REQUEST, and status and error of its RESPONSE (None where there is none)."""
    (row,) = home.rows(
        "SELECT q.status, a.status, a.error FROM contracts q LEFT JOIN contracts a ON a.request_id = q.contract_id"
        " WHERE q.contract_id = ?",
        request_id,
    )
    return row


LOG_LINE = re.compile(
    r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \w+ (completed \d+\.\d ms|(failed|cancelled) \d+\.\d ms(?=.* code=\w+$))"
    r" contract_id=\w{26} session=\w+( code=\w+)?"
)
"""What a worker says of each task that has ended."""


def besides_log(err: str) -> str:
    """What a worker said on stderr but for the lines of its log, whole as they must be."""
    return "".join(line for line in err.splitlines(keepends=True) if not LOG_LINE.fullmatch(line.rstrip("\n")))


def end(process: "subprocess.Popen[bytes]", number: int = signal.SIGTERM) -> tuple[int, str]:
    """Tell a worker to end; its exit code and what it said besides its log."""
    if process.poll() is None:
        process.send_signal(number)
    err = process.communicate(timeout=START_S)[1].decode()
    return process.returncode, besides_log(err)


@contextmanager
def working(home: Home, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`aorch worker ARGUMENTS`, until the end of the block; unless the test ended it, it ends cleanly and says nothing besides
    its log.
    """
    process = home.start("worker", *arguments)
    try:
        yield process
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if process.returncode is None:
        assert end(process) == (0, "")


def fail(error: AorchError) -> None:
    """Raise the error that a worker in the test's own process reports."""
    raise error

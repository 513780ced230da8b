"""An agent whose C code keeps Python's lock holds up the end of a service by no more than any other."""

import subprocess
import sys
from typing import Any

import pytest
from homes import Home
from queueing import detach, end
from serving import serving
from waiting import WAIT_S, wait_for

pytestmark = pytest.mark.torture  # each stop takes its seconds

AGENTS = """
import re
from pathlib import Path
from aorch import Agent, AgentCapability

def hog():
    Path("begun").touch()
    re.match(r"(a+)+$", "a" * 40 + "b")  # hours
    return {"success": True}

class OnLoop(Agent):
    def __init__(self):
        super().__init__("on_loop", "On the loop")

    def get_capabilities(self):
        return [AgentCapability("hog_loop")]

    async def execute(self, task):
        return hog()

class InThread(Agent):
    def __init__(self):
        super().__init__("in_thread", "In a thread")

    def get_capabilities(self):
        return [AgentCapability("hog_thread")]

    def execute(self, task):
        return hog()
"""
CONFIG = """
[agents.on_loop]
class = "hogs:OnLoop"
[agents.in_thread]
class = "hogs:InThread"
"""
SAID = "aorch stops without waiting: an agent blocks it; its task is recorded as interrupted"


@pytest.fixture
def hogs(home: Home) -> Home:
    home.write("hogs.py", AGENTS)
    home.write("aorch.toml", CONFIG)
    return home


def left_open(home: Home) -> list[tuple[Any, ...]]:
    """The errors of RESPONSEs to hogs, once the next command has answered what was left open."""
    home.aorch("run", "echo", "text=a")
    return home.rows("SELECT status, substr(error, 1, 11) FROM contracts WHERE request_id IS NOT NULL AND error > ''")


@pytest.mark.parametrize(("where", "code"), [("loop", 0), ("thread", -9)])
def test_a_service_ends_in_time_though_python_does_not_run(hogs: Home, where: str, code: int) -> None:
    with serving(hogs, "--grace", "0.2") as server:
        server.post("/v1/tasks", json={"session_id": "s", "capability": f"hog_{where}"})
        wait_for((hogs.folder / "begun").exists)
        assert server.stop() == code
        assert SAID in server.log
        assert "Traceback" not in server.log
    assert left_open(hogs) == [("interrupted", "interrupted")]


FORKS = """
import os, signal, threading
from aorch.process.watchdog import Watchdog

Watchdog(0.0, [signal.SIGINT])
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))

def fork():
    if not (child := os.fork()):
        threading.Event().wait(20)
        os._exit(8)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

thread = threading.Thread(target=fork)
thread.start()
thread.join()
threading.Event().wait(2.5)  # the watchdog would end this within 1.55 s
"""


def test_a_signal_to_a_forked_process_does_not_end_its_parent(home: Home) -> None:
    home.write("forks.py", FORKS)
    done = subprocess.run([sys.executable, "-W", "ignore", "forks.py"], cwd=home.folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_a_worker_ends_in_time_though_python_does_not_run(hogs: Home) -> None:
    detach(hogs, "hog_thread")
    working = hogs.start("worker", "--grace", "0.2")
    wait_for((hogs.folder / "begun").exists)
    working.terminate()
    working.wait(WAIT_S)
    code, err = end(working)
    assert (code, SAID in err) == (-9, True)
    assert left_open(hogs) == [("interrupted", "interrupted")]

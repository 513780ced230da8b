"""docs/registration.md works as it is printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

from homes import Home
from ports import free_port

PAGE = Path(__file__).parents[2] / "docs/registration.md"


def test_the_commands_of_the_page_run(home: Home) -> None:
    page = PAGE.read_text()
    for name, block in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL):
        home.write(name, with_free_ports(block))
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if not line.startswith(("Hello", "Found"))]
    script = "\n".join(line.removeprefix("$ ") for line in lines)
    for pause, port in (("sleep 2", 8900), ("sleep 3", 8888), ("sleep 4", 8901)):
        script = script.replace(pause, f"wait_for_port {port}")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    home.environment |= {"PATH": path, "ORCHESTRATOR_PORT": with_free_ports("8888")}
    done = subprocess.run(
        ["timeout", "120", "bash", "-c", f"set -e; trap 'kill $(jobs -p)' EXIT; {WAIT}\n{with_free_ports(script)}"],
        cwd=home.folder,
        env=home.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Hello Ann\n" in done.stdout
    assert "Found aorch\n" in done.stdout
    assert '"status":"draining"' in done.stdout
    assert re.search(r"^greeter\s+url\s", done.stdout, re.MULTILINE)


WAIT = "wait_for_port() { until (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null; do sleep 0.05; done; }"
PORTS: dict[str, int] = {}


def with_free_ports(text: str) -> str:
    """`text` with free ports instead of those of the page."""
    for port in ("8888", "8900", "8901"):
        if port not in PORTS:
            PORTS[port] = free_port()
        text = text.replace(port, str(PORTS[port]))
    return text

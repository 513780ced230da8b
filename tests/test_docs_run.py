"""Every command in README.md and docs/ runs as it is printed there; docs/cli.md holds those of `--help`.

A page has a home of its own, in which its commands run one after the other: what one makes, the next may use. Ids that a page
shows stand for contracts of that home, and port 8888 for a free one. What a command needs besides (notes.md, a session `review`,
another machine to `ssh` to) is there already. Lines without `$` are output.
"""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from doubles import running
from model_double import ModelDouble
from ports import free_port
from trace_double import doubling
from waiting import WAIT_S

ROOT = Path(__file__).parent.parent
ELSEWHERE = {
    "writing-agents.md": "test_writing_agents.py, because its commands start services in the background",
    "registration.md": "test_registration_page.py, for the same reason",
    "postgresql.md": "ledger/postgres/, because its commands need a PostgreSQL server",
    "many-machines.md": "test_failover_torture.py, because its commands need several servers",
}
PAGES = [page for page in sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")]) if page.name not in ELSEWHERE]
USAGE = "[OPTIONS]"
"""In the lines of docs/cli.md that say how a command is written."""
SKIPPED = {
    "pip install -q uv": "downloads everything, and is what these tests run in",
    "pip install 'aorch[mcp]'": "likewise",
    "pip install 'aorch[otel]'": "likewise",
    "aorch plugins install": "changes the environment of these tests; test_plugins.py runs it",
    "systemctl": "changes the services of this machine",
    "journalctl": "reads the log of this machine",
}
TASK = "http://127.0.0.1:8888/v1/tasks/01KFV70HW83SYH1HAX57ZG0001"
FAILURES = {
    "aorch trace retry 01": (12, "no parked delivery"),
    "aorch init": (13, "already exists"),
    "curl -s -X PUT http://127.0.0.1:8888/v1/agents/translator": (
        22,
        "is not registered",
    ),  # it is further down the page
    "curl -s -X DELETE http://127.0.0.1:8888/v1/agents/translator": (22, "is not registered"),
    "aorch run greet name=Ann times=three": (2, "is not of type"),
    "aorch login https://aorch.example": (3, "cannot reach the server"),
    "aorch logout prod": (12, "no login"),
    "aorch whoami --server prod": (2, "no server is called"),
    "AORCH_TOKEN=… aorch worker --server": (2, "AORCH_TOKEN contains characters"),
    "aorch worker --server https://tasks.example.org": (2, "AORCH_TOKEN contains characters"),
    'curl -H "Authorization: Bearer $TOKEN" https://tasks.example.org': (6, ""),  # a host that does not exist
    "aorch ledger copy ledger.db postgresql://host/": (14, "cannot reach the server"),
    "aorch ledger copy postgresql://host/": (14, "cannot reach the server"),
    "grep -a -c sk-live-2f8a ledger.db": (1, "0"),  # it was erased further up: grep finds nothing
    "curl -s -X POST http://127.0.0.1:8888/v1/orchestrate/cancel": (22, "Idempotency-Key is missing"),
    f"curl -s -X POST {TASK}/resume": (22, "there is nothing to resume"),  # every task here has completed
    f"curl -s {TASK}/retry": (22, "there is nothing to retry"),
    "curl -s http://127.0.0.1:8888/v1/work/leases/lease_": (22, "lease_lost"),  # that of another server
    "curl -s 'http://127.0.0.1:8888/v1/work/leases/lease_": (22, "lease_lost"),
    "curl -s -X DELETE http://127.0.0.1:8888/v1/work/leases/lease_": (22, "lease_lost"),
    "aorch ledger restore ledger.dump --ledger postgresql://host/": (12, "there is no file"),
    "aorch otel push": (2, "no receiver of spans is configured"),
    "aorch otel skip": (2, "no receiver of spans is configured"),
    "aorch ledger restore ledger-2026-01-31.db --ledger restored.db": (0, "contracts"),
    "aorch ledger restore ledger-2026": (14, "a process uses it"),  # the service that the page starts further up
}
"""How a command begins that fails in this home, with the exit code and what it says; it must fail just so."""
REMOTE = ("translate", "summarize")
"""The agents of pages whose endpoint or key is not here. They are not there while all agents are checked."""
SERVERS = ("files", "github")
"""The MCP servers in `.mcp.json`."""
ENDLESS = re.compile(r"contracts tail .*-f|\blog\b.* -f\b|\baorch ui\b|curl -N (?!.*compress)")
CONTRACT = re.compile(r"\b01[0-9A-HJKMNP-TV-Z]{8,24}\b")
BLOCK = re.compile(r"\bmem_[0-9A-HJKMNP-TV-Z]{26}\b")
CLAIM = re.compile(r"\bclm_[0-9a-z]{10}\b")
SESSIONS = ("review", "deploy", "incident-4711", "session_001", "team", "mcp_claude-code_01M8CNDT241WCVT8P031AV907Y")
AGENTS = """
from aorch.agents import Agent, AgentCapability


class MyAgent(Agent):
    def __init__(self):
        super().__init__("my_agent_001", "Mine")

    def execute(self, task):
        return {"success": True, "data": task["parameters"]}

    def get_capabilities(self):
        return [AgentCapability("my_capability")]
"""


def commands(page: Path) -> list[str]:
    """The commands of a page's console blocks, each with the lines that continue it."""
    found: list[str] = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        continues = False
        for line in block.splitlines():
            if line.startswith("$ ") and USAGE not in line:
                found.append(line[2:])
            elif continues:
                found[-1] += f"\n{line}"
            continues = line.endswith("\\") and bool(found)
    return [command for command in found if not any(command.startswith(name) for name in SKIPPED)]


class Reader:
    """Somebody who reads a page at a machine with an empty home, and types what it says."""

    def __init__(self, folder: Path, made_ledger: Path) -> None:
        self.folder = folder
        self.ledger = folder / ".local/share/aorch/ledger.db"
        self.ledger.parent.mkdir(parents=True)
        shutil.copy(made_ledger, self.ledger)
        for name in ("mirror.db", "ledger.db"):
            shutil.copy(made_ledger, folder / name)
        self.port = free_port()
        self.serving: list[subprocess.Popen[bytes]] = []
        programs = self._programs()
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "TRACE_URL": "off"}
        self.environment["EDITOR"] = "true"
        self.model_url, self.claim = "", ""
        self._prepare()

    def _programs(self) -> Path:
        """Stand-ins: another machine that is this one, GitHub's tool with one issue, curl that fails when refused, and launchers
        of MCP servers that download nothing: `npx` has one server, `uvx` those of this environment. `claude` starts what it adds.
        """
        folder = self.folder / "bin"
        folder.mkdir()
        issue = json.dumps({"title": "T", "body": "B"})
        for name, text in (
            ("ssh", 'shift; exec "$@"'),
            ("gh", f"echo '{issue}'"),
            ("curl", f'exec {shutil.which("curl")} --silent --fail-with-body "$@"'),
            ("npx", f"exec {sys.executable} {ROOT / 'tests/support/mcp_files.py'}"),
            ("uvx", 'exec "$@"'),
            ("claude", 'shift 4; exec "$@"'),
        ):
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        return folder

    def _prepare(self) -> None:
        task = {"capability": "echo", "parameters": {"text": "We decided to deploy on Friday."}}
        files = {
            "aorch.toml": '[agents.flaky]\ncommand = ["sh", "-c", "test -e tried || { touch tried; false; }"]\n'
            "[agents.flaky.capabilities.fail]\n",
            "notes.md": "# Notes\nSome words.\n",
            "photo.jpg": "",
            "team/aorch.toml": "",
            "project/aorch.toml": "",
            "README.md": "# Project\n",
            "project/README.md": "# Project\n",
            ".mcp.json": json.dumps({"mcpServers": {name: {"command": "npx"} for name in SERVERS}}),
            "my_agents.py": AGENTS
            + "\n"
            + re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0],
            "tasks.jsonl": json.dumps(task) + "\n",
            "texts.csv": "text\nhello\n",
            "mails.csv": "title,body,words\nT,hello,3\n",
            "question.sql": "SELECT count(*) FROM exchanges",
            "token.txt": "a-token\n",
            "leaked.txt": "sk-live-2f8a",
            "sessions.jsonl": "".join(json.dumps({**task, "session_id": session}) + "\n" for session in SESSIONS),
        }
        (self.folder / "team").mkdir()
        (self.folder / "project").mkdir()
        for name, text in files.items():
            (self.folder / name).write_text(text)
        self.run("aorch run fail")
        self.run("aorch run --batch sessions.jsonl && aorch contracts export > ledger.jsonl")
        (self.folder / "data/contracts").mkdir(parents=True)
        exported = (self.folder / "ledger.jsonl").read_text().splitlines()
        (self.folder / "data/contracts/session_001.json").write_text(f"[{','.join(exported)}]")

    def row(self, sql: str) -> str:
        with closing(sqlite3.connect(f"{self.ledger.as_uri()}?mode=ro", uri=True)) as connection:
            return str(connection.execute(sql).fetchone()[0])

    def typed(self, command: str) -> str:
        """What is typed for `command`: with ids and a port of this machine."""
        wanted = (
            "pending" if "contracts cancel" in command else "failed" if "contracts resume" in command else "completed"
        )
        request = self.row(
            "SELECT contract_id FROM contracts WHERE contract_type = 'REQUEST'"
            f" ORDER BY status = '{wanted}' DESC, position DESC"
        )
        command = CONTRACT.sub(request, command).replace("8888", str(self.port))
        command = re.sub(r"(?<=contracts show )[0-9A-Za-z]{6,8}\b", request[-8:].lower(), command)
        command = re.sub(r"http://localhost:8787", self.environment["TRACE_URL"], command)
        command = command.replace("http://localhost:11434", self.model_url)
        if BLOCK.search(command):
            command = BLOCK.sub(self.row("SELECT block_id FROM memory_blocks ORDER BY 1 DESC"), command)
        if CLAIM.search(command):
            command = CLAIM.sub(self.claim or self._find_claim(), command)
            if command.startswith("aorch memory undo"):  # an example further up has undone it
                self.run(f"aorch memory forget {self.claim}")
        if re.match(r"aorch worker\b(?!.*--drain)", command):
            return re.sub("aorch worker", "aorch worker --drain", command)
        ends_after_s = 8 if "aorch ui" in command else 2  # it must serve first
        return f"timeout --preserve-status -s INT {ends_after_s} {command}" if ENDLESS.search(command) else command

    def _find_claim(self) -> str:
        """A claim of the session `review`: what the page forgets is not shown any more."""
        shown = self.run("aorch compress review; aorch memory show review --json")[1]
        self.claim = CLAIM.findall(shown)[0]
        return self.claim

    def run(self, command: str) -> tuple[int, str]:
        """Type `command` into bash; its exit code and what it prints. An agent that it adds is not there before."""
        added = re.match(r"aorch agents add ([a-z]\w*)", command)
        for agent_id in (added[1],) if added else SERVERS if "--mcp-config" in command else ():
            self.run(f"aorch agents remove {agent_id}")
        if command == "aorch agents check":
            removed = "".join(f"aorch agents remove {agent_id} 2>/dev/null; " for agent_id in REMOTE)
            command = f"cp aorch.toml kept.toml; {removed}{command}; code=$?; mv kept.toml aorch.toml; (exit $code)"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{command}\n{{ code=$?; env -0 >&3; exit $code; }} 3>.env"],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        kept = dict(line.split("=", 1) for line in (self.folder / ".env").read_text().split("\0") if "=" in line)
        self.environment |= {name: value for name, value in kept.items() if command.startswith("export ")}
        if "aorch tokens create" in command:
            self.environment["TOKEN"] = done.stdout.strip()
        return done.returncode, done.stdout + done.stderr

    def serve(self, command: str) -> None:
        """Start the service that `command` starts; it is stopped when the page is read."""
        for serving in self.serving:
            self._stop(serving)
        words = f"exec {re.sub(r' --port [0-9]+', '', command.partition('#')[0]).rstrip(' &')} --port {self.port}"
        serving = subprocess.Popen(
            ["bash", "-c", words],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        self.serving.append(serving)
        assert serving.stderr is not None
        assert b"aorch serves" in serving.stderr.readline()

    def _stop(self, serving: subprocess.Popen[bytes]) -> None:
        serving.send_signal(signal.SIGTERM)
        serving.communicate(timeout=WAIT_S)

    def leave(self) -> None:
        for serving in self.serving:
            if serving.poll() is None:
                self._stop(serving)


@pytest.fixture
def reader(tmp_path: Path, made_ledger: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path, made_ledger)
    yield reader
    reader.leave()


@pytest.mark.torture
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_every_command_of_a_page_runs(page: Path, reader: Reader) -> None:
    with running(ModelDouble(structured='{"author": "Ann", "day": "2026-05-03"}')) as model:
        reader.model_url = model.url
        read(page, reader)


def read(page: Path, reader: Reader) -> None:
    """Write the tables of a page into aorch.toml, and run its commands."""
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        block = block.replace("http://localhost:11434", reader.model_url)
        needs_a_model = "[llm]" in block
        if "\nledger" not in f"\n{block}" and not needs_a_model:
            with (reader.folder / "aorch.toml").open("a") as file:
                file.write(f"\n{block}")
    for name, block in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page.read_text(), re.DOTALL):
        (reader.folder / name).write_text(block)
    with doubling(reader.folder / "trace") as double:
        if page.name in ("trace.md", "cli.md"):
            reader.environment["TRACE_URL"] = double.url
        wrong = []
        for command in commands(page):
            if re.match(r"aorch serve\b", command):
                reader.serve(command)
                continue
            if ("8888" in command or "contracts wait" in command) and not reader.serving:
                reader.serve("aorch serve")
            code, said = reader.run(reader.typed(command))
            expected = [failure for beginning, failure in FAILURES.items() if command.startswith(beginning)]
            expected = expected or [(130 if ENDLESS.search(command) and "aorch ui" not in command else 0, "")]
            if code != expected[0][0] or expected[0][1] not in said:
                wrong.append(f"$ {reader.typed(command)}\nexit code {code}: {said[-400:]}")
        reader.leave()
    assert not wrong, "\n\n".join(wrong)

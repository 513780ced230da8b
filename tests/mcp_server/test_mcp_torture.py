"""MCP servers, the conformance suite and the Inspector that other people wrote."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from homes import Home
from node_packages import install, run, with_node

pytestmark = pytest.mark.torture
CLIENT = Path(__file__).parents[1] / "support" / "mcp_conformance_client.py"


@pytest.fixture
def node_home(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose search path has the programs of the npm packages, and those of this environment."""
    programs = install(tmp_path_factory.getbasetemp().parent / "node-packages")
    home.environment["PATH"] = with_node(home.environment["PATH"], programs, Path(sys.executable).parent)
    return home


@pytest.mark.parametrize(
    ("server", "task", "expected"),
    [
        (("mcp-server-everything",), ("get-sum", "a:=2", "b:=3"), "The sum of 2 and 3 is 5."),
        (("mcp-server-filesystem", "."), ("read_text_file", "path=note.txt"), "a note"),
        (("mcp-server-memory",), ("read_graph",), '"entities":[]'),
        (
            ("mcp-server-time",),
            ("convert_time", "source_timezone=UTC", "time=12:00", "target_timezone=Asia/Tokyo"),
            "21:00",
        ),
        (("mcp-server-git",), ("git_status", "repo_path=."), "On branch trunk"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_server_that_other_people_wrote_is_added_and_its_tool_runs(
    node_home: Home, server: tuple[str, ...], task: tuple[str, ...], expected: str
) -> None:
    node_home.write("note.txt", "a note\n")
    subprocess.run(["git", "init", "-q", "-b", "trunk"], cwd=node_home.folder, check=True)
    added = node_home.aorch("agents", "add", "other", "--mcp", "--", *server, timeout=180)
    assert (added.code, added.err) == (0, "")
    done = node_home.aorch("run", f"other.{task[0]}", *task[1:], timeout=180)
    assert (done.code, expected in done.out) == (0, True), done
    assert node_home.aorch("agents", "list", "--json").json["agents"][1]["changes"] == []


def test_progress_and_structured_content_of_a_server_that_other_people_wrote_arrive(node_home: Home) -> None:
    node_home.aorch("agents", "add", "every", "--mcp", "--", "mcp-server-everything", timeout=180)
    done = node_home.aorch("run", "every.get-structured-content", "location=Chicago", "--json", timeout=180)
    assert set(done.json["data"]) == {"temperature", "conditions", "humidity"}
    slow = node_home.aorch("run", "every.trigger-long-running-operation", "duration:=1", "steps:=2", timeout=180)
    assert (slow.code, "Steps: 2" in slow.out) == (0, True)


@pytest.mark.parametrize(
    "scenario",
    [
        "initialize",
        "tools_call",
        "request-metadata",
        "http-standard-headers",
        "http-custom-headers",
        "http-invalid-tool-headers",
        "json-schema-ref-no-deref",
        "sse-retry",
    ],
)
def test_aorch_run_conforms_to_the_protocol(node_home: Home, scenario: str) -> None:
    client = f"{sys.executable} {CLIENT}"
    done = run(node_home, "conformance", "client", "--command", client, "--scenario", scenario, "--timeout", "180000")
    assert (done.returncode, "OVERALL: PASSED" in done.stderr) == (0, True), done.stdout + done.stderr


def test_the_inspector_lists_and_calls_the_tools_of_aorch_mcp(node_home: Home) -> None:
    target = ("mcp-inspector", "--cli", sys.executable, "-m", "aorch", "mcp", "--ledger", str(node_home.ledger))
    listed = run(node_home, *target, "--method", "tools/list")
    assert [tool["name"] for tool in json.loads(listed.stdout)["tools"]] == ["echo", "uppercase"]
    called = run(node_home, *target, "--method", "tools/call", "--tool-name", "echo", "--tool-arg", "text=hi")
    assert json.loads(called.stdout)["structuredContent"] == {"message": "Echo: hi"}
    (row,) = node_home.rows("SELECT session_id FROM contracts WHERE contract_type = 'RESPONSE'")
    assert row[0].startswith("mcp_")

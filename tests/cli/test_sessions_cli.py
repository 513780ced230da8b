"""`aorch sessions`: a list by last activity, a timed tree, and a sequence diagram that Mermaid accepts."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from homes import Home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from node_packages import NODE, install
from rows import pairs, put, request, response
from terminal import UNKIND, at_terminal, plain

from aorch.cli.render.console import printable
from aorch.cli.render.mermaid import sequence_diagram
from aorch.ledger.tree import TreeNode


def at(second: int) -> str:
    return f"2026-01-31T10:00:{second:02}.000Z"


@pytest.fixture
def conversation(home: Home) -> Home:
    """A machine with the session `review`: a boss calls two agents, one of which fails, and one task still waits."""

    def exchange(begin: int, end: int, **more: Any) -> list[Any]:
        asked = request("review", created_at=at(begin), completed_at=at(end), **more)
        error = None if asked.status == "completed" else "exit code 3: no model"
        answered = response(asked, None if error else "fine", error=error, created_at=at(end))
        return [asked, answered._replace(metadata='{"duration_ms":2000.0}')]

    lead = exchange(0, 9, contract_id="LEAD00", capability="lead", to_agent="boss")
    fetch = exchange(1, 3, contract_id="FETCH0", capability="fetch", parent_id="LEAD00", from_agent="boss")
    broke = exchange(4, 6, contract_id="BROKE0", parent_id="LEAD00", from_agent="boss", status="failed", to_agent="bad")
    waits = request(
        "review", contract_id="WAITS0", status="pending", completed_at=None, to_agent=None, created_at=at(20)
    )
    put(home.ledger, *lead, *fetch, *broke, waits)
    return home


def test_sessions_are_listed_by_last_activity(home: Home) -> None:
    put(home.ledger, *pairs(2, "old"), *pairs(1, "new"), request("new", status="failed"))
    lines = [line.split("\t") for line in home.aorch("sessions", "list").out.splitlines()]
    assert [(line[0], *line[2:]) for line in lines] == [("new", "2", "1", "0"), ("old", "2", "0", "0")]
    first = home.aorch("sessions", "list", "-n", "1", "--json").json
    assert ([each["session_id"] for each in first["sessions"]], first["next"]) == (["new"], "new")
    second = home.aorch("sessions", "list", "--before", "new", "--fields", "session_id,exchanges")
    assert second.out == '{"session_id":"old","exchanges":2}\n'
    shown = plain(at_terminal(home, "sessions", "list", columns=80)).splitlines()
    assert shown[0].split() == ["session", "last", "exchanges", "failed", "open"]
    assert re.match(r"new +\d+s +2 +1", shown[1])


def test_a_session_is_a_timed_tree_with_results_and_errors(conversation: Home) -> None:
    lines = conversation.aorch("sessions", "show", "review").out.splitlines()
    assert re.fullmatch(r"review  4 exchanges, 1 failed, 1 open, \d+\w ago, over 20.0s", lines[0])
    assert lines[1:] == [
        "    +0ms ✓ lead  boss  2.0s  LEAD00  fine",
        "   +1.0s ├ ✓ fetch  agent_example_001  2.0s  FETCH0  fine",
        "   +4.0s └ ✗ echo  bad  2.0s  BROKE0  exit code 3: no model",
        "  +20.0s ○ echo  -  WAITS0  queued",
    ]
    assert len(conversation.aorch("sessions", "show", "review", "-n", "1").out.splitlines()) == 2
    whole = conversation.aorch("sessions", "show", "review", "--json").json
    assert (whole["exchanges"], whole["failed"], whole["open"]) == (4, 1, 1)
    assert [len(root["children"]) for root in whole["roots"]] == [2, 0]


@pytest.mark.parametrize("columns", [30, 40, 80, 120])
def test_a_tree_fits_the_terminal_and_shows_the_error(conversation: Home, columns: int) -> None:
    lines = plain(at_terminal(conversation, "sessions", "show", "review", "--no-pager", columns=columns)).splitlines()
    assert all(len(line) <= columns for line in lines)
    assert any("✗" in line and "exi" in line for line in lines)


def test_a_large_fan_out_shows_its_first_branches(home: Home) -> None:
    root = request("fan", contract_id="ROOT00")
    put(home.ledger, root, *(request("fan", parent_id="ROOT00") for _ in range(60)))
    lines = home.aorch("sessions", "show", "fan").out.splitlines()
    assert (len(lines), lines[-1].strip()) == (53, "└ … 10 more")
    assert len(home.aorch("sessions", "show", "fan", "--all").out.splitlines()) == 62


def test_content_of_a_session_controls_no_terminal(home: Home) -> None:
    asked = request("s", capability=UNKIND, to_agent=UNKIND, contract_id="A" + UNKIND)
    put(home.ledger, asked, response(asked, UNKIND), *pairs(1, UNKIND))
    for command in (("list",), ("show", "s", "--no-pager"), ("show", UNKIND, "--no-pager"), ("show", "s", "--mermaid")):
        shown = plain(at_terminal(home, "sessions", *command, columns=200))
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown), repr(shown)


def test_an_unknown_session_exits_12(home: Home) -> None:
    done = home.aorch("sessions", "show", "nosuch")
    assert (done.code, done.out) == (12, "")
    assert "session 'nosuch' not found" in done.err


# Diagrams


def test_a_diagram_has_calls_and_ends_in_the_order_of_time(conversation: Home) -> None:
    assert conversation.aorch("sessions", "show", "review", "--mermaid").out.splitlines() == [
        "sequenceDiagram",
        "  accTitle: The session review",
        "  participant p0 as orchestrator",
        "  participant p1 as boss",
        "  participant p2 as agent_example_001",
        "  participant p3 as bad",
        "  participant p4 as no agent",
        "  p0->>+p1: lead",
        "  p1->>+p2: fetch",
        "  p2-->>-p1: completed after 2.0s",
        "  p1->>+p3: echo",
        "  p3--x-p1: failed after 2.0s#58; exit code 3#58; no model",
        "  p1-->>-p0: completed after 2.0s",
        "  p0->>p4: echo (pending)",
    ]


odd = [
    " ",
    "end",
    "style x:#1;",
    "classDef a:#b;",
    "%%{init: {}}%%",
    "wrap: x",
    "a;b",
    "a:b",
    "#35;",
    "<script>",
    "---",
    "as",
    "p0",
]
names = some.text(some.characters(exclude_categories=["Cs"]), min_size=1, max_size=70) | some.sampled_from(odd)
leaves = some.builds(
    lambda capability, agent, caller, status, begin, length, error: TreeNode(
        *("ID", None, capability, agent, status, at(begin)),
        completed_at=None if status == "pending" else at(max(0, begin + length)),
        from_agent=caller,
        error=error,
    ),
    names,
    some.none() | names,
    names,
    some.sampled_from(["completed", "failed", "pending"]),
    some.integers(0, 20),
    some.integers(-5, 5),
    some.none() | names,
)


def with_children(node: TreeNode, children: list[TreeNode]) -> TreeNode:
    node.children = children
    return node


nodes = some.recursive(
    leaves, lambda below: some.builds(with_children, leaves, some.lists(below, max_size=3)), max_leaves=6
)
sessions_of_trees = some.lists(some.lists(nodes, min_size=1, max_size=4), min_size=30, max_size=60)


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script that parses with Mermaid, beside its packages."""
    folder = tmp_path_factory.getbasetemp().parent / "mermaid-packages"
    install(folder, ("mermaid", "jsdom"))
    script = Path(__file__).parents[1] / "support" / "parse_mermaid.mjs"
    return Path(shutil.copy(script, folder / script.name))


def decoded(text: str) -> str:
    """Mermaid's own form of character codes, decoded as it does for the picture."""
    return re.sub("ﬂ°°(\\d+)¶ß", lambda code: chr(int(code[1])), text).strip()


@pytest.mark.torture
@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of sessions with long names
@given(sessions_of_trees)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_mermaid_reads_the_names_in_a_diagram_whatever_they_contain(
    parser: Path, sessions: list[list[TreeNode]]
) -> None:
    diagrams = ["\n".join(sequence_diagram("a;b", roots)) + "\n" for roots in sessions]
    command = [NODE / "node", parser.name]
    given_text = json.dumps(diagrams)
    done = subprocess.run(command, cwd=parser.parent, input=given_text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for roots, line in zip(sessions, done.stdout.splitlines(), strict=True):
        all_nodes = [node for root in roots for node in root.walk()]
        expected = {name for node in all_nodes for name in (node.from_agent, node.agent_id or "no agent")}
        shown = {printable(name[:60]) + ("…" if len(name) > 60 else "") for name in expected}
        understood = json.loads(line)
        assert {decoded(actor) for actor in understood["actors"]} == {name.strip() for name in shown}
        assert len(understood["messages"]) == sum(1 if node.completed_at is None else 2 for node in all_nodes)

"""`aorch contracts show --tree`: who was asked on whose behalf, from the root down."""

import time
from pathlib import Path
from typing import Any

import pytest
from homes import Home, empty_home
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import pairs, put, request, response
from terminal import at_terminal

from aorch.ledger.reader import Reader
from aorch.ledger.record import Record


def exchange(name: str, parent: str | None = None, **more: Any) -> list[Record]:
    """An exchange whose REQUEST has that id."""
    asked = request(contract_id=name, capability=name, parent_id=parent, **more)
    return [asked, response(asked)]


def test_a_tree_in_a_pipe_is_indented_text(home: Home) -> None:
    put(
        home.ledger,
        *exchange("ROOT"),
        *exchange("SIDE", "ROOT"),
        *exchange("MIDDLE", "ROOT"),
        *exchange("LEAF", "MIDDLE", metadata='{"step":"clean","index":3}'),
        *exchange("OTHER", "MIDDLE", metadata='{"step":"plot","resumes":"LEAF"}'),
    )
    done = home.aorch("contracts", "show", "MIDDLE", "--tree")
    assert done.out.splitlines() == [
        "ROOT by agent_example_001  completed  2 ms  ROOT",
        "  MIDDLE by agent_example_001  completed  2 ms  MIDDLE",
        "    clean[3]: LEAF by agent_example_001  completed  2 ms  LEAF",
        "    plot: OTHER by agent_example_001  completed  2 ms  OTHER  resumes LEAF",
    ]
    assert len(home.aorch("contracts", "show", "ROOT", "--tree").out.splitlines()) == 5
    ((answer,),) = home.rows("SELECT contract_id FROM contracts WHERE request_id = 'LEAF'")
    assert len(home.aorch("contracts", "show", answer, "--tree").out.splitlines()) == 3


def test_a_tree_in_json_is_nested(home: Home) -> None:
    put(home.ledger, *exchange("ROOT"), *exchange("LEAF", "ROOT", metadata='{"step":"clean"}'))
    tree = home.aorch("contracts", "show", "LEAF", "--tree", "--json").json
    (leaf,) = tree.pop("children")
    assert leaf == {
        "contract_id": "LEAF",
        "parent_id": "ROOT",
        "capability": "LEAF",
        "agent_id": "agent_example_001",
        "status": "completed",
        "created_at": leaf["created_at"],
        "completed_at": leaf["completed_at"],
        "from_agent": "orchestrator",
        "duration_ms": 1.5,
        "error": None,
        "step": "clean",
        "index": None,
        "resumes": None,
        "reused": 0,
        "asked_for": True,
        "omitted": {},
        "children": [],
    }
    assert (tree["contract_id"], tree["asked_for"]) == ("ROOT", False)


def test_failed_interrupted_and_running_requests_are_shown(home: Home) -> None:
    failed = request(contract_id="FAILED", parent_id="ROOT", status="failed")
    gone = request(contract_id="GONE", parent_id="ROOT", status="failed")
    put(
        home.ledger,
        *exchange("ROOT"),
        failed,
        response(failed, error="no such\ntable", result=None),
        gone,
        response(gone, status="interrupted"),
        request(contract_id="OPEN", parent_id="ROOT", status="in_progress", completed_at=None, to_agent=None),
    )
    lines = home.aorch("contracts", "show", "ROOT", "--tree").out.splitlines()
    assert lines[1:] == [
        "  echo by agent_example_001  failed  2 ms  FAILED  no such\\ntable",
        "  echo by agent_example_001  interrupted  2 ms  GONE",
        "  echo by -  in_progress  OPEN",
    ]


def test_at_a_terminal_it_is_drawn_and_what_agents_wrote_cannot_steer_it(home: Home) -> None:
    put(home.ledger, *exchange("ROOT"), *exchange("LEAF", "ROOT", metadata='{"step":"\\u001b[31m[bold]x"}'))
    said = at_terminal(home, "contracts", "show", "ROOT", "--tree")
    assert "└── " in said
    assert "\\x1b[31m[bold]x: LEAF" in said


@pytest.mark.torture
def test_a_fan_out_of_thousands_is_summed_up_unless_all_are_wanted(home: Home) -> None:
    put(home.ledger, *exchange("ROOT"), *pairs(9_990, parent_id="ROOT"), *pairs(10, parent_id="ROOT", status="failed"))
    put(home.ledger, *exchange("AFTER", None))
    lines = home.aorch("contracts", "show", "ROOT", "--tree").out.splitlines()
    assert len(lines) == 52
    assert lines[-1] == "  … 9,950 more (9,940 completed, 10 failed); --all shows them"
    tree = home.aorch("contracts", "show", "ROOT", "--tree", "--json").json
    assert (len(tree["children"]), tree["omitted"]) == (50, {"completed": 9940, "failed": 10})
    assert len(home.aorch("contracts", "show", "ROOT", "--tree", "--all").out.splitlines()) == 10_001


def test_a_parent_that_is_missing_and_a_circle_end_the_tree(home: Home) -> None:
    put(
        home.ledger,
        *exchange("ORPHAN", "NOWHERE"),
        *exchange("XXXX", "YYYY"),
        *exchange("YYYY", "XXXX"),
        *exchange("SELF", "SELF"),
    )
    assert home.aorch("contracts", "show", "ORPHAN", "--tree").out.startswith("ORPHAN by")
    assert home.aorch("contracts", "show", "XXXX", "--tree").out.count("\n") == 2
    assert home.aorch("contracts", "show", "SELF", "--tree").out.count("\n") == 1


def test_an_answer_to_nothing_has_no_tree(home: Home) -> None:
    put(home.ledger, response(request(), contract_id="LOST"))
    done = home.aorch("contracts", "show", "LOST", "--tree")
    assert done.code == 12
    assert "the REQUEST that LOST answers is not in the ledger" in done.err


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trees")


@settings(deadline=None)
@given(st.lists(st.integers(-1, 11), min_size=1, max_size=12), st.integers(0, 11), st.sampled_from([1, 2, None]))
def test_whatever_the_parents_are_the_tree_ends_and_holds_each_once(
    folders: Path, parents: list[int], asked: int, most: int | None
) -> None:
    """With circles, missing parents and any limit; without a limit all descendants are in it."""
    home = empty_home(folders)
    folder = f"{time.monotonic_ns()}.db"
    ledger = home.folder / folder
    put(
        ledger,
        *(row for n, parent in enumerate(parents) for row in exchange(f"C{n}", f"C{parent}" if parent >= 0 else None)),
    )
    asked %= len(parents)
    with Reader(ledger) as reader:
        root = reader.tree(reader.with_counterpart(f"C{asked}")[0], most)

    def ids(branch: Any) -> list[str]:
        return [branch.contract_id, *(each for child in branch.children for each in ids(child))]

    shown = ids(root)
    assert len(shown) == len(set(shown))
    below, level = {asked}, {asked}
    while level := {n for n, parent in enumerate(parents) if parent in level} - below:
        below |= level
    if most is None:
        assert {f"C{n}" for n in below} <= set(shown)

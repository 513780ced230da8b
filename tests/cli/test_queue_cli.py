"""`aorch queue`: the queue at a terminal, in a pipe and as JSON."""

import pytest
from homes import Home
from terminal import at_terminal, plain

from aorch.cli.commands.queue import TaskListing
from aorch.ledger.queue_view import TASK_FIELDS


@pytest.fixture
def filled(home: Home) -> Home:
    home.aorch("run", "echo", "text=a", "--detach", "--session", "nightly")
    home.aorch("run", "echo", "text=b", "--detach", "--session", "urgent", "--priority", "1")
    home.aorch("run", "uppercase", "text=c", "--detach", "--not-before", "2h")
    return home


def test_a_pipe_gets_the_tasks_in_order(filled: Home) -> None:
    rows = [line.split("\t") for line in filled.aorch("queue").out.splitlines()]
    assert [row[1:5] for row in rows[:2]] == [["queued", "echo", "1", "urgent"], ["queued", "echo", "3", "nightly"]]
    assert (rows[2][1:4], len(rows)) == (["scheduled", "uppercase", "3"], 3)
    assert filled.aorch("queue", "list").out == filled.aorch("queue").out
    assert TaskListing.known == TASK_FIELDS


def test_json_has_the_numbers_too(filled: Home) -> None:
    found = filled.aorch("queue", "--json", "--limit", "1").json
    assert [found[name] for name in ("queued", "scheduled", "running", "more")] == [2, 1, 0, 2]
    assert [(group["capability"], group["priority"]) for group in found["groups"]] == [
        *(("echo", 1), ("echo", 3), ("uppercase", 3)),
    ]


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_a_terminal_shows_numbers_and_tasks(filled: Home, columns: int) -> None:
    lines = plain(at_terminal(filled, "queue", columns=columns)).splitlines()
    assert max(map(len, lines[1:])) <= columns
    assert lines[0].startswith("2 queued, 1 scheduled, 0 running; the oldest has waited ")
    assert "queued" in lines[1]


def test_an_empty_queue_says_so(home: Home) -> None:
    assert plain(at_terminal(home, "queue")) == "0 queued, 0 scheduled, 0 running\n"
    assert home.aorch("queue").out == ""
    assert home.aorch("queue", "nosuch").code == 2

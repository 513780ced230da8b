"""The length of a session id: limited wherever a new task is given one, and not where a ledger has a longer one."""

import json

import pytest
import shared
from api import ask, problem
from homes import Home
from rows import pairs, put
from serving import Server

from aorch import Orchestrator, UsageError
from aorch.engine.task import LONGEST_SESSION_ID

home, server = shared.home, shared.server
LONGEST = "s" * LONGEST_SESSION_ID
TOO_LONG = LONGEST + "s"


def test_the_service_refuses_a_session_id_that_is_too_long(server: Server) -> None:
    assert ask(server, session=LONGEST).status_code == 200
    assert "session_id" in problem(ask(server, session="x" * 1_000_000), 422, "parameters_invalid")["detail"]
    given = {"session_id": TOO_LONG, "capability": "echo", "parameters": {"text": "hi"}}
    problem(server.post("/v1/tasks", json=given), 422, "parameters_invalid")


def test_the_command_line_refuses_a_session_id_that_is_too_long(home: Home) -> None:
    for arguments in (("--session", TOO_LONG), ("--session", TOO_LONG, "--detach")):
        result = home.aorch("run", "echo", "text=hi", *arguments)
        assert (result.code, result.out) == (2, "")
        assert "error: session_id has 256 characters; the limit is 255" in result.err
    lines = f'{{"parameters": {{"text": "hi"}}, "session_id": "{TOO_LONG}"}}\n{{"parameters": {{"text": "hi"}}}}\n'
    results = [json.loads(line) for line in home.aorch("run", "echo", "--batch", "-", stdin=lines).out.splitlines()]
    assert sorted(result["success"] for result in results) == [False, True]
    assert home.aorch("run", "echo", "--batch", "-", "--session", TOO_LONG, stdin=lines).code == 2


async def test_python_refuses_a_session_id_that_is_too_long(home: Home) -> None:
    async with Orchestrator(ledger=home.ledger) as orchestrator:
        task = {"capability": "echo", "parameters": {"text": "hi"}}
        for attempt in (
            lambda: orchestrator.orchestrate(TOO_LONG, task),
            lambda: orchestrator.submit(TOO_LONG, task),
            lambda: orchestrator.map("echo", [{"text": "hi"}], session_id=TOO_LONG).__anext__(),
        ):
            with pytest.raises(UsageError, match="256 characters"):
                await attempt()


def test_a_longer_session_id_of_an_older_ledger_is_read_exported_and_imported(home: Home) -> None:
    put(home.ledger, *pairs(1, "y" * 3000))
    exported = home.aorch("contracts", "export", "--session", "y" * 3000)
    assert exported.out.count("\n") == 2
    other = home.folder / "other.db"
    assert home.aorch("contracts", "import", "-", "--ledger", str(other), stdin=exported.out).code == 0
    listed = home.aorch("contracts", "list", "--session", "y" * 3000, "--json", "--ledger", str(other))
    assert listed.out.count("y" * 3000) == 2


def test_a_page_that_ends_with_a_longer_session_id_of_an_import_has_no_endless_link(home: Home, server: Server) -> None:
    put(home.ledger, *pairs(1, "zy" * 100_000), *pairs(1, "zz"))
    response = server.get("/v1/sessions", params={"cursor": "zx", "limit": 1})
    assert response.json()["next"] == "zy" * 100_000
    assert "Link" not in response.headers

"""Servers that do not answer for a while, and addresses at which something else answers."""

import json
import threading
from urllib.parse import urlsplit

import pytest
from fixed_answers import Fixed, answering
from homes import Home
from remote_homes import with_client
from waiting import WAIT_S

from aorch.client.connection import ServerConnection
from aorch.client.server_address import ServerAddress
from aorch.errors import ServiceFailed

PAGE = Fixed(404, b"<html>nginx</html>", {"Content-Type": "text/html"})
MOVED = Fixed(308, b"<html>moved</html>", {"Location": "https://aorch.example/new"})
ANSWER = {
    "success": True,
    "data": "late",
    "error": None,
    "contract_id": "c",
    "agent_id": "a",
    "session_id": "s",
    "timestamp": "2026-01-01T00:00:00Z",
}


def as_json(status: int, value: object) -> Fixed:
    return Fixed(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


@pytest.mark.parametrize(("fixed", "said"), [(PAGE, "answered 404"), (MOVED, "redirects to https://aorch.example/new")])
def test_a_wrong_address_is_an_error_at_once(home: Home, fixed: Fixed, said: str) -> None:
    asked: list[str] = []

    def answer(path: str, _: bytes) -> Fixed:
        asked.append(path)
        return fixed

    with answering(answer) as url:
        client = with_client(home, url)
        for command in (("run", "echo", "text=hi"), ("contracts", "tail", "-f"), ("log",)):
            done = client.aorch(*command)
            assert (done.code, said in done.err, "hint:" in done.err) == (3, True, True), done.err
    assert asked.count("/v1/orchestrate") == 1


async def test_a_redirect_is_never_a_success() -> None:
    with answering(lambda path, body: MOVED) as url:
        async with ServerConnection(ServerAddress(url)) as connection:
            with pytest.raises(ServiceFailed, match="redirects to"):
                await connection.request("DELETE", "/v1/work/leases/x")


def test_a_request_that_is_repeated_is_announced_once(home: Home) -> None:
    answers = [as_json(200, ANSWER), *[Fixed(502, b"bad gateway", {})] * 2]

    def answer(path: str, _: bytes) -> Fixed:
        return answers.pop() if path == "/v1/orchestrate" else as_json(200, {"agents": []})

    with answering(answer) as url:
        done = with_client(home, url).aorch("run", "echo", "text=hi")
    assert (done.code, done.out, done.err.count("trying again for 60 s")) == (0, "late\n", 1), done.err


@pytest.mark.parametrize("timeout", [(), ("--timeout", "60")])
def test_waiting_for_a_task_survives_a_restart_of_the_server(home: Home, timeout: tuple[str, ...]) -> None:
    asked, answers = threading.Event(), [None, ANSWER]

    def answer(path: str, _: bytes) -> Fixed:
        if "contract-ids" in path:
            return as_json(200, {"contract": {"contract_id": "c"}})
        asked.set()
        return as_json(200, {"answer": answers[0], "capability": "echo"})

    with answering(answer) as url:
        waiting = with_client(home, url).start("contracts", "wait", "c", *timeout)
        assert asked.wait(WAIT_S)
    assert waiting.stderr is not None
    assert b"trying again" in waiting.stderr.readline()
    answers.pop(0)
    with answering(answer, urlsplit(url).port or 0):
        out, err = waiting.communicate(timeout=WAIT_S)
    assert (waiting.returncode, out) == (0, b"late\n"), err


def test_tasks_that_were_cancelled_before_an_outage_are_reported(home: Home) -> None:
    def answer(path: str, _: bytes) -> Fixed:
        if "second" in path:
            return Fixed(502, b"bad gateway", {})
        if "contract-ids" in path:
            return as_json(200, {"contract": {"contract_id": "first"}})
        return as_json(200, {"status": "cancelled"})

    with answering(answer) as url:
        done = with_client(home, url).aorch("contracts", "cancel", "first", "second", "third")
    assert (done.code, done.out, "answered 502" in done.err) == (3, "first\tcancelled\n", True), done.err

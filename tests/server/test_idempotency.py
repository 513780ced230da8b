"""`Idempotency-Key`: a request that is sent again gets the same response and is executed once."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import shared
from api import ask, hold, problem
from homes import Home
from serving import Server, serving

from aorch import Orchestrator, Task
from aorch.errors import Conflict
from aorch.ledger.task_keys import CallerKey

REPLAYED = "Idempotency-Replayed"


home, server = shared.home, shared.server


def keyed(key: str) -> dict[str, str]:
    """The header with that key."""
    return {"Idempotency-Key": key}


def exchanges(home: Home, session: str) -> int:
    """The number of REQUESTs in that session."""
    ((count,),) = home.rows(
        "SELECT count(*) FROM contracts WHERE session_id = ? AND contract_type = 'REQUEST'", session
    )
    return int(count)


def same(first: httpx.Response, again: httpx.Response) -> bool:
    """Whether `again` is the stored response of `first`, and is marked as replayed."""
    told = (REPLAYED in first.headers, again.headers.get(REPLAYED)) == (False, "true")
    return told and first.status_code == again.status_code and first.content == again.content


def test_the_same_request_again_gets_the_stored_response(home: Home, server: Server) -> None:
    first, again = (ask(server, session="again", headers=keyed('"8e03978e-40d5"')) for _ in range(2))
    assert first.json()["data"] == {"message": "Echo: hi"}
    assert same(first, again)
    assert exchanges(home, "again") == 1


def test_a_bare_key_equals_the_quoted_one(home: Home, server: Server) -> None:
    given = ("0d3b:a/b~c", '"0d3b:a/b~c"', "0d3b:a/b~c")
    first, *others = (ask(server, session="bare", headers=keyed(key)) for key in given)
    assert all(same(first, again) for again in others)
    assert exchanges(home, "bare") == 1


def test_another_body_with_the_same_key_is_rejected(home: Home, server: Server) -> None:
    ask(server, session="other body", headers=keyed("other-body"))
    again = ask(server, session="other body", parameters={"text": "ho"}, headers=keyed("other-body"))
    problem(again, 422, "idempotency_key_reused")
    assert exchanges(home, "other body") == 1


def test_another_key_is_another_request(home: Home, server: Server) -> None:
    for key in ("k1", "k2", '"K1"', '"k 1"', r'"k\"1"', r'"k\\1"'):
        assert REPLAYED not in ask(server, session="other keys", headers=keyed(key)).headers
    assert exchanges(home, "other keys") == 6


@pytest.mark.parametrize("key", ["", '""', '"open', 'in"side', '"a" b', "a b", "ключ", '"a\\b"', "a,b", "x" * 256])
def test_an_invalid_key_is_a_bad_request(server: Server, key: str) -> None:
    response = ask(server, session="malformed", headers={b"Idempotency-Key": key.encode()})
    problem(response, 400, "idempotency_key_invalid")


def test_two_keys_at_once_are_a_bad_request(server: Server) -> None:
    response = ask(server, session="malformed", headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    problem(response, 400, "idempotency_key_invalid")


def test_a_failure_of_the_agent_is_replayed_too(home: Home, server: Server) -> None:
    first, again = (ask(server, "fail", session="failed", headers=keyed("failed")) for _ in range(2))
    assert first.json()["success"] is False
    assert same(first, again)
    assert exchanges(home, "failed") == 1


def test_a_timeout_is_replayed_with_its_status(home: Home, server: Server) -> None:
    os.mkfifo(gate := home.folder / "timed out")
    first, again = (hold(server, gate, session="timed", timeout_s=0.1, headers=keyed("timed")) for _ in range(2))
    problem(first, 504, "agent_timed_out")
    assert same(first, again)
    assert exchanges(home, "timed") == 1


def test_a_request_that_called_no_agent_can_be_sent_again(home: Home, server: Server) -> None:
    for capability, status in (("absent", 503), ("nothing", 404)):
        for _ in range(2):
            response = ask(server, capability, session="refused", headers=keyed("refused"))
            assert response.status_code == status
            assert REPLAYED not in response.headers
    assert ask(server, session="refused", headers=keyed("refused")).json()["success"] is True


def test_a_request_that_is_still_running_is_a_conflict(home: Home, server: Server) -> None:
    os.mkfifo(gate := home.folder / "still running")
    with ThreadPoolExecutor() as threads:
        running = threads.submit(hold, server, gate, session="running", headers=keyed("running"))
        with gate.open("w") as released:
            again = hold(server, gate, session="running", headers=keyed("running"))
            problem(again, 409, "idempotency_in_progress")
            assert int(again.headers["Retry-After"]) > 0
            released.write("done")
        first = running.result()
    assert first.json()["data"] == {"text": "done"}
    assert same(first, hold(server, gate, session="running", headers=keyed("running")))
    assert exchanges(home, "running") == 1


def test_of_many_requests_at_once_one_is_executed(home: Home, server: Server) -> None:
    def at_once(number: int) -> list[httpx.Response]:
        return list(
            threads.map(lambda _: ask(server, session=f"at once {number}", headers=keyed(f"{number}")), range(8))
        )

    with ThreadPoolExecutor(8) as threads:
        for number in range(10):
            responses = at_once(number)
            first = next(each for each in responses if each.status_code == 200 and REPLAYED not in each.headers)
            for each in responses:
                assert each is first or same(first, each) or problem(each, 409, "idempotency_in_progress")
            assert exchanges(home, f"at once {number}") == 1


def test_of_many_reruns_at_once_with_one_key_one_is_queued(home: Home, server: Server) -> None:
    first = ask(server, session="reruns").json()["contract_id"]

    def rerun(number: int) -> httpx.Response:
        return server.post(f"/v1/tasks/{first}/rerun", headers=keyed(f"rerun-{number // 8}"))

    with ThreadPoolExecutor(8) as threads:
        responses = list(threads.map(rerun, range(40)))
    assert {each.status_code for each in responses} == {202}
    assert sum(REPLAYED not in each.headers for each in responses) == 5
    assert len({each.json()["contract_id"] for each in responses}) == 5
    assert exchanges(home, "reruns") == 6


async def test_a_used_key_takes_precedence_over_a_cancellation(own_home: Home) -> None:
    async with Orchestrator(own_home.ledger) as orchestrator:
        first, again = (Task("echo", {"text": "hi"}, "s", idempotency=CallerKey("", "key", "same")) for _ in range(2))
        assert (await orchestrator.perform(first)).success
        running = asyncio.create_task(orchestrator.perform(again))
        asyncio.get_running_loop().call_soon(running.cancel)
        with pytest.raises(Conflict, match="'key' has been used"):
            await running
    assert own_home.rows("SELECT contract_type FROM contracts ORDER BY position") == [("REQUEST",), ("RESPONSE",)]


def test_a_key_survives_a_restart_and_an_interrupted_exchange(own_home: Home) -> None:
    os.mkfifo(gate := own_home.folder / "gate")
    with serving(own_home) as server, ThreadPoolExecutor() as threads:
        first = ask(server, headers=keyed("kept"))
        running = threads.submit(hold, server, gate, session="cut off", headers=keyed("cut-off"))
        with gate.open("w"):  # the program of the agent runs; it ends when this is closed
            server.kill()
            assert isinstance(running.exception(), httpx.TransportError)
    with serving(own_home) as server:
        assert same(first, ask(server, headers=keyed("kept")))
        again = hold(server, gate, session="cut off", headers=keyed("cut-off"))
        assert (again.status_code, again.headers[REPLAYED]) == (200, "true")
        assert again.json()["success"] is False
        assert again.json()["error"].startswith("interrupted")
        assert exchanges(own_home, "s") == exchanges(own_home, "cut off") == 1

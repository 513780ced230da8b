"""Queued tasks over HTTP: accepted, waited for, rejected."""

import asyncio
import time
from typing import Any

import pytest
import shared
from api import problem
from homes import Home
from queueing import furnish, noted
from rows import put, request
from serving import Server, serving
from waiting import WAIT_S, wait_for

from aorch import Orchestrator, TaskDict
from aorch.engine.task import QueueOptions, Task
from aorch.errors import Conflict, NoAgent, QueueFull
from aorch.ledger.task_keys import CallerKey


@pytest.fixture(scope="module")
def home(module_home: Home) -> Home:
    """The home of the shared server, which works on its queue."""
    return furnish(module_home)


server = shared.server


def post(server: Server, capability: str = "note", headers: Any = None, **more: Any) -> Any:
    """POST /v1/tasks."""
    return server.post("/v1/tasks", json={"capability": capability, "session_id": "s", **more}, headers=headers)


def test_a_task_is_accepted_with_its_place_and_done(server: Server) -> None:
    accepted = post(server, parameters={"text": "hi"})
    assert accepted.status_code == 202
    form = accepted.json()
    assert accepted.headers["Location"] == f"/v1/tasks/{form['contract_id']}"
    assert (form["status"], form["answer"], form["completed_at"]) == ("pending", None, None)
    done = server.get(accepted.headers["Location"], params={"wait_s": 20}).json()
    assert (done["status"], done["answer"]["data"], done["answer"]["success"]) == ("completed", {"text": "hi"}, True)


def test_a_long_poll_answers_as_soon_as_it_is_done(server: Server, home: Home) -> None:
    place = post(server, "hold", parameters={"text": "polled"}).headers["Location"]
    wait_for(lambda: "polled" in noted(home, "hold"))
    still = server.get(place, params={"wait_s": 0.05}).json()
    assert (still["status"], still["answer"]) == ("in_progress", None)
    home.write("polled.go", "")
    started = time.monotonic()
    assert server.get(place, params={"wait_s": 60}).json()["status"] == "completed"
    assert time.monotonic() - started < WAIT_S


def test_the_same_key_is_the_same_task(server: Server, home: Home) -> None:
    key = {"Idempotency-Key": '"k1"'}
    first, again = (post(server, headers=key, parameters={"text": "once"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.headers["Location"] == again.headers["Location"]
    assert again.json()["contract_id"] == first.json()["contract_id"]
    assert list(again.json()) == list(first.json())
    other = post(server, headers=key, parameters={"text": "twice"})
    assert other.status_code == 422
    server.get(first.headers["Location"], params={"wait_s": 20})
    assert noted(home, "note").count("once") == 1


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"capability": "nothing"}, 404, "no_agent"),
        ({"capability": "echo", "parameters": {}}, 422, "parameters_invalid"),
    ],
)
def test_a_refused_task_leaves_both_contracts(
    server: Server, home: Home, more: dict[str, Any], status: int, code: str
) -> None:
    problem(post(server, **more, session_id=code), status, code)
    ends = "SELECT contract_type, status FROM contracts WHERE session_id = ?"
    assert home.rows(ends, code) == [("REQUEST", "failed"), ("RESPONSE", "failed")]


def test_a_priority_that_is_none_is_refused(server: Server) -> None:
    assert post(server, priority=6).status_code == 422
    assert post(server, not_before="soon").status_code == 422


def test_an_unknown_task_is_not_found(server: Server) -> None:
    for answer in (server.get("/v1/tasks/none"), server.post("/v1/tasks/none/cancel")):
        assert "GET /v1/contracts" in problem(answer, 404, "not_found")["hint"]


def test_an_imported_task_that_is_open_is_shown_at_once_and_cannot_be_cancelled(server: Server, home: Home) -> None:
    asked = request(status="in_progress", completed_at=None)
    put(home.ledger, asked)
    started = time.monotonic()
    shown = server.get(f"/v1/tasks/{asked.contract_id}", params={"wait_s": 60}).json()
    assert (shown["status"], shown["answer"]) == ("in_progress", None)
    assert time.monotonic() - started < WAIT_S
    problem(server.post(f"/v1/tasks/{asked.contract_id}/cancel"), 409, "conflict")


def test_a_full_queue_says_when_to_come_again(own_home: Home) -> None:
    furnish(own_home, "[queue]\nmax_waiting = 1\nparallel = 0\n")
    with serving(own_home) as server:
        assert post(server).status_code == 202
        refused = post(server)
        problem(refused, 503, "queue_full")
        assert int(refused.headers["Retry-After"]) > 0


def test_python_hears_of_a_full_queue(own_home: Home) -> None:
    furnish(own_home, "[queue]\nmax_waiting = 1\n")

    async def submit_two() -> None:
        from aorch.config import settings as config

        given = config.Config(ledger=own_home.ledger, queue=config.QueueConfig(max_waiting=1))
        async with Orchestrator(config=given) as orchestrator:
            for _ in range(2):
                await orchestrator.submit("s", {"capability": "echo", "parameters": {"text": "hi"}})

    with pytest.raises(QueueFull):
        asyncio.run(submit_two())


async def test_tasks_that_are_rejected_take_no_place_in_the_queue(home: Home) -> None:
    """Whether no agent has the capability, or the idempotency key was used, or one of several does not fit."""
    from aorch.config import settings as config

    given = config.Config(ledger=home.ledger, queue=config.QueueConfig(max_waiting=3))
    echo: TaskDict = {"capability": "echo", "parameters": {"text": "hi"}}
    async with Orchestrator(config=given) as orchestrator:
        for _ in range(5):
            with pytest.raises(NoAgent):
                await orchestrator.submit("s", {"capability": "none"})
        await orchestrator.submit_all([("s", {"capability": "none"})] * 5)
        keyed = Task("echo", {"text": "hi"}, "s", idempotency=CallerKey("", "key", ""))
        await orchestrator.queue.submit(keyed, QueueOptions())
        for _ in range(5):
            with pytest.raises(Conflict):
                await orchestrator.queue.submit(keyed, QueueOptions())
        with pytest.raises(QueueFull):
            await orchestrator.submit_all([("s", echo)] * 3)
        await orchestrator.submit_all([("s", echo)] * 2)
        with pytest.raises(QueueFull):
            await orchestrator.submit("s", echo)


def test_a_recorded_exchange_runs_again_as_a_new_one_in_its_session(server: Server) -> None:
    first = post(server, parameters={"text": "again"}, session_id="again").json()["contract_id"]
    server.get(f"/v1/tasks/{first}", params={"wait_s": 20})
    queued = server.post(f"/v1/tasks/{first}/rerun")
    assert queued.status_code == 202
    again = server.get(queued.headers["Location"], params={"wait_s": 20}).json()
    assert (again["session_id"], again["answer"]["data"]) == ("again", {"text": "again"})
    assert again["contract_id"] != first
    assert server.get(f"/v1/contracts/{again['contract_id']}").json()["metadata"]["rerun_of"] == first
    for unknown in ("01KFV70HW9ZZZZZZZZZZZZZZZZ", first[:12], "0"):
        problem(server.post(f"/v1/tasks/{unknown}/rerun"), 404, "not_found")

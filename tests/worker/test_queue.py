"""The queue: a task is accepted by one process and done by another, in the order that is promised."""

import asyncio
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from api import problem
from homes import Home
from hypothesis import given, settings
from hypothesis import strategies as st
from queueing import besides_log, detach, furnish, noted, said, working
from rows import put, request
from serving import Server, serving

from aorch import Agent, AgentCapability, Orchestrator
from aorch.errors import AorchError, NoAgent, QueueFull
from aorch.ledger.sqlite.opening import connect
from aorch.worker.queue_worker import QueueWorker

Wait = Callable[[Callable[[], Any]], Any]


# From one process to another


def test_a_detached_task_is_done_by_a_worker_and_waited_for(home: Home) -> None:
    request_id = detach(home, "note", "text=hi", "--session", "s")
    assert home.rows("SELECT contract_id, contract_type, status, to_agent, session_id FROM contracts") == [
        (request_id, "REQUEST", "pending", None, "s")
    ]
    with working(home):
        done = home.aorch("contracts", "wait", request_id, "--timeout", "20")
    assert (done.code, done.out) == (0, "hi\n")
    request, response = home.rows(
        "SELECT status, from_agent, to_agent, claimed_by, request_id FROM contracts ORDER BY position"
    )
    assert request == ("completed", "orchestrator", "noter", None, None)
    assert response == ("completed", "noter", "orchestrator", None, request_id)
    again = home.aorch("contracts", "wait", request_id[-6:], "--json").json
    assert (again["contract_id"], again["data"], again["agent_id"]) == (request_id, {"text": "hi"}, "noter")


def test_a_worker_drains_what_there_is_and_leaves(home: Home) -> None:
    ids = [detach(home, "note", f"text={number}") for number in range(3)]
    later = detach(home, "note", "text=later", "--not-before", "1h")
    done = home.aorch("worker", "--drain")
    assert (done.code, done.out, besides_log(done.err)) == (0, "", "")
    assert sorted(noted(home, "note")) == ["0", "1", "2"]
    assert [said(home, each)[0] for each in (*ids, later)] == ["completed"] * 3 + ["pending"]
    lines = home.aorch("contracts", "wait", *ids).out.splitlines()
    assert len(lines) == 3


def test_waiting_gives_up_in_time_and_says_what_is_missing(home: Home) -> None:
    request_id = detach(home, "note", "text=hi")
    done = home.aorch("contracts", "wait", request_id, "--timeout", "0.1")
    assert (done.code, done.out) == (5, "")
    assert request_id in done.err
    assert "aorch worker" in done.err


def test_a_failure_has_the_exit_code_that_run_gives(home: Home) -> None:
    home.write(
        "aorch.toml", '[agents.no]\ncommand = ["sh", "-c", "echo no >&2; exit 3"]\n[agents.no.capabilities.fail]\n'
    )
    request_id = detach(home, "fail")
    assert home.aorch("worker", "--drain").code == 0
    done = home.aorch("contracts", "wait", request_id)
    assert (done.code, home.aorch("run", "fail").code) == (10, 10)
    assert "no" in done.err


def test_each_task_is_a_line_of_the_log(home: Home) -> None:
    home.write("aorch.toml", '[agents.no]\ncommand = ["sh", "-c", "exit 3"]\n[agents.no.capabilities.fail]\n')
    failed = detach(home, "fail", "-s", "night")
    completed = detach(home, "echo", "text=hi", "-s", "a\nb")
    done = home.aorch("worker", "--drain")
    assert done.code == 0
    lines = {line.split(" contract_id=")[1].split()[0]: line for line in done.err.splitlines()}
    assert lines.keys() == {failed, completed}
    when, capability, status, milliseconds, _ = lines[failed].split(" ", 4)
    ((moment,),) = home.rows("SELECT created_at FROM contracts WHERE request_id = ?", failed)
    assert (when, capability, status) == (moment, "fail", "failed")
    assert float(milliseconds) > 0
    assert lines[failed].endswith(f" ms contract_id={failed} session=night code=agent_failed")
    assert lines[completed].endswith(f" ms contract_id={completed} session=a\\nb")


def test_what_no_agent_here_can_do_is_told_at_the_start_and_once(home: Home, wait_for: Wait) -> None:
    """`wait` names both reasons why nobody has done a task."""
    first = detach(home, "note")
    detach(home, "note")
    detach(home, "hold", "--agent", "noter")
    home.write("aorch.toml", "")
    done = home.aorch("worker", "--drain")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        f"warning: 1 task waits for hold by noter, which no agent of {home.folder}/aorch.toml has",
        f"warning: 2 tasks wait for note, which no agent of {home.folder}/aorch.toml has",
    ]
    (home.folder / "aorch.toml").unlink()
    worker = home.start("worker")
    assert worker.stderr is not None
    assert b"no agent here has, and there is no aorch.toml" in worker.stderr.readline()
    hint = home.aorch("contracts", "wait", first, "--timeout", "0.1").err
    assert "aorch worker" in hint
    assert "capability" in hint
    worker.terminate()
    assert worker.wait(20) == 0
    worker.communicate()


def test_draining_tells_at_its_end_what_came_meanwhile(home: Home, wait_for: Wait) -> None:
    """From another folder, whose agents this one does not have; what was told at the start is told no second time."""
    detach(home, "appear")
    detach(home, "hold", "text=a")
    worker = home.start("worker", "--drain")
    wait_for(lambda: noted(home, "hold"))
    (home.folder / "other").mkdir()
    other = Home(home.folder / "other", home.environment)
    other.write("aorch.toml", '[agents.b]\ncommand = ["true"]\n[agents.b.capabilities.build]\n')
    detach(other, "build")
    home.write("a.go", "")
    _, err = worker.communicate(timeout=20)
    assert worker.returncode == 0
    first, last = besides_log(err.decode()).splitlines()
    assert first.startswith("warning: 1 task waits for appear, and absent cannot work now (")
    assert last == f"warning: 1 task waits for build, which no agent of {home.folder}/aorch.toml has"


def test_a_worker_warns_of_a_ledger_that_was_named_and_is_not_there(home: Home) -> None:
    done = home.aorch("worker", "--drain", "--ledger", "typo.db")
    assert done.code == 0
    assert done.err == f"warning: no ledger at {home.folder}/typo.db: aorch creates it\n"


def test_the_options_of_the_queue_need_detach(home: Home) -> None:
    done = home.aorch("run", "note", "--priority", "1")
    assert done.code == 2
    assert "--detach" in done.err


def test_lower_priorities_go_first_and_in_one_what_came_first(home: Home) -> None:
    for text, priority in (("c", "3"), ("e", "5"), ("d", "3"), ("a", "1"), ("b", "2")):
        detach(home, "note", f"text={text}", "--priority", priority, "--session", "s")
    assert home.aorch("worker", "--drain", "--parallel", "1").code == 0
    assert noted(home, "note") == ["a", "b", "c", "d", "e"]


def test_a_task_is_not_begun_before_its_time(home: Home, wait_for: Wait) -> None:
    at = time.time() + 1.5
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"
    request_id = detach(home, "note", "text=then", "--not-before", moment)
    with working(home):
        wait_for(lambda: noted(home, "note"))
        assert time.time() >= at - 0.001
        assert home.aorch("contracts", "wait", request_id).code == 0


def test_a_task_that_nobody_began_in_time_is_expired(home: Home) -> None:
    request_id = detach(home, "note", "text=late", "--expires", "0.01s")
    assert home.aorch("worker", "--drain").code == 0
    assert said(home, request_id)[:2] == ("failed", "failed")
    done = home.aorch("contracts", "wait", request_id)
    assert done.code == 5
    assert "before" in done.err
    assert noted(home, "note") == []
    assert home.aorch("run", "note", "--detach", "--expires", "1h", "--not-before", "2h").code == 2


def test_a_task_expires_also_where_every_place_is_taken(home: Home, wait_for: Wait) -> None:
    held = detach(home, "hold", "text=held")
    with working(home, "--parallel", "1"):
        wait_for(lambda: noted(home, "hold"))
        late = detach(home, "note", "--expires", "0.01s")
        wait_for(lambda: said(home, late)[1] == "failed")
        home.write("held.go", "")
        assert home.aorch("contracts", "wait", held).code == 0


def test_a_task_whose_program_is_missing_waits_for_it(home: Home, wait_for: Wait) -> None:
    request_id = detach(home, "appear")
    assert home.aorch("worker", "--drain").code == 0
    assert said(home, request_id) == ("pending", None, None)
    with working(home) as worker:
        assert worker.stderr is not None
        assert b"warning: 1 task waits for appear, and absent cannot work now (" in worker.stderr.readline()
        program = home.write("arrives", "#!/bin/sh\necho here\n")
        program.chmod(0o755)
        program.rename(home.folder / "appears")
        assert home.aorch("contracts", "wait", request_id, "--timeout", "20").out == "here\n"


@pytest.mark.parametrize(
    ("arguments", "code"), [(("nothing", "text=hi"), 11), (("echo", "text:=3"), 2)], ids=["no agent", "parameters"]
)
def test_a_task_that_nobody_can_do_is_refused_with_both_contracts(
    home: Home, arguments: tuple[str, ...], code: int
) -> None:
    done = home.aorch("run", *arguments, "--detach")
    assert (done.code, done.out) == (code, "")
    assert home.rows("SELECT contract_type, status FROM contracts") == [("REQUEST", "failed"), ("RESPONSE", "failed")]


def test_a_full_queue_refuses_and_says_so(home: Home) -> None:
    furnish(home, "[queue]\nmax_waiting = 2\n")
    detach(home, "note")
    detach(home, "note", "--not-before", "1h")
    done = home.aorch("run", "note", "--detach")
    assert (done.code, done.out) == (15, "")
    assert "max_waiting" in done.err
    assert home.rows("SELECT count(*) FROM contracts") == [(2,)]
    home.aorch("worker", "--drain")
    detach(home, "note")


def test_agents_are_given_no_more_than_they_take_at_a_time(home: Home, wait_for: Wait) -> None:
    ids = [detach(home, "hold_alone", f"text={name}") for name in "abc"]
    with working(home):
        wait_for(lambda: noted(home, "hold_alone"))
        detach(home, "note", "text=beside")
        wait_for(lambda: noted(home, "note"))
        assert noted(home, "hold_alone") == ["a"]
        wait_for(lambda: home.rows("SELECT count(*) FROM contracts WHERE claimed_by IS NOT NULL") == [(1,)])
        for name in "abc":
            home.write(f"{name}.go", "")
        assert home.aorch("contracts", "wait", *ids, "--timeout", "20").code == 0
    assert noted(home, "hold_alone") == ["a", "b", "c"]


@pytest.mark.torture
def test_an_idle_worker_writes_nothing(home: Home, wait_for: Wait) -> None:
    """Not one byte in more than fifty looks, nor a commit that leaves none."""
    detach(home, "note", "--not-before", "1h")
    with working(home) as process, closing(connect(home.ledger)) as connection:
        idle = psutil.Process(process.pid)
        done = detach(home, "note", "text=ready")
        wait_for(lambda: said(home, done)[0] == "completed")

        def state() -> list[Any]:
            files = [home.ledger, home.ledger.with_name("ledger.db-wal")]
            version = connection.execute("PRAGMA data_version").fetchone()
            return [version, *(file.read_bytes() for file in files)]

        before, looks = state(), idle.num_ctx_switches().voluntary
        wait_for(lambda: idle.num_ctx_switches().voluntary > looks + 100)
        assert state() == before


# In Python: the order in which tasks are begun


class Order(Agent):
    """Notes in which order it is called; with each call it submits the next batch."""

    def __init__(self, batches: list[list[tuple[str, int]]]) -> None:
        super().__init__("order", "Order")
        self.batches = iter(batches)
        self.submitted: list[dict[str, Any]] = []
        self.begun: list[dict[str, Any]] = []
        self.waiting: Counter[int] = Counter()
        self.orchestrator: Orchestrator

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("order")]

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        self.begun.append(self.submitted[task["parameters"]["n"]])
        self.waiting[self.begun[-1]["priority"]] -= 1
        self.begun[-1]["highest"] = min((each for each, count in self.waiting.items() if count), default=9)
        await self.submit()
        return {"success": True}

    async def submit(self) -> None:
        asked = []
        for session, priority in next(self.batches, []):
            task = {"capability": "order", "parameters": {"n": len(self.submitted)}}
            self.submitted.append(
                {"n": len(self.submitted), "session": session, "priority": priority, "begun": len(self.begun)}
            )
            self.waiting[priority] += 1
            asked.append(self.orchestrator.submit(session, task, priority=priority))
        await asyncio.gather(*asked)


def worked(made_ledger: Path, batches: list[list[tuple[str, int]]]) -> Order:
    """What a worker that does one task at a time makes of these: each batch comes with the next task that is begun."""
    agent = Order([[task for batch in batches for task in batch[:1]], *batches])

    async def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            ledger = Path(folder) / "ledger.db"
            shutil.copy(made_ledger, ledger)
            async with Orchestrator(ledger) as orchestrator:
                agent.orchestrator = orchestrator
                orchestrator.register_agent(agent)
                await agent.submit()
                await QueueWorker(orchestrator.executor, 1, fail).run(drain=True)

    asyncio.run(work())
    assert len(agent.begun) == len(agent.submitted)
    return agent


def fail(error: AorchError) -> None:
    raise error


BATCHES = st.lists(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5)), max_size=6), max_size=8)


@settings(deadline=None, max_examples=20)
@given(BATCHES)
def test_nothing_is_begun_while_something_of_a_higher_priority_waits(
    made_ledger: Path, batches: list[list[tuple[str, int]]]
) -> None:
    assert all(task["priority"] <= task["highest"] for task in worked(made_ledger, batches).begun)


@settings(deadline=None, max_examples=20)
@given(BATCHES)
def test_sessions_take_turns_and_each_keeps_its_order(made_ledger: Path, batches: list[list[tuple[str, int]]]) -> None:
    """Before a task that has n of its own session ahead of it, no other session of its priority is served more than n + 2
    times.
    """
    begun = worked(made_ledger, batches).begun
    lines = defaultdict(list)
    for task in begun:
        lines[task["session"], task["priority"]].append(task["n"])
    assert all(line == sorted(line) for line in lines.values())
    for place, task in enumerate(begun):
        since = [other for other in begun[task["begun"] : place] if other["priority"] == task["priority"]]
        served = Counter(other["session"] for other in since)
        ahead = served.pop(task["session"], 0)
        assert all(count <= ahead + 2 for count in served.values()), (task, served)


def test_a_session_with_thousands_of_tasks_does_not_starve_another(made_ledger: Path) -> None:
    batches = [[("many", 3)] * 2000, [], [], [], [("few", 3), ("few", 3)]]
    begun = [task["session"] for task in worked(made_ledger, batches).begun]
    assert begun.count("many") == 2001
    assert [place for place, session in enumerate(begun) if session == "few"][-1] < 12


async def test_python_submits_waits_and_cancels(home: Home) -> None:
    async with Orchestrator(home.ledger) as orchestrator:
        done, cancelled = [
            await orchestrator.submit("s", {"capability": "echo", "parameters": {"text": text}}, not_before=moment)
            for text, moment in (("hi", None), ("ho", "2999-01-01T00:00:00Z"))
        ]
        assert await orchestrator.wait(done, 0.05) is None
        assert await orchestrator.cancel(cancelled) == "cancelled"
        await QueueWorker(orchestrator.executor, 4, fail).run(drain=True)
        answer = await orchestrator.wait(done)
        assert answer
        assert (answer["data"], answer["contract_id"]) == ({"message": "Echo: hi"}, done)
        with pytest.raises(NoAgent):
            await orchestrator.submit("s", {"capability": "nothing"})


async def test_many_are_put_in_at_once_and_the_refused_among_them_are_answered(home: Home) -> None:
    asked = [("echo", {"text": "a"}), ("nothing", {}), ("echo", {"text": 3}), ("echo", {"text": "b"})]
    async with Orchestrator(home.ledger) as orchestrator:
        given = [("s", {"capability": name, "parameters": parameters}) for name, parameters in asked]
        ids = await orchestrator.submit_all(given)
        assert [said(home, each)[:2] for each in ids] == [
            ("pending", None),
            ("failed", "failed"),
            ("failed", "failed"),
            ("pending", None),
        ]
        await QueueWorker(orchestrator.executor, 4, fail).run(drain=True)
        answers = [await orchestrator.wait(each, 5) for each in ids]
        assert [answer and answer["success"] for answer in answers] == [True, False, False, True]


# Over HTTP


@pytest.fixture(scope="module")
def busy_home(module_home: Home) -> Home:
    """The home of the server that tests share."""
    return furnish(module_home)


@pytest.fixture(scope="module")
def server(busy_home: Home) -> Iterator[Server]:
    """A server that works on its queue, which tests share."""
    with serving(busy_home) as server:
        yield server


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


def test_a_long_poll_answers_as_soon_as_it_is_done(server: Server, busy_home: Home, wait_for: Wait) -> None:
    place = post(server, "hold", parameters={"text": "polled"}).headers["Location"]
    wait_for(lambda: "polled" in noted(busy_home, "hold"))
    still = server.get(place, params={"wait_s": 0.05}).json()
    assert (still["status"], still["answer"]) == ("in_progress", None)
    busy_home.write("polled.go", "")
    started = time.monotonic()
    assert server.get(place, params={"wait_s": 60}).json()["status"] == "completed"
    assert time.monotonic() - started < 5


def test_the_same_key_is_the_same_task(server: Server, busy_home: Home) -> None:
    key = {"Idempotency-Key": '"k1"'}
    first, again = (post(server, headers=key, parameters={"text": "once"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.headers["Location"] == again.headers["Location"]
    assert again.json()["contract_id"] == first.json()["contract_id"]
    other = post(server, headers=key, parameters={"text": "twice"})
    assert other.status_code == 422
    server.get(first.headers["Location"], params={"wait_s": 20})
    assert noted(busy_home, "note").count("once") == 1


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"capability": "nothing"}, 404, "no_agent"),
        ({"capability": "echo", "parameters": {}}, 422, "parameters_invalid"),
    ],
)
def test_a_refused_task_leaves_both_contracts(
    server: Server, busy_home: Home, more: dict[str, Any], status: int, code: str
) -> None:
    problem(post(server, **more, session_id=code), status, code)
    ends = "SELECT contract_type, status FROM contracts WHERE session_id = ?"
    assert busy_home.rows(ends, code) == [("REQUEST", "failed"), ("RESPONSE", "failed")]


def test_a_priority_that_is_none_is_refused(server: Server) -> None:
    assert post(server, priority=6).status_code == 422
    assert post(server, not_before="soon").status_code == 422


def test_an_unknown_task_is_not_found(server: Server) -> None:
    for answer in (server.get("/v1/tasks/none"), server.post("/v1/tasks/none/cancel")):
        problem(answer, 404, "not_found")


def test_an_imported_task_that_is_open_is_shown_at_once_and_cannot_be_cancelled(
    server: Server, busy_home: Home
) -> None:
    asked = request(status="in_progress", completed_at=None)
    put(busy_home.ledger, asked)
    started = time.monotonic()
    shown = server.get(f"/v1/tasks/{asked.contract_id}", params={"wait_s": 60}).json()
    assert (shown["status"], shown["answer"]) == ("in_progress", None)
    assert time.monotonic() - started < 5
    problem(server.post(f"/v1/tasks/{asked.contract_id}/cancel"), 409, "conflict")


def test_a_full_queue_says_when_to_come_again(home: Home) -> None:
    furnish(home, "[queue]\nmax_waiting = 1\nparallel = 0\n")
    with serving(home) as server:
        assert post(server).status_code == 202
        refused = post(server)
        problem(refused, 503, "queue_full")
        assert int(refused.headers["Retry-After"]) > 0


def test_python_hears_of_a_full_queue(home: Home) -> None:
    furnish(home, "[queue]\nmax_waiting = 1\n")

    async def submit_two() -> None:
        from aorch.config import settings as config

        given = config.Config(ledger=home.ledger, queue=config.QueueConfig(max_waiting=1))
        async with Orchestrator(config=given) as orchestrator:
            for _ in range(2):
                await orchestrator.submit("s", {"capability": "echo", "parameters": {"text": "hi"}})

    with pytest.raises(QueueFull):
        asyncio.run(submit_two())

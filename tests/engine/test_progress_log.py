"""The progress of running tasks in the ledger, where other processes see it."""

import asyncio
from pathlib import Path

from homes import Home, abandon
from ledger_state import change
from python_agents import agent
from serving import serving
from waiting import wait_for

from aorch import Agent, AgentCapability, AgentTask, Orchestrator, Task, report_progress

SLOW = """
aorch.report_progress({'done': 1, 'total': 2})
while not os.path.exists('go'):
    await asyncio.sleep(0.02)
return {'success': True, 'data': 1}
"""


def test_a_running_task_of_another_process_shows_its_progress_until_it_ends(home: Home) -> None:
    agent(home, SLOW, before="import aorch, os")
    contract_id = home.aorch("run", "work", "--detach").out.strip()
    with serving(home) as server:
        wait_for(lambda: server.get(f"/v1/tasks/{contract_id}").json()["progress"] == {"done": 1, "total": 2})
        home.write("go", "")
        task = server.get(f"/v1/tasks/{contract_id}", params={"wait_s": 30}).json()
        assert (task["status"], task["progress"]) == ("completed", None)
        wait_for(lambda: home.rows("SELECT count(*) FROM task_progress") == [(0,)])


class Writing(Agent):
    """Writes three words, and then waits for `go_on`."""

    def __init__(self) -> None:
        super().__init__("writing", "Writing")
        self.go_on = asyncio.Event()

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("write")]

    async def execute(self, task: AgentTask) -> dict[str, object]:
        for word in ("one ", "two ", "three"):
            report_progress({"text": word})
        await self.go_on.wait()
        return {"success": True, "data": None}


async def test_texts_in_pieces_are_joined_and_closing_leaves_no_row(home: Home, tmp_path: Path) -> None:
    writing = Writing()
    async with Orchestrator(home.ledger) as orchestrator:
        orchestrator.register_agent(writing)
        running = asyncio.create_task(orchestrator.perform(Task("write", {}, "s")))
        async with asyncio.timeout(30):
            while not (rows := home.rows("SELECT progress FROM task_progress")):  # noqa: ASYNC110  it is in a file
                await asyncio.sleep(0.02)
        assert rows == [('{"text":"one two three"}',)]
        writing.go_on.set()
        assert (await running).success
    assert home.rows("SELECT count(*) FROM task_progress") == [(0,)]


def test_a_loop_that_ends_leaves_no_row_when_another_one_closes(home: Home) -> None:
    orchestrator, writing = Orchestrator(home.ledger), Writing()
    orchestrator.register_agent(writing)

    async def write() -> None:
        running = asyncio.create_task(orchestrator.perform(Task("write", {}, "s")))
        async with asyncio.timeout(30):
            while not home.rows("SELECT progress FROM task_progress"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        writing.go_on.set()
        assert (await running).success

    orchestrator.open()
    asyncio.run(write())
    asyncio.run(orchestrator.aclose())
    assert home.rows("SELECT count(*) FROM task_progress") == [(0,)]


def test_the_row_of_a_killed_process_is_deleted(home: Home) -> None:
    agent(home, SLOW, before="import aorch, os")
    running = home.start("run", "work")
    wait_for(lambda: home.rows("SELECT count(*) FROM task_progress") == [(1,)])
    abandon(running)
    # as if it had been killed just after it answered another task
    change(home.ledger, "INSERT INTO task_progress SELECT 'answered', reported_at, progress FROM task_progress")
    home.aorch("contracts", "list")
    assert home.rows("SELECT count(*) FROM task_progress") == [(0,)]

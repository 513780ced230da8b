"""The tasks of an agent server whose clients read slowly, or disconnect and send their request again."""

import asyncio
import json
import threading

from agent_servers import JSON, serving
from waiting import WAIT_S

from aorch import capability, report_progress

REPORTS, SIZE = 6000, 10_000
BUFFERS = 20_000_000
"""More bytes than aorch, aiohttp and the operating system keep of a connection."""


async def test_a_client_that_does_not_read_misses_old_progress_but_not_the_result() -> None:
    ended = threading.Event()

    @capability("talk")
    def talk() -> str:
        for number in range(REPORTS):
            report_progress([number, "x" * SIZE])
        ended.set()
        return "done"

    async with serving(talk) as client:
        given = {**JSON, "Accept": "application/x-ndjson"}
        async with client.session.post(f"{client.url}/execute", json={"capability": "talk"}, headers=given) as answer:
            assert await asyncio.to_thread(ended.wait, WAIT_S)
            text = await answer.text()
    *progress, result = [json.loads(line) for line in text.splitlines()]
    assert result == {"success": True, "data": "done"}
    numbers = [each["progress"][0] for each in progress]
    assert numbers == sorted(numbers)
    assert numbers[-1] == REPORTS - 1
    assert len(text) < BUFFERS < REPORTS * SIZE


async def test_a_request_sent_again_after_a_disconnection_gets_the_answer_of_the_thread_that_works() -> None:
    calls: list[str] = []
    entered, released = threading.Event(), threading.Event()

    @capability("write")
    def write() -> str:
        calls.append("a")
        entered.set()
        released.wait(WAIT_S)
        return f"written by {calls}"

    task = {"capability": "write"}
    async with serving(write) as client:
        first = asyncio.create_task(client.execute(task, Idempotency_Key="k"))
        await asyncio.to_thread(entered.wait, WAIT_S)
        (run,) = client.server.runs.running
        first.cancel()
        async with asyncio.timeout(WAIT_S):
            while run._followers:  # noqa: ASYNC110  the server notices the disconnection
                await asyncio.sleep(0.01)
            again = asyncio.create_task(client.execute(task, Idempotency_Key="k"))
            while not (again.done() or run._followers):  # noqa: ASYNC110  the request arrives
                await asyncio.sleep(0.01)
            released.set()
            assert (await again)[1] == {"success": True, "data": "written by ['a']"}
        assert (await client.execute(task, Idempotency_Key="k"))[1]["data"] == "written by ['a']"

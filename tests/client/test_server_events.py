"""Answers of a server as a client reads them: every character arrives, and an unreadable answer concerns one task only."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fixed_answers import Fixed, answering
from homes import Home
from python_agents import agent
from remote_homes import with_client
from serving import Server, serving

from aorch.client.connection import ServerConnection
from aorch.client.remote_tasks import RemoteTasks
from aorch.client.server_address import ServerAddress
from aorch.engine.task import Task

SEPARATORS = "a\u2028b\u2029c\u0085d\x0b\x0c\x1ce\r\nf"
"""At which `str.splitlines` splits."""
BODY = """
text = task['parameters']['text']
aorch.report_progress(text)
if task['parameters'].get('fail'):
    return {'success': False, 'error': text}
return {'success': True, 'data': text}
"""


@pytest.fixture(scope="module")
def server(module_home: Home) -> Iterator[Server]:
    """A server whose agent reports, and answers with, the text that it gets."""
    agent(module_home, BODY, before="import aorch")
    with serving(module_home) as server:
        yield server


@pytest.mark.parametrize("fails", [False, True])
async def test_separators_of_lines_arrive_in_results_errors_and_progress(server: Server, fails: bool) -> None:
    reported: list[Any] = []
    parameters = {"text": SEPARATORS} | ({"fail": True} if fails else {})
    async with ServerConnection(ServerAddress(server.url)) as connection:
        answer, _ = await RemoteTasks(connection).perform(
            Task("work", parameters, session_id="s"), f"separators-{fails}", reported.append
        )
    assert (answer.success, answer.error if fails else answer.data) == (not fails, SEPARATORS)
    assert reported == [SEPARATORS]


def test_a_batch_continues_after_an_answer_with_separators_of_lines(server: Server, module_home: Home) -> None:
    client = with_client(module_home, server.url)
    client.write("tasks.jsonl", _lines(SEPARATORS, "next"))
    done = client.aorch("run", "echo", "--batch", "tasks.jsonl", "--ordered")
    answers = [json.loads(line)["data"]["message"] for line in done.out.rstrip("\n").split("\n")]
    assert (done.code, answers) == (0, [f"Echo: {SEPARATORS}", "Echo: next"])


def test_an_unreadable_answer_is_the_error_of_its_line_only(home: Home) -> None:
    result = {"success": True, "data": 1, "error": None, "contract_id": "c", "agent_id": "a", "session_id": "s"}
    whole = json.dumps(result | {"timestamp": "2026-01-01T00:00:00Z"})

    def answer(path: str, body: bytes) -> Fixed:
        others = {"/v1/agents": b'{"agents": []}', "/v1/batches": b'{"name": "b", "generation": "g"}'}
        if path in others:
            return Fixed(200, others[path], {"Content-Type": "application/json"})
        sent = whole[:20] if b"cut" in body else whole
        return Fixed(200, f"event: result\ndata: {sent}\n\n".encode(), {"Content-Type": "text/event-stream"})

    with answering(answer) as url:
        client = with_client(home, url)
        client.write("tasks.jsonl", _lines("cut", "whole"))
        done = client.aorch("run", "echo", "--batch", "tasks.jsonl", "--ordered")
        alone = client.aorch("run", "echo", "text=cut")
    assert [json.loads(line)["success"] for line in done.out.splitlines()] == [False, True], done.err
    assert "not JSON" in done.out
    assert (done.code, alone.code) == (3, 3), alone.err


def _lines(*texts: str) -> str:
    return "".join(f"{json.dumps({'parameters': {'text': each}})}\n" for each in texts)

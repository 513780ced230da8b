"""An agent that is an HTTP endpoint: what it is sent, and each way in which its answer is an error of its own."""

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint_program import Endpoint, asked, certificate, endpoint
from waiting import WAIT_S

from aorch import AgentCapability, AorchError, Orchestrator, capability
from aorch.agents import http_call
from aorch.agents.function import as_agent
from aorch.agents.http_endpoint import HttpAgent
from aorch.engine.task import Task
from aorch.errors import (
    AgentBusy,
    AgentCancelled,
    AgentFailed,
    AgentLost,
    AgentOutputTooLarge,
    AgentTimedOut,
    AgentUnreachable,
)
from aorch.span_ids import span_id_of, trace_id_of

TASK: dict[str, Any] = {"task_id": "01K", "session_id": "s", "capability": "work", "parameters": {}, "context": {}}
assert http_call  # imported now: it takes seconds on a busy machine
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    """The agents of endpoint_program.py."""
    with endpoint() as server:
        yield server


def agent(url: str, **options: Any) -> HttpAgent:
    options = {"capabilities": [AgentCapability("work")], "health": False, **options}
    return HttpAgent("a", "A", endpoint=url, **options)


async def executed(url: str, **options: Any) -> dict[str, Any]:
    """The answer of the agent at `url`."""
    agent_ = agent(url, **options)
    try:
        return await agent_.execute(TASK)
    finally:
        await agent_.close()


async def test_the_endpoint_gets_the_task_with_an_idempotency_key_and_a_trace(
    server: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORK_TOKEN", "s3cret")
    data = (await executed(f"{server.url}/good/", token_env="WORK_TOKEN"))["data"]
    assert data["task"] == TASK
    assert data["headers"]["Idempotency-Key"] == '"01K"'
    assert data["headers"]["Authorization"] == "Bearer s3cret"
    assert data["headers"]["traceparent"] == f"00-{trace_id_of('01K').hex()}-{span_id_of('01K').hex()}-01"


@pytest.mark.parametrize(("given", "is_kept"), [(PARENT, True), ("00-0-0-01", False), (f"{PARENT}\r\nX: y", False)])
async def test_the_trace_of_a_task_is_passed_on_if_it_is_valid(server: Endpoint, given: str, is_kept: bool) -> None:
    agent_ = agent(f"{server.url}/good")
    answer = await agent_.execute({**TASK, "metadata": {"traceparent": given, "tracestate": "a=b"}})
    await agent_.close()
    sent = answer["data"]["headers"]
    assert ((sent["traceparent"] == given), ("tracestate" in sent)) == (is_kept, is_kept)


@pytest.mark.parametrize("given", [PARENT, None])
async def test_the_agent_of_a_delegated_task_gets_the_trace_of_the_first_task(
    server: Endpoint, orchestrator: Orchestrator, given: str | None
) -> None:
    async def ask() -> Any:
        return await orchestrator.orchestrate("s", {"capability": "work"})

    orchestrator.register_agent(as_agent(capability("ask")(ask)))
    orchestrator.register_agent(agent(f"{server.url}/good"))
    first = Task("ask", {}, "s", annotations={"traceparent": given} if given else {})
    answer = await orchestrator.perform(first)
    sent, child_id = answer.data["data"]["headers"]["traceparent"], answer.data["contract_id"]
    assert sent == (given or f"00-{trace_id_of(answer.contract_id).hex()}-{span_id_of(child_id).hex()}-01")


async def test_a_task_of_any_size_arrives_with_the_same_headers(server: Endpoint) -> None:
    agent_, sent = agent(f"{server.url}/good"), []
    for size in (1, 100_000, 3_000_000):
        data = (await agent_.execute({**TASK, "parameters": {"text": "x" * size}}))["data"]
        assert len(data["task"]["parameters"]["text"]) == size
        sent.append({**data["headers"], "Content-Length": ""})
    await agent_.close()
    assert sent[0] == sent[1] == sent[2]
    assert sent[0]["Host"] == server.url.removeprefix("http://")
    assert sent[0]["User-Agent"] == "aorch"


@pytest.mark.torture
async def test_any_version_of_aiohttp_sends_the_same_request(server: Endpoint) -> None:
    url = f"{server.url}/good"
    script = f"""
import asyncio, json, aiohttp
aiohttp.__version__ = "3.99.0"
from aorch.agents.http_endpoint import HttpAgent
from aorch.net.aiohttp_version import AVAILABLE
assert not AVAILABLE
async def execute():
    agent = HttpAgent("a", "A", endpoint={url!r})
    print(json.dumps((await agent.execute({TASK!r}))["data"]["headers"]))
    await agent.close()
asyncio.run(execute())
"""
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert json.loads((await other.communicate())[0]) == (await executed(url))["data"]["headers"]


@pytest.mark.parametrize("path", ["hinting", "zipped"])
async def test_the_answer_may_be_compressed_and_follow_a_hint(server: Endpoint, path: str) -> None:
    assert (await executed(f"{server.url}/{path}"))["error"] == "too dark"


@pytest.mark.parametrize("size", [1, 100_000])
async def test_a_second_answer_is_not_taken_for_that_of_the_next_task(size: int) -> None:
    task = {**TASK, "parameters": {"text": "x" * size}}
    with endpoint() as server:
        agent_ = agent(f"{server.url}/repeating")
        first = await agent_.execute(task)
        assert await asked(server, "/x/more")
        assert (await agent_.execute(task))["data"]["task"] == first["data"]["task"] == task
        await agent_.close()


async def test_a_connection_is_kept_unless_an_answer_was_not_read_to_its_end(server: Endpoint) -> None:
    good, rambling = agent(f"{server.url}/good"), agent(f"{server.url}/rambling")
    first, second = [(await good.execute(TASK))["data"]["port"] for _ in range(2)]
    assert first == second
    ports = []
    for _ in range(2):
        with pytest.raises(AgentFailed, match="answered 500: why why"):
            await rambling.execute(TASK)
        ports.append((await rambling.execute(TASK))["data"]["port"])
    assert ports[0] != ports[1]
    await good.close()
    await rambling.close()


@pytest.mark.parametrize(
    ("path", "failure", "message"),
    [
        ("bad_request", AgentFailed, "answered 400: no such text"),
        ("unauthorised", AgentFailed, "answered 401: invalid token"),
        ("moved", AgentFailed, "answered 307 (Temporary Redirect); redirects are not followed"),
        ("limited", AgentBusy, "answered 429: 7 a minute"),
        ("broken", AgentFailed, "answered 500: <h1>Internal Server Error</h1>"),
        ("gateway", AgentLost, "answered 502 (Bad Gateway)"),
        ("overloaded", AgentBusy, "answered 503 (Service Unavailable)"),
        ("impatient", AgentLost, "answered 504 (Gateway Timeout)"),
        ("html", AgentFailed, "answered 200 and sent '<!doctype html><title>Hello</title>', which is not JSON"),
        ("half_json", AgentFailed, """answered 200 and sent '{"success": true, "da', which is not JSON"""),
        ("shapeless", AgentFailed, """answered with '{"result": 1}', which has no `success`"""),
        ("empty", AgentFailed, "answered 200 and sent an empty body"),
        ("endless", AgentFailed, "ended its answer without a result"),
        ("muttering", AgentFailed, "answered 200 and sent 'half', which is not JSON"),
        ("half", AgentLost, "broke in the middle of its answer"),
        ("deaf", AgentLost, "broke without an answer"),
        ("noise", AgentFailed, "sent an answer that is not HTTP"),
        ("large", AgentOutputTooLarge, "is longer than 10,485,760 bytes (max_output_bytes)"),
    ],
)
async def test_an_answer_that_is_no_result_is_an_error_of_its_own(
    server: Endpoint, path: str, failure: type[AorchError], message: str
) -> None:
    with pytest.raises(AgentFailed) as raised:
        await executed(f"{server.url}/{path}")
    assert type(raised.value) is failure
    assert message in str(raised.value)
    assert f"a ({server.url}/{path}/execute)" in str(raised.value)


@pytest.mark.parametrize(("path", "after_s"), [("limited", 7.0), ("overloaded", 0.0)])
async def test_a_busy_endpoint_says_when_it_can_be_called_again(server: Endpoint, path: str, after_s: float) -> None:
    with pytest.raises(AgentBusy) as raised:
        await executed(f"{server.url}/{path}")
    assert raised.value.retry_after_s == after_s
    assert raised.value.hint == ("Try again in 7 s." if after_s else "Try again later.")


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("moved", "not followed", "Set url of the agent to the new address: http://127.0.0.1:9"),
        ("relative", "not followed", "Set url of the agent to the new address: {url}/v2"),
        ("unmodified", "answered 304 (Not Modified)", "An agent answers with 200: check url of the agent."),
        ("choices", "answered 300 (Multiple Choices)", "An agent answers with 200: check url of the agent."),
    ],
)
async def test_the_hint_of_a_redirect_is_an_address_for_aorch_toml(
    server: Endpoint, path: str, message: str, hint: str
) -> None:
    with pytest.raises(AgentFailed) as raised:
        await executed(f"{server.url}/{path}")
    assert str(raised.value).endswith(message)
    assert raised.value.hint == hint.format(url=server.url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1", "cannot be reached: connection refused"),
        ("http://169.254.169.254", "cannot be reached: 169.254.169.254 is .*, to which aorch never connects"),
        ("http://no-such-host.invalid", "the host was not found"),
    ],
)
async def test_an_endpoint_without_a_server_is_unreachable(url: str, message: str) -> None:
    with pytest.raises(AgentUnreachable, match=message):
        await executed(url)


async def test_a_certificate_that_nobody_has_signed_is_rejected(tmp_path: Path, server: Endpoint) -> None:
    with endpoint(*certificate(tmp_path)) as secure:
        with pytest.raises(AgentUnreachable, match="invalid TLS certificate: self-signed certificate"):
            await executed(f"{secure.url}/good")
        checked = agent(f"{secure.url}/good", health=True)
        state = await checked.probe()
        await checked.close()
    assert (state.status, "self-signed" in (state.reason or "")) == ("error", True)
    with pytest.raises(AgentUnreachable, match="TLS failed"):
        await executed(server.url.replace("http:", "https:"))


async def test_progress_is_reported_and_the_last_line_is_the_result(
    server: Endpoint, orchestrator: Orchestrator
) -> None:
    from aorch.agents.task_progress import current_call

    reported: list[Any] = []

    class Call:
        def report(self, progress: Any) -> None:
            reported.append(progress)

        def root(self) -> None:
            """It was not delegated."""

    token = current_call.set(Call())
    try:
        answer = await executed(f"{server.url}/progress")
    finally:
        current_call.reset(token)
    assert answer == {"success": True, "data": "done"}
    assert reported == [{"done": 1}, "half"]


async def test_the_limit_is_that_of_one_line_however_much_progress_there_is(server: Endpoint) -> None:
    assert (await executed(f"{server.url}/talkative", max_output_bytes=2000))["data"] == 1
    with pytest.raises(AgentOutputTooLarge, match="longer than 2,000 bytes"):
        await executed(f"{server.url}/long", max_output_bytes=2000)


async def test_what_a_model_used_and_a_failure_are_in_the_ledger(server: Endpoint, orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(agent(f"{server.url}/model"))
    await orchestrator.orchestrate("s", {"capability": "work"})
    orchestrator.register_agent(agent(f"{server.url}/failing"), replace=True)
    failed = await orchestrator.orchestrate("s", {"capability": "work"})
    assert (failed["success"], failed["error"], failed["data"]) == (False, "too dark", {"seen": 1})
    _, response, *_ = await orchestrator.get_contracts("s")
    used = {name: response["metadata"][name] for name in ("provider", "model", "usage", "stop_reason")}
    assert used == {
        "provider": "p-1",
        "model": "m-1",
        "usage": {"input": 3, "output": None, "cached": None},
        "stop_reason": "end",
    }


async def test_a_timeout_and_a_cancellation_close_the_connection(orchestrator: Orchestrator) -> None:
    with endpoint() as server:
        orchestrator.register_agent(agent(f"{server.url}/hang"))
        late = await orchestrator.perform(Task("work", timeout_s=0.2, session_id="s"))
        assert late.failure is AgentTimedOut
        assert await gone(server)
    with endpoint() as server:
        orchestrator.register_agent(agent(f"{server.url}/hang"), replace=True)
        running = asyncio.create_task(orchestrator.perform(Task("work", session_id="s")))
        await until_asked(server, "/hang/execute")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await gone(server)
    contracts = await orchestrator.get_contracts("s")
    assert [each["metadata"].get("code") for each in contracts[1::2]] == [AgentTimedOut.code, AgentCancelled.code]


async def test_an_endpoint_that_is_killed_in_the_middle_of_a_task_is_lost_and_then_offline(
    orchestrator: Orchestrator,
) -> None:
    with endpoint() as server:
        orchestrator.register_agent(agent(f"{server.url}/hang", health=True))
        await until_status(orchestrator, "available")  # on a busy machine, its first check can take too long
        running = asyncio.create_task(orchestrator.perform(Task("work", session_id="s")))
        await until_asked(server, "/hang/execute")
        server.kill()
        assert (await running).failure is AgentLost
        await until_status(orchestrator, "offline")
    again = await orchestrator.perform(Task("work", session_id="s"))
    assert "cannot be reached" in (again.error or "")
    with endpoint(port=server.port):
        await until_status(orchestrator, "available")
        assert (await orchestrator.perform(Task("work", session_id="s", timeout_s=0.1))).failure is AgentTimedOut


async def test_connections_are_kept_and_one_agent_works_in_several_event_loops(server: Endpoint) -> None:
    agent_ = agent(f"{server.url}/good")

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    elsewhere = asyncio.run_coroutine_threadsafe(agent_.execute(TASK), loop)
    for answer in (await agent_.execute(TASK), await asyncio.wrap_future(elsewhere), await agent_.execute(TASK)):
        assert answer["success"]
    await agent_.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def until_status(orchestrator: Orchestrator, status: str) -> None:
    """Check the agent until it has that status."""
    async with asyncio.timeout(WAIT_S):
        await orchestrator.registry.refresh(max_age_s=0)
        while orchestrator.list_agents()[-1]["status"] != status:
            await orchestrator.registry.refresh(max_age_s=0)


async def until_asked(server: Endpoint, path: str) -> None:
    """Wait until the endpoint has received a request to `path`."""
    async with asyncio.timeout(WAIT_S):
        while path not in await asked(server, "/x/asked"):  # noqa: ASYNC110  the endpoint is another process
            await asyncio.sleep(0.01)


async def gone(server: Endpoint) -> bool:
    """Whether the client of `hang` closes its connection within 5 s."""
    return bool(await asked(server, "/x/gone"))


def test_a_preview_shows_the_request_without_sending_it() -> None:
    shown = agent("http://127.0.0.1:9/work/").preview(TASK)  # type: ignore[arg-type]  # a task
    assert shown["request"] == "POST http://127.0.0.1:9/work/execute"
    assert json.loads(shown["body"]) == TASK


@pytest.mark.parametrize("path", ["unauthorised", "shapeless", "html"])
async def test_no_error_shows_the_token_that_an_endpoint_sends_back(
    server: Endpoint, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    sent = {"unauthorised": "invalid token", "shapeless": "result", "html": "doctype"}[path]
    monkeypatch.setenv("WORK_TOKEN", sent)
    with pytest.raises(AgentFailed, match=r"\*\*\*") as failed:
        await executed(f"{server.url}/{path}", token_env="WORK_TOKEN")
    assert sent not in str(failed.value)

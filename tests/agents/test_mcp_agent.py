"""An MCP server is an agent: a real one, made with the official SDK, by its standard streams and by HTTP."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from ends import wait_for_ends
from homes import Home
from ledger_state import stored_bytes
from mcp_agents import TABLE, agent, known
from waiting import WAIT_S, wait_for

from aorch import Orchestrator
from aorch.agents.agent_kind import CapabilityConfig, RetryConfig
from aorch.agents.task_progress import current_call
from aorch.engine.task import Answer, Task
from aorch.errors import AgentFailed


async def call(orchestrator: Orchestrator, tool: str, **parameters: Any) -> Answer:
    return await orchestrator.perform(Task(f"tools.{tool}", parameters, session_id="s"))


def failure(answer: Answer) -> tuple[str, str | None]:
    assert answer.failure is not None
    return answer.failure.code, answer.error


async def test_a_session_gives_results_and_failures_and_no_secret_to_the_server(
    orchestrator: Orchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_TOKEN", "hidden")
    monkeypatch.setenv("DOCS_TOKEN", "named")
    orchestrator.register_agent(known(tmp_path, env={"DOCS": "$DOCS_TOKEN"}))
    assert (await call(orchestrator, "add", a=1, b=2)).data == {"sum": 3}
    assert (await call(orchestrator, "say", text="hi")).data == {"text": "hi\nand more"}
    content = (await call(orchestrator, "picture")).data["content"]
    assert content[1] == {"type": "image", "data": "aGk=", "mimeType": "image/png"}
    assert failure(await call(orchestrator, "fail", reason="no such town")) == ("agent_failed", "no such town")
    assert failure(await call(orchestrator, "add", a="one", b=2))[0] == "parameters_invalid"
    names = (await call(orchestrator, "environment")).data["result"]
    assert ("DOCS" in names, "DOCS_TOKEN" in names, "CLOUD_TOKEN" in names) == (True, False, False)
    assert len((tmp_path / "started").read_text().split()) == 1


async def test_a_lone_surrogate_in_a_text_breaks_neither_a_call_nor_the_session(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    program = [sys.executable, str(Path(__file__).parents[1] / "support" / "mcp_raw.py")]
    agent_ = agent(tmp_path, mcp=program)
    orchestrator.register_agent(agent_)
    await agent_.refresh()
    await orchestrator.registry.refresh(max_age_s=0)
    for text, got in (("a", "a"), ("b\ud800", "b\ufffd")):
        answer = await call(orchestrator, "say", text=text)
        assert (answer.error, answer.data) == (None, {"text": f"{got} \ufffd \ufffd"})


class Caller:
    """Collects the progress of a task."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self.arrived = asyncio.Event()

    def report(self, progress: Any) -> None:
        self.reports.append(progress)
        self.arrived.set()


async def test_a_cancelled_task_cancels_its_call_and_a_server_that_dies_starts_again(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    made, caller = known(tmp_path, max_output_bytes=1_000_000), Caller()
    orchestrator.register_agent(made)
    token = current_call.set(caller)
    running = asyncio.create_task(made.execute({"capability": "tools.slow", "parameters": {"steps": 1}}))
    current_call.reset(token)
    await asyncio.wait_for(caller.arrived.wait(), WAIT_S)
    assert caller.reports == [{"done": 1, "total": 1, "message": "step 1"}]
    running.cancel()
    await asyncio.wait((running,))
    await asyncio.to_thread(wait_for, (tmp_path / "cancelled").exists)
    assert failure(await call(orchestrator, "repeat", text="too much", times=1 << 20)) == (
        "agent_output_too_large",
        "its answer is longer than 1,000,000 bytes (max_output_bytes)",
    )
    assert failure(await call(orchestrator, "die")) == (
        "agent_lost",
        "its MCP server closed the connection before it answered: out of memory",
    )
    assert (await call(orchestrator, "add", a=1, b=2)).data == {"sum": 3}
    assert len((tmp_path / "started").read_text().split()) == 3


def test_an_idempotent_tool_is_one_that_the_table_declares_or_whose_hints_it_trusts(tmp_path: Path) -> None:
    def idempotent(**table: Any) -> set[str]:
        return {each.name for each in known(tmp_path, **table).get_capabilities() if each.idempotent}

    assert idempotent() == set()
    assert idempotent(trust_annotations=True) == {"tools.add"}
    assert idempotent(expose=["add"], trust_annotations=True) == {"tools.add", "add"}
    assert idempotent(capabilities={"say": CapabilityConfig(idempotent=True)}) == {"tools.say"}


async def test_a_server_by_http_gets_its_headers_and_each_failure_has_its_own_code(
    orchestrator: Orchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcp_http import tools_over_http

    monkeypatch.setenv("DOCS_TOKEN", "letmein")
    with tools_over_http("letmein") as tools:
        headers, once = {"Authorization": "Bearer $DOCS_TOKEN"}, CapabilityConfig(retry=RetryConfig(attempts=1))
        table = {"headers": headers, "expose": ["add"], "max_output_bytes": 1_000_000, "capabilities": {"add": once}}
        orchestrator.register_agent(known(tmp_path, mcp=tools.url, **table))
        assert (await orchestrator.perform(Task("add", {"a": 1, "b": 2}, session_id="s"))).data == {"sum": 3}
        assert failure(await call(orchestrator, "fail", reason="bad")) == ("agent_failed", "bad")
        tools.status = 0
        too_much = failure(await call(orchestrator, "repeat", text="too much", times=1 << 20))
        assert too_much[0] == "agent_output_too_large"
        for tools.status, code in (
            (503, "agent_busy"),
            (429, "agent_busy"),
            (504, "agent_lost"),
            (500, "agent_failed"),
        ):
            found, error = failure(await call(orchestrator, "add", a=1, b=2))
            assert (found, f"HTTP {tools.status}" in str(error)) == (code, True)
        tools.status = 0
        assert (await call(orchestrator, "add", a=1, b=2)).data == {"sum": 3}
        tools.token = "changed"
        _, refused = failure(await call(orchestrator, "add", a=1, b=2))
        assert "HTTP 401: it does not accept the token in `headers`" in str(refused)
    assert failure(await call(orchestrator, "add", a=1, b=2)) == (
        "agent_unreachable",
        "its MCP server could not be reached: connection refused",
    )
    assert b"letmein" not in stored_bytes(orchestrator.config.ledger) + (tmp_path / "aorch.lock").read_bytes()


async def test_a_server_that_wants_a_sign_in_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    from mcp_http import tools_over_http

    with tools_over_http("secret") as tools, pytest.raises(AgentFailed) as raised:
        await agent(tmp_path, mcp=tools.url).refresh()
    assert "HTTP 401: it wants a token, or a sign-in by OAuth, which aorch does not do" in str(raised.value)
    assert "headers = { Authorization = " in raised.value.hint


async def test_a_warm_server_is_connected_before_a_task_and_with_refresh_auto_its_changed_tools_are_kept(
    tmp_path: Path,
) -> None:
    from mcp_http import tools_over_http

    with tools_over_http() as tools:
        made = known(tmp_path, mcp=tools.url, warm=True, refresh="auto")
        assert made.get_capabilities()[1].parameters == {}
        await made.open()
        lock = tmp_path / "aorch.lock"
        await asyncio.to_thread(wait_for, lambda: "Repeat a text" in lock.read_text())
        await made.close()
    said = agent(tmp_path, mcp=tools.url).get_capabilities()[1]
    assert (said.name, said.parameters["required"]) == ("tools.say", ["text"])
    assert made.changes() == []


async def test_a_session_that_an_older_server_has_forgotten_is_opened_again(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    from mcp_http import tools_over_http

    with tools_over_http(legacy=True) as tools:
        orchestrator.register_agent(known(tmp_path, mcp=tools.url))
        assert (await call(orchestrator, "add", a=1, b=2)).data == {"sum": 3}
        tools.forget()
        assert (await call(orchestrator, "add", a=1, b=3)).data == {"sum": 4}


def test_a_killed_process_leaves_no_server(home: Home) -> None:
    import psutil

    home.write("aorch.toml", TABLE)
    known(home.folder)
    running = home.start("run", "tools.slow", "steps:=1")
    started = home.folder / "started"
    server = psutil.Process(int(wait_for(lambda: started.exists() and started.read_text().strip())))
    running.kill()
    running.communicate(timeout=WAIT_S)
    wait_for_ends([server])


def test_without_the_package_the_error_names_the_command_that_installs_it(home: Home) -> None:
    """In an environment of links to this one's packages, except mcp."""
    import mcp

    packages = home.folder / "packages"
    packages.mkdir()
    for each in Path(mcp.__file__).parents[1].iterdir():
        if not each.name.startswith("mcp"):
            (packages / each.name).symlink_to(each)
    home.write("aorch.toml", TABLE)
    code = "import sys; from aorch.__main__ import main; sys.argv = ['aorch', 'agents', 'refresh']; main()"
    paths = f"{Path(__file__).parents[2]}{os.pathsep}{packages}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=home.folder,
        env={**home.environment, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "error: tools: the package mcp is not installed" in done.stderr) == (3, True), done.stderr
    assert "aorch plugins install 'mcp>=2.3'" in done.stderr


def test_each_event_loop_has_one_session_and_close_ends_all(tmp_path: Path) -> None:
    made = known(tmp_path)
    task = {"capability": "tools.add", "parameters": {"a": 1, "b": 2}}
    loops = [asyncio.new_event_loop() for _ in range(2)]
    threads = [threading.Thread(target=loop.run_forever) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        for loop in loops * 2:
            answer = asyncio.run_coroutine_threadsafe(made.execute(task), loop).result(WAIT_S)
            assert answer["data"] == {"sum": 3}
        started = (tmp_path / "started").read_text().split()
        assert len(started) == 2
        asyncio.run_coroutine_threadsafe(made.close(), loops[0]).result(WAIT_S)
    finally:
        for loop in loops:
            loop.call_soon_threadsafe(loop.stop)
        for thread, loop in zip(threads, loops, strict=True):
            thread.join()
            loop.close()


async def test_a_header_with_a_line_break_is_not_sent_and_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCS_TOKEN", "s3cret\nmore")
    made = agent(tmp_path, mcp="http://127.0.0.1:9/mcp", headers={"Authorization": "Bearer $DOCS_TOKEN"})
    reason = "its header Authorization contains characters that HTTP does not allow"
    assert (await made.probe()).reason == reason
    with pytest.raises(AgentFailed, match=f"^{reason}$"):
        await made.execute({"capability": "tools.add", "parameters": {}})
    await made.close()


@pytest.mark.torture
async def test_a_url_that_hangs_when_the_session_ends_does_not_delay_the_end(tmp_path: Path) -> None:
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        results = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "x", "version": "1"},
            },
            "tools/list": {"tools": [{"name": "add", "inputSchema": {"type": "object"}}]},
            "tools/call": {"content": [{"type": "text", "text": "done"}]},
        }
        if "id" not in asked:
            return web.Response(status=202)
        missing = {"error": {"code": -32601, "message": "unknown"}}
        said = {"result": results[asked["method"]]} if asked["method"] in results else missing
        body = {"jsonrpc": "2.0", "id": asked["id"], **said}
        return web.json_response(body, headers={"Mcp-Session-Id": "1"})

    async def hang(request: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    over, app = asyncio.Event(), web.Application()
    app.add_routes([web.post("/mcp", answer), web.delete("/mcp", hang)])
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made = known(tmp_path, mcp=f"http://127.0.0.1:{runner.addresses[0][1]}/mcp")
    done = await made.execute({"capability": "tools.add", "parameters": {}})
    assert done["data"] == {"text": "done"}
    await asyncio.wait_for(made.close(), WAIT_S)
    over.set()
    await runner.cleanup()

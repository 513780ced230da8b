"""Agents that ask models, through the vendors' packages: what they answer, what they report, and each way in which they fail.

The packages take one to two seconds to import, so tests do many things each.
"""

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from doubles import running
from homes import Home
from ledger_state import stored_bytes
from model_agents import APIS, metadata, model_agent, url_of
from model_double import KEY, Endless, ModelDouble, Page, Rejects
from model_streams import Said
from waiting import WAIT_S

from aorch.agents.base import AgentCapability, AgentTask, CutOff
from aorch.agents.model_agent import ModelAgent, Prompt
from aorch.agents.model_call import ModelAddress
from aorch.agents.openai_model import is_strict
from aorch.agents.task_progress import current_call
from aorch.errors import AgentBusy, AgentFailed, AgentLost, AgentOutputTooLarge, AgentUnreachable

TASK = AgentTask(task_id="1", session_id="s", capability="say", parameters={"text": "hi"}, context={})
NOTE = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "points": {"type": "array", "items": {"type": "integer"}}},
    "required": ["title"],
}
USAGE = {"input": 12, "output": 5, "cached": 4}
UNKNOWN = dict.fromkeys(USAGE)
STOPS = {"openai": ("stop", "length", "content_filter"), "anthropic": ("end_turn", "max_tokens", "refusal")}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_LLM_KEY", KEY)


def agent_at(url: str, api: str, result: dict[str, Any] | None = None, **more: Any) -> ModelAgent:
    """An agent with the capability `say`."""
    address = ModelAddress(api, url, "test-model-1", more.pop("key_env", "TEST_LLM_KEY"))
    return ModelAgent("sayer", address, [Prompt(AgentCapability("say"), "Say: {text}", result)], **more)


async def answer_of(agent: ModelAgent) -> dict[str, Any]:
    """The answer to TASK."""
    try:
        return await agent.execute(TASK)
    finally:
        await agent.close()


async def failure_of(agent: ModelAgent) -> AgentFailed:
    """The failure of TASK."""
    with pytest.raises(AgentFailed) as failed:
        await answer_of(agent)
    error: BaseException | None = failed.value
    while error is not None:  # the key is in none of them
        assert KEY not in f"{error!r} {vars(error)}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return failed.value


@pytest.mark.parametrize("api", ["openai", pytest.param("anthropic", marks=pytest.mark.torture)])
def test_a_task_is_answered_with_text_and_the_ledger_has_the_model_and_the_tokens(home: Home, api: str) -> None:
    with running(ModelDouble(Said("It rained."))) as double:
        model_agent(home, url_of(double, api), api, prompt="Summarize: {text} {items|json}")
        done = home.aorch("run", "summarize", "text=much", "items:=[1]")
        missing = home.aorch("run", "summarize", "text=much")
    assert (done.out, done.err) == ("It rained.\n", "")
    assert double.asked[0]["messages"] == [{"role": "user", "content": "Summarize: much [1]"}]
    assert (missing.code, "parameter 'items' of 'summarize' is missing" in missing.err) == (2, True)
    ((text,),) = home.rows("SELECT metadata FROM contracts WHERE status = 'completed' AND request_id IS NOT NULL")
    found = json.loads(text)
    assert (found["provider"], found["model"]) == (api, "test-model-1-2026")
    assert (found["stop_reason"], found["usage"]) == (STOPS[api][0], USAGE)
    assert KEY not in stored_bytes(home.ledger).decode("latin-1")


@pytest.mark.parametrize("api", APIS)
async def test_text_arrives_as_progress_and_unknown_tokens_are_none(api: str) -> None:
    class Caller:
        def __init__(self) -> None:
            self.reported: list[Any] = []

        def report(self, progress: Any) -> None:
            self.reported.append(progress)

    with running(ModelDouble()) as double:  # the package is imported once for all of them
        agent = agent_at(url_of(double, api), api)
        answers = await asyncio.gather(*(agent.execute(TASK) for _ in range(8)))
        await agent.close()
        assert [each["data"] for each in answers] == [{"text": "Good morning."}] * 8
    caller = Caller()
    current_call.set(caller)
    with running(ModelDouble(Said("Good morning.", usage=None), Said(usage=(12, 5, None)))) as double:
        answer = await answer_of(agent_at(url_of(double, api), api, system="Be brief.", max_output_tokens=9))
        assert answer == {
            "success": True, "data": {"text": "Good morning."}, "provider": api,
            "model": "test-model-1-2026", "stop_reason": STOPS[api][0], "usage": UNKNOWN,
        }  # fmt: skip
        assert len(caller.reported) > 1
        assert "".join(piece["text"] for piece in caller.reported) == "Good morning."
        again = await answer_of(agent_at(url_of(double, api), api, temperature=0.5))
        assert again["usage"] == {**USAGE, "cached": None}
    first, second = double.asked
    assert first["max_tokens"] == 9
    assert "Be brief." in (first["system"] if api == "anthropic" else first["messages"][0]["content"])
    assert ("temperature" in first, second["temperature"]) == (False, 0.5)


@pytest.mark.parametrize("api", APIS)
async def test_a_result_matches_its_schema_or_the_place_that_does_not_is_named(api: str) -> None:
    good, bad = '{"title": "x", "points": [1]}', '{"title": "x", "points": [1, "b"]}'
    unsupported = Rejects(400, "response_format and tool_choice: not supported")
    script = [
        Said(good),
        *(Said(bad), Said(good)),
        *(Said(bad), Said(bad)),
        Said('{"title": ', stop="limit"),
        *(unsupported, Said(f"Here it is:\n```json\n{good}\n```")),
    ]
    with running(ModelDouble(*script)) as double:
        url = url_of(double, api)
        for tokens in (USAGE, {name: 2 * count for name, count in USAGE.items()}):
            answer = await answer_of(agent_at(url, api, NOTE))
            assert (answer["data"], answer["usage"]) == ({"title": "x", "points": [1]}, tokens)
        assert 'points.1: "b" is not of type "integer"' in str(double.asked[2]["messages"])
        failed = await failure_of(agent_at(url, api, NOTE))
        assert 'does not match `result`, twice: points.1: "b" is not of type "integer"' in str(failed)
        assert failed.answer["data"] == {"text": bad}
        assert "was cut off" in str(await failure_of(agent_at(url, api, NOTE)))
        agent = agent_at(url, api, NOTE)
        assert (await answer_of(agent))["data"]["title"] == "x"
        asked = len(double.asked)
        assert (await answer_of(agent))["data"]["title"] == "x"
        assert len(double.asked) == asked + 1  # it has learnt
    schema = (
        double.asked[0]["tools"][0]["input_schema"]
        if api == "anthropic"
        else double.asked[0]["response_format"]["json_schema"]["schema"]
    )
    assert schema == NOTE
    assert '"title"' in str(double.asked[-1])


def failures(api: str) -> Sequence[tuple[Any, type[AgentFailed], str, str]]:
    """What a server does, the error, its message, and its hint."""
    key = f"Incorrect API key: {KEY}"
    busy = {"type": "overloaded_error", "message": "Overloaded"}
    return (
        (Rejects(429, "slow down"), AgentBusy, "answered HTTP 429: slow down", ""),
        (Rejects(429, {"error": {"message": "pay", "code": "insufficient_quota"}}), AgentFailed, "HTTP 429: pay", ""),
        (Rejects(503), AgentBusy, "answered HTTP 503", ""),
        (Rejects(529), AgentBusy, "answered HTTP 529", ""),
        (Rejects(502), AgentLost, "answered HTTP 502", ""),
        (Rejects(401, key), AgentFailed, "rejected the API key (HTTP 401)", "Check the key in TEST_LLM_KEY."),
        (Rejects(403, key), AgentFailed, "rejected the API key (HTTP 403)", "Check the key in TEST_LLM_KEY."),
        (Rejects(400, f"{key}\x1b[31m is long"), AgentFailed, "HTTP 400: Incorrect API key: … [31m is long", ""),
        (Rejects(404, {"error": "no such model"}), AgentFailed, "HTTP 404: no such model", "Check `model`"),
        (Rejects(307, headers={"Location": "http://127.0.0.1:1/"}), AgentFailed, "HTTP 307", ""),
        (Said(stop="limit"), AgentFailed, f"was cut off (stop reason: {STOPS[api][1]})", "Raise `max_output_tokens`"),
        (Said(stop="refusal"), AgentFailed, "test-model-1 refused to answer", ""),
        (Said(breaks=True), AgentLost, "lost the connection", ""),
        (Said(stop=None), AgentLost, "ended before it was complete", ""),
        (Said(event=busy), AgentBusy, "HTTP 529: Overloaded", ""),
        (Page(), AgentFailed, "sent an answer of the type text/html, not an event stream", "Check `base_url`"),
        (Page(b"data: {\n\nevent: ping2\ndata: {\n\n", "text/event-stream"), AgentFailed, "not one of its API", ""),
        (Page(b"data: 1\n\nevent: ping2\ndata: 1\n\n", "text/event-stream"), AgentFailed, "not one of its API", ""),
    )


@pytest.mark.parametrize("api", APIS)
async def test_each_failure_has_its_own_error_and_keeps_what_came_before_it(api: str) -> None:
    for said, kind, message, hint in failures(api):
        with running(ModelDouble(said)) as double:
            failed = await failure_of(agent_at(url_of(double, api), api))
        assert (type(failed), message in str(failed), hint in failed.hint) == (kind, True, True), (said, failed)
        assert len(double.asked) == 1
        if isinstance(said, Said):
            assert failed.answer["data"] == {"text": "Good morning."}
            assert failed.answer["model"] == "test-model-1-2026"
        else:
            assert "data" not in failed.answer
    with running(ModelDouble(Rejects(429, headers={"Retry-After": "7"}))) as double:
        busy = await failure_of(agent_at(url_of(double, api), api))
    assert isinstance(busy, AgentBusy)
    assert (busy.retry_after_s, busy.hint) == (7, "Try again in 7 s.")
    for url, reason in (
        (url_of(double, api), "Connection refused"),
        ("http://no.invalid", "cannot reach test-model-1"),
    ):
        gone = await failure_of(agent_at(url, api))
        assert (type(gone), reason in str(gone), gone.delivered) == (AgentUnreachable, True, False)


@pytest.mark.parametrize("api", APIS)
async def test_a_cancelled_task_closes_the_stream_and_keeps_its_text(api: str) -> None:
    with running(ModelDouble(Endless())) as double:
        agent = agent_at(url_of(double, api), api)
        arrived = asyncio.Event()
        current_call.set(type("Caller", (), {"report": lambda self, progress: arrived.set()})())
        running_task = asyncio.create_task(agent.execute(TASK))
        await asyncio.wait_for(arrived.wait(), 30)
        running_task.cancel()
        with pytest.raises(CutOff) as cut:
            await running_task
        assert await asyncio.to_thread(double.left.wait, WAIT_S)
        await agent.close()
    assert cut.value.answer["data"]["text"]
    assert cut.value.answer["model"] == "test-model-1-2026"


@pytest.mark.parametrize("api", APIS)
async def test_nothing_of_the_environment_is_sent(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(ModelDouble()) as other, running(ModelDouble()) as double:
        for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
            monkeypatch.setenv(name, "environment")
        for name in ("OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS"):
            monkeypatch.setenv(name, "X-Mine: environment")
        for name in ("HTTP_PROXY", "ALL_PROXY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
            monkeypatch.setenv(name, other.url)
        for key_env in ("TEST_LLM_KEY", ""):
            assert (await answer_of(agent_at(url_of(double, api), api, key_env=key_env)))["success"]
    assert other.asked == []
    with_key, without = double.headers
    assert KEY in str(with_key)
    assert not {"authorization", "x-api-key"} & without.keys()
    assert "environment" not in str(double.headers)
    assert not [name for name in with_key if name.startswith(("x-stainless", "openai-", "traceparent"))]


def test_openai_gets_a_schema_as_strict_only_if_it_accepts_it_so() -> None:
    strict = {**NOTE, "required": ["title", "points"], "additionalProperties": False}
    assert is_strict(strict)
    assert is_strict({**strict, "properties": {"title": strict, "points": {"type": "array", "items": strict}}})
    assert not is_strict(NOTE)
    assert not is_strict({**strict, "properties": {"title": {}, "points": {"type": "array", "items": NOTE}}})


@pytest.mark.torture
@pytest.mark.parametrize("api", APIS)
def test_a_failure_of_a_model_is_an_answer_of_its_own_kind(home: Home, api: str) -> None:
    for said, code, name in (
        (Rejects(429, headers={"Retry-After": "0"}), 11, "agent_busy"),
        (Said(breaks=True), 10, "agent_lost"),
        (Said(stop="limit"), 10, "agent_failed"),
    ):
        with running(ModelDouble(said)) as double:
            model_agent(home, url_of(double, api), api)
            done = home.aorch("run", "summarize", "text=much", "--json")
        found = metadata(home)
        assert (done.code, found["code"], len(double.asked)) == (code, name, found.get("attempts", 1))
        assert ("usage" in found, done.json["data"]) == (
            (True, {"text": "Good morning."}) if isinstance(said, Said) else (False, None)
        )
    with running(ModelDouble(Rejects(429, headers={"Retry-After": "0"}), Said())) as double:
        model_agent(home, url_of(double, api), api)
        assert home.aorch("run", "summarize", "text=much").out == "Good morning.\n"
    assert metadata(home)["attempts"] == 2
    with running(ModelDouble(Endless())) as double:
        model_agent(home, url_of(double, api), api)
        late = home.aorch("run", "summarize", "text=much", "--timeout", "8", "--json")
        assert double.left.wait(WAIT_S)
    assert (late.code, len(late.json["data"]["text"]) > 10) == (5, True)
    assert metadata(home)["model"] == "test-model-1-2026"


@pytest.mark.torture
@pytest.mark.parametrize("api", APIS)
async def test_an_answer_that_is_too_large_ends_before_it_fills_the_memory(api: str) -> None:
    with running(ModelDouble(Endless("x" * 4_000_000, pause_s=0))) as double:
        failed = await failure_of(agent_at(url_of(double, api), api))
        assert await asyncio.to_thread(double.left.wait, WAIT_S)
    assert isinstance(failed, AgentOutputTooLarge)
    assert "is longer than 67,108,864 bytes" in str(failed)


@pytest.mark.torture
@pytest.mark.skipif(shutil.which("openssl") is None, reason="it makes the certificate")
@pytest.mark.parametrize("api", APIS)
async def test_a_server_without_a_valid_certificate_does_not_get_the_question(api: str, tmp_path: Path) -> None:
    context = await asyncio.to_thread(self_signed, tmp_path)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        failed = await failure_of(agent_at(f"https://localhost:{server.sockets[0].getsockname()[1]}", api))
    assert isinstance(failed, AgentUnreachable)
    assert "self-signed certificate" in str(failed)


def self_signed(folder: Path) -> ssl.SSLContext:
    """A context with a new certificate of its own."""
    making = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    files = ["-keyout", folder / "key", "-out", folder / "cert"]
    subprocess.run([*making.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    return context


async def test_what_no_header_and_no_json_can_have_stays_out_of_errors_and_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running(ModelDouble(Said('{"title": "\\ud800", "\\udfff": 1}'))) as double:
        answer = await answer_of(agent_at(url_of(double, "openai"), "openai", NOTE))
        assert answer["data"] == {"title": "\ufffd", "\ufffd": 1}
        monkeypatch.setenv("TEST_LLM_KEY", f"{KEY}\nof the team")  # httpx quotes it in its error
        failure = await failure_of(agent_at(url_of(double, "openai"), "openai"))
    assert str(failure) == "TEST_LLM_KEY contains characters that an HTTP header cannot have"

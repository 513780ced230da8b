"""Secrets that an agent gets from environment variables: whatever sends them back, the ledger has `***` instead."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles import running
from endpoint_program import endpoint
from homes import Home
from ledger_state import stored_bytes
from mcp_agents import known
from model_agents import url_of
from model_double import KEY, ModelDouble
from model_streams import Said

from aorch import AgentCapability, Answer, Orchestrator, Task
from aorch.agents.http_endpoint import HttpAgent
from aorch.agents.model_agent import ModelAgent, Prompt
from aorch.agents.model_call import ModelAddress
from aorch.agents.secret_mask import StreamMask
from aorch.config.ledger_location import LedgerLocation

SECRET = 'very "secret"\\'


def leaked(ledger: LedgerLocation, secret: str) -> bool:
    """Whether the ledger contains the secret, as it is or as part of JSON."""
    content = stored_bytes(ledger)
    assert b"contracts" in content
    return any(form.encode() in content for form in (secret, secret.replace('"', '\\"')))


async def performed(orchestrator: Orchestrator, task: Task) -> tuple[Answer, list[Any]]:
    """The answer, and the progress."""
    heard: list[Any] = []
    return await orchestrator.executor.perform(task, on_progress=heard.append), heard


async def test_the_token_of_an_endpoint_is_masked_in_its_data_its_error_and_its_progress(
    orchestrator: Orchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORK_TOKEN", SECRET)
    with endpoint() as server:
        agent = HttpAgent(
            "a", "A", endpoint=f"{server.url}/betraying", capabilities=[AgentCapability("work")],
            token_env="WORK_TOKEN", health=False,
        )  # fmt: skip
        orchestrator.register_agent(agent)
        answer, heard = await performed(orchestrator, Task("work", {}, "s"))
    assert answer.error == "no: Bearer ***"
    assert answer.data == {"Bearer ***": ["Bearer ***"]}
    assert heard == [{"Bearer ***": ["Bearer ***"]}]
    assert not leaked(orchestrator.config.ledger, SECRET)


@pytest.mark.parametrize("api", ["openai", pytest.param("anthropic", marks=pytest.mark.torture)])
@pytest.mark.parametrize("result", [None, {"type": "object"}])
async def test_the_key_of_a_model_is_masked_although_it_arrives_in_pieces(
    orchestrator: Orchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: str, result: Any
) -> None:
    monkeypatch.setenv("TEST_LLM_KEY", KEY)
    said = Said(f'{{"key": "{KEY}", "sk": "sk-test"}}', model=f"model-{KEY}")
    with running(ModelDouble(said)) as double:
        address = ModelAddress(api, url_of(double, api), "test-model-1", "TEST_LLM_KEY")
        orchestrator.register_agent(ModelAgent("m", address, [Prompt(AgentCapability("say"), "Hi", result)]))
        answer, heard = await performed(orchestrator, Task("say", {}, "s"))
    expected = '{"key": "***", "sk": "sk-test"}'
    assert answer.data == ({"text": expected} if result is None else {"key": "***", "sk": "sk-test"})
    assert "".join(each["text"] for each in heard) == expected
    assert not leaked(orchestrator.config.ledger, KEY)


async def test_variables_of_an_mcp_server_are_masked_in_its_results_and_its_log(
    orchestrator: Orchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DOCS", SECRET)
    orchestrator.register_agent(known(tmp_path, env={"DOCS_TOKEN": "Bearer $DOCS", "PLACE": "$HOME"}))
    with caplog.at_level(logging.INFO, "aorch"):
        secret, _ = await performed(orchestrator, Task("tools.variable", {"name": "DOCS_TOKEN"}, "s"))
        place, _ = await performed(orchestrator, Task("tools.variable", {"name": "PLACE"}, "s"))
    assert secret.data == {"result": "Bearer ***"}
    assert place.data == {"result": str(Path.home())}
    assert "DOCS_TOKEN=Bearer ***" in caplog.text
    assert SECRET not in caplog.text
    assert not leaked(orchestrator.config.ledger, SECRET)


@pytest.fixture
def program(home: Home) -> Iterator[Home]:
    """A program that prints its secret, and ends as its parameter says."""
    script = "import os, sys\nprint(os.environ['API'])\nsys.exit(os.environ['API'] if sys.argv[1] == 'fail' else 0)\n"
    home.write("tell.py", script)
    home.write(
        "aorch.toml",
        f"[agents.teller]\ncommand = ['{sys.executable}', 'tell.py', '{{how}}']\nenv = {{ API = '$API_KEY' }}\n"
        "[agents.teller.capabilities.tell]\n",
    )
    home.environment["API_KEY"] = SECRET
    return home


def test_the_secret_of_a_program_is_masked_in_its_output_and_its_error(program: Home) -> None:
    assert program.aorch("run", "tell", "how=well").out == "***\n"
    failed = program.aorch("run", "tell", "how=fail")
    assert (failed.code, "exit code 1: ***" in failed.err, SECRET in failed.err) == (10, True, False)
    assert not leaked(program.ledger, SECRET)


@pytest.mark.parametrize("size", range(1, 12))
def test_a_secret_in_a_stream_is_found_wherever_it_is_split(size: int) -> None:
    text, mask = "abab ababc abacababc.aba", StreamMask("ababc")
    pieces = [mask.feed(text[place : place + size]) for place in range(0, len(text), size)]
    assert "".join([*pieces, mask.end()]) == "abab *** abac***.aba"
    assert not any("ababc" in piece for piece in pieces)

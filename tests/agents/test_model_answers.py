"""Answers of models that are odd, but valid; and those that are empty, but no success."""

from typing import Any

import pytest
from doubles import running
from model_agents import APIS, url_of
from model_double import KEY, ModelDouble
from model_streams import STOPS, Said

from aorch.agents.base import AgentCapability, AgentTask
from aorch.agents.model_agent import ModelAgent, Prompt
from aorch.agents.model_call import ModelAddress
from aorch.errors import AgentFailed

TASK = AgentTask(task_id="1", session_id="s", capability="say", parameters={}, context={})
MALFORMED: list[Any] = [
    "many",
    7,
    [1],
    {"prompt_tokens": "12", "completion_tokens": -3, "prompt_tokens_details": "x", "input_tokens": "dozen"},
    {"prompt_tokens": True, "prompt_tokens_details": {"cached_tokens": 1.5}, "input_tokens": [], "output_tokens": {}},
]


async def answer_of(double: ModelDouble, api: str, result: dict[str, Any] | None = None) -> dict[str, Any]:
    address = ModelAddress(api, url_of(double, api), "test-model-1", "TEST_LLM_KEY")
    agent = ModelAgent("sayer", address, [Prompt(AgentCapability("say"), "Hi", result)])
    try:
        return await agent.execute(TASK)
    finally:
        await agent.close()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_LLM_KEY", KEY)


@pytest.mark.parametrize("api", APIS)
async def test_a_malformed_usage_is_unknown_and_the_answer_is_valid(api: str) -> None:
    for counts in MALFORMED:
        with running(ModelDouble(Said(counts=counts))) as double:
            answer = await answer_of(double, api)
        assert answer["data"] == {"text": "Good morning."}
        assert answer["usage"] == {"input": None, "output": None, "cached": None}, counts


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("result", [None, {"type": "object"}])
async def test_a_model_that_stops_to_call_a_tool_has_failed(api: str, result: dict[str, Any] | None) -> None:
    with running(ModelDouble(Said("", stop="tool"))) as double, pytest.raises(AgentFailed) as failed:
        await answer_of(double, api, result)
    stop = STOPS["tool"][APIS.index(api)]
    assert str(failed.value) == f"test-model-1 gave no answer (stop reason: {stop})"
    assert failed.value.hint == "Change the prompt so that it asks for text, or choose another model."
    assert (failed.value.answer["stop_reason"], len(double.asked)) == (stop, 1)


@pytest.mark.parametrize("api", APIS)
async def test_an_empty_text_is_an_answer_if_the_model_has_finished(api: str) -> None:
    with running(ModelDouble(Said(""))) as double:
        assert (await answer_of(double, api))["data"] == {"text": ""}
    refusal = Said("", stop="refusal")
    with running(ModelDouble(refusal)) as double, pytest.raises(AgentFailed, match="test-model-1 refused to answer"):
        await answer_of(double, api)

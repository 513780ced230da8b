"""Pipelines in Python, and fan-outs."""

import asyncio
from pipes import Worker, give, requests
from typing import Any

import pytest

from aorch import AorchError, Orchestrator, Pipeline, Step, Task
from aorch.errors import ConfigInvalid


async def test_a_pipeline_in_python_is_registered_like_any_agent(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(
        Pipeline(
            "shout",
            [
                Step("up", "uppercase", {"text": "{input.text}"}),
                Step("echo", "echo", {"text": "{steps.up.data.result}!"}),
            ],
            parameters={"type": "object", "properties": {"text": {"type": "string", "default": "hi"}}},
            result={"said": "{steps.echo.data.message}", "first": "{steps.up.data}"},
        )
    )
    answer = await orchestrator.orchestrate("s", {"capability": "shout", "parameters": {"text": "a"}})
    assert answer["data"] == {"said": "Echo: A!", "first": {"result": "A"}}
    assert (await orchestrator.perform(Task("shout", {}, "s"))).data["said"] == "Echo: HI!"


def test_a_pipeline_in_python_that_could_never_work_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigInvalid, match=r"pipelines.p.steps.a.on_error"):
        Pipeline("p", [Step("a", "work", on_error="halt")])  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ConfigInvalid, match="cycle"):
        Pipeline("p", [Step("a", "work", needs=["b"]), Step("b", "work", needs=["a"])])


async def test_two_thousand_items_never_have_more_than_the_limit_in_flight(orchestrator: Orchestrator) -> None:
    worker = Worker()
    orchestrator.register_agent(worker)
    orchestrator.register_agent(
        Pipeline("p", [Step("each", "work", {"give": "{item}"}, for_each="{input.items}", parallel=16)])
    )
    answer = await orchestrator.perform(Task("p", {"items": list(range(2_000))}, "s"))
    assert answer.data == list(range(2_000))
    assert worker.most == 16


async def test_a_fan_out_over_nothing_is_a_success(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Pipeline("p", [Step("each", "work", for_each="{input.items}")]))
    assert (await orchestrator.perform(Task("p", {"items": []}, "s"))).data == []
    wrong = await orchestrator.perform(Task("p", {"items": 3}, "s"))
    assert wrong.error == "step each: for_each needs a list, and {input.items} is 3"


async def test_a_fan_out_that_keeps_failures_tells_of_each_item(orchestrator: Orchestrator) -> None:
    worker = Worker()
    orchestrator.register_agent(worker)
    items = [{"give": 1}, {"fail": "x"}, {"give": 3}, {"fail": "y"}, 5]
    step = Step("each", "work", "{item}", for_each=items, on_error="keep")
    orchestrator.register_agent(Pipeline("p", [step], result="{steps.each}"))
    data = (await orchestrator.perform(Task("p", {}, "s"))).data
    assert data["data"] == [1, None, 3, None, None]
    assert (data["success"], data["error"]) == (False, "step each, item 1: x (3 of 5 items failed)")
    assert [item["success"] for item in data["items"]] == [True, False, True, False, False]
    assert data["items"][4]["error"] == "step each, item 4: {item} must be an object, not 5"


async def test_a_fan_out_that_stops_begins_nothing_more(orchestrator: Orchestrator) -> None:
    worker = Worker()
    orchestrator.register_agent(worker)
    items = [{"give": 0}, {"fail": "x"}, *({"give": number} for number in range(2, 100))]
    orchestrator.register_agent(Pipeline("p", [Step("each", "work", "{item}", for_each=items, parallel=1)]))
    answer = await orchestrator.perform(Task("p", {}, "s"))
    assert answer.error == "step each, item 1: x"
    assert len(worker.done) == 2


async def test_a_step_that_is_cancelled_alone_is_a_step_that_failed(orchestrator: Orchestrator) -> None:
    class Quitter(Worker):
        async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
            raise asyncio.CancelledError

    orchestrator.register_agent(Quitter())
    orchestrator.register_agent(Pipeline("p", [give("a", 1, on_error="keep")], result="{steps.a.error}"))
    assert (await orchestrator.perform(Task("p", {}, "s"))).data == "step a: worker cancelled itself"


async def test_a_pipeline_that_calls_itself_is_refused_as_a_circle(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Pipeline("p", [Step("again", "p", "{input}")]))
    answer = await orchestrator.perform(Task("p", {"x": 1}, "s"))
    assert answer.failure is not None
    assert answer.failure.code == "delegation_refused"
    assert "a cycle" in str(answer.error)


async def test_a_pipeline_s_context_reaches_its_steps(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Worker())
    orchestrator.register_agent(Pipeline("p", [give("a", 1)]))
    await orchestrator.perform(Task("p", {}, "s", context={"why": "test"}))
    (request,) = await requests(orchestrator, "work")
    assert request["metadata"]["context"] == {"why": "test"}


async def test_a_pipeline_outside_an_orchestrator_says_what_it_needs() -> None:
    with pytest.raises(AorchError, match="needs an Orchestrator"):
        await Pipeline("p", [give("a", 1)]).execute({})

"""The metadata of contracts: the caller's own apart from aorch's, why the agent was chosen, and what a failure means."""

from typing import Any

import pytest

from aorch import Agent, AgentCapability, Orchestrator, jsonio
from aorch.engine.task import QueueOptions, Task
from aorch.errors import AgentFailed
from aorch.ledger.contract_metadata import read_metadata, requested_agent
from aorch.ledger.record import Record
from aorch.worker.queue_worker import task_of


class Echo(Agent):
    """Answers with the metadata that it is given; with `raises`, raises it."""

    def __init__(self, agent_id: str = "mirror", raises: Exception | None = None, *, idempotent: bool = False) -> None:
        super().__init__(agent_id, agent_id)
        self.raises = raises
        self.idempotent = idempotent

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("mirror", idempotent=self.idempotent)]

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        if self.raises is not None:
            raise self.raises
        return {"success": True, "data": task.get("metadata")}


async def only(orchestrator: Orchestrator, contract_type: str) -> dict[str, Any]:
    """The metadata of the only contract of that type."""
    found = [each for each in await orchestrator.get_contracts() if each["contract_type"] == contract_type]
    assert len(found) == 1
    metadata: dict[str, Any] = found[0]["metadata"]
    return metadata


async def test_a_callers_metadata_cannot_pass_for_aorchs_own(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Echo())
    given = {"resumes": "01X", "routing": {"reason": "requested"}, "queue": {"idempotent": True}, "ticket": 7}
    answer = await orchestrator.orchestrate("s", {"capability": "mirror", "metadata": given, "context": {"a": 1}})
    assert answer["data"] == given
    metadata = await only(orchestrator, "REQUEST")
    assert metadata == {"custom": given, "context": {"a": 1}, "routing": {"reason": "only_candidate"}}


async def test_a_queued_task_keeps_its_callers_metadata(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent(Echo())
    orchestrator.open()
    task = Task("mirror", {}, "s", metadata={"queue": 1, "step": "mine"}, annotations={"line": 3})
    request = await orchestrator.queue.submit(task, QueueOptions(2))
    assert isinstance(request, Record)
    queued = task_of(request)
    assert (queued.metadata, queued.annotations) == ({"queue": 1, "step": "mine"}, {"line": 3})
    assert queued.queue["priority"] == 2


@pytest.mark.parametrize(
    ("metadata", "custom", "annotations", "requested"),
    [
        ({"custom": {"x": 1}, "step": "a", "routing": {"reason": "requested"}}, {"x": 1}, {"step": "a"}, "agent"),
        ({"routing": {"reason": "only_candidate"}}, {}, {}, None),
        ({"x": 1, "step": "a", "routing": {"chosen": "asked for by id"}}, {"x": 1}, {"step": "a"}, "agent"),
        ({"x": 1, "custom": {"y": 2}, "routing": {"chosen": "the only one"}}, {"x": 1, "custom": {"y": 2}}, {}, None),
        ({"custom": 3, "routing": 4}, {"custom": 3}, {}, None),
        ({"queue": {"agent_id": None}, "line": 2}, {}, {"line": 2}, None),
    ],
)
def test_metadata_of_this_version_and_of_earlier_ones_is_read(
    metadata: dict[str, Any], custom: dict[str, Any], annotations: dict[str, Any], requested: str | None
) -> None:
    parts = read_metadata(jsonio.decode(jsonio.encode(metadata)))
    assert (parts.custom, parts.annotations) == (custom, annotations)
    assert requested_agent(metadata, "agent") == requested


async def test_routing_lists_eight_candidates_and_counts_them_all(orchestrator: Orchestrator) -> None:
    for number in range(20):
        orchestrator.register_agent(Echo(f"mirror{number}"))
    answer = await orchestrator.orchestrate("s", {"capability": "mirror"})
    routing = (await only(orchestrator, "REQUEST"))["routing"]
    assert (routing["reason"], routing["candidates"], len(routing["candidates_running"])) == ("least_busy", 20, 8)
    assert answer["agent_id"] in routing["candidates_running"]


@pytest.mark.parametrize(
    ("raises", "idempotent", "delivered", "retry_safe"),
    [
        (ValueError("broken"), False, True, False),
        (ValueError("broken"), True, True, True),
        (AgentFailed("no connection", delivered=False), False, False, True),
        (AgentFailed("the connection was lost", delivered=None), False, None, False),
        (AgentFailed("too many requests", delivered=True, retry_safe=True), False, True, True),
    ],
)
async def test_a_failure_says_whether_the_task_was_delivered_and_may_be_run_again(
    orchestrator: Orchestrator, raises: Exception, idempotent: bool, delivered: bool | None, retry_safe: bool
) -> None:
    orchestrator.register_agent(Echo(raises=raises, idempotent=idempotent))
    assert not (await orchestrator.orchestrate("s", {"capability": "mirror"}))["success"]
    metadata = await only(orchestrator, "RESPONSE")
    assert (metadata["delivered"], metadata["retry_safe"]) == (delivered, retry_safe)


async def test_a_task_that_no_agent_gets_may_be_run_again(orchestrator: Orchestrator) -> None:
    assert not (await orchestrator.orchestrate("s", {"capability": "fly"}))["success"]
    metadata = await only(orchestrator, "RESPONSE")
    assert (metadata["code"], metadata["delivered"], metadata["retry_safe"]) == ("no_agent", False, True)

"""The agents of a server, as far as a caller needs them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aorch.agents.base import AgentCapability, AgentMetadata
from aorch.agents.parameters import ParameterCheck
from aorch.ledger.offered_agents import KIND


@dataclass(frozen=True)
class RemoteAgent:
    """An agent with its capabilities by name."""

    agent: AgentMetadata
    capabilities: dict[str, AgentCapability]
    kind: str

    def check(self, capability: str, parameters: dict[str, Any]) -> None:
        """Raise ParametersInvalid if `parameters` do not match the schema of the capability."""
        ParameterCheck(self.capabilities[capability])(parameters)


class RemoteAgents:
    """Agents, from their JSON forms."""

    def __init__(self, found: Iterable[dict[str, Any]]) -> None:
        self._agents = [_agent(form) for form in found]
        self.by_capability: dict[str, list[RemoteAgent]] = {}
        """The agents by their capabilities, without those of workers, which get only queued tasks."""
        for each in self._agents:
            for capability in each.capabilities if each.kind != KIND else ():
                self.by_capability.setdefault(capability, []).append(each)

    def only_workers_have(self, capability: str) -> bool:
        """Whether only workers over HTTP have `capability`, so that a task must be queued."""
        return capability not in self.by_capability and any(capability in each.capabilities for each in self._agents)

    def is_pipeline(self, agent_id: str) -> bool:
        """Whether that agent is a pipeline."""
        return any(each.agent.agent_id == agent_id and each.kind == "pipeline" for each in self._agents)


def _agent(form: dict[str, Any]) -> RemoteAgent:
    capabilities = {
        each["name"]: AgentCapability(each["name"], each["description"], each["parameters"])
        for each in form["capabilities"]
    }
    return RemoteAgent(AgentMetadata(form["agent_id"], form["name"]), capabilities, form["kind"])

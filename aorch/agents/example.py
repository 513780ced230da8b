"""The built-in agent: `echo` and `uppercase`."""

from typing import Any

from aorch.agents.base import Agent, AgentCapability

_TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


class ExampleAgent(Agent):
    """Returns text, unchanged or in capitals."""

    kind = "example"

    def __init__(self) -> None:
        super().__init__("agent_example_001", "Example Agent", "Returns text, unchanged or in capitals")

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """`{"message": …}` for `echo`, `{"result": …}` for `uppercase`."""
        text = task["parameters"]["text"]
        data = {"result": text.upper()} if task["capability"] == "uppercase" else {"message": f"Echo: {text}"}
        return {"success": True, "data": data}

    def get_capabilities(self) -> list[AgentCapability]:
        """`echo` and `uppercase`, each with the parameter `text`."""
        return [
            AgentCapability("echo", "Echo text back", _TEXT, idempotent=True),
            AgentCapability("uppercase", "Convert to uppercase", _TEXT, idempotent=True),
        ]

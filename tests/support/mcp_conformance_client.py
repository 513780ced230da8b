"""The client that `conformance client --command` runs, with the URL of a scenario's server as its last argument: it adds the
server as an agent in the working directory and calls its tools with `aorch run`.
"""

import json
import os
import subprocess
import sys
from typing import Any

AORCH = [sys.executable, "-m", "aorch"]
VALUES: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}
ARGUMENTS = {"add_numbers": {"a": 5, "b": 3}}


def calls_of(capabilities: list[dict[str, Any]], context: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The calls that the scenario names, otherwise one of each tool with the parameters that it requires."""
    if named := context.get("toolCalls"):
        return [(f"server.{each['name']}", given(each.get("arguments") or {})) for each in named]
    return [(each["name"], ARGUMENTS.get(each["name"].partition(".")[2], required(each))) for each in capabilities]


def given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Without null, which a scenario passes where the tool's own schema does not allow it: aorch rejects such a task."""
    return {name: value for name, value in arguments.items() if value is not None}


def required(capability: dict[str, Any]) -> dict[str, Any]:
    schema = capability["parameters"]
    return {name: VALUES[schema["properties"][name].get("type", "string")] for name in schema.get("required", ())}


def main() -> None:
    url, context = sys.argv[-1], json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    with open("aorch.toml", "w") as file:  # noqa: PTH123
        file.write(f'[agents.server]\nmcp = "{url}"\n')
    subprocess.run([*AORCH, "agents", "refresh"], check=True)
    shown = subprocess.run([*AORCH, "agents", "show", "server", "--json"], check=True, capture_output=True)
    for capability, parameters in calls_of(json.loads(shown.stdout)["capabilities"], context):
        subprocess.run([*AORCH, "run", capability, "--params", json.dumps(parameters)], check=False)


if __name__ == "__main__":
    main()
